//! Reads a whole topic, outside any group.

use firesteel_pipeline::kafka::{KafkaConfig, watermarks};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Every record of `topic` up to its present end.
pub(crate) async fn read(kafka: &KafkaConfig, topic: &str) -> Vec<OwnedMessage> {
    let ends = watermarks(kafka, topic).await.expect("the topic");
    let (bootstrap, topic) = (kafka.bootstrap.clone(), topic.to_owned());
    let reading = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "unused")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a consumer");
        let mut open: BTreeMap<i32, i64> =
            ends.iter().filter(|(_, (low, high))| low < high).map(|(p, (_, high))| (*p, *high)).collect();
        let mut list = TopicPartitionList::new();
        for partition in open.keys() {
            list.add_partition_offset(&topic, *partition, Offset::Beginning).expect("a partition");
        }
        consumer.assign(&list).expect("assigned");
        let (mut messages, end) = (Vec::new(), Instant::now() + firesteel_testkit::SOON);
        while !open.is_empty() {
            assert!(Instant::now() < end, "{topic}: {open:?} not read");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    if open.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
                        open.remove(&message.partition());
                    }
                    messages.push(message.detach());
                }
                // The last offset may be the end of a transaction, which is no record.
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
                Some(Err(_)) | None => {}
            }
        }
        messages
    });
    reading.await.expect("read")
}

/// A header's text.
pub(crate) fn header(message: &OwnedMessage, key: &str) -> String {
    let headers = message.headers().expect("headers");
    let value = headers.iter().find(|header| header.key == key).and_then(|header| header.value).expect(key);
    String::from_utf8(value.to_vec()).expect("text")
}
