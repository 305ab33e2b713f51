//! Requests to the cluster: whether it answers, creating topics, their watermarks, the offsets of a group.
//!
//! librdkafka's calls block, so each runs on a blocking thread; none takes longer than
//! [`REACHABLE_WITHIN`] and a little.

use super::{KafkaConfig, REACHABLE_WITHIN, client_error, config};
use crate::error::{Error, Result};
use firesteel_common::kafka::{AskingContext, QuietContext, ask_until_settled, is_settling, partitions};
use firesteel_common::retry::{RetryPolicy, retry_within};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first and the next offset of every partition of a topic.
pub type Watermarks = BTreeMap<i32, (i64, i64)>;

const COMPACTED: [(&str, &str); 1] = [("cleanup.policy", "compact")];
const FOR_EVER: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
/// The topic's setting of the largest record, which counts whatever the brokers' own `message.max.bytes` is.
const LARGEST_RECORD: &str = "max.message.bytes";
/// Bytes of a record beside its image: id and label, and the headers of a dead letter.
const BESIDE_IMAGE: usize = 1 << 20;

/// A topic that must exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions it is created with. A topic that exists keeps its own.
    pub partitions: i32,
    /// How many replicas it is created with; -1 is the broker's default.
    pub replication: i32,
    /// Further settings of Kafka that it is created with.
    settings: Vec<(&'static str, String)>,
}

impl TopicSpec {
    /// Enough for eight consumers of a group to share the work.
    pub const DEFAULT_PARTITIONS: i32 = 8;

    /// A topic with the default numbers.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: Self::DEFAULT_PARTITIONS,
            replication: -1,
            settings: Vec::new(),
        }
    }

    /// This topic, created to keep its records until somebody deletes them, whatever the brokers' own retention is.
    #[must_use]
    pub fn kept_for_ever(self) -> Self {
        self.with(FOR_EVER.map(|(name, value)| (name, value.to_owned())))
    }

    /// This topic, created to keep the last record of each key.
    #[must_use]
    pub fn compacted(self) -> Self {
        self.with(COMPACTED.map(|(name, value)| (name, value.to_owned())))
    }

    /// This topic, created to take images of so many bytes, whatever the brokers' own limit is.
    #[must_use]
    pub fn for_images(self, image_bytes: usize) -> Self {
        self.with([(LARGEST_RECORD, record_bytes(image_bytes).to_string())])
    }

    fn with(mut self, settings: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.settings.extend(settings);
        self
    }

    /// This topic with another number of replicas; -1 is the broker's default.
    #[must_use]
    pub fn with_replication(self, replication: i32) -> Self {
        Self { replication, ..self }
    }

    /// This topic without its own limit of the size of records, where there is one and `code` says that the cluster may not allow
    /// it; and that limit.
    fn without_limit(&self, code: RDKafkaErrorCode) -> Option<(Self, &str)> {
        if !matches!(code, RDKafkaErrorCode::InvalidConfig | RDKafkaErrorCode::PolicyViolation) {
            return None;
        }
        let (_, limit) = self.settings.iter().find(|(name, _)| *name == LARGEST_RECORD)?;
        let mut plain = self.clone();
        plain.settings.retain(|(name, _)| *name != LARGEST_RECORD);
        Some((plain, limit.as_str()))
    }

    fn new_topic(&self) -> NewTopic<'_> {
        let topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(self.replication));
        self.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
    }

    /// This topic with another number of partitions.
    #[must_use]
    pub fn with_partitions(self, partitions: i32) -> Self {
        Self { partitions, ..self }
    }
}

/// Bytes that a topic has to take for images of up to `image_bytes`.
#[must_use]
pub(crate) fn record_bytes(image_bytes: usize) -> i32 {
    i32::try_from(image_bytes.saturating_add(BESIDE_IMAGE)).unwrap_or(i32::MAX)
}

/// The name of the topic for records of `topic` that can never succeed.
#[must_use]
pub fn dead_letter_topic(topic: &str) -> String {
    firesteel_common::dead_letter::topic_of(topic)
}

/// Asks the cluster for its metadata.
///
/// # Errors
/// [`Error::KafkaUnreachable`] when no broker answers within 10 s, naming address, setting and `role`;
/// [`Error::KafkaRefused`] when one refuses the login, or its certificate is not trusted.
pub async fn check(config: &KafkaConfig, role: &str) -> Result<()> {
    topic_names(config, role).await.map(drop)
}

/// Creates the topics that do not exist yet. Two processes may do so at the same time. Where the cluster refuses the limit of
/// [`TopicSpec::for_images`], as managed ones may, the topic is created without it, and a warning says so.
///
/// # Errors
/// As [`check`], or [`Error::Topic`] with what the broker said.
pub async fn ensure_topics(config: &KafkaConfig, role: &str, topics: &[TopicSpec]) -> Result<()> {
    let present = topic_names(config, role).await?;
    let missing: Vec<&TopicSpec> = topics.iter().filter(|t| !present.contains(&t.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let failed = |topic: &str, source| Error::Topic {
        topic: topic.to_owned(),
        action: "create",
        address: config.bootstrap.clone(),
        source: Box::new(source),
    };
    let admin = admin(config, role)?;
    let mut left: Vec<TopicSpec> = missing.iter().map(|spec| (*spec).clone()).collect();
    while !left.is_empty() {
        let results = {
            let names = left.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
            let new: Vec<NewTopic<'_>> = left.iter().map(TopicSpec::new_topic).collect();
            let create = settled(|| admin.create_topics(&new, &options()));
            create.await.map_err(|source| failed(&names, source))?
        };
        let mut again = Vec::new();
        for result in results {
            match result {
                Ok(topic) => tracing::info!(topic, "topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    let refused = left.iter().find(|spec| spec.name == topic);
                    let Some((plain, limit)) = refused.and_then(|spec| spec.without_limit(code)) else {
                        return Err(failed(&topic, KafkaError::AdminOp(code)));
                    };
                    tracing::warn!(
                        topic,
                        "the cluster does not allow {LARGEST_RECORD}={limit} for the topic: it has the brokers' limit \
                         (--max-image-size)"
                    );
                    again.push(plain);
                }
            }
        }
        left = again;
    }
    // The controller has decided; wait until the broker that we asked knows it too.
    let deadline = Instant::now() + REACHABLE_WITHIN;
    loop {
        let present = topic_names(config, role).await?;
        match missing.iter().find(|t| !present.contains(&t.name)) {
            None => return Ok(()),
            Some(topic) if Instant::now() > deadline => {
                let source = KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition);
                return Err(failed(&topic.name, source));
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Deletes topics; one that is not there is fine.
///
/// # Errors
/// [`Error::Topic`] with what the broker said.
pub async fn delete_topics(config: &KafkaConfig, topics: &[&str]) -> Result<()> {
    let failed = |topic: &str, source| Error::Topic {
        topic: topic.to_owned(),
        action: "delete",
        address: config.bootstrap.clone(),
        source: Box::new(source),
    };
    let admin = admin(config, "admin")?;
    let delete = settled(|| admin.delete_topics(topics, &options()));
    for result in delete.await.map_err(|source| failed(&topics.join(", "), source))? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
            Err((topic, code)) => return Err(failed(&topic, KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

/// The first and the next offset of every partition of `topic`. A topic whose partitions have no leader yet gets 10 s
/// to find them.
///
/// # Errors
/// [`Error::Topic`]; a topic that does not exist is an error too.
pub async fn watermarks(config: &KafkaConfig, topic: &str) -> Result<Watermarks> {
    let failed = |source| Error::Topic {
        topic: topic.to_owned(),
        action: "describe",
        address: config.bootstrap.clone(),
        source: Box::new(source),
    };
    let client: BaseConsumer<QuietContext> = plain_client(config, "admin")?;
    let name = topic.to_owned();
    // A topic that was just created is not known everywhere yet.
    let is_passing = |error: &KafkaError| {
        is_settling(error) || error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition)
    };
    blocking(move || {
        ask_until_settled(REACHABLE_WITHIN, is_passing, |left| read_watermarks(&client, &name, left))
    })
    .await?
    .map_err(failed)
}

/// How long a topic keeps its records; `None` where it keeps them until they are too many.
///
/// # Errors
/// [`Error::Topic`], also where there is no such topic, or the user may not ask for its configuration.
pub async fn retention(config: &KafkaConfig, role: &str, topic: &str) -> Result<Option<Duration>> {
    let value = setting(config, role, topic, "retention.ms").await?;
    // -1 is without an end.
    Ok(value.and_then(|millis| millis.parse().ok()).map(Duration::from_millis))
}

/// The bytes of the largest record that a topic takes, or rather of the largest batch of them.
///
/// # Errors
/// [`Error::Topic`], also where there is no such topic, or the user may not ask for its configuration.
pub async fn largest_record(config: &KafkaConfig, role: &str, topic: &str) -> Result<Option<u64>> {
    let value = setting(config, role, topic, LARGEST_RECORD).await?;
    Ok(value.and_then(|bytes| bytes.parse().ok()))
}

/// A setting of a topic, where the cluster tells it.
async fn setting(config: &KafkaConfig, role: &str, topic: &str, name: &str) -> Result<Option<String>> {
    let failed = |source| Error::Topic {
        topic: topic.to_owned(),
        action: "describe",
        address: config.bootstrap.clone(),
        source: Box::new(source),
    };
    let resources = [ResourceSpecifier::Topic(topic)];
    let admin = admin(config, role)?;
    let describe = settled(|| admin.describe_configs(&resources, &options()));
    let described = describe.await.map_err(failed)?;
    let mut value = None;
    for resource in described {
        let resource = resource.map_err(|code| failed(KafkaError::AdminOp(code)))?;
        // The client does not hand on the error of a resource: one that the cluster does not know, or does not show, has no entry.
        let unknown = || failed(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition));
        value = resource.get(name).ok_or_else(unknown)?.value.clone();
    }
    Ok(value)
}

fn read_watermarks(
    client: &BaseConsumer<QuietContext>,
    topic: &str,
    timeout: Duration,
) -> Result<Watermarks, KafkaError> {
    let read = |partition| Ok((partition, client.fetch_watermarks(topic, partition, timeout)?));
    partitions(client, topic, timeout)?.into_iter().map(read).collect()
}

/// Sets where `group`, which must have no member, goes on in `topic`. The demo starts a new group at the end of
/// what earlier runs left: `commit_offsets(…, watermarks(…).map(next))`.
///
/// # Errors
/// [`Error::Group`] with what the broker said, or that it said nothing within 10 s.
pub async fn commit_offsets(
    config: &KafkaConfig,
    group: &str,
    topic: &str,
    offsets: &BTreeMap<i32, i64>,
) -> Result<()> {
    let failed = |source| Error::Group {
        group: group.to_owned(),
        action: "position",
        address: config.bootstrap.clone(),
        source: Box::new(source),
    };
    let mut client = config::consumer(config, "admin", group)?;
    // The call itself takes no time limit. This one ends the request, and with it the blocking thread.
    client.set("socket.timeout.ms", REACHABLE_WITHIN.as_millis().to_string());
    let client = client.create_with_context(QuietContext).map_err(|source| client_error(config, source))?;
    let client: BaseConsumer<QuietContext> = client;
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(failed)?;
    }
    let commit = blocking(move || client.commit(&list, CommitMode::Sync));
    match tokio::time::timeout(REACHABLE_WITHIN, commit).await {
        Ok(committed) => committed?.map_err(failed),
        Err(_) => Err(failed(KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut))),
    }
}

/// Removes a group and its offsets; one that is not there is fine.
///
/// # Errors
/// [`Error::Group`], for instance while it still has members.
pub async fn delete_group(config: &KafkaConfig, group: &str) -> Result<()> {
    let failed = |source| Error::Group {
        group: group.to_owned(),
        action: "delete",
        address: config.bootstrap.clone(),
        source: Box::new(source),
    };
    let admin = admin(config, "admin")?;
    let delete = settled(|| admin.delete_groups(&[group], &options()));
    for result in delete.await.map_err(failed)? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
            Err((_, code)) => return Err(failed(KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

/// The names of all topics. Asking for all, not for one, never makes a broker create what is asked about.
pub(super) async fn topic_names(config: &KafkaConfig, role: &str) -> Result<Vec<String>> {
    let context = AskingContext::default();
    let client: BaseConsumer<AskingContext> = config::client(config, role)?
        .create_with_context(context.clone())
        .map_err(|source| client_error(config, source))?;
    let told = context.clone();
    let ask = move || {
        let is_passing = |error: &KafkaError| is_settling(error) && told.refusal().is_none();
        ask_until_settled(REACHABLE_WITHIN, is_passing, |left| {
            let answer = client.fetch_metadata(None, left);
            if answer.is_err() {
                hear(&client);
            }
            answer.map(|metadata| metadata.topics().iter().map(|t| t.name().to_owned()).collect())
        })
    };
    blocking(ask).await?.map_err(|source| {
        let (role, address) = (role.to_owned(), config.bootstrap.clone());
        match context.refusal() {
            Some(refusal) => Error::KafkaRefused {
                role,
                address,
                reason: config.properties.redact(&refusal.reason),
                source: Box::new(refusal.error),
            },
            None => Error::KafkaUnreachable { role, address, source: Box::new(source) },
        }
    })
}

/// Asks again while the cluster settles, for at most [`REACHABLE_WITHIN`].
async fn settled<T, F>(ask: impl FnMut() -> F) -> Result<T, KafkaError>
where
    F: Future<Output = Result<T, KafkaError>>,
{
    let policy = RetryPolicy::default();
    retry_within(&policy, REACHABLE_WITHIN, is_settling, ask).await
}

/// Has the client tell its context what it met. Whether a poll came upon anything cannot be told from what it returns.
fn hear(client: &BaseConsumer<AskingContext>) {
    let until = Instant::now() + Duration::from_millis(50);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        client.poll(left);
    }
}

/// A client that joins no group.
fn plain_client(config: &KafkaConfig, role: &str) -> Result<BaseConsumer<QuietContext>> {
    config::client(config, role)?
        .create_with_context(QuietContext)
        .map_err(|source| client_error(config, source))
}

fn admin(config: &KafkaConfig, role: &str) -> Result<AdminClient<QuietContext>> {
    config::client(config, role)?
        .create_with_context(QuietContext)
        .map_err(|source| client_error(config, source))
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REACHABLE_WITHIN + Duration::from_secs(5)))
        .operation_timeout(Some(REACHABLE_WITHIN))
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    firesteel_common::kafka::blocking(work).await.map_err(|_| Error::Stopped { task: "a Kafka request" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_the_cluster_refuses_is_left_out_and_nothing_else() {
        let topic = TopicSpec::new("letters").for_images(16 << 20).kept_for_ever();
        for code in [RDKafkaErrorCode::InvalidConfig, RDKafkaErrorCode::PolicyViolation] {
            let (plain, limit) = topic.without_limit(code).expect("it has a limit");
            assert_eq!(limit, "17825792");
            assert_eq!(plain, TopicSpec::new("letters").kept_for_ever());
            assert_eq!(plain.without_limit(code), None, "it is tried once");
        }
        assert_eq!(topic.without_limit(RDKafkaErrorCode::TopicAuthorizationFailed), None);
    }
}
