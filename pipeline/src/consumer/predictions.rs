//! Predictions become documents: Kafka `predictions` → [`Sink`].
//!
//! A batch holds the records that queued while the last bulk write was under way, up to `max_batch` records and
//! `max_batch_bytes`. Predictions come from the inference server in small groups, each of which would cost the broker, this role and
//! MongoDB about what a hundred cost, so less than `FETCH_AT_LEAST` waits at the broker for up to a tenth of a second
//! (`fetch.min.bytes` and `fetch.wait.max.ms`). No other timer is involved.
//! A batch is complete when the sink has confirmed it as durable. A record that is no prediction, or that the sink
//! refuses for good, is a dead letter. While MongoDB is down the batch in hand is written again and again, and the
//! bound on records in flight stops the polling.

use super::Stats;
use super::dead_letter::Reason;
use super::retry::{OutageLog, Retry};
use super::source::{Load, Next, Record, Source};
use super::start::{self, Consumer, Delivery, MAX_IN_FLIGHT_BYTES, OnDataLoss, first_contact};
use crate::error::Result;
use crate::kafka::{KafkaConfig, TopicSpec};
use crate::sink::{MongoConfig, MongoSink, Sink, Written};
use firesteel_common::retry::RetryPolicy;
use firesteel_proto::PredictionRecord;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(super) const ROLE: &str = "consume-predictions";

/// Bytes of predictions that are worth an answer of the broker: some hundred predictions.
const FETCH_AT_LEAST: usize = 16 << 10;

/// How the prediction consumer works.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// The collection of predictions.
    pub mongo: MongoConfig,
    /// The consumer group.
    pub group: String,
    /// The topic of predictions.
    pub predictions_topic: String,
    /// Partitions of topics that have to be created.
    pub partitions: i32,
    /// Replicas of topics that have to be created; -1 is the broker's default.
    pub replication: i32,
    /// Records received and not yet complete, at most. At least twice `max_batch` keeps the writer busy.
    pub max_in_flight: usize,
    /// Bytes of records received and not yet complete, at most; one record always fits.
    pub max_in_flight_bytes: usize,
    /// What to do when predictions were removed from Kafka before they were read.
    pub on_data_loss: OnDataLoss,
    /// Records in one bulk write, at most.
    pub max_batch: usize,
    /// Bytes of records in one bulk write, at most, unless a single record is larger.
    pub max_batch_bytes: usize,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// The delays between attempts at a dependency that is down.
    pub retry: RetryPolicy,
    /// End with an error when a dependency does not answer within 10 s of the start, instead of waiting for it.
    pub fail_fast: bool,
    /// How long work under way may take to finish after the shutdown began.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kafka: KafkaConfig::default(),
            mongo: MongoConfig::default(),
            group: "firesteel-predictions".to_owned(),
            predictions_topic: "predictions".to_owned(),
            partitions: TopicSpec::DEFAULT_PARTITIONS,
            replication: -1,
            max_in_flight: 4_096,
            max_in_flight_bytes: MAX_IN_FLIGHT_BYTES,
            on_data_loss: OnDataLoss::Stop,
            max_batch: 1_000,
            max_batch_bytes: 8 * 1024 * 1024,
            commit_interval: Duration::from_secs(1),
            retry: RetryPolicy::default(),
            fail_fast: false,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// Consumes until `shutdown`, then finishes the batch in hand within the grace, commits and leaves the group.
///
/// # Errors
/// A configuration that cannot work; with `fail_fast` also a dependency that does not answer within 10 s. Without
/// it, dependencies that are down are waited for.
pub async fn run(config: Config, stats: Arc<Stats>, shutdown: CancellationToken) -> Result<()> {
    let outage = OutageLog::new(ROLE, "MongoDB", Arc::clone(&stats));
    let start = Retry { policy: &config.retry, outage: &outage, stats: &stats, shutdown: &shutdown };
    let contact = first_contact(start, config.fail_fast, || async {
        // Resolving a name of `mongodb+srv` is part of reaching the server, so it is retried too.
        let sink = MongoSink::new(&config.mongo, ROLE).await?;
        sink.prepare().await?;
        Ok(sink)
    });
    let Some(sink) = contact.await? else { return Ok(()) };
    run_with(config, &sink, stats, shutdown).await
}

/// Runs the consumer as [`run`] does, but writes to `sink` and ignores `config.mongo`.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    config: Config,
    sink: &dyn Sink,
    stats: Arc<Stats>,
    shutdown: CancellationToken,
) -> Result<()> {
    let settings = start::Settings {
        kafka: &config.kafka,
        role: ROLE,
        group: &config.group,
        topic: &config.predictions_topic,
        image_bytes: None,
        output: None,
        partitions: config.partitions,
        replication: config.replication,
        most: Load { records: config.max_in_flight, bytes: config.max_in_flight_bytes },
        commit_interval: config.commit_interval,
        fetch_at_least: FETCH_AT_LEAST,
        on_data_loss: config.on_data_loss,
        retry: &config.retry,
        fail_fast: config.fail_fast,
    };
    let Some(consumer) = Consumer::start(settings, Arc::clone(&stats), &shutdown).await? else {
        return Ok(());
    };
    let Consumer { mut source, delivery } = consumer;
    let mongo = OutageLog::new(ROLE, "MongoDB", stats);
    let writer = Writer { config, sink, mongo, delivery };
    let result = {
        let work = writer.run(&mut source, &shutdown);
        tokio::pin!(work);
        tokio::select! {
            result = &mut work => result,
            () = shutdown.cancelled() => {
                let grace = tokio::time::timeout(writer.config.shutdown_grace, &mut work).await;
                // After the grace, retries end, and with them the batch in hand.
                match grace {
                    Ok(result) => result,
                    Err(_) => {
                        writer.delivery.expedite.cancel();
                        work.await
                    }
                }
            }
        }
    };
    let closed = source.close().await;
    result.and(closed)
}

struct Writer<'a> {
    config: Config,
    sink: &'a dyn Sink,
    mongo: OutageLog,
    delivery: Delivery,
}

impl Writer<'_> {
    async fn run(&self, source: &mut Source, shutdown: &CancellationToken) -> Result<()> {
        // A record that did not fit in the last batch any more.
        let mut left = None;
        loop {
            let first = match left.take() {
                Some(record) => Some(record),
                None => tokio::select! {
                    biased;
                    () = shutdown.cancelled() => None,
                    next = source.next() => match next {
                        Some(Next::Record(record)) => Some(record),
                        Some(Next::Loss(loss)) => {
                            self.delivery.lose(source, loss).await?;
                            continue;
                        }
                        None => None,
                    },
                },
            };
            let Some(first) = first.filter(|_| !shutdown.is_cancelled()) else { return Ok(()) };
            let batch;
            (batch, left) = self.gather(first, source);
            self.store(batch).await?;
        }
    }

    /// Takes the records that have arrived already, within the limits, and the one that would have broken them.
    fn gather(&self, first: Record, source: &mut Source) -> (Vec<Record>, Option<Record>) {
        let size = |record: &Record| record.payload.as_ref().map_or(0, bytes::Bytes::len);
        let mut bytes = size(&first);
        let mut batch = vec![first];
        while batch.len() < self.config.max_batch {
            let Some(record) = source.try_recv() else { break };
            bytes += size(&record);
            if bytes > self.config.max_batch_bytes {
                return (batch, Some(record));
            }
            batch.push(record);
        }
        (batch, None)
    }

    async fn store(&self, batch: Vec<Record>) -> Result<()> {
        let (mut records, mut predictions, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        for record in batch {
            match PredictionRecord::decode(record.payload.as_deref().unwrap_or_default()) {
                Ok(prediction) => {
                    predictions.push(prediction);
                    records.push(Some(record));
                }
                Err(error) => dead.push((record, Reason::from(error))),
            }
        }
        if !predictions.is_empty() {
            let written = self.delivery.retry(&self.mongo).run(|| self.sink.write(&predictions)).await?;
            let Some(written) = written else { return Ok(()) };
            dead.extend(self.complete(&predictions, &mut records, written));
        }
        let letters =
            dead.into_iter().map(async |(record, reason)| self.delivery.dead_letter(record, &reason).await);
        futures::future::try_join_all(letters).await.map(drop)
    }

    /// Completes what is durable, and returns what was refused. Each record is taken out of its place.
    fn complete(
        &self,
        predictions: &[PredictionRecord],
        records: &mut [Option<Record>],
        written: Written,
    ) -> Vec<(Record, Reason)> {
        let stats = &self.delivery.stats;
        let mut take = |index: usize| records.get_mut(index).and_then(Option::take);
        let refused = written.refused.into_iter().filter_map(|refusal| {
            Some((take(refusal.index)?, Reason::new("refused-by-store", refusal.message)))
        });
        let refused = refused.collect();
        for record in written.superseded.into_iter().filter_map(&mut take) {
            stats.superseded.inc();
            record.in_flight.complete();
        }
        for (index, prediction) in predictions.iter().enumerate() {
            let Some(record) = take(index) else { continue };
            stats.succeeded.inc();
            stats.predictions.count(prediction);
            record.in_flight.complete();
        }
        refused
    }
}
