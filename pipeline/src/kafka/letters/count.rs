//! Counts dead letters, so that the demo can tell an image that was given up from one that is still on its way.
//!
//! A dead letter keeps its record's key, the producer, and names its record in the headers `source.partition` and
//! `source.offset`. A record that was delivered twice may have two letters, so records are counted, not letters.
//! Not counted is a letter without a key: of a record that came without one, or of one that was too large to be
//! kept whole, whose letter is cut.

use super::{
    KafkaConfig, REACHABLE_WITHIN, Watermarks, client_error, consumer, dead_letter_topic, watermarks,
};
use crate::error::{Error, ErrorKind, Result, kafka_kind};
use firesteel_common::kafka::QuietContext;
use firesteel_proto::ProducerId;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const ROLE: &str = "dead-letters";
/// A client that is assigned partitions must name a group; it neither joins it nor commits to it.
const GROUP: &str = "firesteel-dead-letters";
const POLL: Duration = Duration::from_millis(100);

/// How many different records of `topic` were sent to its dead-letter topic on behalf of these producers: from the
/// ends that `since`, watermarks of the dead-letter topic, had, to its present ends. A partition that `since` does
/// not know is read from its beginning.
///
/// # Errors
/// [`Error::Topic`] when the dead-letter topic does not exist, refuses to be read, or yields nothing for 10 s.
pub async fn count_dead_letters(
    config: &KafkaConfig,
    topic: &str,
    since: &Watermarks,
    producers: &[ProducerId],
) -> Result<u64> {
    let letters = dead_letter_topic(topic);
    let open = unread(since, &watermarks(config, &letters).await?);
    if open.is_empty() {
        return Ok(0);
    }
    let failed = |source| Error::Topic {
        topic: letters.clone(),
        action: "read",
        address: config.bootstrap.clone(),
        source: Box::new(source),
    };
    let mut client = consumer(config, ROLE, GROUP)?;
    client.set("enable.partition.eof", "true");
    let client: BaseConsumer<QuietContext> =
        client.create_with_context(QuietContext).map_err(|source| client_error(config, source))?;
    let keys = producers.iter().map(|producer| producer.to_string().into_bytes()).collect();
    let name = letters.clone();
    super::blocking(move || read(&client, &name, open, &keys)).await?.map_err(failed)
}

/// The stretch of each partition that there is anything to read in.
fn unread(since: &Watermarks, now: &Watermarks) -> BTreeMap<i32, (i64, i64)> {
    let stretch = |(partition, (low, end)): (&i32, &(i64, i64))| {
        let start = since.get(partition).map_or(*low, |(_, end)| (*end).max(*low));
        (*partition, (start, *end))
    };
    now.iter().map(stretch).filter(|(_, (start, end))| start < end).collect()
}

fn read(
    client: &BaseConsumer<QuietContext>,
    topic: &str,
    mut open: BTreeMap<i32, (i64, i64)>,
    keys: &BTreeSet<Vec<u8>>,
) -> Result<u64, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, (start, _)) in &open {
        list.add_partition_offset(topic, *partition, Offset::Offset(*start))?;
    }
    client.assign(&list)?;
    let mut sources = BTreeSet::new();
    let mut patience = Instant::now() + REACHABLE_WITHIN;
    while !open.is_empty() {
        let done = match client.poll(POLL) {
            Some(Ok(letter)) => {
                let Some((_, end)) = open.get(&letter.partition()) else { continue };
                // One that came after the count began belongs to the next.
                if letter.offset() < *end && letter.key().is_some_and(|key| keys.contains(key)) {
                    sources.extend(source(&letter));
                }
                patience = Instant::now() + REACHABLE_WITHIN;
                (letter.offset() + 1 >= *end).then(|| letter.partition())
            }
            // Offsets may have gaps, so the last one before the end may never come.
            Some(Err(KafkaError::PartitionEOF(partition))) => Some(partition),
            Some(Err(error)) if kafka_kind(&error) != ErrorKind::Transient => return Err(error),
            Some(Err(_)) | None => None,
        };
        if let Some(partition) = done {
            open.remove(&partition);
        }
        if Instant::now() > patience {
            return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
        }
    }
    Ok(sources.len() as u64)
}

/// The partition and the offset of the record that a letter is about. The letter's own headers come after those of the
/// record.
fn source(letter: &impl Message) -> Option<(i32, i64)> {
    let headers = letter.headers()?;
    let text = |key| {
        let header = headers.iter().filter(|header| header.key == key).last()?;
        std::str::from_utf8(header.value?).ok()
    };
    Some((text("source.partition")?.parse().ok()?, text("source.offset")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unread_lies_between_the_old_ends_and_the_new_ones() {
        let since = Watermarks::from([(0, (0, 5)), (1, (0, 5)), (2, (0, 5))]);
        // Untouched, grown, cut at its beginning, and new.
        let now = Watermarks::from([(0, (0, 5)), (1, (0, 7)), (2, (6, 9)), (3, (0, 1)), (4, (2, 2))]);
        assert_eq!(unread(&since, &now), BTreeMap::from([(1, (5, 7)), (2, (6, 9)), (3, (0, 1))]));
    }
}
