//! What each test has to itself: topics, groups, a database, and components that run until they are stopped.

use bson::Bson;
use firesteel_pipeline::consumer::{Stats, images, predictions};
use firesteel_pipeline::kafka::letters::marks_topic;
use firesteel_pipeline::kafka::{KafkaConfig, Message, Publisher, dead_letter_topic};
use firesteel_pipeline::producer::{self, producers_topic};
use firesteel_pipeline::sink::MongoConfig;
use firesteel_pipeline::{Error, Result, RetryPolicy};
use firesteel_proto::{ImageId, Label, PredictionRecord, Sequence, Timestamp};
use firesteel_testkit::{SOON, Services, TempDatabase, TempTopics, samples, unique};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct World {
    pub(crate) kafka: KafkaConfig,
    pub(crate) mongo: MongoConfig,
    pub(crate) images: String,
    pub(crate) predictions: String,
    group: String,
    _topics: TempTopics,
    database: TempDatabase,
}

impl World {
    /// A world for one test; `None` where there are no servers.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let services = Services::from_env()?;
        let (images, predictions) =
            (unique(&format!("{name}-images")), unique(&format!("{name}-predictions")));
        let all = [
            images.clone(),
            predictions.clone(),
            dead_letter_topic(&images),
            dead_letter_topic(&predictions),
            producers_topic(&images),
            marks_topic(&dead_letter_topic(&images)),
            marks_topic(&dead_letter_topic(&predictions)),
        ];
        let database = TempDatabase::new(&services.mongodb_uri, name);
        let mongo = MongoConfig {
            uri: services.mongodb_uri.as_str().into(),
            database: database.name.clone(),
            ..MongoConfig::default()
        };
        Some(Self {
            kafka: KafkaConfig::new(services.kafka_bootstrap.clone()),
            mongo,
            images,
            predictions,
            group: unique(name),
            _topics: TempTopics::new(&services.kafka_bootstrap, all),
            database,
        })
    }

    pub(crate) fn producer(&self, ledger: &Path) -> producer::Config {
        producer::Config {
            kafka: self.kafka.clone(),
            topic: self.images.clone(),
            partitions: 4,
            ledger: Some(ledger.to_owned()),
            ..producer::Config::default()
        }
    }

    pub(crate) fn image_consumer(&self, inference_url: &str) -> images::Config {
        images::Config {
            kafka: self.kafka.clone(),
            inference_url: inference_url.to_owned(),
            group: format!("{}-images", self.group),
            images_topic: self.images.clone(),
            predictions_topic: self.predictions.clone(),
            partitions: 4,
            commit_interval: Duration::from_millis(100),
            retry: quick(),
            ..images::Config::default()
        }
    }

    pub(crate) fn prediction_consumer(&self) -> predictions::Config {
        predictions::Config {
            kafka: self.kafka.clone(),
            mongo: self.mongo.clone(),
            group: self.prediction_group(),
            predictions_topic: self.predictions.clone(),
            partitions: 4,
            commit_interval: Duration::from_millis(100),
            retry: quick(),
            ..predictions::Config::default()
        }
    }

    pub(crate) fn prediction_group(&self) -> String {
        format!("{}-predictions", self.group)
    }

    /// The collection's documents, read back into records.
    pub(crate) async fn documents(&self) -> Vec<PredictionRecord> {
        read_back(&self.database().await, &self.mongo.collection).await
    }

    pub(crate) async fn database(&self) -> mongodb::Database {
        self.database.open().await.expect("MongoDB")
    }

    pub(crate) async fn document_ids(&self) -> BTreeSet<ImageId> {
        let documents = self.documents().await;
        let ids: BTreeSet<_> = documents.iter().map(|record| record.id).collect();
        assert_eq!(ids.len(), documents.len(), "an _id is unique");
        ids
    }

    /// Publishes values as they are, keyed `key`.
    pub(crate) async fn publish<'a>(
        &self,
        topic: &str,
        values: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        let publisher = Publisher::new(&self.kafka, "test", SOON).expect("a publisher");
        let mut waiting = Vec::new();
        for (key, payload) in values {
            let message = Message { topic, key: Some(key), payload, headers: None };
            waiting.push(publisher.enqueue(message).await.expect("queued"));
        }
        for sent in waiting {
            sent.await.expect("acknowledged");
        }
    }

    pub(crate) async fn publish_predictions(&self, records: &[PredictionRecord]) {
        let encoded: Vec<_> = records.iter().map(|r| (r.id.producer.to_string(), r.encode())).collect();
        let values = encoded.iter().map(|(key, value)| (key.as_bytes(), Some(value.as_slice())));
        self.publish(&self.predictions, values).await;
    }
}

fn quick() -> RetryPolicy {
    RetryPolicy { maximum: Duration::from_millis(500), ..RetryPolicy::default() }
}

/// `count` predictions of producer `producer`.
pub(crate) fn some_predictions(producer: u32, count: u64) -> Vec<PredictionRecord> {
    (0..count)
        .map(|sequence| PredictionRecord {
            id: ImageId { producer: producer.into(), sequence: Sequence(sequence) },
            ..samples::prediction(sequence as usize, 1)
        })
        .collect()
}

pub(crate) fn ids(records: &[PredictionRecord]) -> BTreeSet<ImageId> {
    records.iter().map(|record| record.id).collect()
}

pub(crate) async fn read_back(database: &mongodb::Database, collection: &str) -> Vec<PredictionRecord> {
    use futures::TryStreamExt;
    let cursor =
        database.collection::<bson::Document>(collection).find(bson::doc! {}).await.expect("a cursor");
    let documents: Vec<bson::Document> = cursor.try_collect().await.expect("documents");
    documents.iter().map(read_document).collect()
}

fn read_document(document: &bson::Document) -> PredictionRecord {
    let text = |key| document.get_str(key).expect(key);
    let time = |key| Timestamp(document.get_datetime(key).expect(key).timestamp_millis());
    let id: ImageId = text("_id").parse().expect("an id");
    assert_eq!(text("producer_id"), id.producer.to_string());
    assert_eq!(document.get_i64("sequence").expect("sequence") as u64, id.sequence.0);
    let record = PredictionRecord {
        id,
        label: or_null(document, "label", |label| Label::parse("label", label.as_str()?).ok()),
        predicted: Label::parse("predicted", text("predicted")).expect("predicted"),
        confidence: document.get_f64("confidence").expect("confidence") as f32,
        model: text("model").to_owned(),
        produced_at: time("produced_at"),
        inferred_at: time("inferred_at"),
    };
    assert_eq!(or_null(document, "correct", Bson::as_bool), record.correct());
    record
}

/// The value of a field, which has to be there and may be null.
fn or_null<T>(document: &bson::Document, field: &str, read: impl FnOnce(&Bson) -> Option<T>) -> Option<T> {
    let value = document.get(field).expect(field);
    (*value != Bson::Null).then(|| read(value).expect("a value of the right type"))
}

/// The ids of a ledger, one each.
pub(crate) fn read_ledger(path: &Path) -> BTreeSet<ImageId> {
    let text = std::fs::read_to_string(path).expect("a ledger");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("claim ")).collect();
    let ids: BTreeSet<ImageId> = lines.iter().map(|line| line.parse().expect("an id")).collect();
    assert_eq!(ids.len(), lines.len(), "an id is acknowledged once");
    ids
}

/// A consumer that runs until it is stopped.
pub(crate) struct Running {
    pub(crate) stats: Arc<Stats>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    pub(crate) fn start<F>(run: impl FnOnce(Arc<Stats>, CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (stats, shutdown) = (Arc::new(Stats::default()), CancellationToken::new());
        let task = tokio::spawn(run(Arc::clone(&stats), shutdown.clone()));
        Self { stats, shutdown, task }
    }

    pub(crate) fn images(config: images::Config) -> Self {
        Self::start(|stats, shutdown| images::run(config, stats, shutdown))
    }

    pub(crate) fn predictions(config: predictions::Config) -> Self {
        Self::start(|stats, shutdown| predictions::run(config, stats, shutdown))
    }

    /// Waits until it ends by itself, with an error.
    pub(crate) async fn failed(self) -> Error {
        let ended = tokio::time::timeout(SOON, self.task).await.expect("ends in time").expect("no panic");
        ended.expect_err("an error")
    }

    /// Ends it as Ctrl-C would.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("ends in time")
            .expect("no panic")
            .expect("no error");
        assert_eq!(self.stats.snapshot().in_flight, 0, "nothing is left in flight");
    }
}
