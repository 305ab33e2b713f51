//! How a consumer starts: the first contact with its dependencies, then its place in the group.
//!
//! Dependencies are waited for, unless the consumer was told to fail fast: then one that does not answer within 10 s is
//! an error.

use super::Stats;
use super::dead_letter::{Reason, dead_letter, describe_loss};
use super::retry::{OutageLog, Retry};
use super::source::{self, Load, Loss, Record, Source};
use crate::error::{Error, Result};
use crate::kafka::{KafkaConfig, Publisher, TopicSpec, dead_letter_topic, ensure_topics, retention};
use firesteel_common::retry::RetryPolicy;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of records in flight, at most, unless it is said otherwise.
pub(super) const MAX_IN_FLIGHT_BYTES: usize = 64 << 20;
/// How long Kafka may take to acknowledge a record before it is published again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the retention of the topic is asked for.
const RETENTION_EVERY: Duration = Duration::from_secs(300);

/// The settings that both kinds of consumers need to start.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) kafka: &'a KafkaConfig,
    pub(super) role: &'static str,
    pub(super) group: &'a str,
    /// The topic that is consumed.
    pub(super) topic: &'a str,
    /// Bytes of the largest image in its records, where these have images.
    pub(super) image_bytes: Option<usize>,
    /// The topic that is published to, where there is one besides that of dead letters.
    pub(super) output: Option<&'a str>,
    pub(super) partitions: i32,
    pub(super) replication: i32,
    pub(super) most: Load,
    pub(super) commit_interval: Duration,
    /// Bytes of records that are worth an answer of the broker.
    pub(super) fetch_at_least: usize,
    pub(super) on_data_loss: OnDataLoss,
    pub(super) retry: &'a RetryPolicy,
    pub(super) fail_fast: bool,
}

/// What a consumer does when records were removed before it has read them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDataLoss {
    /// End with an error, each time anew, until someone decides to go on without them.
    #[default]
    Stop,
    /// Go on behind them.
    Continue,
}

/// A consumer that has joined its group.
pub(super) struct Consumer {
    pub(super) source: Source,
    pub(super) delivery: Delivery,
}

impl Consumer {
    /// Sees that the topics exist, and joins the group. `None` when the shutdown came first.
    pub(super) async fn start(
        settings: Settings<'_>,
        stats: Arc<Stats>,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>> {
        let Settings { kafka, role, group, topic, retry, .. } = settings;
        let outage = Arc::new(OutageLog::new(role, "Kafka", Arc::clone(&stats)));
        let spec = |name: &str| {
            TopicSpec::new(name).with_partitions(settings.partitions).with_replication(settings.replication)
        };
        let consumed = |name: &str| match settings.image_bytes {
            Some(bytes) => spec(name).for_images(bytes),
            None => spec(name),
        };
        let mut topics = vec![consumed(topic), consumed(&dead_letter_topic(topic)).kept_for_ever()];
        topics.extend(settings.output.map(spec));
        let contact = Retry { policy: retry, outage: &outage, stats: &stats, shutdown };
        let created = first_contact(contact, settings.fail_fast, || ensure_topics(kafka, role, &topics));
        if created.await?.is_none() {
            return Ok(None);
        }
        stats.health.topics_exist();
        let source = source::Config {
            kafka: kafka.clone(),
            role,
            topic: topic.to_owned(),
            group: group.to_owned(),
            most: settings.most,
            commit_interval: settings.commit_interval,
            fetch_at_least: settings.fetch_at_least,
        };
        let source = Source::start(source, Arc::clone(&stats), Arc::clone(&outage))?;
        let publisher = Publisher::new(kafka, role, DELIVERY_TIMEOUT)?;
        tracing::info!(role, topic, group, "consuming");
        let delivery = Delivery {
            publisher,
            kafka: outage,
            stats,
            policy: retry.clone(),
            expedite: CancellationToken::new(),
            group: group.to_owned(),
            topic: topic.to_owned(),
            on_data_loss: settings.on_data_loss,
            _retention: watch_retention(kafka.clone(), role, topic.to_owned(), source.retention()),
        };
        Ok(Some(Self { source, delivery }))
    }
}

/// How the tasks of a consumer deliver what comes out of a record.
pub(super) struct Delivery {
    pub(super) publisher: Publisher,
    /// The outages of Kafka.
    pub(super) kafka: Arc<OutageLog>,
    pub(super) stats: Arc<Stats>,
    policy: RetryPolicy,
    /// Work outlives the shutdown by the grace. Once this is cancelled, retries end and what is left is dropped.
    pub(super) expedite: CancellationToken,
    group: String,
    topic: String,
    on_data_loss: OnDataLoss,
    _retention: AbortOnDropHandle<()>,
}

impl Delivery {
    /// Attempts at the dependency that `outage` is about.
    pub(super) fn retry<'a>(&'a self, outage: &'a OutageLog) -> Retry<'a> {
        Retry { policy: &self.policy, outage, stats: &self.stats, shutdown: &self.expedite }
    }

    /// Publishes the dead letter of a record and completes it, unless the grace ends first.
    pub(super) async fn dead_letter(&self, record: Record, reason: &Reason) -> Result<()> {
        dead_letter(&self.publisher, self.retry(&self.kafka), record, reason).await.map(drop)
    }

    /// Publishes the dead letter that describes a loss; then reading goes on behind it, or the consumer ends.
    ///
    /// # Errors
    /// [`Error::DataLoss`], unless the consumer was told to go on.
    pub(super) async fn lose(&self, source: &Source, loss: Loss) -> Result<()> {
        let retry = self.retry(&self.kafka);
        if !describe_loss(&self.publisher, retry, &self.topic, &self.group, &loss).await? {
            return Ok(());
        }
        match self.on_data_loss {
            OnDataLoss::Continue => {
                source.go_on(loss);
                Ok(())
            }
            OnDataLoss::Stop => Err(Error::DataLoss {
                topic: self.topic.clone(),
                group: self.group.clone(),
                partition: loss.partition,
                from: loss.from,
                to: loss.to,
            }),
        }
    }
}

/// Asks for the topic's retention now and then, as it may be changed at any time. Where the user may not ask, nobody is told how
/// much time is left.
fn watch_retention(
    kafka: KafkaConfig,
    role: &'static str,
    topic: String,
    learn: impl Fn(Option<Duration>) + Send + 'static,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let letters = dead_letter_topic(&topic);
        if let Ok(Some(retention)) = retention(&kafka, role, &letters).await {
            tracing::warn!(
                topic = letters,
                ?retention,
                "dead letters are removed after a while: set retention.ms of their topic to -1"
            );
        }
        loop {
            match retention(&kafka, role, &topic).await {
                Ok(retention) => learn(retention),
                Err(error) => tracing::debug!(%error, topic, "cannot ask for the retention of a topic"),
            }
            tokio::time::sleep(RETENTION_EVERY).await;
        }
    }))
}

/// Calls `contact` until it succeeds, or once if failing fast. `None` when the shutdown came first.
pub(super) async fn first_contact<T, F>(
    retry: Retry<'_>,
    fail_fast: bool,
    mut contact: impl FnMut() -> F,
) -> Result<Option<T>>
where
    F: Future<Output = Result<T>>,
{
    if fail_fast {
        return tokio::select! {
            biased;
            () = retry.shutdown.cancelled() => Ok(None),
            result = contact() => result.map(Some),
        };
    }
    retry.run(contact).await
}
