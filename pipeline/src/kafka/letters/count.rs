//! Counts dead letters, so that the demo can tell an image that was given up from one that is still on its way.
//!
//! A dead letter keeps its record's key, the producer, and names its record in the headers `source.partition` and
//! `source.offset`. A record that was delivered twice may have two letters, so records are counted, not letters.
//! Not counted is a letter without a key: of a record that came without one, or of one that was too large to be
//! kept whole, whose letter is cut.

use super::client;
use crate::error::{Error, Result};
use crate::kafka::{KafkaConfig, Watermarks, blocking, dead_letter_topic, watermarks};
use crate::kafka::{Stretches, scan};
use firesteel_common::dead_letter::Facts;
use firesteel_common::headers::headers;
use firesteel_common::kafka::QuietContext;
use firesteel_proto::ProducerId;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

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
    let client = client(config)?;
    let keys = producers.iter().map(|producer| producer.to_string().into_bytes()).collect();
    let name = letters.clone();
    blocking(move || read(&client, &name, open, &keys)).await?.map_err(failed)
}

/// The stretch of each partition that there is anything to read in.
fn unread(since: &Watermarks, now: &Watermarks) -> Stretches {
    let stretch = |(partition, (low, end)): (&i32, &(i64, i64))| {
        let start = since.get(partition).map_or(*low, |(_, end)| (*end).max(*low));
        (*partition, (start, *end))
    };
    now.iter().map(stretch).filter(|(_, (start, end))| start < end).collect()
}

fn read(
    client: &BaseConsumer<QuietContext>,
    topic: &str,
    open: Stretches,
    keys: &BTreeSet<Vec<u8>>,
) -> Result<u64, KafkaError> {
    let mut sources = BTreeSet::new();
    scan(client, topic, open, |letter| {
        if let Some(letter) = letter
            && letter.key().is_some_and(|key| keys.contains(key))
        {
            let facts = Facts::of(&headers(letter));
            sources.extend(facts.partition.zip(facts.offset));
        }
        ControlFlow::Continue(())
    })?;
    Ok(sources.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_unread_lies_between_the_old_ends_and_the_new_ones() {
        let since = Watermarks::from([(0, (0, 5)), (1, (0, 5)), (2, (0, 5))]);
        // Untouched, grown, cut at its beginning, and new.
        let now = Watermarks::from([(0, (0, 5)), (1, (0, 7)), (2, (6, 9)), (3, (0, 1)), (4, (2, 2))]);
        assert_eq!(unread(&since, &now), BTreeMap::from([(1, (5, 7)), (2, (6, 9)), (3, (0, 1))]));
    }
}
