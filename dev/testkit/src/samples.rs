//! Made-up predictions that every test can compute for itself: as records, and as documents of MongoDB.

use bson::Document;
use firesteel_proto::{ImageId, PredictionRecord, Sequence, Timestamp};

use crate::cifar::class;

/// The first producer's number.
const FIRST_PRODUCER: u32 = 0xab00_0000;
/// When the first image was produced.
const START: i64 = 1_760_000_000_000;

/// The image number `index` of a run in which `producers` producers take turns.
#[must_use]
pub fn image_id(index: usize, producers: usize) -> ImageId {
    let number = |number: usize| u32::try_from(number).expect("a small number");
    ImageId {
        producer: (FIRST_PRODUCER + number(index % producers)).into(),
        sequence: Sequence(u64::from(number(index / producers))),
    }
}

/// When image number `index` was produced: one each 10 ms.
#[must_use]
pub fn produced_at(index: usize) -> Timestamp {
    Timestamp(START + i64::try_from(index).expect("a small number") * 10)
}

/// The prediction of image number `index`: every seventh is wrong, and the classes take turns.
#[must_use]
pub fn prediction(index: usize, producers: usize) -> PredictionRecord {
    let wrong = index.is_multiple_of(7);
    let produced_at = produced_at(index);
    PredictionRecord {
        id: image_id(index, producers),
        label: Some(class(index)),
        predicted: class(index + usize::from(wrong)),
        confidence: confidence(index) as f32,
        model: "resnet18".to_owned(),
        produced_at,
        inferred_at: Timestamp(produced_at.0 + 250),
    }
}

/// The document of [`prediction`] in MongoDB.
#[must_use]
pub fn prediction_document(index: usize, producers: usize) -> Document {
    let mut document = document(&prediction(index, producers));
    // With all digits of a double: no test compares numbers that were rounded to a record's 32 bits.
    document.insert("confidence", confidence(index));
    document
}

/// The document of a record in MongoDB.
///
/// # Panics
/// When BSON cannot hold its sequence number.
#[must_use]
pub fn document(record: &PredictionRecord) -> Document {
    let raw = record.to_document().expect("a sequence number of 64 signed bits");
    Document::try_from(raw).expect("BSON")
}

fn confidence(index: usize) -> f64 {
    0.5 + (index % 50) as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_take_turns_and_documents_are_those_of_the_records() {
        assert_eq!(image_id(7, 3).to_string(), "ab000001:2");
        let (record, document) = (prediction(14, 3), prediction_document(14, 3));
        assert_eq!(record.correct(), Some(false));
        let names: Vec<&str> = document.keys().map(String::as_str).collect();
        assert_eq!(names, PredictionRecord::FIELDS.map(|(name, _)| name));
        assert_eq!(document.get_str("_id").expect("a text"), "ab000002:4");
        assert_eq!(document.get_f64("confidence").expect("a number"), 0.64);
    }
}
