//! A prediction's document and the operation that writes it, in raw BSON.

use bson::{DateTime, RawDocumentBuf, rawdoc};
use firesteel_common::mongodb::bulk;
use firesteel_proto::PredictionRecord;

/// The document, or why there is none: a sequence number that BSON's signed 64 bits cannot hold.
pub(super) fn document(record: &PredictionRecord) -> Result<RawDocumentBuf, String> {
    record.to_document().map_err(|error| error.to_string())
}

/// The operation that puts the document in place, unless one is there that this prediction does not replace: then it
/// finds nothing, inserts, and fails by the key that is taken. See [`PredictionRecord::replaces`].
pub(super) fn upsert(record: &PredictionRecord) -> Result<RawDocumentBuf, String> {
    let at = DateTime::from_millis(record.inferred_at.0);
    let (model, predicted) = (record.model.as_str(), record.predicted.as_str());
    let filter = rawdoc! {
        "_id": record.id.to_string(),
        "$or": [
            { "inferred_at": { "$lt": at } },
            { "inferred_at": at, "model": { "$lt": model } },
            { "inferred_at": at, "model": model, "predicted": { "$lt": predicted } },
            {
                "inferred_at": at,
                "model": model,
                "predicted": predicted,
                "confidence": { "$lte": f64::from(record.confidence) },
            },
            // No prediction at all: nothing says that it is the newer one.
            { "inferred_at": { "$not": { "$type": "date" } } },
        ],
    };
    Ok(bulk::upsert(filter, document(record)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::conformance::prediction;
    use bson::Bson;
    use firesteel_proto::Sequence;

    #[test]
    fn the_fields_are_those_of_the_contract() {
        let document =
            bson::Document::try_from(document(&prediction(10, 3, 2_000)).expect("fits")).expect("BSON");
        let fields: Vec<(&str, Bson)> = document.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let text = |s: &str| Bson::String(s.to_owned());
        assert_eq!(
            fields,
            [
                ("_id", text("0000000a:3")),
                ("producer_id", text("0000000a")),
                ("sequence", Bson::Int64(3)),
                ("label", text("class 3")),
                ("predicted", text("class 1")),
                ("correct", Bson::Boolean(false)),
                ("confidence", Bson::Double(0.5)),
                ("model", text("conformance")),
                ("produced_at", Bson::DateTime(DateTime::from_millis(1_000))),
                ("inferred_at", Bson::DateTime(DateTime::from_millis(2_000))),
            ]
        );
    }

    #[test]
    fn without_a_true_class_label_and_correct_are_null_and_there() {
        let record = PredictionRecord { label: None, ..prediction(10, 3, 2_000) };
        let document = bson::Document::try_from(document(&record).expect("fits")).expect("BSON");
        assert_eq!((document.get("label"), document.get("correct")), (Some(&Bson::Null), Some(&Bson::Null)));
        assert_eq!(document.get_str("predicted").ok(), Some("class 1"));
    }

    #[test]
    fn a_sequence_beyond_bson_is_refused() {
        let mut record = prediction(1, 0, 0);
        record.id.sequence = Sequence(u64::MAX);
        assert!(upsert(&record).is_err());
    }
}
