//! A prediction as a document of MongoDB: its fields by name and type, and the record in raw BSON.
//!
//! This is the one place that says what the collection `predictions` holds. The sink writes these documents, the engine's
//! table has these columns, and the tests' samples are made here. BSON alone is known: what Arrow calls a type is the
//! engine's matter.

use bson::raw::RawDocumentBuf;
use bson::{DateTime, RawBson, rawdoc};

use crate::error::{Error, Result};
use crate::{Label, PredictionRecord, Timestamp};

/// The type of a document's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    Text,
    /// A signed integer of 64 bits.
    Integer,
    /// True or false.
    Boolean,
    /// A number in floating point, of 64 bits.
    Double,
    /// A time in milliseconds, UTC.
    Time,
}

impl PredictionRecord {
    /// The fields of the document, in the order in which it stores them. The first is its key.
    pub const FIELDS: [(&'static str, FieldType); 10] = [
        ("_id", FieldType::Text),
        ("producer_id", FieldType::Text),
        ("sequence", FieldType::Integer),
        ("label", FieldType::Text),
        ("predicted", FieldType::Text),
        ("correct", FieldType::Boolean),
        ("confidence", FieldType::Double),
        ("model", FieldType::Text),
        ("produced_at", FieldType::Time),
        ("inferred_at", FieldType::Time),
    ];

    /// The document. Of an image whose true class is not known `label` and `correct` are null.
    ///
    /// # Errors
    /// Where BSON cannot hold the sequence number: its integers have a sign.
    pub fn to_document(&self) -> Result<RawDocumentBuf> {
        let sequence = self.id.sequence.0;
        let sequence = i64::try_from(sequence).map_err(|_| Error::Sequence { value: sequence })?;
        let time = |Timestamp(millis)| DateTime::from_millis(millis);
        Ok(rawdoc! {
            "_id": self.id.to_string(),
            "producer_id": self.id.producer.to_string(),
            "sequence": sequence,
            "label": or_null(self.label.as_ref().map(Label::as_str)),
            "predicted": self.predicted.as_str(),
            "correct": or_null(self.correct()),
            "confidence": f64::from(self.confidence),
            "model": self.model.as_str(),
            "produced_at": time(self.produced_at),
            "inferred_at": time(self.inferred_at),
        })
    }
}

fn or_null<T: Into<RawBson>>(value: Option<T>) -> RawBson {
    value.map_or(RawBson::Null, Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageId, ProducerId, Sequence};
    use bson::spec::ElementType;

    fn label(name: &str) -> Label {
        Label::parse("label", name).expect("a label")
    }

    fn record(sequence: u64) -> PredictionRecord {
        PredictionRecord {
            id: ImageId { producer: ProducerId(10), sequence: Sequence(sequence) },
            label: Some(label("cat")),
            predicted: label("automobile"),
            confidence: 0.5,
            model: "m".to_owned(),
            produced_at: Timestamp(1_000),
            inferred_at: Timestamp(2_000),
        }
    }

    #[test]
    fn the_document_has_the_fields_in_their_order() {
        let document = record(3).to_document().expect("fits");
        let fields: Vec<(String, ElementType)> = document
            .iter()
            .map(|element| element.expect("BSON"))
            .map(|(name, value)| (name.to_string(), value.element_type()))
            .collect();
        let expected = PredictionRecord::FIELDS.map(|(name, field)| {
            let bson = match field {
                FieldType::Text => ElementType::String,
                FieldType::Integer => ElementType::Int64,
                FieldType::Boolean => ElementType::Boolean,
                FieldType::Double => ElementType::Double,
                FieldType::Time => ElementType::DateTime,
            };
            (name.to_owned(), bson)
        });
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_not_known_is_null_and_there() {
        let known = record(3).to_document().expect("fits");
        let unlabelled = PredictionRecord { label: None, ..record(3) }.to_document().expect("fits");
        for (before, after) in known.iter().zip(unlabelled.iter()) {
            let ((name, before), (other, after)) = (before.expect("BSON"), after.expect("BSON"));
            assert_eq!(name, other);
            if matches!(name.as_str(), "label" | "correct") {
                assert_eq!(after.element_type(), ElementType::Null, "{name}");
            } else {
                assert_eq!(before, after, "{name}");
            }
        }
        assert_eq!(unlabelled.iter().count(), PredictionRecord::FIELDS.len());
    }

    #[test]
    fn a_sequence_beyond_bson_is_refused() {
        assert_eq!(record(u64::MAX).to_document().expect_err("too large").class(), "bad-sequence");
    }
}
