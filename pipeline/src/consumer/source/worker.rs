//! The thread that owns the client: polls, delivers, pauses, commits.

use super::group::{GroupContext, Shared};
use super::{Config, InFlight, Record, failed};
use crate::error::{Error, ErrorKind, Result, chain, kafka_kind};
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How long the thread waits for a permit before it pauses its partitions.
const STALLED_AFTER: Duration = Duration::from_millis(500);
/// How long one poll may take; bounds how late a stop is noticed.
const POLL: Duration = Duration::from_millis(50);
/// How often a broker that was lost is asked whether it is back.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How often the broker is asked for the ends of partitions that nothing is fetched from.
const LOOK_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Worker {
    config: Config,
    consumer: BaseConsumer<GroupContext>,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
    sender: mpsc::UnboundedSender<Record>,
    committed_at: Instant,
    probed_at: Instant,
    /// When the last round of requests for the ends of partitions began.
    looked_at: Instant,
    /// The partitions that this round has still to ask about.
    unasked: Vec<i32>,
    paused: bool,
}

impl Worker {
    pub(super) fn new(
        config: Config,
        consumer: BaseConsumer<GroupContext>,
        shared: Arc<Shared>,
        runtime: tokio::runtime::Handle,
        sender: mpsc::UnboundedSender<Record>,
    ) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(config.max_in_flight.max(1))),
            committed_at: Instant::now(),
            probed_at: Instant::now(),
            looked_at: Instant::now(),
            unasked: Vec::new(),
            paused: false,
            config,
            consumer,
            shared,
            runtime,
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

    /// Polls once. A failure that a later poll may mend is noted, any other ends the thread.
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
                let missing = source.rdkafka_error_code() == Some(Code::UnknownTopic);
                if fatal || (kafka_kind(&source) == ErrorKind::Caller && !missing) {
                    return Err(failed(&self.config, source));
                }
                self.shared.outage.failed(&chain(&failed(&self.config, source)));
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
}
