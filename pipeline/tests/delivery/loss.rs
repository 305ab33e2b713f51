//! Records that are removed before a group has read them: told, counted, described, and never passed over unsaid.

use crate::rebalance::{gated, start};
use crate::topic::{self, header};
use crate::world::{Running, World, ids, some_predictions};
use firesteel_pipeline::consumer::{OnDataLoss, predictions};
use firesteel_pipeline::kafka::{TopicSpec, commit_offsets, dead_letter_topic, ensure_topics, retention};
use firesteel_pipeline::sink::MemorySink;
use firesteel_pipeline::{Error, ErrorKind, chain};
use firesteel_proto::PredictionRecord;
use firesteel_testkit::{SOON, wait_until};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One partition, so that offsets are known.
fn config(world: &World) -> predictions::Config {
    let mut config = predictions::Config { partitions: 1, ..world.prediction_consumer() };
    // What became of a partition is seen in the client's statistics.
    config.kafka.properties.insert("statistics.interval.ms", "200");
    config
}

/// Removes the records before `offset`, as retention does.
async fn remove_before(world: &World, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &world.kafka.bootstrap)
        .create()
        .expect("an admin client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&world.predictions, 0, Offset::Offset(offset)).expect("a partition");
    let removed = admin.delete_records(&list, &AdminOptions::new()).await.expect("an answer");
    for element in removed.elements() {
        element.error().expect("removed");
    }
}

async fn publish(world: &World, count: u64, from: &mut Vec<PredictionRecord>) {
    let all = some_predictions(1, from.len() as u64 + count);
    let new = all[from.len()..].to_vec();
    world.publish_predictions(&new).await;
    *from = all;
}

async fn stored(world: &World, consumer: &Running, count: u64) {
    wait_until("they are stored and committed", SOON, async || {
        let stats = consumer.stats.snapshot();
        stats.succeeded >= count && stats.committed >= count
    })
    .await;
    assert!(!world.document_ids().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_removed_stop_the_consumer_until_it_is_allowed_to_go_on() {
    let Some(world) = World::new("lost") else { return };
    let spec = TopicSpec::new(&world.predictions).with_partitions(1);
    ensure_topics(&world.kafka, "test", &[spec]).await.expect("a topic");
    let mut all = Vec::new();
    publish(&world, 100, &mut all).await;
    let consumer = Running::predictions(config(&world));
    stored(&world, &consumer, 100).await;
    consumer.stop().await;

    publish(&world, 400, &mut all).await;
    remove_before(&world, 250).await;
    // It says so, and says it again when it is started again.
    for _ in 0..2 {
        let consumer = Running::predictions(config(&world));
        let stats = Arc::clone(&consumer.stats);
        let error = consumer.failed().await;
        assert!(matches!(error, Error::DataLoss { partition: 0, from: 100, to: 250, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Caller);
        for part in ["consumer.on_data_loss", "from offset 100 to 250", &world.predictions] {
            assert!(chain(&error).contains(part), "{part} in {error}");
        }
        assert_eq!(stats.snapshot().lost, 150);
    }
    assert_eq!(world.document_ids().await.len(), 100);

    let consumer =
        Running::predictions(predictions::Config { on_data_loss: OnDataLoss::Continue, ..config(&world) });
    stored(&world, &consumer, 250).await;
    assert_eq!(consumer.stats.snapshot().lost, 150);
    // The place behind the gap is committed: nothing is lost anew.
    publish(&world, 10, &mut all).await;
    stored(&world, &consumer, 260).await;
    consumer.stop().await;
    let there: Vec<_> = [&all[..100], &all[250..]].concat();
    assert_eq!(world.document_ids().await, ids(&there));
    let consumer = Running::predictions(config(&world));
    publish(&world, 10, &mut all).await;
    stored(&world, &consumer, 10).await;
    assert_eq!(consumer.stats.snapshot().lost, 0);
    consumer.stop().await;

    let letters = topic::read(&world.kafka, &dead_letter_topic(&world.predictions)).await;
    assert_eq!(letters.len(), 3, "one for each time that it was told");
    for letter in letters {
        assert_eq!((letter.key(), letter.payload()), (None, None));
        let described = ["error.class", "source.partition", "source.offset", "source.end"];
        assert_eq!(described.map(|key| header(&letter, key)), ["data-loss", "0", "100", "250"]);
        assert!(header(&letter, "error.message").contains("150 records"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_has_read_nothing_begins_where_the_log_begins() {
    let Some(world) = World::new("begin") else { return };
    let spec = TopicSpec::new(&world.predictions).with_partitions(1);
    ensure_topics(&world.kafka, "test", &[spec]).await.expect("a topic");
    let mut all = Vec::new();
    publish(&world, 20, &mut all).await;
    remove_before(&world, 5).await;
    let consumer = Running::predictions(config(&world));
    stored(&world, &consumer, 15).await;
    assert_eq!(consumer.stats.snapshot().lost, 0);
    consumer.stop().await;
    assert_eq!(world.document_ids().await, ids(&all[5..]));
}

/// A store that stands still, so that the consumer is full and has paused its partition, while its records are removed.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_removed_under_a_consumer_that_stands_still_are_told_and_reading_goes_on() {
    let Some(world) = World::new("lost-live") else { return };
    let spec = TopicSpec::new(&world.predictions).with_partitions(1);
    ensure_topics(&world.kafka, "test", &[spec]).await.expect("a topic");
    let mut all = Vec::new();
    publish(&world, 20, &mut all).await;
    let config = predictions::Config {
        on_data_loss: OnDataLoss::Continue,
        max_in_flight: 30,
        max_batch: 10,
        ..config(&world)
    };
    let store = Arc::new(MemorySink::default());
    let (gate, sink) = gated(&store, true);
    let consumer = start(config, sink);
    wait_until("the first ones are stored", SOON, async || consumer.stats.snapshot().committed == 20).await;
    gate.send_replace(false);
    publish(&world, 400, &mut all).await;
    wait_until("it is full", SOON, async || consumer.stats.snapshot().in_flight >= 30).await;
    // Long enough for the partition to be paused and what was fetched thrown away: the client says so by its statistics.
    wait_until("nothing comes any more", SOON, async || {
        let before = consumer.stats.snapshot().consumed;
        tokio::time::sleep(Duration::from_secs(1)).await;
        consumer.stats.snapshot().consumed == before
    })
    .await;
    let consumed = consumer.stats.snapshot().consumed;
    remove_before(&world, 300).await;
    gate.send_replace(true);
    wait_until("the rest is stored", SOON, async || store.records().len() as u64 >= consumed + 120).await;
    assert_eq!(consumer.stats.snapshot().lost, 300 - consumed);
    publish(&world, 10, &mut all).await;
    wait_until("and what comes later", SOON, async || store.records().len() as u64 == consumed + 130).await;
    let stored: Vec<_> = store.records();
    let expected: Vec<_> = [&all[..consumed as usize], &all[300..]].concat();
    assert_eq!(ids(&stored), ids(&expected));
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_is_a_loss_too() {
    let Some(world) = World::new("cut") else { return };
    let spec = TopicSpec::new(&world.predictions).with_partitions(1);
    ensure_topics(&world.kafka, "test", &[spec]).await.expect("a topic");
    let mut all = Vec::new();
    publish(&world, 10, &mut all).await;
    // As if the topic had been made anew behind the group's back.
    let group = world.prediction_group();
    commit_offsets(&world.kafka, &group, &world.predictions, &BTreeMap::from([(0, 100)]))
        .await
        .expect("placed");
    let error = Running::predictions(config(&world)).failed().await;
    assert!(matches!(error, Error::DataLoss { from: 10, to: 100, .. }), "{error}");
    let consumer =
        Running::predictions(predictions::Config { on_data_loss: OnDataLoss::Continue, ..config(&world) });
    stored(&world, &consumer, 10).await;
    consumer.stop().await;
    assert_eq!(world.document_ids().await, ids(&all));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_kept_until_somebody_deletes_them() {
    let Some(world) = World::new("kept") else { return };
    let consumer = Running::predictions(config(&world));
    let letters = dead_letter_topic(&world.predictions);
    wait_until("the topics are there", SOON, async || {
        retention(&world.kafka, "test", &letters).await.is_ok_and(|retention| retention.is_none())
    })
    .await;
    let records = retention(&world.kafka, "test", &world.predictions).await.expect("described");
    assert!(records.is_some(), "the brokers' default");
    consumer.stop().await;
}
