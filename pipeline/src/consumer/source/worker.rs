//! The thread that owns the client: polls, delivers, pauses, commits.

use super::budget::Budget;
use super::group::{GroupContext, Shared};
use super::loss::{Finding, find};
use super::{Config, InFlight, Loss, Record, failed};
use crate::error::{Error, ErrorKind, Result, chain, kafka_kind};
use bytes::Bytes;
use firesteel_common::headers::headers;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long the thread waits for room before it pauses its partitions.
const STALLED_AFTER: Duration = Duration::from_millis(500);
/// How long one poll may take; bounds how late a stop is noticed.
const POLL: Duration = Duration::from_millis(50);
/// How often a broker that was lost is asked whether it is back.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long the broker may take to say what became of a partition.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// How many records a partition may hold behind one that is not complete, in multiples of those that may be in flight.
const HELD: usize = 16;
/// How many reports in a row have to say that a partition is not fetched before it is looked into. One that was just assigned
/// takes a moment to begin.
const REPORTS: u32 = 2;
/// How long a partition stands still where its next record is before it is started again, or before its log is taken to be
/// cut: a replica that has just become the leader may not know yet how long the log is.
const SURE_AFTER: Duration = Duration::from_secs(5);
/// How often the broker is asked for the ends of partitions that nothing is fetched from.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where the thread puts what it finds.
pub(super) struct Sender {
    pub(super) records: mpsc::UnboundedSender<Record>,
    pub(super) losses: mpsc::UnboundedSender<Loss>,
}

pub(super) struct Worker {
    config: Config,
    consumer: BaseConsumer<GroupContext>,
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    sender: Sender,
    committed_at: Instant,
    probed_at: Instant,
    /// When the last round of requests for the ends of partitions began.
    looked_at: Instant,
    /// The partitions that this round has still to ask about.
    unasked: Vec<i32>,
    paused: bool,
    /// Whether a partition came after the pause, which is not paused.
    slipped: bool,
    /// The report of the client's statistics that was examined last.
    examined: u64,
    /// How often in a row each partition was seen to stand still, and since when.
    seen: HashMap<i32, (u32, Instant)>,
}

impl Worker {
    pub(super) fn new(
        config: Config,
        consumer: BaseConsumer<GroupContext>,
        shared: Arc<Shared>,
        sender: Sender,
    ) -> Self {
        Self {
            budget: Arc::new(Budget::new(config.most)),
            committed_at: Instant::now(),
            probed_at: Instant::now(),
            looked_at: Instant::now(),
            unasked: Vec::new(),
            paused: false,
            slipped: false,
            examined: 0,
            seen: HashMap::new(),
            config,
            consumer,
            shared,
            sender,
        }
    }

    pub(super) fn run(&mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Acquire) {
            if self.committed_at.elapsed() >= self.config.commit_interval {
                self.commit();
                self.committed_at = Instant::now();
            }
            self.probe();
            self.look();
            self.examine();
            self.go_on();
            if self.shared.drain.load(Ordering::Acquire) {
                self.pause();
                // What still comes is not delivered, so nothing before it is committed either.
                self.poll(POLL)?;
                continue;
            }
            if self.has_room() {
                self.resume();
                if let Some(message) = self.poll(POLL)? {
                    self.deliver(&message);
                }
            } else {
                self.pause();
                // A record of a partition that was assigned after the pause: take it, pause again.
                if let Some(message) = self.poll(POLL)? {
                    self.deliver(&message);
                    self.slipped = true;
                }
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        // While paused, events are polled for between two looks.
        let patience = if self.paused { Duration::from_millis(5) } else { STALLED_AFTER };
        let most = self.config.most.records.saturating_mul(HELD);
        self.budget.wait(patience, || self.shared.holds_less_than(most))
    }

    /// Polls once. A failure that a later poll may mend is noted, any other ends the thread.
    fn poll(&self, timeout: Duration) -> Result<Option<BorrowedMessage<'_>>> {
        match self.consumer.poll(timeout) {
            None => Ok(None),
            Some(Ok(message)) => {
                self.shared.outage.succeeded();
                Ok(Some(message))
            }
            // It does not say of which partition, and may be thrown away with the records of one that is paused. What became of
            // partitions that are not fetched is looked into in any case.
            Some(Err(source)) if source.rdkafka_error_code() == Some(Code::AutoOffsetReset) => Ok(None),
            Some(Err(source)) => {
                let fatal = matches!(source, KafkaError::MessageConsumptionFatal(_));
                // A topic that is not there may still be created.
                let missing = source.rdkafka_error_code() == Some(Code::UnknownTopic);
                if fatal || (kafka_kind(&source) == ErrorKind::Caller && !missing) {
                    return Err(failed(&self.config, source));
                }
                self.shared.outage.failed(&chain(&failed(&self.config, source)));
                Ok(None)
            }
        }
    }

    fn deliver(&self, message: &BorrowedMessage<'_>) {
        let (epoch, serial) = {
            let mut partitions = self.shared.lock();
            // Given up meanwhile: whoever has the partition now gets the record.
            let Some(owned) = partitions.owned.get_mut(&message.partition()) else { return };
            (owned.epoch, owned.tracker.deliver(message.offset(), message.timestamp().to_millis()))
        };
        self.shared.stats.consumed.fetch_add(1, Ordering::Relaxed);
        self.shared.stats.in_flight.inc();
        let record = Record {
            topic: Arc::clone(&self.shared.topic),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(Bytes::copy_from_slice),
            payload: message.payload().map(Bytes::copy_from_slice),
            headers: message.headers().map(rdkafka::message::BorrowedHeaders::detach),
            polled: Instant::now(),
            in_flight: InFlight {
                shared: Arc::clone(&self.shared),
                partition: message.partition(),
                epoch,
                serial,
                _share: self.budget.take(size(message)),
            },
        };
        // Refused only while closing; the record is delivered again.
        let _ = self.sender.records.send(record);
    }

    fn pause(&mut self) {
        if self.paused && !self.slipped {
            return;
        }
        let paused = self.consumer.assignment().and_then(|list| self.consumer.pause(&list));
        match paused {
            Ok(()) => {
                (self.paused, self.slipped) = (true, false);
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
            Ok(()) => (self.paused, self.slipped) = (false, false),
            Err(error) => tracing::debug!(%error, "cannot resume"),
        }
    }

    pub(super) fn commit(&self) {
        let list = self.shared.to_commit(None);
        if list.count() == 0 {
            return;
        }
        let result = self.consumer.commit(&list, CommitMode::Sync);
        self.shared.committed(&list, &result);
        match result {
            Ok(()) => self.shared.outage.succeeded(),
            // The group is being rearranged; the next tick, or the revocation, commits.
            Err(KafkaError::ConsumerCommit(
                Code::RebalanceInProgress | Code::IllegalGeneration | Code::UnknownMemberId,
            )) => {}
            Err(source) => {
                let error = Error::Group {
                    group: self.config.group.clone(),
                    action: "commit for",
                    address: self.config.kafka.bootstrap.clone(),
                    source: Box::new(source),
                };
                self.shared.outage.failed(&chain(&error));
            }
        }
    }

    /// Asks a broker that was unavailable whether it is back, because no record would show it.
    fn probe(&mut self) {
        if !self.shared.outage.is_on() || self.probed_at.elapsed() < PROBE_EVERY {
            return;
        }
        let answer = self.consumer.fetch_metadata(Some(&self.config.topic), POLL * 4);
        if answer.is_ok_and(|metadata| metadata.topics().iter().all(|topic| topic.error().is_none())) {
            self.shared.outage.succeeded();
        }
        self.probed_at = Instant::now();
    }

    /// Asks for the ends of partitions that nothing is fetched from: one request a turn, so that records and events do not
    /// wait.
    fn look(&mut self) {
        if self.unasked.is_empty() && self.looked_at.elapsed() >= LOOK_EVERY {
            self.looked_at = Instant::now();
            self.unasked = self.shared.to_ask(self.paused);
        }
        let Some(partition) = self.unasked.pop() else { return };
        match self.consumer.fetch_watermarks(&self.config.topic, partition, POLL * 4) {
            Ok((_, end)) => self.shared.answered(partition, end),
            // The next round is soon enough.
            Err(error) => {
                tracing::debug!(%error, partition, "cannot ask for the end of a partition");
                self.unasked.clear();
            }
        }
    }

    /// Looks at partitions that the client does not fetch: after each report of its statistics, which tell.
    fn examine(&mut self) {
        let report = self.shared.reports.load(Ordering::Relaxed);
        if report == self.examined {
            return;
        }
        self.examined = report;
        let mut stopped = self.shared.stopped();
        self.seen.retain(|seen, _| stopped.iter().any(|(partition, _)| partition == seen));
        for (partition, _) in &stopped {
            self.seen.entry(*partition).or_insert((0, Instant::now())).0 += 1;
        }
        stopped.retain(|(partition, _)| self.seen.get(partition).is_some_and(|(times, _)| *times >= REPORTS));
        if stopped.is_empty() {
            return;
        }
        // The next report is soon enough.
        if let Err(error) = self.look_into(&stopped) {
            tracing::debug!(%error, "cannot look into partitions that are not fetched");
        }
    }

    fn look_into(&mut self, stopped: &[(i32, Option<i64>)]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, _) in stopped {
            list.add_partition(&self.config.topic, *partition);
        }
        let committed = self.consumer.committed_offsets(list, ASK_WITHIN)?;
        for (partition, next) in stopped.iter().copied() {
            let Some(element) = committed.find_partition(&self.config.topic, partition) else { continue };
            element.error()?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            let wanted = next.or(offset);
            let log = self.consumer.fetch_watermarks(&self.config.topic, partition, ASK_WITHIN)?;
            let is_sure = self.seen.get(&partition).is_some_and(|(_, since)| since.elapsed() >= SURE_AFTER);
            match find(partition, wanted, log) {
                Finding::New(start) => {
                    let mut begun = TopicPartitionList::new();
                    begun.add_partition_offset(&self.config.topic, partition, Offset::Offset(start))?;
                    self.consumer.commit(&begun, CommitMode::Sync)?;
                    self.restart(partition, start)?;
                }
                Finding::Removed(loss) => self.tell(loss),
                Finding::Cut(loss) if is_sure => self.tell(loss),
                Finding::Fine if is_sure => self.restart(partition, wanted.unwrap_or(log.0))?,
                Finding::Fine | Finding::Cut(_) => {}
            }
        }
        Ok(())
    }

    /// Tells of a loss, in the log and to the tasks, which decide what follows.
    fn tell(&self, loss: Loss) {
        if !self.shared.lost(&loss) {
            return;
        }
        let Loss { partition, from, to, .. } = loss;
        tracing::error!(
            topic = %self.shared.topic, group = self.config.group, partition, from, to, records = loss.records(),
            "records were removed before this group has read them",
        );
        self.shared.stats.lost.inc_by(loss.records());
        // Refused only while closing; the loss is found again.
        let _ = self.sender.losses.send(loss);
    }

    /// Reads on behind losses that were dealt with.
    fn go_on(&mut self) {
        let settled =
            std::mem::take(&mut *self.shared.settled.lock().unwrap_or_else(PoisonError::into_inner));
        for loss in settled {
            if !self.shared.go_on(&loss) {
                continue;
            }
            if let Err(error) = self.restart(loss.partition, loss.resume) {
                tracing::warn!(%error, partition = loss.partition, "cannot read on behind lost records");
            }
        }
    }

    /// Has the client fetch a partition from an offset. A partition that has stopped cannot be moved, so it is given up and
    /// taken anew, which the group does not notice.
    fn restart(&mut self, partition: i32, offset: i64) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.config.topic, partition, Offset::Offset(offset))?;
        self.consumer.incremental_unassign(&list)?;
        self.consumer.incremental_assign(&list)?;
        self.seen.remove(&partition);
        // The client remembers beyond the assignment that a partition was paused.
        if self.paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
    }
}

/// The bytes of a record that are kept while it is in flight.
fn size(message: &BorrowedMessage<'_>) -> usize {
    let headers = headers(message);
    let headers = headers.iter().map(|header| header.name.len() + header.value.map_or(0, <[u8]>::len));
    message.payload_len() + message.key_len() + headers.sum::<usize>()
}
