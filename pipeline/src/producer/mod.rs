//! Producers: N sources that publish the images of a data set to Kafka.
//!
//! data set → row by [`dataset::row`] → [`ImageRecord`](firesteel_proto::ImageRecord) → Kafka, keyed by producer. Each producer holds at most
//! `max_in_flight` unacknowledged images; an image counts, and enters the ledger, only when every in-sync replica
//! has it (`acks=all`, idempotent). Image *i* of a producer is due at *i / rate* after the start, so a late image
//! does not delay the ones after it. A broker outage is ridden out up to the delivery time-out. Images are read a few
//! ahead of the one that is sent. One that cannot be read ends the run, or is passed over and counted.
//!
//! A producer whose id was chosen (`Config::ids` with `Config::resume`) is the same producer when it is started again: its ledger
//! says which images were acknowledged, and those that were under way are sent again, under the names that they had.

mod claim;
mod ledger;
mod pace;
mod parts;
mod resume;
mod run;

use crate::dataset::{self, Dataset};
use crate::error::{Error, ErrorKind, Result, is_denied};
use crate::kafka::{KafkaConfig, Publisher, TopicSpec, dead_letter_topic, ensure_topics};
pub use claim::producers_topic;
use firesteel_common::ConfigField;
use firesteel_common::retry::{RetryPolicy, retry_within};
use firesteel_proto::ProducerId;
use ledger::{Claim, Ledger};
use parts::parts;
use run::Run;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const ROLE: &str = "produce";

/// The images to produce, and how to produce them.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// The topic of images.
    pub topic: String,
    /// Partitions of topics that have to be created.
    pub partitions: i32,
    /// Replicas of topics that have to be created; -1 is the broker's default.
    pub replication: i32,
    /// The number of producers.
    pub producers: usize,
    /// Their ids, one each; empty for random ones.
    pub ids: Vec<ProducerId>,
    /// Images of each producer; none for the data set once, shared among the producers.
    pub images: Option<u64>,
    /// Images per second of each producer; 0 is as fast as Kafka takes them.
    pub rate: f64,
    /// The images; the shipped ones if none.
    pub dataset: Option<Arc<Dataset>>,
    /// The model that the images are for, by any of the names that a request may use; none: whoever asks the server decides.
    pub model: Option<String>,
    /// Bytes of the largest image that the topic is created for; one that exists keeps its own limit.
    pub max_image_bytes: usize,
    /// Whether an image that cannot be read, or that Kafka does not take because of its size, is passed over and counted. Else it
    /// ends the run.
    pub skip_unreadable: bool,
    /// A file that the id of every acknowledged image is appended to.
    pub ledger: Option<PathBuf>,
    /// Whether the producers go on behind what the ledger says was acknowledged. Their ids are then claimed for this ledger
    /// alone.
    pub resume: bool,
    /// Unacknowledged images of one producer, at most.
    pub max_in_flight: usize,
    /// How long Kafka may take to acknowledge an image, outages included, before the run fails.
    pub delivery_timeout: Duration,
    /// How long images under way may take to be acknowledged after the shutdown began.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kafka: KafkaConfig::default(),
            topic: "images".to_owned(),
            partitions: TopicSpec::DEFAULT_PARTITIONS,
            replication: -1,
            producers: 4,
            ids: Vec::new(),
            images: Some(1_000),
            rate: 0.0,
            dataset: None,
            model: None,
            max_image_bytes: dataset::Options::default().max_image_bytes,
            skip_unreadable: false,
            ledger: None,
            resume: false,
            max_in_flight: 1_000,
            delivery_timeout: Duration::from_secs(120),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// How many images all producers send, those among them that earlier runs have sent.
    #[must_use]
    pub fn total(&self) -> u64 {
        let once = || self.dataset.as_ref().map_or(dataset::SHIPPED_IMAGES, |dataset| dataset.len()) as u64;
        self.images.map_or_else(once, |images| images.saturating_mul(self.producers as u64))
    }
}

/// Counters of the producers, which progress bars read while they run.
#[derive(Debug, Default)]
pub struct Stats {
    /// Images handed to the Kafka client.
    pub sent: AtomicU64,
    /// Images that every in-sync replica has.
    pub acknowledged: AtomicU64,
    /// Bytes of the acknowledged records.
    pub bytes: AtomicU64,
    /// Images that were passed over, because they cannot be read or are too large.
    pub skipped: AtomicU64,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Each producer's share, in the order of the producers.
    pub producers: Vec<Share>,
    /// From the first image to the last acknowledgement.
    pub elapsed: Duration,
}

/// The result of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The producer.
    pub producer: ProducerId,
    /// Its acknowledged images, those of earlier runs that it goes on from included.
    pub acknowledged: u64,
    /// Those that earlier runs had acknowledged.
    pub resumed: u64,
    /// The bytes of the records that this run had acknowledged.
    pub bytes: u64,
    /// Images that this run has passed over, because they cannot be read or are too large. Their numbers stay free.
    pub skipped: u64,
}

impl Summary {
    /// Acknowledged images of all producers.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.producers.iter().map(|share| share.acknowledged).sum()
    }

    /// Images that all producers have passed over.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.producers.iter().map(|share| share.skipped).sum()
    }

    /// Bytes of all acknowledged records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.producers.iter().map(|share| share.bytes).sum()
    }
}

/// `count` different random ids.
#[must_use]
pub fn random_ids(count: usize) -> Vec<ProducerId> {
    let mut ids = BTreeSet::new();
    let mut order = Vec::with_capacity(count);
    while order.len() < count {
        let id = ProducerId(rand::random());
        if ids.insert(id) {
            order.push(id);
        }
    }
    order
}

/// Produces until every image is acknowledged, or until `shutdown`, after which images under way get the grace to
/// be acknowledged. The summary counts what was acknowledged in either case.
///
/// # Errors
/// Kafka unreachable within 10 s, or within the delivery time-out where the ledger says that an earlier run has reached it; an
/// image not acknowledged within the delivery time-out or too large for the topic, an image, a data set or a ledger that cannot be
/// used, a setting that cannot work.
pub async fn run(config: Config, stats: Arc<Stats>, shutdown: CancellationToken) -> Result<Summary> {
    let ids = ids(&config)?;
    pace::check(config.rate)?;
    let dataset = match &config.dataset {
        Some(dataset) => Arc::clone(dataset),
        None => Arc::new(blocking(|| Dataset::load(None)).await?),
    };
    let (ledger, mut known) = match (&config.ledger, config.resume) {
        (Some(path), true) => {
            let (ledger, known) = Ledger::resume(path)?;
            (Some(ledger), known)
        }
        (Some(path), false) => (Some(Ledger::open(path)?), BTreeMap::new()),
        (None, _) => (None, BTreeMap::new()),
    };
    let policy = RetryPolicy::default();
    let is_passing = |error: &Error| error.kind() == ErrorKind::Transient;
    // A producer that goes on has reached this cluster before: it rides out an outage when it starts as it does later on.
    let goes_on = known.values().any(|entry| entry.claim.is_some());
    let patience = if goes_on { config.delivery_timeout } else { Duration::ZERO };
    let topics = retry_within(&policy, patience, is_passing, || async {
        let Config { kafka, topic, partitions, replication, max_image_bytes, .. } = &config;
        let made = make_topics(kafka, ROLE, topic, *partitions, *replication, *max_image_bytes);
        made.await.inspect_err(|error| {
            if goes_on && is_passing(error) {
                tracing::warn!(%error, "an earlier run has reached it, so it is asked again");
            }
        })
    });
    shutdown.run_until_cancelled(topics).await.transpose()?;
    let publisher = Publisher::new(&config.kafka, ROLE, config.delivery_timeout)?;
    let mut parts = parts(config.images, ids.len(), dataset.len());
    if let (Some(ledger), true) = (&ledger, config.resume) {
        let digesting = Arc::clone(&dataset);
        let digests = blocking(move || digesting.digests()).await?;
        let now = resume::Now { images: config.images, digests: &digests };
        now.check_all(&ids, &known)?;
        let mut wanted = BTreeMap::new();
        for (id, part) in ids.iter().zip(&mut parts) {
            let claim = match known.get(id).and_then(|entry| entry.claim.clone()) {
                Some(claim) => {
                    now.check(*id, &claim, part.first)?;
                    claim
                }
                None => {
                    let claim = Claim {
                        token: claim::Token::random(),
                        row: part.first,
                        dataset: digests.first().cloned().unwrap_or_default(),
                    };
                    // First here: a claim in Kafka without its ledger would be nobody's.
                    ledger.claim(*id, &claim)?;
                    claim
                }
            };
            part.first = claim.row;
            wanted.insert(*id, claim.token);
        }
        // Who claims twice has claimed once. Kafka has answered by now.
        let claim = retry_within(&policy, config.delivery_timeout, is_passing, || {
            claim::claim(&config.kafka, ROLE, &config.topic, config.replication, &publisher, &wanted)
        });
        shutdown.run_until_cancelled(claim).await.transpose()?;
    }

    let start = Instant::now();
    // Cancelled when one producer fails: the others stop as in a shutdown.
    let stop = shutdown.child_token();
    let run =
        Arc::new(Run { config, dataset, ledger, publisher, stats, stop, start, limit: OnceCell::new() });
    let mut tasks = JoinSet::new();
    for (index, id) in ids.iter().enumerate() {
        let run = Arc::clone(&run);
        let known = known.remove(id).unwrap_or_default().acknowledged;
        let (id, part) = (*id, parts[index]);
        tasks.spawn(async move { (index, run.produce(part, id, known).await) });
    }
    let mut shares: Vec<Share> = ids
        .iter()
        .map(|id| Share { producer: *id, acknowledged: 0, resumed: 0, bytes: 0, skipped: 0 })
        .collect();
    let mut failure = None;
    while let Some(done) = tasks.join_next().await {
        let result = match done {
            Ok((index, Ok(share))) => {
                shares[index] = share;
                continue;
            }
            Ok((_, Err(error))) => error,
            Err(_) => Error::Stopped { task: "a producer" },
        };
        run.stop.cancel();
        failure.get_or_insert(result);
    }
    if let Some(ledger) = &run.ledger {
        ledger.sync()?;
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(Summary { producers: shares, elapsed: start.elapsed() }),
    }
}

/// Asks something of a data set, on a thread that may block.
async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> dataset::Result<T> + Send + 'static) -> Result<T> {
    let asked = tokio::task::spawn_blocking(ask).await;
    Ok(asked.map_err(|_| Error::Stopped { task: "reading the data set" })??)
}

/// Creates the topic of images of up to so many bytes, and that of its dead letters, where they are missing.
pub(crate) async fn make_topics(
    kafka: &KafkaConfig,
    role: &str,
    topic: &str,
    partitions: i32,
    replication: i32,
    image_bytes: usize,
) -> Result<()> {
    let spec = |name: &str| {
        let topic = TopicSpec::new(name).with_partitions(partitions).with_replication(replication);
        topic.for_images(image_bytes)
    };
    ensure_topics(kafka, role, &[spec(topic)]).await?;
    match ensure_topics(kafka, role, &[spec(&dead_letter_topic(topic)).kept_for_ever()]).await {
        // A producer that may write images alone does not see this topic. The consumers, which write to it, make it.
        Err(Error::Topic { source, .. }) if is_denied(&source) => Ok(()),
        other => other,
    }
}

fn ids(config: &Config) -> Result<Vec<ProducerId>> {
    if config.resume && (config.ids.is_empty() || config.ledger.is_none()) {
        let reason = "producers that go on need ids and a ledger".to_owned();
        return Err(Error::Setting { field: ConfigField::ProducerIds, reason });
    }
    if config.ids.is_empty() {
        return Ok(random_ids(config.producers));
    }
    let different: BTreeSet<_> = config.ids.iter().collect();
    if config.ids.len() != config.producers || different.len() != config.producers {
        let reason = format!("{} producers need as many different ids", config.producers);
        return Err(Error::Setting { field: ConfigField::ProducerIds, reason });
    }
    Ok(config.ids.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_different_and_as_many_as_producers() {
        let random = random_ids(1_000);
        assert_eq!(random.iter().collect::<BTreeSet<_>>().len(), 1_000);
        let check = |given: &[u128], producers, fine| {
            let ids = given.iter().map(|id| ProducerId(*id)).collect();
            let config = Config { ids, producers, ..Config::default() };
            assert_eq!(super::ids(&config).is_ok(), fine, "{given:?} of {producers}");
        };
        check(&[], 3, true);
        check(&[1, 2], 2, true);
        check(&[1, 1], 2, false);
        check(&[1], 2, false);
        let without_ledger =
            Config { ids: vec![ProducerId(1)], producers: 1, resume: true, ..Config::default() };
        assert!(super::ids(&without_ledger).is_err());
    }
}
