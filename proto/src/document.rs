//! A prediction as a document of MongoDB: its fields by name and type, and the record in raw BSON.
//!
//! This is the one place that says what the collection `predictions` holds. The sink writes these documents, the engine's
//! table has these columns, and the tests' samples are made here. BSON alone is known: what Arrow calls a type is the
//! engine's matter.

use bson::raw::RawDocumentBuf;
use bson::{DateTime, rawdoc};

use crate::error::{Error, Result};
use crate::{PredictionRecord, Timestamp};

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

    /// The document.
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
            "label": self.label.name(),
            "predicted": self.predicted.name(),
            "correct": self.correct(),
            "confidence": f64::from(self.confidence),
            "model": self.model.as_str(),
            "produced_at": time(self.produced_at),
            "inferred_at": time(self.inferred_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageId, Label, ProducerId, Sequence};
    use bson::spec::ElementType;

    fn record(sequence: u64) -> PredictionRecord {
        PredictionRecord {
            id: ImageId { producer: ProducerId(10), sequence: Sequence(sequence) },
            label: Label::Cat,
            predicted: Label::Automobile,
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
    fn a_sequence_beyond_bson_is_refused() {
        assert_eq!(record(u64::MAX).to_document().expect_err("too large").class(), "bad-sequence");
    }
}
