//! The image consumer: results and dead letters together are what was acknowledged, and never overlap.

use crate::inference::{FakeInference, is_rejected, label_of};
use crate::topic::{self, header};
use crate::world::{Running, World, read_ledger};
use firesteel_pipeline::kafka::{dead_letter_topic, ensure_topics, watermarks};
use firesteel_pipeline::{Error, consumer, kafka, producer};
use firesteel_proto::{Encoding, ImageId, ImageRecord, PredictionRecord, ProducerId, Sequence, Timestamp};
use firesteel_testkit::cifar::label;
use firesteel_testkit::{SOON, wait_until};
use rdkafka::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// About one image in this many is rejected.
const REJECT: u64 = 13;

#[tokio::test(flavor = "multi_thread")]
async fn results_and_dead_letters_are_what_was_acknowledged_while_inference_comes_and_goes() {
    let Some(world) = World::new("images") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let server = FakeInference::start(REJECT).await;
    server.set_down(true);
    let consumer = Running::images(world.image_consumer(&server.url));

    let config = producer::Config { producers: 3, images: Some(200), ..world.producer(&ledger) };
    producer::run(config, Arc::default(), CancellationToken::new()).await.expect("produced");
    wait_until("the server was asked in vain", SOON, async || server.refused() >= 3).await;
    server.set_down(false);
    wait_until("some images are through", SOON, async || server.answered() >= 100).await;
    server.set_down(true);
    let refused = server.refused();
    wait_until("it is missed again, or all is done", SOON, async || {
        server.refused() > refused || done(&consumer) == 600
    })
    .await;
    server.set_down(false);
    wait_until("every image is done and committed", SOON, async || {
        done(&consumer) == 600 && consumer.stats.snapshot().committed >= 600
    })
    .await;
    let stats = consumer.stats.snapshot();
    consumer.stop().await;
    assert!(stats.retries > 0, "{stats:?}");

    let images: Vec<ImageRecord> = topic::read(&world.kafka, &world.images)
        .await
        .iter()
        .map(|message| ImageRecord::decode(message.payload().expect("a value")).expect("an image"))
        .collect();
    let results = predictions(&world).await;
    let dead: BTreeSet<ImageId> = topic::read(&world.kafka, &dead_letter_topic(&world.images))
        .await
        .iter()
        .map(|message| {
            assert_eq!(header(message, "error.class"), "rejected-image");
            ImageRecord::decode(message.payload().expect("a value")).expect("an image").id
        })
        .collect();
    let acknowledged = read_ledger(&ledger);
    let classified: BTreeSet<ImageId> = results.iter().map(|record| record.id).collect();
    assert!(classified.is_disjoint(&dead));
    assert_eq!(&classified | &dead, acknowledged);
    for image in &images {
        assert_eq!(dead.contains(&image.id), is_rejected(&image.data, REJECT), "{}", image.id);
        for result in results.iter().filter(|result| result.id == image.id) {
            let expected = (&image.label, &label_of(&image.data));
            assert_eq!((&result.label, &result.predicted), expected);
            assert_eq!((result.confidence, result.model.as_str()), (0.75, "fake"));
            assert_eq!(result.produced_at, image.produced_at);
            assert!(result.inferred_at >= result.produced_at);
        }
    }
}

fn done(consumer: &Running) -> u64 {
    let stats = consumer.stats.snapshot();
    stats.succeeded + stats.dead_lettered
}

async fn predictions(world: &World) -> Vec<PredictionRecord> {
    let messages = topic::read(&world.kafka, &world.predictions).await;
    let decode = |message: &rdkafka::message::OwnedMessage| {
        let record = PredictionRecord::decode(message.payload().expect("a value")).expect("a prediction");
        assert_eq!(message.key(), Some(record.id.producer.to_string().as_bytes()));
        record
    };
    messages.iter().map(decode).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_record_becomes_a_dead_letter_and_the_stream_goes_on() {
    let Some(world) = World::new("broken") else { return };
    let server = FakeInference::start(0).await;
    let config = consumer::images::Config { max_image_bytes: 1_000, ..world.image_consumer(&server.url) };
    let good = |sequence, bytes| ImageRecord {
        id: ImageId { producer: ProducerId(1), sequence: Sequence(sequence) },
        produced_at: Timestamp::now(),
        label: Some(label("cat")),
        encoding: Encoding::Jpeg,
        data: vec![7; bytes].into(),
    };
    let first = good(1, 10).encode();
    let mut mislabelled = first.clone();
    let at = mislabelled.windows(3).position(|bytes| bytes == b"cat").expect("the label");
    mislabelled[at..at + 3].copy_from_slice(b"c\0t");
    let oversize = good(2, 1_001).encode();
    let last = good(3, 1_000).encode();
    type Broken<'a> = (&'a [u8], Option<&'a [u8]>, &'a str);
    let broken: [Broken<'_>; 5] = [
        (b"k0", None, "empty-record"),
        (b"k1", Some(b""), "empty-record"),
        (b"k2", Some(b"not protobuf"), "malformed"),
        (b"k3", Some(&mislabelled), "bad-label"),
        (b"k4", Some(&oversize), "oversize-image"),
    ];
    ensure_topics(&world.kafka, "test", &[kafka::TopicSpec::new(&world.images).with_partitions(1)])
        .await
        .expect("a topic");
    world.publish(&world.images, [(b"k".as_slice(), Some(first.as_slice()))]).await;
    world.publish(&world.images, broken.iter().map(|(key, payload, _)| (*key, *payload))).await;
    world.publish(&world.images, [(b"k".as_slice(), Some(last.as_slice()))]).await;

    let consumer = Running::images(config);
    wait_until("all seven are done", SOON, async || done(&consumer) == 7).await;
    consumer.stop().await;

    let sequences: BTreeSet<u64> =
        predictions(&world).await.iter().map(|record| record.id.sequence.0).collect();
    assert_eq!(sequences, BTreeSet::from([1, 3]));
    let dead = topic::read(&world.kafka, &dead_letter_topic(&world.images)).await;
    assert_eq!(dead.len(), broken.len());
    for message in dead {
        let offset: usize = header(&message, "source.offset").parse().expect("an offset");
        let (key, payload, class) = broken[offset - 1];
        assert_eq!(
            (message.key(), message.payload().unwrap_or_default()),
            (Some(key), payload.unwrap_or_default())
        );
        assert_eq!(header(&message, "error.class"), class);
        assert!(!header(&message, "error.message").is_empty());
        assert_eq!(header(&message, "source.topic"), world.images);
        assert_eq!(header(&message, "source.partition"), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_true_label_gets_the_name_that_it_has_in_the_model_and_need_not_be_there() {
    for is_old in [false, true] {
        let Some(world) = World::new("labels") else { return };
        let server = FakeInference::start(0).await;
        if is_old {
            server.be_old();
        }
        let consumer = Running::images(world.image_consumer(&server.url));
        // The bytes add up to the number of the class: airplane, automobile, bird.
        let truths =
            [Some("plane"), Some("airplane"), None, Some("automobile"), Some("cat"), Some("unicorn"), None];
        let images: Vec<Vec<u8>> = (0_u64..)
            .zip(truths)
            .map(|(sequence, truth)| {
                let image = ImageRecord {
                    id: ImageId { producer: ProducerId(1), sequence: Sequence(sequence) },
                    produced_at: Timestamp::now(),
                    label: truth.map(label),
                    encoding: Encoding::Jpeg,
                    data: vec![u8::from(sequence > 2)].into(),
                };
                image.encode()
            })
            .collect();
        world.publish(&world.images, images.iter().map(|value| (&b"00000001"[..], Some(&value[..])))).await;
        wait_until("all are done", SOON, async || done(&consumer) == 7).await;
        let mut found = predictions(&world).await;
        found.sort_by_key(|record| record.id);
        let found: Vec<_> = found
            .iter()
            .map(|record| (record.label.as_ref().map(|label| label.as_str()), record.correct()))
            .collect();
        let plane = if is_old { (Some("plane"), Some(false)) } else { (Some("airplane"), Some(true)) };
        let expected = [
            plane,
            (Some("airplane"), Some(true)),
            (None, None),
            (Some("automobile"), Some(true)),
            (Some("cat"), Some(false)),
            (Some("unicorn"), Some(false)),
            (None, None),
        ];
        assert_eq!(found, expected, "an old server: {is_old}");
        assert_eq!(server.descriptions(), 1, "all who wait ask once");
        assert_eq!(consumer.stats.unknown_labels.get(), u64::from(!is_old));
        consumer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_told_to_fail_fast_names_who_is_missing() {
    let Some(world) = World::new("failfast") else { return };
    let config = consumer::images::Config { fail_fast: true, ..world.image_consumer("http://127.0.0.1:1") };
    let start = Instant::now();
    let error =
        consumer::images::run(config, Arc::default(), CancellationToken::new()).await.expect_err("missing");
    assert!(start.elapsed() < Duration::from_secs(12));
    assert!(matches!(error, Error::InferenceUnreachable { .. }), "{error}");
    let text = error.to_string();
    for part in ["http://127.0.0.1:1", "inference.url", "consume-images"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_stopped_in_the_middle_is_continued_by_the_next() {
    let Some(world) = World::new("continued") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let server = FakeInference::start(0).await;
    let config = producer::Config { producers: 2, images: Some(500), ..world.producer(&ledger) };
    producer::run(config, Arc::default(), CancellationToken::new()).await.expect("produced");
    let mut committed = 0;
    let mut rounds = 0;
    while committed < 1_000 {
        let config = consumer::images::Config { max_in_flight: 16, ..world.image_consumer(&server.url) };
        let consumer = Running::images(config);
        let enough = 200.min(1_000 - committed);
        wait_until("a part is done", SOON, async || consumer.stats.succeeded.get() >= enough).await;
        let stats = Arc::clone(&consumer.stats);
        consumer.stop().await;
        committed += stats.snapshot().committed;
        rounds += 1;
        assert!(rounds < 20, "gets on");
    }
    let results = predictions(&world).await;
    let classified: BTreeSet<ImageId> = results.iter().map(|record| record.id).collect();
    assert_eq!(classified, read_ledger(&ledger));
    // A clean stop commits all that is done, so nothing was done twice.
    assert_eq!((results.len(), committed), (1_000, 1_000));
    let dead = watermarks(&world.kafka, &dead_letter_topic(&world.images)).await.expect("the topic");
    assert!(dead.values().all(|(_, high)| *high == 0), "no dead letter");
}
