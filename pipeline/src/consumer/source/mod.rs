//! Records out of Kafka and offsets back into it, on a thread of its own.
//!
//! librdkafka's calls block and its rebalance callbacks run inside `poll`, so one thread owns the client: it polls,
//! hands records to the tasks, commits, and answers rebalances. Tasks see [`Record`]s and complete their
//! [`InFlight`]s; one that is dropped leaves its record incomplete, so the record is delivered again.
//!
//! * **Bound.** A record needs one of `max_in_flight` permits before it is polled. While none is free the thread
//!   waits; after `STALLED_AFTER` it pauses the partitions (which throws away what was prefetched) and polls for
//!   events alone, so that `max.poll.interval.ms` is kept and rebalances are answered during any outage.
//! * **Commit.** Every `commit_interval`, and before partitions are given up: the position of each partition that
//!   moved. Commits wait for the broker's answer (an asynchronous one reports its outcome to nobody through this
//!   binding); one that failed is asked for again at the next tick.
//! * **Rebalance.** A revoked partition's position is committed before it is given up, then its tracker is dropped:
//!   late completions find no tracker of their epoch. If it was paused it is resumed first, because the client
//!   remembers that beyond the assignment, and the partition may come back. An assigned partition gets a fresh tracker. Partitions that
//!   were lost rather than revoked belong to someone else already: nothing is committed for them.
//! * **Lag.** The end of a partition comes from the client's own statistics, without a request to the broker. The broker is
//!   asked only for partitions that nothing is fetched from, because they are paused or their records wait here.

mod group;
mod lag;
mod worker;

use super::retry::OutageLog;
use super::{Stats, Tracker};
use crate::error::{Error, Result};
use crate::kafka::{self, KafkaConfig, client_error};
use bytes::Bytes;
use group::{GroupContext, Shared};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use worker::Worker;

/// How long the thread may take to commit and leave the group.
const CLOSE_WITHIN: Duration = Duration::from_secs(15);
/// How often the client reports statistics of its partitions.
const STATISTICS_EVERY: Duration = Duration::from_secs(5);
const STATISTICS: &str = "statistics.interval.ms";

/// The topic to consume, and how to consume it.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) kafka: KafkaConfig,
    pub(crate) role: &'static str,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) max_in_flight: usize,
    pub(crate) commit_interval: Duration,
}

/// A record of Kafka, which is to be completed.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) payload: Option<Bytes>,
    pub(crate) headers: Option<OwnedHeaders>,
    pub(crate) polled: Instant,
    pub(crate) in_flight: InFlight,
}

/// A record's place among the records in flight. Dropping it without completing it leaves the record incomplete.
#[derive(Debug)]
pub(crate) struct InFlight {
    shared: Arc<Shared>,
    partition: i32,
    epoch: u64,
    serial: u64,
    /// None for a record that slipped through while the partitions were being paused.
    _permit: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    /// Reports that the result of the record is durable, so that its offset may be committed.
    pub(crate) fn complete(self) {
        let mut partitions = self.shared.lock();
        if let Some(owned) = partitions.owned.get_mut(&self.partition)
            && owned.epoch == self.epoch
        {
            owned.tracker.complete(self.serial);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.stats.in_flight.dec();
    }
}

/// The receiving end of the records, for the tasks.
pub(crate) struct Source {
    records: mpsc::UnboundedReceiver<Record>,
    shared: Arc<Shared>,
    thread: tokio::sync::oneshot::Receiver<Result<()>>,
}

impl Source {
    /// Joins the group. The client connects by itself as soon as a broker answers.
    pub(crate) fn start(config: Config, stats: Arc<Stats>, outage: Arc<OutageLog>) -> Result<Self> {
        let mut client_config = kafka::consumer(&config.kafka, config.role, &config.group)?;
        if client_config.get(STATISTICS).is_none() {
            client_config.set(STATISTICS, STATISTICS_EVERY.as_millis().to_string());
        }
        let shared = Arc::new(Shared::new(&config.topic, stats, outage));
        let context = GroupContext { shared: Arc::clone(&shared) };
        let consumer: BaseConsumer<GroupContext> = client_config
            .create_with_context(context)
            .map_err(|source| client_error(&config.kafka, source))?;
        consumer.subscribe(&[config.topic.as_str()]).map_err(|source| failed(&config, source))?;
        // Unbounded, but never longer than the permits: each record in it holds one.
        let (sender, records) = mpsc::unbounded_channel();
        let (ended, thread) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let (own, left) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::Builder::new()
            .name(config.role.to_owned())
            .spawn(move || {
                let mut worker = Worker::new(config, consumer, own, runtime, sender);
                let result = worker.run();
                worker.commit();
                // Leaving the group runs the revocation callback once more.
                drop(worker);
                left.stats.health.left_group();
                // Nobody listens when the consumer gave up waiting.
                let _ = ended.send(result);
            })
            .map_err(|_| Error::Stopped { task: "the thread of a Kafka consumer" })?;
        Ok(Self { records, shared, thread })
    }

    /// The next record; `None` when the thread has ended, which [`Source::close`] explains.
    pub(crate) async fn recv(&mut self) -> Option<Record> {
        self.records.recv().await
    }

    /// The next record, if one is there already.
    pub(crate) fn try_recv(&mut self) -> Option<Record> {
        self.records.try_recv().ok()
    }

    /// Delivers no further records. Records in flight may still be completed.
    pub(crate) fn drain(&self) {
        self.shared.drain.store(true, Ordering::Release);
    }

    /// Commits what is complete and leaves the group.
    pub(crate) async fn close(self) -> Result<()> {
        self.shared.drain.store(true, Ordering::Release);
        self.shared.stop.store(true, Ordering::Release);
        drop(self.records);
        match tokio::time::timeout(CLOSE_WITHIN, self.thread).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Stopped { task: "the thread of a Kafka consumer" }),
            Err(_) => {
                tracing::warn!("Kafka did not take the last commit in time; some records will be repeated");
                Ok(())
            }
        }
    }
}

/// Names what could not be consumed.
fn failed(config: &Config, source: KafkaError) -> Error {
    Error::Consume {
        address: config.kafka.bootstrap.clone(),
        topic: config.topic.clone(),
        group: config.group.clone(),
        source: Box::new(source),
    }
}
