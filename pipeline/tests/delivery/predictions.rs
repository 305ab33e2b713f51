//! The prediction consumer and the MongoDB sink.

use crate::topic::{self, header};
use crate::world::{Running, World, ids, read_back, some_predictions};
use bson::{Document, doc};
use firesteel_pipeline::consumer::predictions;
use firesteel_pipeline::kafka::{
    TopicSpec, commit_offsets, dead_letter_topic, delete_group, ensure_topics, watermarks,
};
use firesteel_pipeline::sink::{MongoConfig, MongoSink, Sink, conformance};
use firesteel_pipeline::{Error, kafka};
use firesteel_proto::{PredictionRecord, ProducerId, Timestamp};
use firesteel_testkit::cifar::label;
use firesteel_testkit::{SOON, wait_until};
use futures::TryStreamExt;
use rdkafka::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn records_that_come_twice_are_stored_once_and_the_collection_is_clustered() {
    let Some(world) = World::new("stored") else { return };
    let records = some_predictions(1, 500);
    let consumer = Running::predictions(predictions::Config { max_batch: 64, ..world.prediction_consumer() });
    ensure(&world).await;
    world.publish_predictions(&records).await;
    world.publish_predictions(&records[100..300]).await;
    wait_until("all are stored and committed", SOON, async || {
        let stats = consumer.stats.snapshot();
        stats.succeeded == 700 && stats.committed == 700
    })
    .await;
    consumer.stop().await;

    let mut stored = world.documents().await;
    stored.sort_by_key(|record| record.id);
    assert_eq!(stored, records);
    let database = world.database().await;
    let collections = database.list_collections().await.expect("collections");
    let collections: Vec<_> = collections.try_collect().await.expect("collections");
    let options = &collections.iter().find(|c| c.name == "predictions").expect("the collection").options;
    assert!(options.clustered_index.is_some());
    let names = database.collection::<Document>("predictions").list_index_names().await.expect("indexes");
    for name in ["producer_id", "inferred_at"] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
}

async fn ensure(world: &World) {
    let topic = TopicSpec::new(&world.predictions).with_partitions(4);
    ensure_topics(&world.kafka, "test", &[topic]).await.expect("the topic");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_prediction_and_what_the_store_refuses_become_dead_letters() {
    let Some(world) = World::new("refused") else { return };
    let sink = MongoSink::new(&world.mongo, "test").await.expect("a sink");
    sink.prepare().await.expect("prepared");
    // The store refuses class "frog" for good.
    let validator = doc! { "collMod": "predictions", "validator": { "label": { "$ne": "frog" } } };
    world.database().await.run_command(validator).await.expect("a validator");
    ensure(&world).await;
    let records = some_predictions(1, 50);
    world.publish_predictions(&records).await;
    world.publish(&world.predictions, [(b"k".as_slice(), Some(b"garbage".as_slice()))]).await;

    let consumer = Running::predictions(world.prediction_consumer());
    wait_until("all are done", SOON, async || {
        let stats = consumer.stats.snapshot();
        stats.succeeded + stats.dead_lettered == 51
    })
    .await;
    consumer.stop().await;

    let frogs: BTreeSet<_> =
        records.iter().filter(|r| r.label == Some(label("frog"))).map(|r| r.id).collect();
    assert_eq!(world.document_ids().await, &ids(&records) - &frogs);
    let mut dead = BTreeSet::new();
    for message in topic::read(&world.kafka, &dead_letter_topic(&world.predictions)).await {
        match header(&message, "error.class").as_str() {
            "malformed" => assert_eq!(
                (message.key(), message.payload()),
                (Some(b"k".as_slice()), Some(b"garbage".as_slice()))
            ),
            "refused-by-store" => {
                assert!(header(&message, "error.message").contains("121"), "the server's code");
                let record = firesteel_proto::PredictionRecord::decode(message.payload().expect("a value"));
                dead.insert(record.expect("a prediction").id);
            }
            class => panic!("{class}"),
        }
    }
    assert_eq!(dead, frogs);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mongodb_sink_conforms_clustered_or_not() {
    let Some(world) = World::new("conform") else { return };
    let database = world.database().await;
    for collection in ["clustered", "plain"] {
        if collection == "plain" {
            database.create_collection(collection).await.expect("a plain collection");
        }
        let config = MongoConfig { collection: collection.to_owned(), ..world.mongo.clone() };
        let sink = MongoSink::new(&config, "test").await.expect("a sink");
        sink.prepare().await.expect("prepared");
        sink.prepare().await.expect("preparing twice is fine");
        conformance::suite(&sink, async || read_back(&database, collection).await).await;
    }
}

/// Two predictions of an image may come in any order: from two partitions, from a consumer that was stopped for a while and from
/// its successor.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_older_prediction_replaces_no_newer_one() {
    let Some(world) = World::new("late") else { return };
    let at = |inferred_at: i64, predicted| PredictionRecord {
        predicted,
        inferred_at: Timestamp(inferred_at),
        ..some_predictions(1, 1).remove(0)
    };
    let (newer, older) = (at(2_000, label("cat")), at(1_000, label("dog")));
    let consumer = Running::predictions(world.prediction_consumer());
    world.publish_predictions(std::slice::from_ref(&newer)).await;
    wait_until("the newer one is stored", SOON, async || consumer.stats.snapshot().succeeded == 1).await;
    world.publish_predictions(&[older.clone(), newer.clone()]).await;
    wait_until("the others are done", SOON, async || consumer.stats.snapshot().committed == 3).await;
    let stats = consumer.stats.snapshot();
    assert_eq!((stats.succeeded, stats.superseded, stats.dead_lettered), (2, 1, 0));
    consumer.stop().await;
    assert_eq!(world.documents().await, [newer]);

    // Writers at once, in any order, of images that are not there yet.
    let sink = MongoSink::new(&world.mongo, "test").await.expect("a sink");
    let batch = |age: i64| -> Vec<PredictionRecord> {
        let aged = |record: PredictionRecord| PredictionRecord { inferred_at: Timestamp(age), ..record };
        some_predictions(9, 100).into_iter().map(aged).collect()
    };
    let writers = [3, 1, 4, 2].map(|age| {
        let (sink, batch) = (sink.clone(), batch(age));
        tokio::spawn(async move { sink.write(&batch).await })
    });
    for written in futures::future::try_join_all(writers).await.expect("no panic") {
        assert_eq!(written.expect("written").refused, []);
    }
    let of_nine = |record: &PredictionRecord| record.id.producer == ProducerId(9);
    let stored: Vec<_> = world.documents().await.into_iter().filter(of_nine).collect();
    assert_eq!(stored.len(), 100);
    assert!(stored.iter().all(|record| record.inferred_at == Timestamp(4)), "the newest stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_the_same_new_images_do_not_lose_them() {
    let Some(world) = World::new("race") else { return };
    let sink = MongoSink::new(&world.mongo, "test").await.expect("a sink");
    sink.prepare().await.expect("prepared");
    for round in 0..10 {
        let batch = some_predictions(round, 200);
        let writers = (0..4).map(|_| {
            let (sink, batch) = (sink.clone(), batch.clone());
            tokio::spawn(async move {
                loop {
                    match sink.write(&batch).await {
                        Ok(written) => break assert_eq!(written.refused, [], "a lost race is no refusal"),
                        Err(error) => assert!(error.is_transient(), "{error}"),
                    }
                }
            })
        });
        futures::future::try_join_all(writers).await.expect("no panic");
    }
    assert_eq!(world.documents().await.len(), 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_is_named_within_ten_seconds() {
    let Some(world) = World::new("nostore") else { return };
    let mongo = MongoConfig { uri: "mongodb://u:hunter2@127.0.0.1:1".into(), ..world.mongo.clone() };
    let config = predictions::Config { mongo, fail_fast: true, ..world.prediction_consumer() };
    let start = Instant::now();
    let error =
        predictions::run(config, Arc::default(), CancellationToken::new()).await.expect_err("missing");
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(matches!(error, Error::MongoUnreachable { .. }), "{error}");
    let text = firesteel_pipeline::chain(&error);
    for part in ["mongodb://127.0.0.1:1", "mongodb.uri", "consume-predictions"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_wrong_are_not_taken_for_an_outage() {
    let Some(world) = World::new("denied") else { return };
    let uri = world.mongo.uri.expose().replacen("mongodb://", "mongodb://nobody:hunter2@", 1).into();
    let mongo = MongoConfig { uri, ..world.mongo.clone() };
    // Not told to fail fast: it would wait for a store that is away.
    let config = predictions::Config { mongo, ..world.prediction_consumer() };
    let run = predictions::run(config, Arc::default(), CancellationToken::new());
    let error = tokio::time::timeout(SOON, run).await.expect("does not wait").expect_err("denied");
    assert!(matches!(error, Error::MongoDenied { .. }), "{error}");
    assert_eq!(error.kind(), firesteel_pipeline::ErrorKind::Caller);
    let text = firesteel_pipeline::chain(&error);
    for part in ["mongodb://", "mongodb.uri", "consume-predictions"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_too_large_for_one_command_is_written_by_several() {
    let Some(world) = World::new("large") else { return };
    let sink = MongoSink::new(&world.mongo, "test").await.expect("a sink");
    sink.prepare().await.expect("prepared");
    let mut batch = some_predictions(1, 40);
    for record in &mut batch {
        record.model = "m".repeat(900_000);
    }
    // One that no command can hold, in the middle.
    batch[20].model = "m".repeat(16 * 1024 * 1024);
    let written = sink.write(&batch).await.expect("written");
    assert_eq!(written.refused.iter().map(|refusal| refusal.index).collect::<Vec<_>>(), [20]);
    batch.remove(20);
    assert_eq!(world.document_ids().await, ids(&batch));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_positioned_at_the_end_sees_only_what_comes_later() {
    let Some(world) = World::new("position") else { return };
    ensure(&world).await;
    let (old, new) = (some_predictions(1, 100), some_predictions(2, 100));
    world.publish_predictions(&old).await;
    let ends = watermarks(&world.kafka, &world.predictions).await.expect("watermarks");
    let ends = ends.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
    let group = world.prediction_group();
    commit_offsets(&world.kafka, &group, &world.predictions, &ends).await.expect("positioned");
    world.publish_predictions(&new).await;
    let consumer = Running::predictions(world.prediction_consumer());
    wait_until("the later ones are stored", SOON, async || consumer.stats.snapshot().succeeded >= 100).await;
    consumer.stop().await;
    assert_eq!(world.document_ids().await, ids(&new));

    kafka::delete_group(&world.kafka, &group).await.expect("deleted");
    delete_group(&world.kafka, &group).await.expect("one that is not there is fine");
    let consumer = Running::predictions(world.prediction_consumer());
    wait_until("all are stored", SOON, async || consumer.stats.snapshot().succeeded >= 200).await;
    consumer.stop().await;
    assert_eq!(world.document_ids().await, &ids(&old) | &ids(&new));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_consumer_stops_at_once() {
    let Some(world) = World::new("idle") else { return };
    let consumer = Running::predictions(world.prediction_consumer());
    let database = world.database().await;
    wait_until("it is ready", SOON, async || {
        database.list_collection_names().await.is_ok_and(|names| !names.is_empty())
    })
    .await;
    let start = Instant::now();
    consumer.stop().await;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}
