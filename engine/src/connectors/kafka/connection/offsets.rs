//! What a scan asks the cluster before it reads: what the topic holds, and where a time lies in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firesteel_common::kafka::partitions;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::log::{Log, Logs, Times};
use super::{Client, Connection, blocking, until_settled, why};
use crate::connectors::kafka::config::Isolation;
use crate::connectors::per_query::QueryKey;
use crate::{Error, Result};

/// The offsets of every partition of `topic`, as they were when `query` first asked.
pub(crate) async fn logs(
    connection: &Connection,
    query: Option<QueryKey>,
    topic: &str,
    isolation: Isolation,
) -> Result<Arc<Logs>> {
    let now = async || {
        let logs = ask(connection, isolation, topic, |client, topic, timeout| {
            let partitions = partitions(client, topic, timeout)?;
            let all = |offset| partitions.iter().map(|partition| (*partition, offset)).collect();
            let lows = offsets(client, topic, all(Offset::Beginning), timeout)?;
            let highs = offsets(client, topic, all(Offset::End), timeout)?;
            let log = |(partition, low): (i32, i64)| {
                // Retention may have gone on in between.
                let high = highs.get(&partition).map_or(low, |high| low.max(*high));
                (partition, Log { low, high })
            };
            Ok(lows.into_iter().map(log).collect())
        });
        Ok(Arc::new(logs.await?))
    };
    connection.ends.once(query, (topic.to_owned(), isolation), now).await
}

/// The first offset of `millis` or later in every partition in `partitions` that has one.
///
/// No message before that offset is as late as `millis`, in whatever order producers stamp them.
pub(crate) async fn times(
    connection: &Connection,
    topic: &str,
    isolation: Isolation,
    partitions: Vec<i32>,
    millis: i64,
) -> Result<Times> {
    if partitions.is_empty() {
        return Ok(Times::new());
    }
    // Kafka has no times before 1970, and negative ones mean something else to it.
    let time = Offset::Offset(millis.max(0));
    ask(connection, isolation, topic, move |client, topic, timeout| {
        offsets(client, topic, partitions.iter().map(|partition| (*partition, time)).collect(), timeout)
    })
    .await
}

/// The offsets of one partition, asked by the client that reads it.
pub(crate) fn log_of(client: &Client, topic: &str, partition: i32, timeout: Duration) -> KafkaResult<Log> {
    client.fetch_watermarks(topic, partition, timeout).map(|(low, high)| Log { low, high })
}

/// Asks until there is an answer or the time is up.
async fn ask<T: Send + 'static>(
    connection: &Connection,
    isolation: Isolation,
    topic: &str,
    request: impl Fn(&Client, &str, Duration) -> KafkaResult<T> + Send + 'static,
) -> Result<T> {
    let client = connection.planner(isolation)?;
    let (name, timeout) = (topic.to_owned(), connection.timeout());
    let answer =
        blocking(move || match until_settled(&client, timeout, |left| request(&client, &name, left)) {
            Ok(answer) => {
                client.context().forget();
                Ok(answer)
            }
            Err(error) => Err((why(&client, &error), client.context().is_denied(), error)),
        });
    answer.await?.map_err(|(why, denied, error)| match connection.classify("describe", topic, &error) {
        Error::Unreachable { .. } => connection.failed(&why, denied),
        other => other,
    })
}

/// Answers where a partition begins, ends or reaches a time. One that does not reach it is left out.
fn offsets(
    client: &Client,
    topic: &str,
    wanted: Vec<(i32, Offset)>,
    timeout: Duration,
) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in wanted {
        list.add_partition_offset(topic, partition, offset)?;
    }
    // One request to each leader, whatever the number of partitions.
    let answer = client.offsets_for_times(list, timeout)?;
    let mut offsets = BTreeMap::new();
    for element in answer.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert(element.partition(), offset);
        }
    }
    Ok(offsets)
}
