//! Reads stretches of a topic, outside any group: on the calling thread (`scan`), and as a stream of letters.
//!
//! The stream has a thread of its own, which waits while nobody takes the letters, and ends at its next poll when the stream
//! is dropped. A stretch ends at its end or where the partition has no more: offsets may have gaps.

use super::filter::Filter;
use super::letter::Letter;
use super::{GROUP, ROLE};
use crate::error::{Error, ErrorKind, Result, kafka_kind};
use crate::kafka::admin::topic_names;
use crate::kafka::{
    KafkaConfig, REACHABLE_WITHIN, Watermarks, client_error, consumer, dead_letter_topic, watermarks,
};
use firesteel_common::kafka::QuietContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const POLL: Duration = Duration::from_millis(100);
/// Letters that wait to be taken. Each may be as large as a record.
const IN_FLIGHT: usize = 8;

/// What is to be read: of each partition, from an offset to before another.
pub(super) type Stretches = BTreeMap<i32, (i64, i64)>;

/// A client that reads what was committed, and is told where a partition ends.
pub(super) fn client(config: &KafkaConfig) -> Result<BaseConsumer<QuietContext>> {
    let mut client = consumer(config, ROLE, GROUP)?;
    client
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        // There is no group that would miss this member, however long what it has read takes.
        .set("max.poll.interval.ms", "86400000")
        // A full queue is looked at again soon: the default waits a second.
        .set("fetch.queue.backoff.ms", "10");
    client.create_with_context(QuietContext).map_err(|source| client_error(config, source))
}

/// Gives every message of the stretches to `take`, and nothing whenever none came for a moment. Blocks.
///
/// # Errors
/// What the client cannot get over, or `OperationTimedOut` when nothing comes for 10 s.
pub(super) fn scan(
    client: &BaseConsumer<QuietContext>,
    topic: &str,
    mut open: Stretches,
    mut take: impl FnMut(Option<&BorrowedMessage<'_>>) -> ControlFlow<()>,
) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, (start, _)) in &open {
        list.add_partition_offset(topic, *partition, Offset::Offset(*start))?;
    }
    client.assign(&list)?;
    let mut patience = Instant::now() + REACHABLE_WITHIN;
    while !open.is_empty() {
        let done = match client.poll(POLL) {
            Some(Ok(message)) => {
                let Some((_, end)) = open.get(&message.partition()) else { continue };
                // One that came after the reading began belongs to the next.
                let taken =
                    if message.offset() < *end { take(Some(&message)) } else { ControlFlow::Continue(()) };
                if taken.is_break() {
                    return Ok(());
                }
                // Whoever takes may take long.
                patience = Instant::now() + REACHABLE_WITHIN;
                (message.offset() + 1 >= *end).then(|| message.partition())
            }
            // Offsets may have gaps, so the last one before the end may never come.
            Some(Err(KafkaError::PartitionEOF(partition))) => Some(partition),
            Some(Err(error)) if kafka_kind(&error) != ErrorKind::Transient => return Err(error),
            Some(Err(_)) | None => {
                if take(None).is_break() {
                    return Ok(());
                }
                None
            }
        };
        if let Some(partition) = done {
            open.remove(&partition);
        }
        if Instant::now() > patience {
            return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
        }
    }
    Ok(())
}

/// The first and the next offset of every partition of a topic; none where there is no such topic.
async fn ends_of(config: &KafkaConfig, letters: &str) -> Result<Option<Watermarks>> {
    if !topic_names(config, ROLE).await?.iter().any(|name| name == letters) {
        return Ok(None);
    }
    watermarks(config, letters).await.map(Some)
}

/// How many offsets stretches have.
fn length(stretches: &Stretches) -> u64 {
    stretches.values().filter_map(|(start, end)| u64::try_from(end.saturating_sub(*start)).ok()).sum()
}

/// The dead letters of a topic, one after the other: in order within a partition, in no order across them.
#[derive(Debug)]
pub struct Letters {
    topic: String,
    address: String,
    ends: Watermarks,
    wanted: u64,
    filter: Filter,
    receiver: mpsc::Receiver<Result<OwnedMessage, KafkaError>>,
    thread: Option<JoinHandle<()>>,
    read: u64,
}

impl Letters {
    /// Opens the letters of `topic` that `filter` lets through, from the first that is there to the last that is there now.
    /// `None` when there is no such topic: no record was given up yet, or this user may not see it.
    ///
    /// # Errors
    /// [`Error::KafkaUnreachable`], [`Error::KafkaRefused`] or [`Error::Topic`].
    pub async fn open(config: &KafkaConfig, topic: &str, filter: Filter) -> Result<Option<Self>> {
        let letters = dead_letter_topic(topic);
        let Some(ends) = ends_of(config, &letters).await? else { return Ok(None) };
        let stretches = filter.narrow(&ends);
        let wanted = length(&stretches);
        let client = client(config)?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let name = letters.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let read = scan(&client, &name, stretches, |message| {
                let gone = match message {
                    Some(message) => sender.blocking_send(Ok(message.detach())).is_err(),
                    None => sender.is_closed(),
                };
                if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if let Err(error) = read {
                // Nobody is left to tell where the receiver is gone.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(Some(Self {
            topic: letters,
            address: config.bootstrap.clone(),
            ends,
            wanted,
            filter,
            receiver,
            thread: Some(thread),
            read: 0,
        }))
    }

    /// How many letters of `topic` there are to read for `filter`, at most; `None` when there is no such topic.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn count(config: &KafkaConfig, topic: &str, filter: &Filter) -> Result<Option<u64>> {
        let ends = ends_of(config, &dead_letter_topic(topic)).await?;
        Ok(ends.map(|ends| length(&filter.narrow(&ends))))
    }

    /// The next letter; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Topic`] when the topic refuses to be read, or yields nothing for 10 s.
    pub async fn next(&mut self) -> Result<Option<Letter>> {
        while let Some(message) = self.receiver.recv().await {
            let letter = Letter::of(message.map_err(|source| self.failed(source))?);
            self.read += 1;
            if self.filter.admits(&letter) {
                return Ok(Some(letter));
            }
        }
        // A thread that died must not look like the end.
        if let Some(thread) = self.thread.take()
            && thread.await.is_err()
        {
            return Err(Error::Stopped { task: "reading dead letters" });
        }
        Ok(None)
    }

    /// The name of the topic of letters.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The first and the next offset of every partition, as they were at the start.
    #[must_use]
    pub fn ends(&self) -> &Watermarks {
        &self.ends
    }

    /// How many letters were read, whether or not the filter let them through.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many letters there are to read, at most.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    fn failed(&self, source: KafkaError) -> Error {
        Error::Topic {
            topic: self.topic.clone(),
            action: "read",
            address: self.address.clone(),
            source: Box::new(source),
        }
    }
}
