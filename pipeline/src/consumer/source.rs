//! Records out of Kafka and offsets back into it, on a thread of its own.
//!
//! librdkafka's calls block and its rebalance callbacks run inside `poll`, so one thread owns the client: it polls,
//! hands records to the tasks, commits, and answers rebalances. Tasks see [`Record`]s and complete their
//! [`Ticket`]s; a ticket that is dropped leaves its record incomplete, and it is delivered again.
//!
//! * **Bound.** A record needs one of `max_in_flight` permits before it is polled. While none is free the thread
//!   waits; after [`STALLED_AFTER`] it pauses the partitions (which throws away what was prefetched) and polls for
//!   events alone, so that `max.poll.interval.ms` is kept and rebalances are answered during any outage.
//! * **Commit.** Every `commit_interval`, asynchronously: the position of each partition that moved. A commit that
//!   failed is asked for again at the next tick. On revocation and at the end, synchronously.
//! * **Rebalance.** A revoked partition's position is committed before it is given up, then its tracker is dropped:
//!   late completions find no tracker of their epoch. An assigned partition gets a fresh tracker. Partitions that
//!   were lost rather than revoked belong to someone else already: nothing is committed for them.

use super::retry::Outage;
use super::stats::add;
use super::{Stats, Tracker};
use crate::error::{Error, ErrorKind, Result, chain, kafka_kind};
use crate::kafka::{Context, KafkaConfig, client_error};
use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message, OwnedHeaders};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How long the thread waits for a permit before it pauses its partitions.
const STALLED_AFTER: Duration = Duration::from_millis(500);
/// How long one poll may take; bounds how late a stop is noticed.
const POLL: Duration = Duration::from_millis(50);
/// How often a broker that was lost is asked whether it is back, while no record says so.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long the thread may take to commit and leave the group.
const CLOSE_WITHIN: Duration = Duration::from_secs(15);

/// What to consume, and how.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) kafka: KafkaConfig,
    pub(crate) role: &'static str,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) max_in_flight: usize,
    pub(crate) commit_interval: Duration,
}

/// One record of Kafka, to be completed.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) payload: Option<Bytes>,
    pub(crate) headers: Option<OwnedHeaders>,
    pub(crate) ticket: Ticket,
}

/// The duty to complete a record, and its share of the bound.
#[derive(Debug)]
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    partition: i32,
    epoch: u64,
    serial: u64,
    /// None for a record that slipped through while the partitions were being paused.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Ticket {
    /// What came out of the record is durable; its offset may be committed.
    pub(crate) fn complete(self) {
        let mut partitions = self.shared.lock();
        if let Some(owned) = partitions.owned.get_mut(&self.partition)
            && owned.epoch == self.epoch
        {
            owned.tracker.complete(self.serial);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.stats.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tasks' end: records come out of it.
pub(crate) struct Source {
    records: mpsc::UnboundedReceiver<Record>,
    shared: Arc<Shared>,
    thread: tokio::sync::oneshot::Receiver<Result<()>>,
}

impl Source {
    /// Joins the group. The client connects on its own, whenever a broker is there.
    pub(crate) fn start(config: Config, stats: Arc<Stats>, outage: Arc<Outage>) -> Result<Self> {
        let client_config = config.kafka.consumer(config.role, &config.group)?;
        let shared = Arc::new(Shared {
            topic: config.topic.as_str().into(),
            stats,
            outage,
            stop: AtomicBool::new(false),
            drain: AtomicBool::new(false),
            partitions: Mutex::default(),
        });
        let context = GroupContext { shared: Arc::clone(&shared) };
        let consumer: BaseConsumer<GroupContext> = client_config
            .create_with_context(context)
            .map_err(|source| client_error(&config.kafka, source))?;
        consumer.subscribe(&[config.topic.as_str()]).map_err(|source| failed(&config, source))?;
        // Unbounded, but never longer than the permits: each record in it holds one.
        let (sender, records) = mpsc::unbounded_channel();
        let (ended, thread) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let own = Arc::clone(&shared);
        std::thread::Builder::new()
            .name(config.role.to_owned())
            .spawn(move || {
                let mut worker = Worker {
                    permits: Arc::new(Semaphore::new(config.max_in_flight.max(1))),
                    committed_at: Instant::now(),
                    probed_at: Instant::now(),
                    paused: false,
                    config,
                    consumer,
                    shared: own,
                    runtime,
                    sender,
                };
                let result = worker.run();
                worker.commit(CommitMode::Sync);
                // Leaving the group runs the revocation callback once more.
                drop(worker);
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

    /// No further records; what is under way may still be completed.
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

#[derive(Debug)]
struct Shared {
    topic: Arc<str>,
    stats: Arc<Stats>,
    outage: Arc<Outage>,
    stop: AtomicBool,
    drain: AtomicBool,
    partitions: Mutex<Partitions>,
}

#[derive(Debug, Default)]
struct Partitions {
    epochs: u64,
    owned: HashMap<i32, Owned>,
}

#[derive(Debug)]
struct Owned {
    epoch: u64,
    tracker: Tracker,
    /// The position that was last sent to the broker, with the count of records before it.
    requested: Option<(i64, u64)>,
    /// How many records the broker has confirmed.
    confirmed: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assign(&self, list: &TopicPartitionList) {
        let mut partitions = self.lock();
        for element in list.elements() {
            partitions.epochs += 1;
            let owned = Owned {
                epoch: partitions.epochs,
                tracker: Tracker::default(),
                requested: None,
                confirmed: 0,
            };
            partitions.owned.insert(element.partition(), owned);
        }
    }

    fn forget(&self, list: &TopicPartitionList) {
        let mut partitions = self.lock();
        for element in list.elements() {
            partitions.owned.remove(&element.partition());
        }
    }

    /// The positions that moved since they were last sent, among `only` or all.
    fn to_commit(&self, only: Option<&TopicPartitionList>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, owned) in &mut self.lock().owned {
            let wanted = only.is_none_or(|only| only.find_partition(&self.topic, *partition).is_some());
            let Some(position) = owned.tracker.position().filter(|_| wanted) else { continue };
            let released = owned.tracker.released();
            let moved = released > 0 && owned.requested.is_none_or(|(sent, _)| sent != position);
            if moved && list.add_partition_offset(&self.topic, *partition, Offset::Offset(position)).is_ok() {
                owned.requested = Some((position, released));
            }
        }
        list
    }

    /// What became of a commit.
    fn committed(&self, list: &TopicPartitionList, result: &KafkaResult<()>) {
        let mut partitions = self.lock();
        for element in list.elements() {
            let Some(owned) = partitions.owned.get_mut(&element.partition()) else { continue };
            let Offset::Offset(offset) = element.offset() else { continue };
            let Some((requested, released)) = owned.requested.filter(|(sent, _)| *sent == offset) else {
                continue;
            };
            if result.is_ok() && element.error().is_ok() {
                add(&self.stats.committed, released.saturating_sub(owned.confirmed));
                owned.confirmed = released;
            } else {
                tracing::debug!(partition = element.partition(), offset = requested, "commit failed");
                owned.requested = None;
            }
        }
    }
}

/// What librdkafka calls back, all of it from inside `poll` or the closing of the client.
struct GroupContext {
    shared: Arc<Shared>,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Context.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::debug!(topic = %self.shared.topic, partitions = list.count(), "partitions assigned");
                self.shared.assign(list);
            }
            Rebalance::Revoke(list) => {
                let lost = consumer.assignment_lost();
                tracing::debug!(topic = %self.shared.topic, partitions = list.count(), lost, "partitions revoked");
                let commit = self.shared.to_commit(Some(list));
                if !lost && commit.count() > 0 {
                    let result = consumer.commit(&commit, CommitMode::Sync);
                    if let Err(error) = &result {
                        tracing::warn!(%error, "last commit of revoked partitions failed; records will be repeated");
                    }
                    self.shared.committed(&commit, &result);
                }
                self.shared.forget(list);
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.shared.committed(offsets, &result);
    }
}

struct Worker {
    config: Config,
    consumer: BaseConsumer<GroupContext>,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
    sender: mpsc::UnboundedSender<Record>,
    committed_at: Instant,
    probed_at: Instant,
    paused: bool,
}

impl Worker {
    fn run(&mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Acquire) {
            if self.committed_at.elapsed() >= self.config.commit_interval {
                self.commit(CommitMode::Async);
                self.committed_at = Instant::now();
            }
            self.probe();
            if self.shared.drain.load(Ordering::Acquire) {
                self.pause();
                // What still comes is not delivered, so nothing before it is committed either.
                self.poll(POLL)?;
                continue;
            }
            match self.permit() {
                Some(permit) => {
                    self.resume();
                    if let Some(message) = self.poll(POLL)? {
                        self.deliver(&message, Some(permit));
                    }
                }
                None => {
                    self.pause();
                    // A record of a partition that was assigned after the pause: take it, pause again.
                    let slipped = match self.poll(POLL)? {
                        Some(message) => {
                            self.deliver(&message, None);
                            true
                        }
                        None => false,
                    };
                    self.paused = !slipped && self.paused;
                }
            }
        }
        Ok(())
    }

    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.permits);
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            return Some(permit);
        }
        // While paused, events are polled for between two looks.
        let patience = if self.paused { Duration::from_millis(5) } else { STALLED_AFTER };
        self.runtime
            .block_on(async { tokio::time::timeout(patience, permits.acquire_owned()).await })
            .ok()
            .and_then(Result::ok)
    }

    /// One poll. Failures that polling again may mend are noted, the others end the thread.
    fn poll(&self, timeout: Duration) -> Result<Option<BorrowedMessage<'_>>> {
        match self.consumer.poll(timeout) {
            None => Ok(None),
            Some(Ok(message)) => {
                self.shared.outage.succeeded();
                Ok(Some(message))
            }
            Some(Err(source)) => {
                let fatal = matches!(source, KafkaError::MessageConsumptionFatal(_));
                // A topic that is not there may still be created.
                let missing = source.rdkafka_error_code()
                    == Some(rdkafka::error::RDKafkaErrorCode::UnknownTopic);
                if fatal || (kafka_kind(&source) == ErrorKind::Caller && !missing) {
                    return Err(failed(&self.config, source));
                }
                self.shared.outage.failed(&chain(&source));
                Ok(None)
            }
        }
    }

    fn deliver(&self, message: &BorrowedMessage<'_>, permit: Option<OwnedSemaphorePermit>) {
        let (epoch, serial) = {
            let mut partitions = self.shared.lock();
            // Given up meanwhile: whoever has the partition now gets the record.
            let Some(owned) = partitions.owned.get_mut(&message.partition()) else { return };
            (owned.epoch, owned.tracker.deliver(message.offset()))
        };
        add(&self.shared.stats.consumed, 1);
        add(&self.shared.stats.in_flight, 1);
        let record = Record {
            topic: Arc::clone(&self.shared.topic),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(Bytes::copy_from_slice),
            payload: message.payload().map(Bytes::copy_from_slice),
            headers: message.headers().map(rdkafka::message::BorrowedHeaders::detach),
            ticket: Ticket {
                shared: Arc::clone(&self.shared),
                partition: message.partition(),
                epoch,
                serial,
                _permit: permit,
            },
        };
        // Refused only while closing; the record is delivered again.
        let _ = self.sender.send(record);
    }

    fn pause(&mut self) {
        if self.paused {
            return;
        }
        let paused = self.consumer.assignment().and_then(|list| self.consumer.pause(&list));
        match paused {
            Ok(()) => {
                self.paused = true;
                tracing::debug!(topic = %self.shared.topic, "partitions paused");
            }
            Err(error) => tracing::debug!(%error, "cannot pause"),
        }
    }

    fn resume(&mut self) {
        if !self.paused {
            return;
        }
        let resumed = self.consumer.assignment().and_then(|list| self.consumer.resume(&list));
        match resumed {
            Ok(()) => self.paused = false,
            Err(error) => tracing::debug!(%error, "cannot resume"),
        }
    }

    fn commit(&self, mode: CommitMode) {
        let list = self.shared.to_commit(None);
        if list.count() == 0 {
            return;
        }
        let result = self.consumer.commit(&list, mode);
        // An asynchronous commit that was sent is answered in the callback.
        if result.is_err() || matches!(mode, CommitMode::Sync) {
            self.shared.committed(&list, &result);
        }
    }

    /// While the broker is away no record tells of its return, so it is asked.
    fn probe(&mut self) {
        if !self.shared.outage.is_on() || self.probed_at.elapsed() < PROBE_EVERY {
            return;
        }
        if self.consumer.fetch_metadata(Some(&self.config.topic), POLL * 4).is_ok() {
            self.shared.outage.succeeded();
        }
        self.probed_at = Instant::now();
    }
}

fn failed(config: &Config, source: KafkaError) -> Error {
    Error::Consume {
        address: config.kafka.bootstrap.clone(),
        topic: config.topic.clone(),
        group: config.group.clone(),
        source: Box::new(source),
    }
}
