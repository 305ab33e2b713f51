//! Records out of Kafka and offsets back into it, on a thread of its own.
//!
//! librdkafka's calls block and its rebalance callbacks run inside `poll`, so one thread owns the client: it polls,
//! hands records to the tasks, commits, and answers rebalances. Tasks see [`Record`]s and complete their
//! [`InFlight`]s; one that is dropped leaves its record incomplete, so the record is delivered again.
//!
//! * **Bound.** A record is polled only while records and bytes in flight are below their limits (`budget`), and while no
//!   partition holds too many records behind one that is not complete. While there is no room the thread
//!   waits; after `STALLED_AFTER` it pauses the partitions (which throws away what was prefetched) and polls for
//!   events alone, so that `max.poll.interval.ms` is kept and rebalances are answered during any outage.
//! * **Commit.** Every `commit_interval`, and before partitions are given up: the position of each partition that
//!   moved. Commits wait for the broker's answer (an asynchronous one reports its outcome to nobody through this
//!   binding); one that failed is asked for again at the next tick.
//! * **Rebalance.** A revoked partition's position is committed before it is given up, then its tracker is dropped:
//!   late completions find no tracker of their epoch. If it was paused it is resumed first, because the client
//!   remembers that beyond the assignment, and the partition may come back. An assigned partition gets a fresh tracker. Partitions that
//!   were lost rather than revoked belong to someone else already: nothing is committed for them.
//! * **Loss.** A group begins a partition by committing its first offset, and never jumps from then on: where the next record
//!   was removed, the client stops (`auto.offset.reset=error`), the thread looks what is gone, and hands a [`Loss`] to the
//!   tasks. Reading goes on behind it when they say so.
//! * **Lag.** The end of a partition comes from the client's own statistics, without a request to the broker. The broker is
//!   asked only for partitions that nothing is fetched from, because they are paused or their records wait here.

mod budget;
mod group;
mod lag;
mod loss;
mod worker;

pub(super) use budget::Load;
pub(super) use loss::Loss;

use super::retry::OutageLog;
use super::{Stats, Tracker};
use crate::error::{Error, Result};
use crate::kafka::{self, KafkaConfig, client_error};
use budget::Share;
use bytes::Bytes;
use group::{GroupContext, Shared};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use worker::{Sender, Worker};

/// How long the thread may take to commit and leave the group.
const CLOSE_WITHIN: Duration = Duration::from_secs(15);
/// How often the client reports statistics of its partitions.
const STATISTICS_EVERY: Duration = Duration::from_secs(5);
const STATISTICS: &str = "statistics.interval.ms";
const FETCH_MINIMUM: &str = "fetch.min.bytes";

/// The topic to consume, and how to consume it.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) kafka: KafkaConfig,
    pub(crate) role: &'static str,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) most: Load,
    pub(crate) commit_interval: Duration,
    /// Bytes of records that are worth an answer of the broker; fewer wait for a moment.
    pub(crate) fetch_at_least: usize,
}

/// What comes out of a source.
pub(super) enum Next {
    Record(Record),
    Loss(Loss),
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
    _share: Share,
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
    losses: mpsc::UnboundedReceiver<Loss>,
    shared: Arc<Shared>,
    thread: tokio::sync::oneshot::Receiver<Result<()>>,
}

impl Source {
    /// Joins the group. The client connects by itself as soon as a broker answers.
    pub(crate) fn start(config: Config, stats: Arc<Stats>, outage: Arc<OutageLog>) -> Result<Self> {
        let mut client_config = kafka::consumer(&config.kafka, config.role, &config.group)?;
        if client_config.get(STATISTICS).is_none_or(|every| every.trim() == "0") {
            client_config.set(STATISTICS, STATISTICS_EVERY.as_millis().to_string());
        }
        if client_config.get(FETCH_MINIMUM).is_none() {
            client_config.set(FETCH_MINIMUM, config.fetch_at_least.to_string());
        }
        // A record that is not there any more is never passed over unsaid; a group without an offset is given one.
        client_config.set("auto.offset.reset", "error");
        let shared = Arc::new(Shared::new(&config.topic, stats, outage));
        let context = GroupContext { shared: Arc::clone(&shared) };
        let consumer: BaseConsumer<GroupContext> = client_config
            .create_with_context(context)
            .map_err(|source| client_error(&config.kafka, source))?;
        consumer.subscribe(&[config.topic.as_str()]).map_err(|source| failed(&config, source))?;
        // Unbounded, but never longer than the budget: each record in it has its share.
        let (sender, records) = mpsc::unbounded_channel();
        let (lost, losses) = mpsc::unbounded_channel();
        let (ended, thread) = tokio::sync::oneshot::channel();
        let (own, left) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::Builder::new()
            .name(config.role.to_owned())
            .spawn(move || {
                let mut worker = Worker::new(config, consumer, own, Sender { records: sender, losses: lost });
                let result = worker.run();
                worker.commit();
                // Leaving the group runs the revocation callback once more.
                drop(worker);
                left.stats.health.left_group();
                // Nobody listens when the consumer gave up waiting.
                let _ = ended.send(result);
            })
            .map_err(|_| Error::Stopped { task: "the thread of a Kafka consumer" })?;
        Ok(Self { records, losses, shared, thread })
    }

    /// The next record or loss; `None` when the thread has ended, which [`Source::close`] explains.
    pub(super) async fn next(&mut self) -> Option<Next> {
        tokio::select! {
            biased;
            Some(loss) = self.losses.recv() => Some(Next::Loss(loss)),
            record = self.records.recv() => record.map(Next::Record),
        }
    }

    /// Lets reading go on behind a loss.
    pub(super) fn go_on(&self, loss: Loss) {
        self.shared.settled.lock().unwrap_or_else(PoisonError::into_inner).push(loss);
    }

    /// What takes note of the topic's retention; `None` where it has no end.
    pub(super) fn retention(&self) -> impl Fn(Option<Duration>) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |retention| shared.set_retention(retention)
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
