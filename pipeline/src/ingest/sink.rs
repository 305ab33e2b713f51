//! Where images go: Kafka, and whether it takes them at this moment.

use super::refused::Refused;
use super::{Config, ROLE};
use crate::error::{Error, ErrorKind, Result, chain, is_denied, is_too_large};
use crate::kafka::{Message, Publisher, check, watermarks};
use crate::producer::make_topics;
use async_trait::async_trait;
use firesteel_common::retry::RetryPolicy;
use firesteel_proto::{ImageId, ImageRecord};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;

/// From so many bytes on a computation over them is one that others do not wait for.
const LARGE: usize = 1 << 20;

/// Takes an image for good.
#[async_trait]
pub(super) trait Sink: Send + Sync + 'static {
    /// Returns once the image cannot be lost any more.
    async fn publish(&self, record: ImageRecord) -> Result<(), Refused>;
}

/// Whether images can be taken.
#[derive(Debug, Default)]
pub(super) struct Standing {
    topics: AtomicBool,
    /// The partitions of the topic; 0 where that is not known.
    partitions: AtomicI32,
    away: AtomicBool,
    /// Wakes who looks whether Kafka is back.
    missed: Notify,
}

impl Standing {
    /// Reports that the topics are there.
    pub(super) fn topics_exist(&self) {
        self.topics.store(true, Ordering::Relaxed);
    }

    /// Reports how many partitions the topic has.
    pub(super) fn has_partitions(&self, partitions: usize) {
        self.partitions.store(i32::try_from(partitions).unwrap_or(0), Ordering::Relaxed);
    }

    /// The partition of an image. By the key, which is the producer, all images of a user would be in one, and one consumer at
    /// work; by their numbers they are spread. None where the partitions are not known.
    fn partition(&self, id: ImageId) -> Option<i32> {
        let partitions = u64::try_from(self.partitions.load(Ordering::Relaxed)).ok()?;
        i32::try_from(id.sequence.0.checked_rem(partitions)?).ok()
    }

    /// Reports that Kafka did not answer.
    pub(super) fn missed(&self) {
        self.away.store(true, Ordering::Relaxed);
        self.missed.notify_one();
    }

    /// Reports that a partition is unknown: the key decides until they have been asked for again.
    fn unknown_partition(&self) {
        self.partitions.store(0, Ordering::Relaxed);
        self.missed.notify_one();
    }

    /// Reports that Kafka answers.
    pub(super) fn answered(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(role = ROLE, "Kafka answers again");
        }
    }

    /// The reasons why no image can be taken at this moment; empty when they can.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.topics.load(Ordering::Relaxed) {
            reasons.push("the topics are not known to be there yet".to_owned());
        }
        if self.away.load(Ordering::Relaxed) {
            reasons.push("Kafka is unavailable".to_owned());
        }
        reasons
    }
}

/// Publishes to the topic of images.
#[derive(Debug)]
pub(super) struct Kafka {
    topic: String,
    publisher: Publisher,
    ack_timeout: Duration,
    standing: Arc<Standing>,
}

impl Kafka {
    pub(super) fn new(config: &Config, standing: Arc<Standing>) -> Result<Self> {
        let publisher = Publisher::new(&config.kafka, ROLE, config.ack_timeout)?;
        Ok(Self { topic: config.topic.clone(), publisher, ack_timeout: config.ack_timeout, standing })
    }
}

#[async_trait]
impl Sink for Kafka {
    async fn publish(&self, record: ImageRecord) -> Result<(), Refused> {
        let (key, bytes) = (record.id.producer.to_string(), record.data.len());
        let partition = self.standing.partition(record.id);
        let payload = computed(bytes, || record.encode());
        // Kafka's client copies the record: while its acknowledgement is waited for, there is that copy alone.
        drop(record);
        let publish = async {
            let payload = payload;
            let (key, value) = (Some(key.as_bytes()), Some(payload.as_slice()));
            let message = Message { topic: &self.topic, key, payload: value, headers: None };
            let acknowledged = self.publisher.enqueue_to(partition, message).await?;
            drop(payload);
            acknowledged.await
        };
        // The client gives up after the same time; this is for when its queue is full.
        let patience = self.ack_timeout + Duration::from_secs(1);
        match tokio::time::timeout(patience, publish).await {
            Ok(Ok(_)) => {
                self.standing.answered();
                Ok(())
            }
            Ok(Err(Error::Publish { source, .. })) if is_too_large(&source) => {
                Err(Refused::TooLargeForTopic { bytes })
            }
            Ok(Err(Error::Publish { source, .. })) if is_unknown_partition(&source) => {
                tracing::warn!(%source, "the partitions of the topic are asked for again");
                self.standing.unknown_partition();
                Err(Refused::Unavailable("the partitions of the topic have changed".to_owned()))
            }
            Ok(Err(error)) if error.kind() == ErrorKind::Transient => {
                tracing::warn!(error = chain(&error), "an image was not acknowledged");
                self.standing.missed();
                Err(Refused::Unacknowledged(self.ack_timeout.as_secs()))
            }
            Ok(Err(error)) => {
                tracing::error!(error = chain(&error), "Kafka does not take an image");
                Err(Refused::Failed("the log of this server says why".to_owned()))
            }
            Err(_) => {
                self.standing.missed();
                Err(Refused::Unacknowledged(self.ack_timeout.as_secs()))
            }
        }
    }
}

/// Computes something of so many bytes; of many, on a thread that others do not wait for, where the runtime has one.
pub(super) fn computed<T>(bytes: usize, compute: impl FnOnce() -> T) -> T {
    let has_threads =
        || Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= LARGE && has_threads() { tokio::task::block_in_place(compute) } else { compute() }
}

/// Whether a record was for a partition that the topic does not have.
fn is_unknown_partition(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopicOrPartition};
    matches!(error.rdkafka_error_code(), Some(UnknownPartition | UnknownTopicOrPartition))
}

/// Sees that the topics exist, or waits for them where others have to make them, and then, whenever Kafka is missed, looks for
/// it until it answers. Ends with an error that no waiting mends.
pub(super) async fn watch(config: &Config, standing: &Standing) -> Error {
    let failed = until_there(|| {
        let Config { kafka, topic, partitions, replication, max_image_bytes, .. } = config;
        make_topics(kafka, ROLE, topic, *partitions, *replication, *max_image_bytes)
    });
    if let Some(error) = failed.await {
        return error;
    }
    if let Some(error) = until_there(|| ask_partitions(config, standing)).await {
        return error;
    }
    standing.topics_exist();
    loop {
        standing.missed.notified().await;
        if let Some(error) = until_there(|| check(&config.kafka, ROLE)).await {
            return error;
        }
        standing.answered();
        // There may be more of them than before.
        if let Some(error) = until_there(|| ask_partitions(config, standing)).await {
            return error;
        }
    }
}

/// Asks for the partitions of the topic. Without the right to ask, the key decides.
async fn ask_partitions(config: &Config, standing: &Standing) -> Result<()> {
    match watermarks(&config.kafka, &config.topic).await {
        Ok(partitions) => standing.has_partitions(partitions.len()),
        Err(error) if error.kind() == ErrorKind::Transient => return Err(error),
        Err(error) => tracing::debug!(error = chain(&error), "the partitions of the topic are not known"),
    }
    Ok(())
}

/// What waiting may mend; `None` where the next attempt has the same error.
fn waits_for(error: &Error) -> Option<&'static str> {
    match error {
        // Who may write images and not create their topic is early: the consumers, which may, make it when they start.
        Error::Topic { action: "create", source, .. } if is_denied(source) => {
            Some("the topic is not there, and this user may not create it: a consumer of images has to")
        }
        error if error.kind() == ErrorKind::Transient => Some("Kafka is not there, and is asked again"),
        _ => None,
    }
}

/// Asks until there is an answer, or an error that the next attempt has, too.
async fn until_there<F: Future<Output = Result<()>>>(ask: impl Fn() -> F) -> Option<Error> {
    let policy = RetryPolicy::default();
    let mut told = None;
    for attempt in 0.. {
        let Err(error) = ask().await else { return None };
        let Some(reason) = waits_for(&error) else { return Some(error) };
        if told.replace(reason) != Some(reason) {
            tracing::warn!(role = ROLE, error = chain(&error), "{reason}");
        }
        tokio::time::sleep(policy.delay(attempt, rand::random())).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_proto::{ProducerId, Sequence};

    #[test]
    fn images_are_spread_over_the_partitions_by_their_numbers() {
        let standing = Standing::default();
        let id = |sequence| ImageId { producer: ProducerId(7), sequence: Sequence(sequence) };
        assert_eq!(standing.partition(id(5)), None, "the key decides");
        standing.has_partitions(3);
        assert_eq!([0, 1, 2, 3, u64::MAX].map(|n| standing.partition(id(n))), [0, 1, 2, 0, 0].map(Some));
        standing.unknown_partition();
        assert_eq!(standing.partition(id(5)), None, "they are asked for again");
    }

    #[test]
    fn who_may_not_create_the_topic_waits_for_it() {
        use RDKafkaErrorCode as Code;

        for (action, code, expected) in [
            ("create", Code::TopicAuthorizationFailed, Some("may not create it")),
            ("create", Code::ClusterAuthorizationFailed, Some("may not create it")),
            ("create", Code::RequestTimedOut, Some("Kafka is not there")),
            ("create", Code::InvalidReplicationFactor, None),
            ("describe", Code::TopicAuthorizationFailed, None),
        ] {
            let source = Box::new(KafkaError::AdminOp(code));
            let (topic, address) = ("images".to_owned(), "kafka:9092".to_owned());
            let told = waits_for(&Error::Topic { topic, action, address, source });
            let is_expected = match (told, expected) {
                (Some(told), Some(words)) => told.contains(words),
                (told, words) => told == words,
            };
            assert!(is_expected, "{action}, {code:?}: {told:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_partitions_are_asked_for_until_kafka_answers_and_again_when_one_is_unknown() {
        let cluster = rdkafka::mocking::MockCluster::new(1).expect("a cluster");
        for topic in ["images", "images.dead-letter"] {
            cluster.create_topic(topic, 3, 1).expect("a topic");
        }
        let kafka = crate::kafka::KafkaConfig::new(cluster.bootstrap_servers());
        let config = Config { kafka, ..Config::default() };
        let standing = Arc::<Standing>::default();
        let watched = Arc::clone(&standing);
        let watching = tokio::spawn(async move { watch(&config, &watched).await });
        let known = async || standing.partitions.load(Ordering::Relaxed) == 3;
        let soon = Duration::from_secs(30);
        firesteel_testkit::wait_until("they are known", soon, known).await;
        standing.unknown_partition();
        firesteel_testkit::wait_until("they are known again", soon, known).await;
        watching.abort();
    }

    #[tokio::test]
    async fn what_is_computed_is_the_same_on_any_runtime() {
        assert_eq!([0, LARGE].map(|bytes| computed(bytes, || bytes + 1)), [1, LARGE + 1]);
        let many = tokio::task::spawn_blocking(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
            runtime.block_on(async { computed(LARGE, || 7) })
        });
        assert_eq!(many.await.expect("no panic"), 7);
    }
}
