//! The connectors on a cluster of a scheduler and two executors: what all of them do alike, and one that a program adds.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod conformance;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bson::Document;
use firesteel_engine::{Config, ConfigField, Outcome};
use firesteel_testkit::{
    InProcessCluster, MemoryConnector, Services, TempDatabase, TempTopics, publish, samples, unique,
};
use futures::FutureExt as _;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::conformance::{AddRow, Subject, names_a_server_that_is_away};

const ROWS: usize = 1_000;

fn document(index: usize) -> Document {
    samples::prediction_document(index, 1)
}

fn record(index: usize) -> (String, Vec<u8>) {
    (index.to_string(), samples::prediction(index, 1).encode())
}

/// Two executors of two slots each.
async fn cluster(mut config: Config) -> anyhow::Result<InProcessCluster> {
    config.vcores = Some(2);
    InProcessCluster::start(config, 2).await
}

/// Numbers from 0 in batches of this many rows.
fn numbers(batches: i64, rows: i64) -> Arc<Vec<RecordBatch>> {
    let batch = |batch: i64| {
        let numbers = || batch * rows..(batch + 1) * rows;
        let kinds = numbers().map(|n| if n % 2 == 0 { "even" } else { "odd" });
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers()));
        let kind: ArrayRef = Arc::new(StringArray::from_iter_values(kinds));
        RecordBatch::try_from_iter([("n", n), ("kind", kind)]).expect("two columns")
    };
    Arc::new((0..batches).map(batch).collect())
}

/// A configuration with a database of its own that has a collection of `ROWS` documents.
async fn mongodb(
    services: &Services,
    name: &str,
) -> anyhow::Result<(Config, mongodb::Collection<Document>, TempDatabase)> {
    let temporary = TempDatabase::new(&services.mongodb_uri, name);
    let collection = temporary.open().await?.collection("predictions");
    collection.insert_many((0..ROWS).map(document)).await?;
    let mut config = Config::new(&services.mongodb_uri, &temporary.name);
    config.scan.min_documents_per_partition = 100;
    // What the server would group is not scanned.
    config.scan.aggregate_pushdown = false;
    Ok((config, collection, temporary))
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_conforms() -> anyhow::Result<()> {
    let Some(services) = Services::from_env() else { return Ok(()) };
    let (config, collection, _temporary) = mongodb(&services, "conform").await?;
    let add: AddRow = Arc::new(move |index| {
        let collection = collection.clone();
        async move { Ok(collection.insert_one(document(index)).await.map(drop)?) }.boxed()
    });
    let subject = Subject {
        label: "mongodb",
        cluster: cluster(config).await?,
        table: "predictions".to_owned(),
        rows: ROWS,
        exact: Some("sequence < 100"),
        inexact: Some("confidence > 0.9"),
        add: Some(add),
    };
    subject.conforms().await
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_conforms() -> anyhow::Result<()> {
    let Some(services) = Services::from_env() else { return Ok(()) };
    let bootstrap = services.kafka_bootstrap.clone();
    let topic = unique("conform");
    let _temporary = TempTopics::new(&bootstrap, [topic.clone()]);
    publish(&bootstrap, &topic, 3, &(0..ROWS).map(record).collect::<Vec<_>>()).await?;
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create()?;
    let mut config = Config::default();
    config.kafka.bootstrap = bootstrap;
    config.topics.predictions.clone_from(&topic);
    let add: AddRow = Arc::new(move |index| {
        let (producer, topic) = (producer.clone(), topic.clone());
        async move {
            let (key, value) = record(index);
            let sent =
                producer.send(FutureRecord::to(&topic).key(&key).payload(&value), firesteel_testkit::SOON);
            sent.await.map(drop).map_err(|(error, _)| error.into())
        }
        .boxed()
    });
    let subject = Subject {
        label: "kafka",
        cluster: cluster(config).await?,
        table: "predictions_topic".to_owned(),
        rows: ROWS,
        exact: Some("\"offset\" < 100"),
        // All messages are later than this: the time narrows nothing, and is looked at again.
        inexact: Some("\"timestamp\" >= TIMESTAMP '2020-01-01T00:00:00Z' AND abs(sequence) < 500"),
        add: Some(add),
    };
    subject.conforms().await
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_tables_conform() -> anyhow::Result<()> {
    let Some(services) = Services::from_env() else { return Ok(()) };
    let (mut config, _, _temporary) = mongodb(&services, "conform-cache").await?;
    let folder = tempfile::tempdir()?;
    config.cache.folder = folder.path().join("cache");
    let cluster = cluster(config).await?;
    let done = cluster.session.execute("CACHE TABLE predictions").await?;
    assert!(matches!(done, Outcome::Done(_)));
    let subject = Subject {
        label: "cache",
        cluster,
        table: "predictions".to_owned(),
        rows: ROWS,
        exact: None,
        inexact: None,
        add: None,
    };
    subject.conforms().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_named() -> anyhow::Result<()> {
    let mut config = Config::new("mongodb://127.0.0.1:1", "firesteel");
    config.kafka.bootstrap = "127.0.0.1:1".to_owned();
    names_a_server_that_is_away(config.clone(), "predictions", "MongoDB", "127.0.0.1:1").await?;
    names_a_server_that_is_away(config, "images", "Kafka", "127.0.0.1:1").await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_cache_that_are_gone_are_named_with_their_setting() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::default().with_connector(Arc::new(MemoryConnector(numbers(4, 100))));
    config.cache.folder = folder.path().join("cache");
    config.cache.memory_bytes = 0;
    let cluster = cluster(config.clone()).await?;
    let done = cluster.session.execute("CACHE TABLE numbers").await?;
    assert!(matches!(done, Outcome::Done(_)));
    std::fs::remove_dir_all(&config.cache.folder)?;
    let error =
        cluster.session.sql("SELECT n FROM numbers").await?.collect().await.expect_err("they are gone");
    assert!(error.to_string().contains(ConfigField::CacheFolder.name()), "{error}");
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_of_the_program_is_planned_shipped_filtered_and_limited() -> anyhow::Result<()> {
    let config = Config::default().with_connector(Arc::new(MemoryConnector(numbers(8, 1_000))));
    let cluster = cluster(config).await?;
    let rows = async |sql: &str| cluster.session.sql(sql).await?.collect_as::<(i64,)>().await;
    assert_eq!(rows("SELECT sum(n) FROM numbers").await?, [(7_999 * 8_000 / 2,)]);
    assert_eq!(rows("SELECT count(*) FROM numbers WHERE kind = 'odd' AND n >= 4000").await?, [(2_000,)]);
    assert_eq!(rows("SELECT n FROM numbers LIMIT 10").await?.len(), 10);
    let counted = async || {
        let read = cluster.scanned("partitions", "memory").await.unwrap_or_default();
        read.len() == 2 && read.iter().all(|partitions| *partitions > 0.0)
    };
    firesteel_testkit::wait_until("both executors have read", firesteel_testkit::SOON, counted).await;
    assert!(cluster.scanned("bytes", "memory").await?.iter().sum::<f64>() > 0.0);
    cluster.stop().await
}
