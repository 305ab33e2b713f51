//! A dead letter as a value: where it is, what its headers say, and the record in it.

use firesteel_common::dead_letter::Facts;
use firesteel_common::headers::{Header, headers};
use firesteel_proto::{ProducerId, Timestamp};
use rdkafka::message::{Message, OwnedMessage};
use std::fmt;
use std::str::FromStr;

/// Where a record is in its topic, written `partition:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = || {
            let (partition, offset) = text.split_once(':')?;
            let place = Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            (place.partition >= 0 && place.offset >= 0).then_some(place)
        };
        place().ok_or_else(|| "expected PARTITION:OFFSET, such as 3:17".to_owned())
    }
}

/// Where the record of a letter was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// The place in it.
    pub at: Place,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.at)
    }
}

/// A dead letter.
#[derive(Debug, Clone)]
pub struct Letter {
    message: OwnedMessage,
    facts: Facts,
}

impl Letter {
    pub(super) fn of(message: OwnedMessage) -> Self {
        let facts = Facts::of(&headers(&message));
        Self { message, facts }
    }

    /// The topic that the letter is in.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.message.topic()
    }

    /// Where it is there.
    #[must_use]
    pub fn at(&self) -> Place {
        Place { partition: self.message.partition(), offset: self.message.offset() }
    }

    /// Kafka's timestamp of the letter.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.message.timestamp().to_millis().map(Timestamp)
    }

    /// What its headers say.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// All headers: those of the record, and behind them those of the letter.
    #[must_use]
    pub fn headers(&self) -> Vec<Header<'_>> {
        headers(&self.message)
    }

    /// The key of the record. A letter whose bytes were cut has none.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    /// The bytes of the record, or the beginning of them.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.message.payload()
    }

    /// The producer of the record, which is its key where that is the id of one.
    #[must_use]
    pub fn producer(&self) -> Option<&str> {
        let key = std::str::from_utf8(self.key()?).ok()?;
        key.parse::<ProducerId>().is_ok().then_some(key)
    }

    /// Where the record was, or the first of a gap.
    #[must_use]
    pub fn source(&self) -> Option<Source> {
        let Facts { topic: Some(topic), partition: Some(partition), offset: Some(offset), .. } = &self.facts
        else {
            return None;
        };
        Some(Source { topic: topic.clone(), at: Place { partition: *partition, offset: *offset } })
    }

    /// Whether the letter has only the beginning of its record, and neither key nor headers of it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.facts.cut_from.is_some()
    }

    /// How many bytes the value of the record had; none where it had no value.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.facts.cut_from.or_else(|| self.value().map(|value| value.len() as u64))
    }

    /// The message as Kafka has it.
    pub(super) fn message(&self) -> &OwnedMessage {
        &self.message
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rdkafka::message::{Header as Written, OwnedHeaders};

    /// The letter at `at` of the record at `images:3:17`, which had the headers `own`.
    pub(in crate::kafka::letters) fn letter(
        at: Place,
        own: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> Letter {
        let letter = [
            ("source.topic", "images"),
            ("source.partition", "3"),
            ("source.offset", "17"),
            ("error.class", "size"),
            ("error.message", "too large"),
        ];
        let headers =
            own.iter().chain(&letter).chain(more).fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Written { key, value: Some(*value) })
            });
        let (key, value) = (Some(b"0000002a".to_vec()), Some(b"value".to_vec()));
        let time = rdkafka::Timestamp::CreateTime(1_000 + at.offset);
        let topic = "images.dead-letter".to_owned();
        Letter::of(OwnedMessage::new(value, key, topic, time, at.partition, at.offset, Some(headers)))
    }

    #[test]
    fn a_letter_knows_its_record() {
        let at = Place { partition: 1, offset: 4 };
        let found = letter(at, &[("trace", "x")], &[]);
        assert_eq!(found.at(), at);
        assert_eq!(found.timestamp(), Some(Timestamp(1_004)));
        assert_eq!(found.source().expect("a source").to_string(), "images:3:17");
        assert_eq!((found.producer(), found.size(), found.is_cut()), (Some("0000002a"), Some(5), false));
        let cut = letter(at, &[], &[("source.size", "70000")]);
        assert_eq!((cut.size(), cut.is_cut()), (Some(70_000), true));
    }

    #[test]
    fn a_key_that_is_no_producer_is_none() {
        for key in [&b"0000002"[..], b"0000002A", b"\xff\xff\xff\xff", b""] {
            let time = rdkafka::Timestamp::NotAvailable;
            let message = OwnedMessage::new(None, Some(key.to_vec()), "t".to_owned(), time, 0, 0, None);
            let found = Letter::of(message);
            assert_eq!((found.producer(), found.source(), found.timestamp()), (None, None, None), "{key:?}");
        }
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place { partition: 3, offset: 17 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "3", "3:", ":3", "a:1", "1:a", "-1:0", "0:-1", "1:2:3", "1:99999999999999999999"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
