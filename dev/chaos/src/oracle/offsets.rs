//! Committed offsets against durable work, at one moment.

use super::books::source;
use crate::meddle::Poison;
use crate::topic::Records;
use firesteel_proto::{ImageRecord, PredictionRecord};
use std::collections::{BTreeMap, BTreeSet};

/// The ids of all images of which a prediction is in the topic of predictions.
pub(crate) fn predicted(predictions: &Records) -> BTreeSet<String> {
    let decoded =
        predictions.values().filter_map(|record| PredictionRecord::decode(record.value.as_deref()?).ok());
    decoded.map(|record| record.id.to_string()).collect()
}

/// The records below the committed offsets of which nothing durable came. `durable` has the ids, `letters` the dead letters,
/// `id` reads a record's.
fn ahead(
    records: &Records,
    committed: &BTreeMap<i32, i64>,
    durable: &BTreeSet<String>,
    letters: &Records,
    id: impl Fn(&[u8]) -> Option<String>,
) -> Vec<String> {
    let buried: BTreeSet<_> = letters.values().filter_map(source).collect();
    let below = records.iter().filter(|((partition, offset), _)| {
        committed.get(partition).is_some_and(|committed| offset < committed)
    });
    below
        .filter(|(place, record)| {
            let good = Poison::of(record).is_none().then(|| record.value.as_deref().and_then(&id)).flatten();
            !good.is_some_and(|id| durable.contains(&id)) && !buried.contains(place)
        })
        .map(|(place, _)| format!("{place:?} of {committed:?}"))
        .collect()
}

/// Of the image consumers: each image below has a prediction in the topic, or a letter.
pub(crate) fn images_ahead(
    images: &Records,
    committed: &BTreeMap<i32, i64>,
    predictions: &Records,
    letters: &Records,
) -> Vec<String> {
    let id = |value: &[u8]| ImageRecord::decode(value).ok().map(|image| image.id.to_string());
    ahead(images, committed, &predicted(predictions), letters, id)
}

/// Of the prediction consumers: each prediction below has a document, or a letter.
pub(crate) fn predictions_ahead(
    predictions: &Records,
    committed: &BTreeMap<i32, i64>,
    documents: &BTreeSet<String>,
    letters: &Records,
) -> Vec<String> {
    let id = |value: &[u8]| PredictionRecord::decode(value).ok().map(|record| record.id.to_string());
    ahead(predictions, committed, documents, letters, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Record;
    use firesteel_testkit::samples;

    #[test]
    fn a_commit_may_not_pass_what_is_not_durable() {
        let record = |index| Record {
            value: Some(samples::prediction(index, 1).encode().into()),
            ..Record::default()
        };
        let predictions: Records = (0..3).map(|index| ((0, index as i64), record(index))).collect();
        let id = |index| samples::image_id(index, 1).to_string();
        let check = |committed, durable: &[usize], letters: &Records| {
            let durable = durable.iter().map(|index| id(*index)).collect();
            predictions_ahead(&predictions, &BTreeMap::from([(0, committed)]), &durable, letters).len()
        };
        let none = Records::new();
        assert_eq!(check(2, &[0, 1], &none), 0);
        assert_eq!(check(2, &[0], &none), 1);
        assert_eq!(check(3, &[2], &none), 2);
        let headers = [("source.partition", "0"), ("source.offset", "1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.into())).into();
        let letters = Records::from([((0, 0), Record { headers, ..Record::default() })]);
        assert_eq!(check(2, &[0], &letters), 0);
    }
}
