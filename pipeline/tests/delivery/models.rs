//! Which model an image is for: the consumer's setting, the record's header, and what becomes of a model that there is not.

use crate::inference::FakeInference;
use crate::topic::{self, header};
use crate::world::{Running, World};
use firesteel_common::ConfigField;
use firesteel_common::headers::MODEL;
use firesteel_pipeline::consumer::images::{self, Config};
use firesteel_pipeline::kafka::{Message, Publisher, dead_letter_topic};
use firesteel_pipeline::{Error, producer};
use firesteel_proto::{Encoding, ImageId, ImageRecord, ProducerId, Sequence, Timestamp};
use firesteel_testkit::{SOON, wait_until};
use rdkafka::Message as _;
use rdkafka::message::{Header, OwnedHeaders};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

fn done(consumer: &Running) -> u64 {
    let stats = consumer.stats.snapshot();
    stats.succeeded + stats.dead_lettered
}

/// Publishes an image for each of the models; "" says nothing of a model.
async fn publish(world: &World, models: &[&str]) {
    let publisher = Publisher::new(&world.kafka, "test", SOON).expect("a publisher");
    for (sequence, model) in (0_u64..).zip(models) {
        let image = ImageRecord {
            id: ImageId { producer: ProducerId(1), sequence: Sequence(sequence) },
            produced_at: Timestamp::now(),
            label: None,
            encoding: Encoding::Jpeg,
            data: vec![1].into(),
        };
        let payload = image.encode();
        let named = Header { key: MODEL, value: Some(*model) };
        let headers = (!model.is_empty()).then(|| OwnedHeaders::new().insert(named));
        let message = Message { topic: &world.images, key: Some(b"1"), payload: Some(&payload), headers };
        publisher.publish(message).await.expect("published");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_for_the_model_that_its_header_names_or_the_consumers_setting() {
    for (setting, is_old) in [(None, false), (Some("fake"), false), (None, true)] {
        let Some(world) = World::new("models") else { return };
        let server = FakeInference::start(0).await;
        if is_old {
            server.be_old();
        }
        let model = setting.map(str::to_owned);
        let config = Config { model, max_attempts: 3, ..world.image_consumer(&server.url) };
        let consumer = Running::images(config);
        publish(&world, &["", "fake", "nobody", ""]).await;
        wait_until("all four are done", SOON, async || done(&consumer) == 4).await;
        let stats = consumer.stats.snapshot();
        consumer.stop().await;
        assert_eq!((stats.succeeded, stats.dead_lettered), (3, 1), "{setting:?}, an old server: {is_old}");
        let mut asked = server.asked();
        asked.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(asked.iter().filter(|(model, _)| model == "nobody").count(), 3, "it is tried so often");
        asked.dedup();
        let default = setting.unwrap_or_default();
        let expected = [
            (default, "00000001:0"),
            ("fake", "00000001:1"),
            ("nobody", "00000001:2"),
            (default, "00000001:3"),
        ];
        let asked: Vec<_> = asked.iter().map(|(model, key)| (model.as_str(), key.as_str())).collect();
        assert_eq!(asked, expected);
        let letters = topic::read(&world.kafka, &dead_letter_topic(&world.images)).await;
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        let record = ImageRecord::decode(letter.payload().expect("a value")).expect("an image");
        assert_eq!(record.id.sequence, Sequence(2));
        assert_eq!(header(letter, "error.class"), "unknown-model");
        assert_eq!(header(letter, "error.attempts"), "3");
        assert_eq!(header(letter, MODEL), "nobody", "it is replayed for the same model");
        for part in ["header firesteel-model", "\"nobody\"", "fake"] {
            assert!(header(letter, "error.message").contains(part), "{part}");
        }
    }
}

/// As while servers are replaced: for a record's header it is asked for a few times, for the setting as often as it takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_the_server_gets_soon_is_waited_for() {
    for (setting, named, lacks) in [(None, "fake", 2), (Some("fake"), "", 5)] {
        let Some(world) = World::new("soon") else { return };
        let server = FakeInference::start(0).await;
        server.lack_models(lacks);
        let model = setting.map(str::to_owned);
        let consumer =
            Running::images(Config { model, max_attempts: 3, ..world.image_consumer(&server.url) });
        publish(&world, &[named]).await;
        wait_until("the image is done", SOON, async || done(&consumer) == 1).await;
        let stats = consumer.stats.snapshot();
        consumer.stop().await;
        assert_eq!(stats.succeeded, 1, "{setting:?}");
        assert!(stats.retries >= lacks, "{setting:?}: {}", stats.retries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_for_a_model_that_there_is_not_ends_at_its_start() {
    for (is_old, words) in [(false, "has no model \"nobody\": it has fake"), (true, "older version")] {
        let Some(world) = World::new("no-model") else { return };
        let server = FakeInference::start(0).await;
        if is_old {
            server.be_old();
        }
        let config = Config { model: Some("nobody".to_owned()), ..world.image_consumer(&server.url) };
        let ended = images::run(config, Arc::default(), CancellationToken::new()).await;
        let error = ended.expect_err("there is none");
        assert!(matches!(error, Error::Setting { field: ConfigField::ConsumerModel, .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for_before_its_models_are_asked_for() {
    let Some(world) = World::new("away") else { return };
    let server = FakeInference::start(0).await;
    server.set_down(true);
    let config = Config { model: Some("fake".to_owned()), ..world.image_consumer(&server.url) };
    let consumer = Running::images(config);
    wait_until("it was asked in vain", SOON, async || server.descriptions() >= 2).await;
    server.set_down(false);
    publish(&world, &[""]).await;
    wait_until("the image is done", SOON, async || done(&consumer) == 1).await;
    consumer.stop().await;
    assert_eq!(server.asked(), [("fake".to_owned(), "00000001:0".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_says_which_model_its_images_are_for() {
    let Some(world) = World::new("for-model") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let config = producer::Config {
        producers: 1,
        images: Some(5),
        model: Some("fake".to_owned()),
        ..world.producer(&folder.path().join("ledger"))
    };
    producer::run(config, Arc::default(), CancellationToken::new()).await.expect("produced");
    let records = topic::read(&world.kafka, &world.images).await;
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|record| header(record, MODEL) == "fake"));
}
