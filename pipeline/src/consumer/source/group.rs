//! The partitions of a group member, and the callbacks that assign and revoke them.
//!
//! [`Shared`] is the meeting point of the polling thread, the tasks that complete records and the callbacks of
//! librdkafka. Its lock is held for moments only, never across a call of librdkafka.

use super::super::health_state::Standing;
use super::super::retry::OutageLog;
use super::lag::{Log, behind, headroom};
use super::loss::{Loss, time_left};
use super::{Stats, Tracker};
use firesteel_common::kafka::QuietContext;
use firesteel_proto::Timestamp;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the requests may take that say where new partitions begin. Nothing is polled meanwhile.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) topic: Arc<str>,
    pub(super) stats: Arc<Stats>,
    pub(super) outage: Arc<OutageLog>,
    pub(super) stop: AtomicBool,
    pub(super) drain: AtomicBool,
    pub(super) partitions: Mutex<Partitions>,
    /// How often the client has reported statistics.
    pub(super) reports: AtomicU64,
    /// The retention of the topic in milliseconds; negative while it is unknown, or without an end.
    pub(super) retention: AtomicI64,
    /// Losses that were dealt with, behind which reading may go on.
    pub(super) settled: Mutex<Vec<Loss>>,
}

#[derive(Debug, Default)]
pub(super) struct Partitions {
    pub(super) epochs: u64,
    pub(super) owned: HashMap<i32, Owned>,
}

#[derive(Debug)]
pub(super) struct Owned {
    pub(super) epoch: u64,
    pub(super) tracker: Tracker,
    /// The position that was last sent to the broker, with the number of records before it.
    pub(super) requested: Option<(i64, u64)>,
    /// The number of records whose commit the broker has confirmed.
    pub(super) confirmed: u64,
    pub(super) log: Log,
    /// A loss that waits for a decision.
    pub(super) loss: Option<Loss>,
}

impl Shared {
    pub(super) fn new(topic: &str, stats: Arc<Stats>, outage: Arc<OutageLog>) -> Self {
        Self {
            topic: topic.into(),
            stats,
            outage,
            stop: AtomicBool::new(false),
            drain: AtomicBool::new(false),
            partitions: Mutex::default(),
            reports: AtomicU64::new(0),
            retention: AtomicI64::new(-1),
            settled: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Partitions> {
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
                log: Log::default(),
                loss: None,
            };
            partitions.owned.insert(element.partition(), owned);
        }
        drop(partitions);
        self.stats.health.joined_group();
    }

    fn forget(&self, list: &TopicPartitionList) {
        let mut partitions = self.lock();
        for element in list.elements() {
            partitions.owned.remove(&element.partition());
        }
        drop(partitions);
        self.report();
    }

    /// The partitions whose ends the broker has to be asked for, because no fetch would report them: all while they are
    /// `paused`, else those whose fetched records wait here. Earlier answers for the other partitions are dropped.
    pub(super) fn to_ask(&self, paused: bool) -> Vec<i32> {
        let mut wanted = Vec::new();
        for (partition, owned) in &mut self.lock().owned {
            if paused || owned.log.waiting {
                wanted.push(*partition);
            } else {
                owned.log.asked = None;
            }
        }
        wanted
    }

    /// Takes note of a partition's end. Only the polling thread calls it.
    pub(super) fn answered(&self, partition: i32, end: i64) {
        if let Some(owned) = self.lock().owned.get_mut(&partition) {
            owned.log.asked = Some(end);
        }
        self.report();
    }

    /// Takes note of the client's statistics. Only the polling thread calls it.
    pub(super) fn learn(&self, known: impl IntoIterator<Item = (i32, Log)>) {
        let mut partitions = self.lock();
        for (partition, log) in known {
            if let Some(owned) = partitions.owned.get_mut(&partition) {
                owned.log.learn(log);
            }
        }
        drop(partitions);
        self.report();
    }

    /// Publishes where the member stands in each partition.
    fn report(&self) {
        let retention = u64::try_from(self.retention.load(Ordering::Relaxed)).ok().map(Duration::from_millis);
        let now = Timestamp::now().0;
        let standing = |owned: &Owned| {
            let (position, oldest) = (owned.tracker.position(), owned.tracker.oldest());
            Standing {
                lag: behind(position, owned.log),
                headroom: headroom(position, owned.log),
                seconds_left: retention
                    .zip(oldest)
                    .map(|(retention, oldest)| time_left(retention, oldest, now).as_secs_f64()),
            }
        };
        let partitions = self.lock().owned.iter().map(|(id, owned)| (*id, standing(owned))).collect();
        self.stats.health.set_partitions(partitions);
    }

    pub(super) fn set_retention(&self, retention: Option<Duration>) {
        let millis = retention.and_then(|retention| i64::try_from(retention.as_millis()).ok());
        self.retention.store(millis.unwrap_or(-1), Ordering::Relaxed);
    }

    /// Whether each partition holds fewer records than `most`.
    pub(super) fn holds_less_than(&self, most: usize) -> bool {
        self.lock().owned.values().all(|owned| owned.tracker.held() < most)
    }

    /// The partitions that the client does not fetch, with the offset that is wanted next where it is known, but for those
    /// whose loss waits for a decision.
    pub(super) fn stopped(&self) -> Vec<(i32, Option<i64>)> {
        let partitions = self.lock();
        let stopped = partitions.owned.iter().filter(|(_, owned)| owned.log.stopped && owned.loss.is_none());
        stopped.map(|(partition, owned)| (*partition, owned.tracker.next())).collect()
    }

    /// Takes note of a loss. `false` when the partition is another member's by now.
    pub(super) fn lost(&self, loss: &Loss) -> bool {
        let mut partitions = self.lock();
        let Some(owned) = partitions.owned.get_mut(&loss.partition) else { return false };
        owned.loss = Some(loss.clone());
        true
    }

    /// Takes note that reading goes on behind a loss. `false` when the partition is another member's by now.
    pub(super) fn go_on(&self, loss: &Loss) -> bool {
        let mut partitions = self.lock();
        let Some(owned) = partitions.owned.get_mut(&loss.partition) else { return false };
        if owned.loss.take().as_ref() != Some(loss) {
            return false;
        }
        owned.tracker.skip_to(loss.resume);
        true
    }

    /// Commits where new partitions begin, for those of which the group has no offset yet. From then on a record that is removed
    /// unread is a loss, and not a later beginning.
    fn begin(&self, consumer: &BaseConsumer<GroupContext>, list: &TopicPartitionList) -> KafkaResult<()> {
        let until = Instant::now() + BEGIN_WITHIN;
        let left = || until.saturating_duration_since(Instant::now());
        let committed = consumer.committed_offsets(list.clone(), left())?;
        let mut starts = TopicPartitionList::new();
        for element in committed.elements() {
            if element.error().is_ok() && element.offset() == Offset::Invalid {
                let (topic, partition) = (element.topic(), element.partition());
                let (start, _) = consumer.fetch_watermarks(topic, partition, left())?;
                starts.add_partition_offset(topic, partition, Offset::Offset(start))?;
            }
        }
        if starts.count() > 0 { consumer.commit(&starts, CommitMode::Sync) } else { Ok(()) }
    }

    /// The positions that moved since they were last sent, among `only` or all.
    pub(super) fn to_commit(&self, only: Option<&TopicPartitionList>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, owned) in &mut self.lock().owned {
            let wanted = only.is_none_or(|only| only.find_partition(&self.topic, *partition).is_some());
            let Some(position) = owned.tracker.position().filter(|_| wanted) else { continue };
            let released = owned.tracker.released();
            let is_new = owned.requested.is_none_or(|(sent, _)| sent != position);
            if owned.tracker.has_moved()
                && is_new
                && list.add_partition_offset(&self.topic, *partition, Offset::Offset(position)).is_ok()
            {
                owned.requested = Some((position, released));
            }
        }
        list
    }

    /// Takes note of the result of a commit.
    pub(super) fn committed(&self, list: &TopicPartitionList, result: &KafkaResult<()>) {
        let mut partitions = self.lock();
        for element in list.elements() {
            let Some(owned) = partitions.owned.get_mut(&element.partition()) else { continue };
            let Offset::Offset(offset) = element.offset() else { continue };
            let Some((_, released)) = owned.requested.filter(|(sent, _)| *sent == offset) else { continue };
            if result.is_ok() {
                self.stats.committed.fetch_add(released.saturating_sub(owned.confirmed), Ordering::Relaxed);
                owned.confirmed = released;
            } else {
                owned.requested = None;
            }
        }
    }
}

/// The callbacks of librdkafka, all of which run inside `poll` or while the client closes.
pub(super) struct GroupContext {
    pub(super) shared: Arc<Shared>,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.shared.reports.fetch_add(1, Ordering::Relaxed);
        if let Some(topic) = statistics.topics.get(&*self.shared.topic) {
            self.shared.learn(topic.partitions.iter().map(|(id, partition)| (*id, Log::of(partition))));
        }
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::debug!(topic = %self.shared.topic, partitions = list.count(), "partitions assigned");
                self.shared.assign(list);
                if let Err(error) = self.shared.begin(consumer, list) {
                    // Then the client stops at them, which is looked into.
                    tracing::debug!(%error, "cannot commit where new partitions begin");
                }
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
                // A partition that is given up while it is paused would still be paused when it comes back.
                if let Err(error) = consumer.resume(list) {
                    tracing::debug!(%error, "cannot resume revoked partitions");
                }
                self.shared.forget(list);
                if lost {
                    self.shared.stats.health.left_group();
                }
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
    }
}
