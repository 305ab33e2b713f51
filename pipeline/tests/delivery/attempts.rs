//! An image that the server fails at, while it answers for all others, is given up after some attempts; a server that is away
//! is waited for.

use crate::inference::{FakeInference, Fault};
use crate::topic::{self, header};
use crate::world::{Running, World};
use firesteel_pipeline::consumer::images;
use firesteel_pipeline::kafka::{dead_letter_topic, watermarks};
use firesteel_proto::{Encoding, ImageId, ImageRecord, ProducerId, Sequence, Timestamp};
use firesteel_testkit::cifar::label;
use firesteel_testkit::{SOON, wait_until};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Message};
use std::time::Duration;

fn image(sequence: u64, data: Vec<u8>) -> ImageRecord {
    ImageRecord {
        id: ImageId { producer: ProducerId(1), sequence: Sequence(sequence) },
        produced_at: Timestamp(1_000),
        label: Some(label("cat")),
        encoding: Encoding::Jpeg,
        data: data.into(),
    }
}

async fn publish(world: &World, images: &[ImageRecord]) {
    let encoded: Vec<Vec<u8>> = images.iter().map(ImageRecord::encode).collect();
    world
        .publish(&world.images, encoded.iter().map(|value| (&b"00000001"[..], Some(value.as_slice()))))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_the_server_fails_at_is_given_up_and_the_others_go_on() {
    for fault in [Fault::Silence, Fault::End] {
        let Some(world) = World::new("gave-up") else { return };
        let server = FakeInference::start(0).await;
        let bad = image(7, vec![77]);
        server.fail_at(&bad.data, fault);
        let config = images::Config {
            partitions: 1,
            max_attempts: 3,
            deadline: Duration::from_millis(300),
            ..world.image_consumer(&server.url)
        };
        let consumer = Running::images(config);
        let images: Vec<_> =
            (0..50).map(|n| if n == 7 { bad.clone() } else { image(n, vec![n as u8]) }).collect();
        publish(&world, &images).await;
        // The others were answered before, and one of them is asked about again.
        wait_until("all are done and committed", SOON, async || consumer.stats.snapshot().committed == 50)
            .await;
        let stats = consumer.stats.snapshot();
        assert_eq!((stats.succeeded, stats.dead_lettered), (49, 1), "{fault:?}");
        consumer.stop().await;
        let letters = topic::read(&world.kafka, &dead_letter_topic(&world.images)).await;
        assert_eq!(letters.len(), 1);
        assert_eq!(["error.class", "error.attempts"].map(|key| header(&letters[0], key)), ["gave-up", "3"]);
        assert_eq!(letters[0].payload(), Some(&bad.encode()[..]), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_at_every_image_is_waited_for() {
    let Some(world) = World::new("all-fail") else { return };
    let server = FakeInference::start(0).await;
    let data = vec![5];
    let config = images::Config { partitions: 1, max_attempts: 2, ..world.image_consumer(&server.url) };
    let consumer = Running::images(config);
    publish(&world, &[image(0, data.clone())]).await;
    wait_until("one is known to be fine", SOON, async || consumer.stats.snapshot().succeeded == 1).await;
    server.fail_at(&data, Fault::End);
    publish(&world, &(1..20).map(|n| image(n, data.clone())).collect::<Vec<_>>()).await;
    wait_until("each was tried often", SOON, async || server.faults() > 200).await;
    assert_eq!(consumer.stats.snapshot().dead_lettered, 0);
    server.mend();
    wait_until("all are done", SOON, async || consumer.stats.snapshot().succeeded == 20).await;
    assert_eq!(consumer.stats.snapshot().dead_lettered, 0);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_stuck_holds_no_more_than_a_window_of_others() {
    let Some(world) = World::new("window") else { return };
    let server = FakeInference::start(0).await;
    let bad = image(0, vec![77]);
    server.fail_at(&bad.data, Fault::Silence);
    let config = images::Config {
        partitions: 1,
        max_in_flight: 4,
        deadline: Duration::from_secs(1),
        max_attempts: 1_000,
        ..world.image_consumer(&server.url)
    };
    let consumer = Running::images(config);
    publish(&world, &std::iter::once(bad).chain((1..1_000).map(|n| image(n, vec![1]))).collect::<Vec<_>>())
        .await;
    // Sixteen times those that may be in flight are held, and few that slip through while the partition is being paused. The
    // deadline of the stuck one gives time for all the others.
    wait_until("it was asked about again", SOON, async || server.faults() >= 2).await;
    let stats = consumer.stats.snapshot();
    assert!((60..100).contains(&stats.succeeded) && stats.committed == 0, "{stats:?}");
    server.mend();
    wait_until("all are done", SOON, async || consumer.stats.snapshot().committed == 1_000).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_that_its_topic_does_not_take_is_a_dead_letter() {
    let Some(world) = World::new("refused-topic") else { return };
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &world.kafka.bootstrap)
        .create()
        .expect("an admin client");
    let topic =
        NewTopic::new(&world.predictions, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "64");
    admin.create_topics([&topic], &AdminOptions::new()).await.expect("an answer")[0]
        .as_ref()
        .expect("a topic");
    let server = FakeInference::start(0).await;
    let consumer = Running::images(images::Config { partitions: 1, ..world.image_consumer(&server.url) });
    publish(&world, &[image(0, vec![1])]).await;
    wait_until("it is given up", SOON, async || consumer.stats.snapshot().committed == 1).await;
    consumer.stop().await;
    let letters = topic::read(&world.kafka, &dead_letter_topic(&world.images)).await;
    assert_eq!(header(&letters[0], "error.class"), "refused-by-topic");
    let ends = watermarks(&world.kafka, &world.predictions).await.expect("a topic");
    assert_eq!(ends[&0].1, 0);
}
