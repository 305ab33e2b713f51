//! The record of topic `predictions`, and of the MongoDB collection of that name.

use crate::error::{Error, Result};
use crate::{ImageId, Label, ProducerId, Sequence, Timestamp, wire};
use prost::Message;

/// What a model said of one image, every field checked.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionRecord {
    /// The image's name, and the document's `_id`.
    pub id: ImageId,
    /// The true class.
    pub label: Label,
    /// The class that the model found most probable.
    pub predicted: Label,
    /// Its probability, 0 to 1.
    pub confidence: f32,
    /// Which model said so.
    pub model: String,
    /// When the image was produced.
    pub produced_at: Timestamp,
    /// When the model answered.
    pub inferred_at: Timestamp,
}

impl PredictionRecord {
    /// The most bytes of a model's name.
    pub const MAX_MODEL: usize = 256;

    /// Whether the model was right.
    #[must_use]
    pub fn correct(&self) -> bool {
        self.label == self.predicted
    }

    /// Whether this prediction takes the place of another one of the same image, whichever arrives first: the one that was
    /// made later does. Of two that were made in the same millisecond the rest decides, so that the order is total; a
    /// prediction takes its own place.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        fn version(record: &PredictionRecord) -> (Timestamp, &str, &str, f32) {
            (record.inferred_at, &record.model, record.predicted.name(), record.confidence)
        }
        version(self) >= version(other)
    }

    /// The record's value in Kafka.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::PredictionRecord {
            producer_id: self.id.producer.to_string(),
            sequence: self.id.sequence.0,
            label: self.label.name().to_owned(),
            predicted: self.predicted.name().to_owned(),
            confidence: self.confidence,
            model: self.model.clone(),
            produced_at: Some(self.produced_at.to_wire()),
            inferred_at: Some(self.inferred_at.to_wire()),
        }
        .encode_to_vec()
    }

    /// Reads and checks a record's value.
    pub fn decode(value: &[u8]) -> Result<Self> {
        if value.is_empty() {
            return Err(Error::Empty { message: "PredictionRecord" });
        }
        let wire = wire::PredictionRecord::decode(value)
            .map_err(|source| Error::Malformed { message: "PredictionRecord", source })?;
        if !(0.0..=1.0).contains(&wire.confidence) {
            return Err(Error::Confidence { value: wire.confidence });
        }
        if wire.model.is_empty() {
            return Err(Error::Missing { field: "model" });
        }
        if wire.model.len() > Self::MAX_MODEL {
            return Err(Error::TooLong { field: "model", bytes: wire.model.len(), most: Self::MAX_MODEL });
        }
        Ok(Self {
            id: ImageId {
                producer: wire.producer_id.parse::<ProducerId>()?,
                sequence: Sequence(wire.sequence),
            },
            label: Label::parse("label", &wire.label)?,
            predicted: Label::parse("predicted", &wire.predicted)?,
            confidence: wire.confidence,
            model: wire.model,
            produced_at: Timestamp::from_wire("produced_at", wire.produced_at)?,
            inferred_at: Timestamp::from_wire("inferred_at", wire.inferred_at)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_survives_the_wire(
            producer: u128, sequence: u64, label in 0_usize..10, predicted in 0_usize..10,
            confidence in 0.0_f32..=1.0, produced in 0_i64..4_000_000_000_000, took in 0_i64..1_000_000,
        ) {
            let record = PredictionRecord {
                id: ImageId { producer: ProducerId(producer), sequence: Sequence(sequence) },
                label: Label::ALL[label],
                predicted: Label::ALL[predicted],
                confidence,
                model: "m".to_owned(),
                produced_at: Timestamp(produced),
                inferred_at: Timestamp(produced + took),
            };
            prop_assert_eq!(PredictionRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = PredictionRecord::decode(&bytes);
        }
    }

    #[test]
    fn a_confidence_that_is_no_probability_is_refused() {
        for confidence in [f32::NAN, -0.1, 1.1, f32::INFINITY] {
            let bytes = wire::PredictionRecord { confidence, ..Default::default() }.encode_to_vec();
            assert_eq!(PredictionRecord::decode(&bytes).expect_err("refused").class(), "bad-confidence");
        }
    }
}
