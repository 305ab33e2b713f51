//! How a consumer starts: the first contact with its dependencies, then its place in the group.
//!
//! Dependencies are waited for, unless the consumer was told to fail fast: then one that does not answer within 10 s is
//! an error.

use super::Stats;
use super::dead_letter::{Reason, dead_letter};
use super::retry::{OutageLog, Retry};
use super::source::{self, Record, Source};
use crate::error::Result;
use crate::kafka::{KafkaConfig, Publisher, TopicSpec, dead_letter_topic, ensure_topics};
use firesteel_common::retry::RetryPolicy;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long Kafka may take to acknowledge a record before it is published again.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings that both kinds of consumers need to start.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) kafka: &'a KafkaConfig,
    pub(super) role: &'static str,
    pub(super) group: &'a str,
    /// The topic that is consumed.
    pub(super) topic: &'a str,
    /// The topic that is published to, where there is one besides that of dead letters.
    pub(super) output: Option<&'a str>,
    pub(super) partitions: i32,
    pub(super) replication: i32,
    pub(super) max_in_flight: usize,
    pub(super) commit_interval: Duration,
    pub(super) retry: &'a RetryPolicy,
    pub(super) fail_fast: bool,
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
        let names =
            [Some(topic.to_owned()), Some(dead_letter_topic(topic)), settings.output.map(str::to_owned)];
        let topics: Vec<TopicSpec> = names
            .into_iter()
            .flatten()
            .map(|name| TopicSpec {
                name,
                partitions: settings.partitions,
                replication: settings.replication,
            })
            .collect();
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
            max_in_flight: settings.max_in_flight,
            commit_interval: settings.commit_interval,
        };
        let source = Source::start(source, Arc::clone(&stats), Arc::clone(&outage))?;
        let publisher = Publisher::new(kafka, role, DELIVERY_TIMEOUT)?;
        tracing::info!(role, topic, group, "consuming");
        let expedite = CancellationToken::new();
        let delivery = Delivery { publisher, kafka: outage, stats, policy: retry.clone(), expedite };
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
