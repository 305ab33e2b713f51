//! The whole record of a letter that has only the beginning of it: from its source offset, as long as that is kept.

use super::client;
use super::letter::Letter;
use crate::error::{Error, Result};
use crate::kafka::{KafkaConfig, REACHABLE_WITHIN, blocking};
use crate::kafka::{Stretches, scan};
use firesteel_common::headers::{Header, headers};
use firesteel_common::kafka::{QuietContext, ask_until_settled, is_settling, partitions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedMessage};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What is left of the record of a letter in its source topic.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// All of it.
    Whole(Box<Whole>),
    /// Nothing: the topic no longer has it, or was never known.
    Gone {
        /// The first offset and the one behind the last that its partition has; none where there is no such partition.
        kept: Option<(i64, i64)>,
    },
    /// Another record: the topic was made anew since.
    Another,
}

/// A record as its source topic has it.
#[derive(Debug, Clone)]
pub struct Whole(OwnedMessage);

impl Whole {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> Vec<Header<'_>> {
        headers(&self.0)
    }

    pub(super) fn message(&self) -> &OwnedMessage {
        &self.0
    }
}

/// Fetches records by their offsets, with one client for all.
pub struct Fetcher {
    client: Arc<BaseConsumer<QuietContext>>,
    address: String,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Makes the client; it connects with the first record.
    ///
    /// # Errors
    /// [`Error::KafkaProperty`] or [`Error::KafkaClient`] for a configuration that cannot be used.
    pub fn new(config: &KafkaConfig) -> Result<Self> {
        Ok(Self { client: Arc::new(client(config)?), address: config.bootstrap.clone() })
    }

    /// The record of `letter` from its source offset.
    ///
    /// # Errors
    /// [`Error::Topic`] when the source topic cannot be read.
    pub async fn fetch(&self, letter: &Letter) -> Result<Fetched> {
        let Some(source) = letter.source() else { return Ok(Fetched::Gone { kept: None }) };
        let (client, topic, at) = (Arc::clone(&self.client), source.topic.clone(), source.at);
        let found = blocking(move || {
            let Some(kept) = kept(&client, &topic, at.partition)? else { return Ok((None, None)) };
            if !(kept.0..kept.1).contains(&at.offset) {
                return Ok((Some(kept), None));
            }
            let mut found = None;
            let wanted = Stretches::from([(at.partition, (at.offset, at.offset + 1))]);
            scan(&client, &topic, wanted, |message| {
                found =
                    message.filter(|message| message.offset() == at.offset).map(|message| message.detach());
                if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            Ok((Some(kept), found))
        });
        let (kept, found) = found.await?.map_err(|error: KafkaError| Error::Topic {
            topic: source.topic,
            action: "read",
            address: self.address.clone(),
            source: Box::new(error),
        })?;
        Ok(match found {
            Some(message) if is_of(letter, message.payload()) => Fetched::Whole(Box::new(Whole(message))),
            Some(_) => Fetched::Another,
            None => Fetched::Gone { kept },
        })
    }
}

/// The offsets that a partition has; none where there is no such partition.
fn kept(
    client: &BaseConsumer<QuietContext>,
    topic: &str,
    partition: i32,
) -> Result<Option<(i64, i64)>, KafkaError> {
    let known = match ask_until_settled(REACHABLE_WITHIN, is_settling, |left| partitions(client, topic, left))
    {
        Ok(known) => known,
        Err(error) if is_unknown(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !known.contains(&partition) {
        return Ok(None);
    }
    let ask = |left| client.fetch_watermarks(topic, partition, left);
    ask_until_settled(REACHABLE_WITHIN, is_settling, ask).map(Some)
}

fn is_unknown(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{UnknownTopic, UnknownTopicOrPartition};
    matches!(error.rdkafka_error_code(), Some(UnknownTopic | UnknownTopicOrPartition))
}

/// Whether a value is that of the letter's record: as long, and with the same beginning.
fn is_of(letter: &Letter, value: Option<&[u8]>) -> bool {
    let (value, beginning) = (value.unwrap_or_default(), letter.value().unwrap_or_default());
    letter.size().unwrap_or(0) == value.len() as u64 && value.starts_with(beginning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::letters::Place;
    use crate::kafka::letters::letter::tests::letter;

    #[test]
    fn a_record_is_that_of_a_letter_when_length_and_beginning_are() {
        let cut = letter(Place { partition: 0, offset: 0 }, &[], &[("source.size", "9")]);
        for (value, same) in [
            (Some(&b"value1234"[..]), true),
            (Some(b"value12345"), false),
            (Some(b"other1234"), false),
            (Some(b""), false),
            (None, false),
        ] {
            assert_eq!(is_of(&cut, value), same, "{value:?}");
        }
    }
}
