//! The record of topic `images`.

use crate::error::{Error, Result};
use crate::label::to_wire;
use crate::{ImageId, Label, ProducerId, Sequence, Timestamp, wire};
use bytes::{Buf, Bytes};
use prost::Message;

/// How an image's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// A JPEG file.
    Jpeg,
    /// A PNG file.
    Png,
    /// A WebP file.
    WebP,
    /// Raw interleaved RGB, one byte a channel, rows from the top, in the model's input size.
    Rgb8,
}

impl Encoding {
    pub(crate) fn to_wire(self) -> i32 {
        match self {
            Self::Jpeg => wire::Encoding::Jpeg as i32,
            Self::Png => wire::Encoding::Png as i32,
            Self::WebP => wire::Encoding::Webp as i32,
            Self::Rgb8 => wire::Encoding::Rgb8 as i32,
        }
    }

    pub(crate) fn from_wire(value: i32) -> Result<Self> {
        match wire::Encoding::try_from(value) {
            Ok(wire::Encoding::Jpeg) => Ok(Self::Jpeg),
            Ok(wire::Encoding::Png) => Ok(Self::Png),
            Ok(wire::Encoding::Webp) => Ok(Self::WebP),
            Ok(wire::Encoding::Rgb8) => Ok(Self::Rgb8),
            Ok(wire::Encoding::Unspecified) | Err(_) => Err(Error::UnknownEncoding { value }),
        }
    }
}

/// One image as its producer sent it, every field checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRecord {
    /// Its name for ever.
    pub id: ImageId,
    /// When the producer made the record.
    pub produced_at: Timestamp,
    /// The true class, where its producer knows it.
    pub label: Option<Label>,
    /// How to read `data`.
    pub encoding: Encoding,
    /// The image file; never empty.
    pub data: Bytes,
}

impl ImageRecord {
    /// The record's value in Kafka.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::ImageRecord {
            producer_id: self.id.producer.to_string(),
            sequence: self.id.sequence.0,
            produced_at: Some(self.produced_at.to_wire()),
            label: to_wire(self.label.as_ref()),
            encoding: self.encoding.to_wire(),
            data: self.data.clone(),
        }
        .encode_to_vec()
    }

    /// Reads and checks a record's value. The bytes of the image are looked at only by the model; of a value that is
    /// [`Bytes`] they are a part, and are not copied.
    pub fn decode(value: impl Buf) -> Result<Self> {
        if !value.has_remaining() {
            return Err(Error::Empty { message: "ImageRecord" });
        }
        let wire = wire::ImageRecord::decode(value)
            .map_err(|source| Error::Malformed { message: "ImageRecord", source })?;
        let record = Self {
            id: ImageId {
                producer: wire.producer_id.parse::<ProducerId>()?,
                sequence: Sequence(wire.sequence),
            },
            produced_at: Timestamp::from_wire("produced_at", wire.produced_at)?,
            label: Label::optional("label", &wire.label)?,
            encoding: Encoding::from_wire(wire.encoding)?,
            data: wire.data,
        };
        if record.data.is_empty() {
            return Err(Error::EmptyImage);
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = ImageRecord> {
        (
            any::<u128>(),
            any::<u64>(),
            0_i64..4_000_000_000_000,
            proptest::option::of("[a-z]{1,20}"),
            0_usize..4,
            proptest::collection::vec(any::<u8>(), 1..256),
        )
            .prop_map(|(producer, sequence, time, label, encoding, data)| ImageRecord {
                id: ImageId { producer: ProducerId(producer), sequence: Sequence(sequence) },
                produced_at: Timestamp(time),
                label: label.map(|name| Label::parse("label", &name).expect("a label")),
                encoding: [Encoding::Jpeg, Encoding::Png, Encoding::Rgb8, Encoding::WebP][encoding],
                data: data.into(),
            })
    }

    proptest! {
        #[test]
        fn a_record_survives_the_wire(record in record()) {
            prop_assert_eq!(ImageRecord::decode(&record.encode()[..]), Ok(record));
        }

        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = ImageRecord::decode(&bytes[..]);
        }

        #[test]
        fn a_cut_record_is_never_a_crash(record in record(), cut in 0.0_f64..1.0) {
            let bytes = record.encode();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position inside the record")]
            let _ = ImageRecord::decode(&bytes[..(bytes.len() as f64 * cut) as usize]);
        }
    }

    /// The bytes that producers have sent since the first release.
    const KNOWN: &[u8] =
        b"\x0a\x080000000a\x10\x07\x1a\x0b\x08\x80\xf0\x9d\xc7\x06\x10\x80\xe5\x9aw\x22\x03cat(\x012\x02\xff\xd8";

    #[test]
    fn a_record_has_the_bytes_that_it_always_had_and_one_without_a_label_lacks_that_field() {
        let record = ImageRecord {
            id: ImageId { producer: ProducerId(10), sequence: Sequence(7) },
            produced_at: Timestamp(1_760_000_000_250),
            label: Some(Label::parse("label", "cat").expect("a label")),
            encoding: Encoding::Jpeg,
            data: Bytes::from_static(b"\xff\xd8"),
        };
        assert_eq!(record.encode(), KNOWN);
        assert_eq!(ImageRecord::decode(KNOWN), Ok(record.clone()));

        let unlabelled = ImageRecord { label: None, ..record };
        let bytes = unlabelled.encode();
        let field = KNOWN.windows(5).position(|bytes| bytes == b"\x22\x03cat").expect("the label");
        assert_eq!(bytes, [&KNOWN[..field], &KNOWN[field + 5..]].concat());
        assert_eq!(ImageRecord::decode(&bytes[..]), Ok(unlabelled.clone()));
        // A writer may say that a text is empty.
        let said = [&bytes[..], b"\x22\x00"].concat();
        assert_eq!(ImageRecord::decode(&said[..]), Ok(unlabelled));
    }

    #[test]
    fn every_broken_field_is_named() {
        let good = wire::ImageRecord {
            producer_id: "0000000a".to_owned(),
            sequence: 7,
            produced_at: Some(Timestamp(1).to_wire()),
            label: "cat".to_owned(),
            encoding: wire::Encoding::Jpeg as i32,
            data: Bytes::from_static(b"x"),
        };
        let check = |class: &str, broken: wire::ImageRecord| {
            let error = ImageRecord::decode(&broken.encode_to_vec()[..]).expect_err(class);
            assert_eq!(error.class(), class);
        };
        check("bad-producer-id", wire::ImageRecord { producer_id: "A".to_owned(), ..good.clone() });
        check("missing-field", wire::ImageRecord { produced_at: None, ..good.clone() });
        check("bad-label", wire::ImageRecord { label: "x".repeat(129), ..good.clone() });
        check("bad-label", wire::ImageRecord { label: "cat ".to_owned(), ..good.clone() });
        check("unknown-encoding", wire::ImageRecord { encoding: 99, ..good.clone() });
        check("unknown-encoding", wire::ImageRecord { encoding: 0, ..good.clone() });
        check("empty-image", wire::ImageRecord { data: Bytes::new(), ..good });
        assert_eq!(ImageRecord::decode(&[0_u8; 0][..]).expect_err("empty").class(), "empty-record");
        assert_eq!(ImageRecord::decode(&b"not protobuf"[..]).expect_err("text").class(), "malformed");
    }
}
