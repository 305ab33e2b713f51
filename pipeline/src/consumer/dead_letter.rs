//! A record that can never succeed goes to `{topic}.dead-letter`, with its bytes and its key unchanged.
//!
//! The headers say where the record came from and why: `source.topic`, `source.partition`, `source.offset`, `error.class`
//! (short and stable), `error.message`. The headers that the record came with are kept before them. The record's
//! offset is complete only when the dead letter is acknowledged by all in-sync replicas; a broker that is down is
//! waited for. A letter that is itself too large for the topic is sent again as little more than a pointer: the
//! headers above, one more, `source.size`, the beginning of the value, no key, and nothing of the record's own
//! headers, any of which may be what was too large. The whole record is still to be found at `source.offset`.
//!
//! Records that were removed before anybody read them have a letter too, of class `data-loss`, that says where they were:
//! from `source.offset` to before `source.end`. It has no value and no key.

use super::retry::Retry;
use super::source::{Loss, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::{Message, Publisher, dead_letter_topic};
use firesteel_common::dead_letter as names;
use rdkafka::message::{Header, OwnedHeaders};

/// Well below Kafka's usual limit of 1 MiB a record.
const CUT_TO: usize = 256 * 1024;
/// An error message is for people.
const MAX_MESSAGE: usize = 1_000;

/// The reason why a record can never succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) class: &'static str,
    pub(crate) message: String,
    /// How often the record was tried in vain, where it might have succeeded: `error.attempts`.
    pub(crate) attempts: Option<u32>,
}

impl Reason {
    pub(crate) fn new(class: &'static str, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), attempts: None }
    }
}

impl From<firesteel_proto::Error> for Reason {
    fn from(error: firesteel_proto::Error) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

/// Publishes the dead letter of `record` and completes it. `false` when the shutdown came first.
///
/// # Errors
/// [`Error::Publish`] when the topic takes not even a pointer to the record, which only its settings can mend.
pub(crate) async fn dead_letter(
    publisher: &Publisher,
    retry: Retry<'_>,
    record: Record,
    reason: &Reason,
) -> Result<bool> {
    let topic = dead_letter_topic(&record.topic);
    let size = record.payload.as_ref().map_or(0, bytes::Bytes::len);
    let send = async |key: Option<&[u8]>, payload: Option<&[u8]>, headers: OwnedHeaders| {
        retry
            .run(|| {
                publisher.publish(Message { topic: &topic, key, payload, headers: Some(headers.clone()) })
            })
            .await
    };
    let theirs = record.headers.clone().unwrap_or_default();
    let whole = with_headers(theirs, &record, reason);
    let mut sent = send(record.key.as_deref(), record.payload.as_deref(), whole).await;
    if is_too_large(&sent) {
        let size = size.to_string();
        let pointer =
            with_headers(OwnedHeaders::new(), &record, reason).insert(header(names::SOURCE_SIZE, &size));
        let cut = record.payload.as_deref().map(|bytes| &bytes[..bytes.len().min(CUT_TO)]);
        sent = send(None, cut, pointer).await;
    }
    let Some(at) = sent? else { return Ok(false) };
    tracing::warn!(
        topic = %record.topic, partition = record.partition, offset = record.offset, class = reason.class,
        reason = reason.message, dead_letter_offset = at.offset, "record sent to the dead-letter topic",
    );
    retry.stats.dead_lettered.inc();
    record.in_flight.complete();
    Ok(true)
}

fn is_too_large<T>(sent: &Result<T>) -> bool {
    matches!(sent, Err(error @ Error::Publish { .. }) if error.kind() == ErrorKind::Permanent)
}

/// Publishes the letter that describes records which nobody will read. `false` when the shutdown came first.
///
/// # Errors
/// [`Error::Publish`] when the topic refuses the letter for good.
pub(crate) async fn describe_loss(
    publisher: &Publisher,
    retry: Retry<'_>,
    topic: &str,
    group: &str,
    loss: &Loss,
) -> Result<bool> {
    let letters = dead_letter_topic(topic);
    let Loss { partition, from, to, .. } = loss;
    let message = format!(
        "{} records of topic {topic}, partition {partition}, from offset {from} to {to}, were removed before group {group} \
         has read them",
        loss.records(),
    );
    let headers = coordinates(OwnedHeaders::new(), topic, *partition, *from)
        .insert(header(names::SOURCE_END, &to.to_string()))
        .insert(header(names::ERROR_CLASS, names::DATA_LOSS))
        .insert(header(names::ERROR_MESSAGE, &message));
    let send = || {
        publisher.publish(Message {
            topic: &letters,
            key: None,
            payload: None,
            headers: Some(headers.clone()),
        })
    };
    Ok(retry.run(send).await?.is_some())
}

/// `headers` and, behind them, where the record came from and why it is here.
fn with_headers(headers: OwnedHeaders, record: &Record, reason: &Reason) -> OwnedHeaders {
    let message: String = reason.message.chars().take(MAX_MESSAGE).collect();
    let headers = coordinates(headers, &record.topic, record.partition, record.offset)
        .insert(header(names::ERROR_CLASS, reason.class))
        .insert(header(names::ERROR_MESSAGE, &message));
    match reason.attempts {
        Some(attempts) => headers.insert(header(names::ERROR_ATTEMPTS, &attempts.to_string())),
        None => headers,
    }
}

fn coordinates(headers: OwnedHeaders, topic: &str, partition: i32, offset: i64) -> OwnedHeaders {
    headers
        .insert(header(names::SOURCE_TOPIC, topic))
        .insert(header(names::SOURCE_PARTITION, &partition.to_string()))
        .insert(header(names::SOURCE_OFFSET, &offset.to_string()))
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}
