//! Reads stretches of a topic, outside any group. A stretch ends at its end or where the partition has no more: offsets may have
//! gaps.

use super::{KafkaConfig, REACHABLE_WITHIN, client_error, consumer};
use crate::error::{ErrorKind, Result, kafka_kind};
use firesteel_common::kafka::QuietContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);

/// What is to be read: of each partition, from an offset to before another.
pub(crate) type Stretches = BTreeMap<i32, (i64, i64)>;

/// A client that reads what was committed, from offsets of its own choice, and is told where a partition ends.
pub(crate) fn reader(config: &KafkaConfig, role: &str, group: &str) -> Result<BaseConsumer<QuietContext>> {
    let mut client = consumer(config, role, group)?;
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
pub(crate) fn scan(
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
