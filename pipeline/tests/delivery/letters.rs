//! Dead letters: counted by producer, and pointers where the record itself is too large to be kept twice.

use crate::topic::{self, header};
use crate::world::{Running, World};
use firesteel_pipeline::kafka::{
    TopicSpec, count_dead_letters, dead_letter_topic, ensure_topics, watermarks,
};
use firesteel_proto::ProducerId;
use firesteel_testkit::{SOON, wait_until};
use rdkafka::Message;
use rdkafka::message::Headers;
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_counted_by_producer_record_and_time() {
    let Some(world) = World::new("letters") else { return };
    let letters = dead_letter_topic(&world.predictions);
    let specs = [&world.predictions, &letters].map(|name| TopicSpec::new(name).with_partitions(4));
    ensure_topics(&world.kafka, "test", &specs).await.expect("topics");
    let (mine, also_mine, other) = (ProducerId(1), ProducerId(2), ProducerId(3));
    let mut published = 0;
    let mut publish = async |producer: ProducerId, count: u64| {
        let key = producer.to_string();
        let values = (0..count).map(|_| (key.as_bytes(), Some(b"broken".as_slice())));
        world.publish(&world.predictions, values).await;
        published += count;
        published
    };
    let count = async |since, producers: &[ProducerId]| {
        count_dead_letters(&world.kafka, &world.predictions, since, producers).await.expect("counted")
    };
    let start = watermarks(&world.kafka, &letters).await.expect("the topic");
    assert_eq!(count(&start, &[mine]).await, 0, "of none, none");

    let consumer = Running::predictions(world.prediction_consumer());
    publish(mine, 3).await;
    let all = publish(other, 5).await;
    let dead = || consumer.stats.snapshot().dead_lettered;
    wait_until("all are dead letters", SOON, async || dead() == all).await;
    assert_eq!(count(&start, &[mine]).await, 3);
    assert_eq!(count(&start, &[mine, other]).await, 8);
    assert_eq!(count(&start, &[also_mine]).await, 0);

    let later = watermarks(&world.kafka, &letters).await.expect("the topic");
    publish(mine, 2).await;
    let all = publish(also_mine, 4).await;
    wait_until("the later ones too", SOON, async || dead() == all).await;
    assert_eq!(count(&later, &[mine, also_mine]).await, 6);
    assert_eq!(count(&start, &[mine, also_mine]).await, 9);
    consumer.stop().await;

    // Whoever reads them again, from the beginning, makes second letters of the same records.
    let mut again = world.prediction_consumer();
    again.group.push_str("-again");
    let second = Running::predictions(again);
    wait_until("second letters", SOON, async || second.stats.snapshot().dead_lettered == all).await;
    second.stop().await;
    assert_eq!(count(&start, &[mine, also_mine]).await, 9);
    assert_eq!(topic::read(&world.kafka, &letters).await.len() as u64, 2 * all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_too_large_becomes_a_pointer_to_the_record() {
    let Some(world) = World::new("pointer") else { return };
    let spec = TopicSpec::new(&world.predictions).with_partitions(1);
    ensure_topics(&world.kafka, "test", &[spec]).await.expect("a topic");
    // Both fit into the topic, with less to spare (of 1048588 bytes) than the headers of a letter need.
    let (value, key) = (vec![0_u8; 1_048_400], vec![b'k'; 1_048_400]);
    let records: [(&[u8], Option<&[u8]>); 2] = [(b"k", Some(&value)), (&key, Some(b"broken"))];
    world.publish(&world.predictions, records).await;
    let consumer = Running::predictions(world.prediction_consumer());
    wait_until("both are done", SOON, async || consumer.stats.snapshot().dead_lettered == 2).await;
    consumer.stop().await;

    let letters = topic::read(&world.kafka, &dead_letter_topic(&world.predictions)).await;
    let pointers: BTreeMap<String, _> = letters
        .iter()
        .map(|letter| (header(letter, "source.offset"), (letter.key(), letter.payload().map(<[u8]>::len))))
        .collect();
    let expected = [("0".to_owned(), (None, Some(256 * 1024))), ("1".to_owned(), (None, Some(6)))];
    assert_eq!(pointers, BTreeMap::from(expected));
    for letter in &letters {
        let size = if header(letter, "source.offset") == "0" { "1048400" } else { "6" };
        assert_eq!(header(letter, "source.size"), size);
        assert_eq!(letter.headers().expect("headers").count(), 6, "nothing but our own");
    }
}
