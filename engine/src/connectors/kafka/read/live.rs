//! The reader against a real broker, where a whole query cannot bring about what it has to cope with: offsets that go
//! away between planning and reading, a log that is shorter than it was, a stream that nobody takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, common};
use firesteel_testkit::{SOON, Services, TempTopics, publish, unique, wait_until};
use futures::StreamExt;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::scan::KafkaScanExec;
use super::spec::{OffsetRange, ScanSpec};
use crate::config::DEFAULT_CONNECTION;
use crate::connectors::kafka::config::{Format, Isolation, Mode};
use crate::connectors::kafka::connection::Connection;
use crate::connectors::metrics::ScanMetrics;
use crate::{Config, Error};

/// A topic of one partition with so many messages.
struct Topic {
    connection: Arc<Connection>,
    bootstrap: String,
    name: String,
    _temporary: TempTopics,
}

impl Topic {
    async fn of(count: usize) -> Option<Self> {
        let bootstrap = Services::from_env()?.kafka_bootstrap;
        let name = unique("live");
        let temporary = TempTopics::new(&bootstrap, [name.clone()]);
        let records: Vec<_> = (0..count).map(|index| (index.to_string(), b"value".to_vec())).collect();
        publish(&bootstrap, &name, 1, &records).await.unwrap();
        let connection = connect(&bootstrap);
        Some(Self { connection, bootstrap, name, _temporary: temporary })
    }

    fn scan(&self, end: i64, change: impl FnOnce(&mut ScanSpec)) -> KafkaScanExec {
        scan(&self.name, &self.connection, end, change)
    }

    async fn delete_before(&self, offset: i64) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, 0, Offset::Offset(offset)).unwrap();
        admin.delete_records(&list, &AdminOptions::new()).await.unwrap().elements()[0].error().unwrap();
    }
}

fn connect(bootstrap: &str) -> Arc<Connection> {
    let mut config = Config::default();
    config.kafka.bootstrap = bootstrap.to_owned();
    config.connect_timeout = Duration::from_secs(2);
    Arc::new(Connection::new(&config))
}

/// Partition 0 up to `end`, as bytes.
fn scan(
    topic: &str,
    connection: &Arc<Connection>,
    end: i64,
    change: impl FnOnce(&mut ScanSpec),
) -> KafkaScanExec {
    let mut spec = ScanSpec {
        connection: DEFAULT_CONNECTION.to_owned(),
        topic: topic.to_owned(),
        format: Format::Raw,
        mode: Mode::FailFast,
        isolation: Isolation::ReadCommitted,
        fail_on_data_loss: true,
        fetch_timeout: Duration::from_millis(500),
        columns: vec![0, 1, 5],
        limit: None,
        batch_rows: 8192,
    };
    change(&mut spec);
    KafkaScanExec::try_new(spec, Arc::clone(connection), &[OffsetRange { partition: 0, start: 0, end }])
        .unwrap()
}

async fn rows(scan: &KafkaScanExec) -> Result<usize, DataFusionError> {
    let stream = scan.execute(0, Arc::new(TaskContext::default()))?;
    Ok(common::collect(stream).await?.iter().map(|batch| batch.num_rows()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_go_away_before_they_are_read_are_an_error_or_missed() {
    let Some(topic) = Topic::of(100).await else { return };
    let (strict, tolerant) =
        (topic.scan(100, |_| {}), topic.scan(100, |spec| spec.fail_on_data_loss = false));
    assert_eq!(rows(&strict).await.unwrap(), 100);
    topic.delete_before(40).await;
    match Error::from(rows(&strict).await.unwrap_err()) {
        Error::OffsetsLost { topic: name, partition, wanted, earliest, latest } => {
            assert_eq!((name, partition, wanted, earliest, latest), (topic.name.clone(), 0, 0, 40, 100));
        }
        other => panic!("{other}"),
    }
    assert_eq!(rows(&tolerant).await.unwrap(), 60);
    topic.delete_before(100).await;
    assert_eq!(rows(&tolerant).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_counted_under_the_name_that_executors_add_up() {
    let Some(topic) = Topic::of(100).await else { return };
    let scan = topic.scan(100, |_| {});
    assert_eq!(rows(&scan).await.unwrap(), 100);
    let read = ScanMetrics::of(&scan);
    assert_eq!(read.rows, 100);
    assert!(read.bytes >= 100 * b"value".len() as u64, "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_shorter_than_it_was_ends_the_reading() {
    let Some(topic) = Topic::of(100).await else { return };
    let started = Instant::now();
    match Error::from(rows(&topic.scan(150, |_| {})).await.unwrap_err()) {
        Error::OffsetsLost { wanted, latest, .. } => assert_eq!((wanted, latest), (100, 100)),
        other => panic!("{other}"),
    }
    assert_eq!(rows(&topic.scan(150, |spec| spec.fail_on_data_loss = false)).await.unwrap(), 100);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_a_transient_error_with_a_deadline() {
    let connection = connect("127.0.0.1:1");
    let started = Instant::now();
    let error = rows(&scan("any", &connection, 10, |_| {})).await.unwrap_err();
    assert!(matches!(error, DataFusionError::IoError(_)), "only this is tried again: {error:?}");
    let told = Error::from(error).to_string();
    assert!(told.contains("127.0.0.1:1") && told.contains("kafka.bootstrap"), "{told}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_ends_the_reading_early() {
    let Some(topic) = Topic::of(1_000).await else { return };
    for limit in [0, 1, 17, 1_000, 5_000] {
        let scan = topic.scan(1_000, |spec| (spec.limit, spec.batch_rows) = (Some(limit), 8));
        assert_eq!(rows(&scan).await.unwrap() as u64, limit.min(1_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dropped_ends_its_thread_and_its_consumer() {
    let Some(topic) = Topic::of(1_000).await else { return };
    let holders = || Arc::strong_count(&topic.connection);
    let context = Arc::new(TaskContext::default());
    let ended = async |what: &str, before: usize| wait_until(what, SOON, async || holders() == before).await;

    // One that waits for somebody to take its batches.
    let full = topic.scan(1_000, |spec| spec.batch_rows = 10);
    let before = holders();
    let mut stream = full.execute(0, Arc::clone(&context)).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 10);
    assert!(holders() > before, "the thread is at work");
    drop(stream);
    ended("a full reader ends", before).await;

    // One that waits for messages.
    let waiting = topic.scan(2_000, |spec| (spec.batch_rows, spec.fetch_timeout) = (1_000, SOON * 10));
    let before = holders();
    let mut stream = waiting.execute(0, Arc::clone(&context)).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 1_000);
    drop(stream);
    ended("a waiting reader ends", before).await;
}
