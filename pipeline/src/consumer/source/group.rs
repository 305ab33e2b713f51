//! The partitions of a group member, and the callbacks that assign and revoke them.
//!
//! [`Shared`] is the meeting point of the polling thread, the tasks that complete records and the callbacks of
//! librdkafka. Its lock is held for moments only, never across a call of librdkafka.

use super::super::retry::OutageLog;
use super::lag::{Log, behind};
use super::{Stats, Tracker};
use firesteel_common::kafka::QuietContext;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) topic: Arc<str>,
    pub(super) stats: Arc<Stats>,
    pub(super) outage: Arc<OutageLog>,
    pub(super) stop: AtomicBool,
    pub(super) drain: AtomicBool,
    pub(super) partitions: Mutex<Partitions>,
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
        self.report_lags();
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
        self.report_lags();
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
        self.report_lags();
    }

    /// Publishes the lag of each partition.
    fn report_lags(&self) {
        let partitions = self.lock();
        let lags = partitions.owned.iter().filter_map(|(partition, owned)| {
            Some((*partition, behind(owned.tracker.position(), owned.log)?))
        });
        let lags = lags.collect();
        drop(partitions);
        self.stats.health.set_lags(lags);
    }

    /// The positions that moved since they were last sent, among `only` or all.
    pub(super) fn to_commit(&self, only: Option<&TopicPartitionList>) -> TopicPartitionList {
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
