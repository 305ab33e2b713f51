//! The names of producers and images. An image's id is minted by its producer and never changes, so a record
//! that is produced, consumed or written twice is still one document.

use crate::error::{Error, Result, excerpt};
use std::fmt;
use std::str::FromStr;

/// A producer: eight lower-case hexadecimal digits on the wire, 32 bits in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub u32);

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for ProducerId {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self> {
        let canonical = value.len() == 8 && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return Err(Error::ProducerId { value: excerpt(value) });
        }
        u32::from_str_radix(value, 16).map(Self).map_err(|_| Error::ProducerId { value: excerpt(value) })
    }
}

/// The position of an image in its producer's stream, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of one image for ever: MongoDB's `_id`, written `{producer_id}:{sequence}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId {
    /// Who produced it.
    pub producer: ProducerId,
    /// Where it stands in that producer's stream.
    pub sequence: Sequence,
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer, self.sequence)
    }
}

impl FromStr for ImageId {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self> {
        let bad = || Error::ImageId { value: excerpt(value) };
        let (producer, sequence) = value.split_once(':').ok_or_else(bad)?;
        let canonical = !sequence.is_empty()
            && sequence.bytes().all(|b| b.is_ascii_digit())
            && (sequence == "0" || !sequence.starts_with('0'));
        if !canonical {
            return Err(bad());
        }
        Ok(Self { producer: producer.parse()?, sequence: Sequence(sequence.parse().map_err(|_| bad())?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text(producer: u32, sequence: u64) {
            let id = ImageId { producer: ProducerId(producer), sequence: Sequence(sequence) };
            prop_assert_eq!(id.to_string().parse::<ImageId>(), Ok(id));
        }

        #[test]
        fn any_text_is_an_id_or_an_error_and_an_id_has_one_spelling(text in "\\PC{0,24}") {
            if let Ok(id) = text.parse::<ImageId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn spellings_that_are_no_ids() {
        for text in [
            "",
            ":",
            "deadbeef",
            "DEADBEEF:1",
            "deadbeef:",
            "deadbeef:01",
            "deadbeef:+1",
            "deadbee:1",
            "deadbeef0:1",
            "deadbeef:18446744073709551616",
        ] {
            assert!(text.parse::<ImageId>().is_err(), "{text:?}");
        }
    }
}
