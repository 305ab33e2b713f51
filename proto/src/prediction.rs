//! The record of topic `predictions`, and of the MongoDB collection of that name.

use crate::error::{Error, Result};
use crate::label::to_wire;
use crate::{ImageId, Label, ProducerId, Sequence, Timestamp, wire};
use prost::Message;

/// What a model said of one image, every field checked.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionRecord {
    /// The image's name, and the document's `_id`.
    pub id: ImageId,
    /// The true class, where it is known.
    pub label: Option<Label>,
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

    /// Whether the model was right; nobody knows it of an image without a true class.
    #[must_use]
    pub fn correct(&self) -> Option<bool> {
        self.label.as_ref().map(|label| *label == self.predicted)
    }

    /// Whether this prediction takes the place of another one of the same image, whichever arrives first: the one that was
    /// made later does. Of two that were made in the same millisecond the rest decides, so that the order is total; a
    /// prediction takes its own place.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        fn version(record: &PredictionRecord) -> (Timestamp, &str, &str, f32) {
            (record.inferred_at, &record.model, record.predicted.as_str(), record.confidence)
        }
        version(self) >= version(other)
    }

    /// The record's value in Kafka.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::PredictionRecord {
            producer_id: self.id.producer.to_string(),
            sequence: self.id.sequence.0,
            label: to_wire(self.label.as_ref()),
            predicted: self.predicted.as_str().to_owned(),
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
            label: Label::optional("label", &wire.label)?,
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

    fn named(name: &str) -> Label {
        Label::parse("label", name).expect("a label")
    }

    proptest! {
        #[test]
        fn a_record_survives_the_wire(
            producer: u128, sequence: u64, label in proptest::option::of("[a-z]{1,9}"), predicted in "[a-z]{1,9}",
            confidence in 0.0_f32..=1.0, produced in 0_i64..4_000_000_000_000, took in 0_i64..1_000_000,
        ) {
            let record = PredictionRecord {
                id: ImageId { producer: ProducerId(producer), sequence: Sequence(sequence) },
                label: label.map(|name| named(&name)),
                predicted: named(&predicted),
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

    /// The bytes that consumers have sent since the first release.
    const KNOWN: &[u8] =
        b"\x0a\x080000000a\x10\x07\x1a\x03cat\x22\x03dog-\x00\x00\x00?2\x14resnet18-cifar10/f32\
        :\x0b\x08\x80\xf0\x9d\xc7\x06\x10\x80\xe5\x9awB\x06\x08\x81\xf0\x9d\xc7\x06";

    #[test]
    fn a_record_has_the_bytes_that_it_always_had_and_one_without_a_label_lacks_that_field() {
        let record = PredictionRecord {
            id: ImageId { producer: ProducerId(10), sequence: Sequence(7) },
            label: Some(named("cat")),
            predicted: named("dog"),
            confidence: 0.5,
            model: "resnet18-cifar10/f32".to_owned(),
            produced_at: Timestamp(1_760_000_000_250),
            inferred_at: Timestamp(1_760_000_001_000),
        };
        assert_eq!(record.encode(), KNOWN);
        assert_eq!(PredictionRecord::decode(KNOWN), Ok(record.clone()));
        assert_eq!(record.correct(), Some(false));
        assert_eq!(PredictionRecord { label: Some(named("dog")), ..record.clone() }.correct(), Some(true));

        let unlabelled = PredictionRecord { label: None, ..record };
        let bytes = unlabelled.encode();
        let field = KNOWN.windows(5).position(|bytes| bytes == b"\x1a\x03cat").expect("the label");
        assert_eq!(bytes, [&KNOWN[..field], &KNOWN[field + 5..]].concat());
        assert_eq!(PredictionRecord::decode(&bytes), Ok(unlabelled.clone()));
        assert_eq!(unlabelled.correct(), None);
    }

    #[test]
    fn labels_that_are_none_are_refused() {
        let good = wire::PredictionRecord::decode(KNOWN).expect("a message");
        let class = |broken: wire::PredictionRecord| {
            PredictionRecord::decode(&broken.encode_to_vec()).expect_err("refused").class()
        };
        assert_eq!(class(wire::PredictionRecord { label: "c\0t".to_owned(), ..good.clone() }), "bad-label");
        assert_eq!(class(wire::PredictionRecord { predicted: String::new(), ..good }), "bad-label");
    }

    #[test]
    fn a_confidence_that_is_no_probability_is_refused() {
        for confidence in [f32::NAN, -0.1, 1.1, f32::INFINITY] {
            let bytes = wire::PredictionRecord { confidence, ..Default::default() }.encode_to_vec();
            assert_eq!(PredictionRecord::decode(&bytes).expect_err("refused").class(), "bad-confidence");
        }
    }
}
