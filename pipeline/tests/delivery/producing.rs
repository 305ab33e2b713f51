//! Producers: what is acknowledged is in the topic, and the other way round.

use crate::topic;
use crate::world::{World, read_ledger};
use firesteel_pipeline::dataset::{Dataset, row};
use firesteel_pipeline::{Error, kafka, producer};
use firesteel_proto::{ImageId, ImageRecord, ProducerId};
use firesteel_testkit::{SOON, wait_until};
use rdkafka::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_image_is_in_the_topic_with_its_row_of_the_data_set() {
    let Some(world) = World::new("produce") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let producers = vec![ProducerId(0xa), ProducerId(0xb), ProducerId(0xc)];
    let config = producer::Config {
        producers: 3,
        ids: producers.clone(),
        images: 100,
        max_in_flight: 7,
        ..world.producer(&ledger)
    };
    let stats = Arc::new(producer::Stats::default());
    let summary =
        producer::run(config, Arc::clone(&stats), CancellationToken::new()).await.expect("produced");

    assert_eq!(
        summary.producers.iter().map(|s| (s.producer, s.acknowledged)).collect::<Vec<_>>(),
        [(producers[0], 100), (producers[1], 100), (producers[2], 100),]
    );
    assert_eq!(stats.acknowledged.load(Ordering::Relaxed), 300);
    assert_eq!(summary.bytes(), stats.bytes.load(Ordering::Relaxed));
    let dataset = Dataset::load(None).expect("shipped");
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<ProducerId, u64> = BTreeMap::new();
    for message in topic::read(&world.kafka, &world.images).await {
        let record = ImageRecord::decode(message.payload().expect("a value")).expect("an image");
        assert_eq!(message.key(), Some(record.id.producer.to_string().as_bytes()));
        let index = producers.iter().position(|id| *id == record.id.producer).expect("a known producer");
        let image = &dataset.images()[row(index as u64, 100, record.id.sequence.0, dataset.images().len())];
        assert_eq!((record.label, &record.data), (image.label, &image.jpeg));
        // One key is one partition, and within it an idempotent producer keeps its order.
        let before = last.insert(record.id.producer, record.id.sequence.0);
        assert!(before.is_none_or(|before| before < record.id.sequence.0), "in order");
        assert!(seen.insert(record.id), "{} came twice", record.id);
    }
    assert_eq!(seen, read_ledger(&ledger));
    assert_eq!(seen.len(), 300);
    let dead =
        kafka::watermarks(&world.kafka, &kafka::dead_letter_topic(&world.images)).await.expect("made too");
    assert_eq!(dead.len(), 4, "the dead-letter topic has as many partitions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_stopped_leaves_nothing_unaccounted() {
    let Some(world) = World::new("stopped") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let config = producer::Config { producers: 2, images: 100_000, rate: 200.0, ..world.producer(&ledger) };
    let (stats, shutdown) = (Arc::new(producer::Stats::default()), CancellationToken::new());
    let start = Instant::now();
    let running = tokio::spawn(producer::run(config, Arc::clone(&stats), shutdown.clone()));
    let acknowledged = || stats.acknowledged.load(Ordering::Relaxed);
    wait_until("a hundred images are out", SOON, async || acknowledged() >= 100).await;
    shutdown.cancel();
    let summary = running.await.expect("no panic").expect("no error");
    let elapsed = start.elapsed();

    assert_eq!(summary.acknowledged(), acknowledged());
    let most = 2.0 * (200.0 * elapsed.as_secs_f64() + 1.0);
    assert!(
        (summary.acknowledged() as f64) <= most,
        "{} in {elapsed:?} is above the rate",
        summary.acknowledged()
    );
    let in_topic: BTreeSet<ImageId> = topic::read(&world.kafka, &world.images)
        .await
        .iter()
        .map(|message| ImageRecord::decode(message.payload().expect("a value")).expect("an image").id)
        .collect();
    assert_eq!(in_topic, read_ledger(&ledger));
    assert_eq!(in_topic.len() as u64, summary.acknowledged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_named_within_ten_seconds() {
    let config =
        producer::Config { kafka: kafka::KafkaConfig::new("127.0.0.1:1"), ..producer::Config::default() };
    let start = Instant::now();
    let error =
        producer::run(config, Arc::default(), CancellationToken::new()).await.expect_err("nobody there");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(matches!(error, Error::KafkaUnreachable { .. }), "{error}");
    let text = error.to_string();
    for part in ["127.0.0.1:1", "kafka.bootstrap", "produce"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
