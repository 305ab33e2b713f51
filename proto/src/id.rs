//! The names of producers and images. An image's id is minted by its producer and never changes, so a record
//! that is produced, consumed or written twice is still one document.

use crate::error::{Error, Result, excerpt};
use std::fmt;
use std::str::FromStr;

/// A producer: 128 bits, written as 32 lower-case hexadecimal digits.
///
/// Ids that nobody coordinates are drawn from all 128 bits, so that two of them never meet. One that fits in 32 bits is written
/// as eight digits, as all were at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub u128);

/// The digits of an id that fits in 32 bits, and of any other.
const SHORT: usize = 8;
const LONG: usize = 32;

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.0) {
            Ok(short) => write!(f, "{short:0SHORT$x}"),
            Err(_) => write!(f, "{:0LONG$x}", self.0),
        }
    }
}

impl From<u32> for ProducerId {
    fn from(short: u32) -> Self {
        Self(u128::from(short))
    }
}

impl FromStr for ProducerId {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self> {
        let bad = || Error::ProducerId { value: excerpt(value) };
        if !value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        let id = u128::from_str_radix(value, 16).map_err(|_| bad())?;
        match (value.len(), u32::try_from(id)) {
            (SHORT, Ok(_)) | (LONG, Err(_)) => Ok(Self(id)),
            _ => Err(bad()),
        }
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
        fn an_id_survives_its_text(short: u32, long: u128, is_short: bool, sequence: u64) {
            let producer = if is_short { short.into() } else { ProducerId(long) };
            let id = ImageId { producer, sequence: Sequence(sequence) };
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
            "000000000000000000000000deadbeef:1",
            "0123456789abcdef0123456789abcdef0:1",
            "deadbeef:18446744073709551616",
        ] {
            assert!(text.parse::<ImageId>().is_err(), "{text:?}");
        }
    }
}
