//! Producers: what is acknowledged is in the topic, and the other way round.

use crate::topic;
use crate::world::{World, read_ledger};
use firesteel_pipeline::dataset::{Dataset, Options, row};
use firesteel_pipeline::{Error, kafka, producer};
use firesteel_proto::{ImageId, ImageRecord, ProducerId};
use firesteel_testkit::{Proxy, SOON, wait_until};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::timeout;
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
        images: Some(100),
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
        let row = row(index as u64, 100, record.id.sequence.0, dataset.len());
        let image = dataset.get(row).expect("an image");
        assert_eq!((&record.label, &record.data), (&image.label, &image.data));
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
    let config =
        producer::Config { producers: 2, images: Some(100_000), rate: 200.0, ..world.producer(&ledger) };
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

/// A folder with one photograph of so many bytes: an image of the shipped set, with zeros behind its end.
fn photograph(folder: &Path, bytes: usize) -> Arc<Dataset> {
    let shipped = Dataset::load(None).expect("shipped").get(0).expect("an image");
    let mut data = shipped.data.to_vec();
    data.resize(bytes, 0);
    let folder = folder.join("photographs");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("large.jpg"), data).expect("written");
    Arc::new(Dataset::open(&Options { path: Some(folder), ..Options::default() }).expect("a data set"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photograph_of_five_megabytes_goes_into_a_topic_that_a_producer_creates() {
    let Some(world) = World::new("photograph") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = Some(photograph(folder.path(), 5_000_000));
    let ledger = folder.path().join("ledger");
    let config = producer::Config { producers: 1, images: Some(1), dataset, ..world.producer(&ledger) };
    producer::run(config, Arc::default(), CancellationToken::new()).await.expect("produced");
    let sent = topic::read(&world.kafka, &world.images).await;
    let record = ImageRecord::decode(sent[0].payload().expect("a value")).expect("an image");
    assert_eq!((sent.len(), record.data.len()), (1, 5_000_000));
    let letters = kafka::dead_letter_topic(&world.images);
    for topic in [&world.images, &letters] {
        let most = kafka::largest_record(&world.kafka, "test", topic).await.expect("told");
        assert_eq!(most, Some(17 << 20), "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_less_is_named_with_its_limit_and_what_raises_it() {
    let Some(world) = World::new("small-topic") else { return };
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &world.kafka.bootstrap)
        .create()
        .expect("an admin client");
    let topic =
        NewTopic::new(&world.images, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "100000");
    admin.create_topics([&topic], &AdminOptions::new()).await.expect("an answer")[0]
        .as_ref()
        .expect("a topic");
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = Some(photograph(folder.path(), 5_000_000));
    let ledger = folder.path().join("ledger");
    let config = producer::Config { producers: 1, images: Some(1), dataset, ..world.producer(&ledger) };
    let run = producer::run(config, Arc::default(), CancellationToken::new());
    let text = run.await.expect_err("too large").to_string();
    let raised = format!("--entity-name {} --add-config max.message.bytes=6048576", world.images);
    for part in ["large.jpg", "5000000 bytes", "records of 100000 bytes at most", "kafka-configs.sh", &raised]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
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

/// A lasting producer of 300 images.
fn lasting(world: &World, ledger: &Path) -> producer::Config {
    let id = "00112233445566778899aabbccddeeff".parse().expect("an id");
    producer::Config {
        producers: 1,
        ids: vec![id],
        images: Some(300),
        resume: true,
        ..world.producer(ledger)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_started_again_goes_on_where_it_was() {
    let Some(world) = World::new("resume") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let (stats, shutdown) = (Arc::new(producer::Stats::default()), CancellationToken::new());
    let slow = producer::Config { rate: 200.0, ..lasting(&world, &ledger) };
    let running = tokio::spawn(producer::run(slow, Arc::clone(&stats), shutdown.clone()));
    wait_until("some images are out", SOON, async || stats.acknowledged.load(Ordering::Relaxed) >= 20).await;
    shutdown.cancel();
    let first = running.await.expect("no panic").expect("no error").acknowledged();
    assert!((20..300).contains(&first), "{first}");
    // As if it had been killed before it took note of the last acknowledgements.
    let text = std::fs::read_to_string(&ledger).expect("a ledger");
    let kept: Vec<&str> = text.lines().take(16).collect();
    std::fs::write(&ledger, format!("{}\n0011", kept.join("\n"))).expect("written");

    let stats = Arc::new(producer::Stats::default());
    let run = producer::run(lasting(&world, &ledger), Arc::clone(&stats), CancellationToken::new());
    let share = run.await.expect("produced").producers[0];
    // One line is that of the claim.
    assert_eq!((share.acknowledged, share.resumed), (300, 15));
    assert_eq!((stats.acknowledged.load(Ordering::Relaxed), stats.sent.load(Ordering::Relaxed)), (300, 285));
    let images: Vec<ImageRecord> = topic::read(&world.kafka, &world.images)
        .await
        .iter()
        .map(|message| ImageRecord::decode(message.payload().expect("a value")).expect("an image"))
        .collect();
    assert_eq!(images.len() as u64, first + 285, "those that nobody took note of came twice");
    let different: BTreeMap<ImageId, _> = images.iter().map(|image| (image.id, image.data.clone())).collect();
    assert!(images.iter().all(|image| different[&image.id] == image.data), "under the same names");
    assert_eq!(different.into_keys().collect::<BTreeSet<_>>(), read_ledger(&ledger));

    // There is nothing left to do, and a larger number goes on.
    let again = producer::run(lasting(&world, &ledger), Arc::default(), CancellationToken::new());
    assert_eq!(again.await.expect("nothing to do").producers[0].resumed, 300);
    let more = producer::Config { images: Some(310), ..lasting(&world, &ledger) };
    let more = producer::run(more, Arc::default(), CancellationToken::new()).await.expect("produced");
    assert_eq!((more.producers[0].acknowledged, more.producers[0].resumed), (310, 300));
}

/// One that has never reached Kafka says so after ten seconds; this one has, and goes on as it would had it been sending.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_started_again_in_an_outage_waits_for_its_end() {
    let Some(world) = World::new("outage") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let first = producer::Config { images: Some(20), ..lasting(&world, &ledger) };
    producer::run(first, Arc::default(), CancellationToken::new()).await.expect("produced");

    let proxy = Proxy::start(world.kafka.bootstrap.clone(), false).await;
    let kafka = kafka::KafkaConfig { bootstrap: proxy.address().to_string(), ..world.kafka.clone() };
    let away = producer::Config { kafka, ..lasting(&world, &ledger) };
    let stop = CancellationToken::new();
    let mut running = pin!(producer::run(away.clone(), Arc::default(), stop.clone()));
    let patience = timeout(kafka::REACHABLE_WITHIN + Duration::from_secs(2), &mut running).await;
    assert!(patience.is_err(), "it waits longer than one without a past: {patience:?}");
    proxy.mend();
    let summary = timeout(SOON, running).await.expect("in time").expect("produced");
    assert_eq!((summary.producers[0].acknowledged, summary.producers[0].resumed), (300, 20));

    // Whoever does not want to wait stops it.
    proxy.cut();
    stop.cancel();
    let stopped = timeout(SOON, producer::run(away, Arc::default(), stop)).await.expect("at once");
    assert_eq!(stopped.expect("no error").producers[0].acknowledged, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_belongs_to_one_ledger() {
    let Some(world) = World::new("claimed") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ledgers: Vec<_> = (0..4).map(|n| folder.path().join(format!("ledger-{n}"))).collect();
    // All at once: one of them is first.
    let runs = ledgers
        .iter()
        .map(|ledger| producer::run(lasting(&world, ledger), Arc::default(), CancellationToken::new()));
    let (won, lost): (Vec<_>, Vec<_>) =
        futures::future::join_all(runs).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 3), "{lost:?}");
    for error in lost {
        let error = error.expect_err("claimed");
        assert!(matches!(error, Error::ProducerClaimed { .. }), "{error}");
        for part in ["00112233445566778899aabbccddeeff", "producer.ids", "producer.ledger"] {
            assert!(error.to_string().contains(part), "{part} in {error}");
        }
    }
    let images = topic::read(&world.kafka, &world.images).await;
    assert_eq!(images.len(), 300, "the others have sent nothing");
}
