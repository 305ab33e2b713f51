//! A broker that goes away and comes back, on librdkafka's mock cluster: no server is needed, and none is harmed.

use crate::world::{Running, read_ledger, some_predictions};
use firesteel_pipeline::consumer::predictions;
use firesteel_pipeline::kafka::{KafkaConfig, Message, Publisher, dead_letter_topic};
use firesteel_pipeline::sink::MemorySink;
use firesteel_pipeline::{Error, RetryPolicy, producer};
use firesteel_testkit::{SOON, wait_until};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn cluster(topic: &str) -> (MockCluster<'static, DefaultProducerContext>, KafkaConfig) {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    for name in [topic.to_owned(), dead_letter_topic(topic)] {
        cluster.create_topic(&name, 4, 1).expect("a topic");
    }
    let kafka = KafkaConfig::new(cluster.bootstrap_servers());
    (cluster, kafka)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_rides_out_a_broker_outage() {
    let (cluster, kafka) = cluster("images");
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let config = producer::Config {
        kafka,
        producers: 2,
        images: Some(300),
        rate: 300.0,
        max_in_flight: 50,
        ledger: Some(ledger.clone()),
        ..producer::Config::default()
    };
    let stats = Arc::new(producer::Stats::default());
    let running = tokio::spawn(producer::run(config, Arc::clone(&stats), CancellationToken::new()));
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    wait_until("some are acknowledged", SOON, async || read(&stats.acknowledged) >= 20).await;
    cluster.broker_down(1).expect("down");
    // Both producers send until their bound is reached and no acknowledgement comes any more.
    wait_until("the bound is reached", SOON, async || read(&stats.sent) >= read(&stats.acknowledged) + 100)
        .await;
    assert!(!running.is_finished());
    cluster.broker_up(1).expect("up");
    let summary = running.await.expect("no panic").expect("no error");
    assert_eq!(summary.acknowledged(), 600);
    assert_eq!(read_ledger(&ledger).len(), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_whose_queue_is_full_can_be_stopped() {
    let (cluster, mut kafka) = cluster("images");
    kafka.properties.insert("queue.buffering.max.messages".to_owned(), "10".to_owned());
    let config = producer::Config {
        kafka,
        producers: 1,
        images: Some(10_000),
        rate: 100.0,
        shutdown_grace: Duration::from_millis(200),
        ..producer::Config::default()
    };
    let (stats, shutdown) = (Arc::new(producer::Stats::default()), CancellationToken::new());
    let running = tokio::spawn(producer::run(config, Arc::clone(&stats), shutdown.clone()));
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    wait_until("some are acknowledged", SOON, async || read(&stats.acknowledged) >= 20).await;
    cluster.broker_down(1).expect("down");
    wait_until("the queue is full", SOON, async || read(&stats.sent) >= read(&stats.acknowledged) + 10).await;
    // Time enough to run into it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await.expect("does not wait for Kafka");
    let summary = ended.expect("no panic").expect("a stop is no failure");
    assert!((20..10_000).contains(&summary.acknowledged()), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stays_away_is_named_after_the_delivery_timeout() {
    let (cluster, kafka) = cluster("images");
    let address = kafka.bootstrap.clone();
    let config = producer::Config {
        kafka,
        images: Some(10_000),
        rate: 100.0,
        delivery_timeout: Duration::from_secs(2),
        ..producer::Config::default()
    };
    let stats = Arc::new(producer::Stats::default());
    let running = tokio::spawn(producer::run(config, Arc::clone(&stats), CancellationToken::new()));
    wait_until("some are acknowledged", SOON, async || stats.acknowledged.load(Ordering::Relaxed) >= 20)
        .await;
    cluster.broker_down(1).expect("down");
    let ended = tokio::time::timeout(SOON, running).await.expect("gives up");
    let error = ended.expect("no panic").expect_err("nobody there");
    assert!(matches!(error, Error::Publish { .. }) && error.is_transient(), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_rides_out_a_broker_outage() {
    let (cluster, kafka) = cluster("predictions");
    let publisher = Publisher::new(&kafka, "test", SOON).expect("a publisher");
    let publish = async |producer: u32| {
        for record in some_predictions(producer, 200) {
            let (key, payload) = (record.id.to_string(), record.encode());
            let message = Message {
                topic: "predictions",
                key: Some(key.as_bytes()),
                payload: Some(&payload),
                headers: None,
            };
            publisher.enqueue(message).await.expect("queued").await.expect("acknowledged");
        }
    };
    let config = predictions::Config {
        kafka: kafka.clone(),
        commit_interval: Duration::from_millis(100),
        retry: RetryPolicy { maximum: Duration::from_millis(500), ..RetryPolicy::default() },
        ..predictions::Config::default()
    };
    let store = Arc::new(MemorySink::default());
    let sink = Arc::clone(&store);
    let consumer = Running::start(|stats, shutdown| async move {
        predictions::run_with(config, sink.as_ref(), stats, shutdown).await
    });
    publish(1).await;
    wait_until("the first are stored", SOON, async || store.records().len() == 200).await;
    cluster.broker_down(1).expect("down");
    let late = tokio::spawn({
        let publisher = publisher.clone();
        async move {
            let record = some_predictions(2, 1).remove(0);
            let payload = record.encode();
            let message =
                Message { topic: "predictions", key: Some(b"late"), payload: Some(&payload), headers: None };
            publisher.publish(message).await
        }
    });
    // The client itself notices; until then nothing has been lost that could come back.
    wait_until("a request meets the outage", SOON, async || {
        firesteel_pipeline::kafka::watermarks(&kafka, "predictions").await.is_err()
    })
    .await;
    cluster.broker_up(1).expect("up");
    late.await.expect("no panic").expect("acknowledged after the outage");
    publish(3).await;
    wait_until("the others are stored too", SOON, async || store.records().len() == 401).await;
    let stats = Arc::clone(&consumer.stats);
    consumer.stop().await;
    assert_eq!(stats.snapshot().dead_lettered, 0);
    assert!(stats.snapshot().committed >= 401, "{:?}", stats.snapshot());
}
