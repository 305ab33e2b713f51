//! The librdkafka clients of the pipeline, made from the one configuration that all clients share.
//!
//! Any librdkafka property may be passed through, except those that the delivery guarantee rests on.

use crate::error::{Error, Result};
use firesteel_common::kafka::{ClientError, KafkaConfig};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use std::time::Duration;

/// Properties that decide whether an image can be lost, besides those that every client reserves.
const RESERVED: [&str; 7] = [
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "max.in.flight.requests.per.connection",
    "max.in.flight",
    "transactional.id",
    "isolation.level",
];

/// The properties that every client of `role` shares.
///
/// # Errors
/// [`Error::KafkaProperty`] for a reserved property.
pub(crate) fn client(config: &KafkaConfig, role: &str) -> Result<ClientConfig> {
    client_with(config, role, &[])
}

/// The properties of [`client`] with further defaults, which the user's properties override.
fn client_with(config: &KafkaConfig, role: &str, defaults: &[(&str, &str)]) -> Result<ClientConfig> {
    // A topic that is created is seen soon.
    let refresh = [("topic.metadata.refresh.interval.ms", "30000")];
    let defaults = [&refresh[..], defaults].concat();
    config.client(&format!("firesteel-{role}"), &defaults, &RESERVED).map_err(|reserved| {
        Error::KafkaProperty {
            property: reserved.name,
            reason: reserved
                .danger
                .unwrap_or("the delivery guarantee, or a setting of its own, decides it")
                .to_owned(),
        }
    })
}

/// A producer that acknowledges a record only when every in-sync replica has it, at most once and in order.
pub(crate) fn producer(config: &KafkaConfig, role: &str, delivery_timeout: Duration) -> Result<ClientConfig> {
    // The topic's own limit decides; this one only has to be no smaller.
    let defaults = [
        ("message.max.bytes", "67108864"),
        // Records that wait for their acknowledgement, in KiB: who sends more waits, too.
        ("queue.buffering.max.kbytes", "65536"),
    ];
    let mut client = client_with(config, role, &defaults)?;
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // With more than one request under way the first one of a client can be refused while a leader is without its replicas,
        // and the second one be taken, because a broker takes any number from a client that it does not know yet. librdkafka
        // then holds the first one for acknowledged, too: a record that nobody has. (Found by killed brokers, see docs/chaos.md.)
        .set("max.in.flight.requests.per.connection", "1")
        .set("message.timeout.ms", delivery_timeout.as_millis().to_string());
    Ok(client)
}

/// A member of consumer group `group` that commits only the offsets it is given.
pub(crate) fn consumer(config: &KafkaConfig, role: &str, group: &str) -> Result<ClientConfig> {
    let defaults = [
        // A member that was killed keeps its partitions for this long, and one that starts in its place waits for them: the
        // shortest time that brokers allow unless told otherwise.
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "2000"),
        // Prefetched records are memory too: 16 MiB at most, whatever the number of partitions.
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.wait.max.ms", "100"),
        // One answer of a broker is in memory beside them.
        ("fetch.max.bytes", "16777216"),
    ];
    let mut client = client_with(config, role, &defaults)?;
    client
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A group with no offset yet starts at the beginning: an image is never skipped.
        .set("auto.offset.reset", "earliest")
        // What a replay that was killed has left open, or had to undo, was never written.
        .set("isolation.level", "read_committed")
        // Members keep the partitions they do not have to give up while others come and go.
        .set("partition.assignment.strategy", "cooperative-sticky");
    Ok(client)
}

/// Turns a failure to make a client into an error that does not repeat the value of a property.
pub(crate) fn client_error(config: &KafkaConfig, source: KafkaError) -> Error {
    match config.client_error(source) {
        ClientError::Property { name, reason } => Error::KafkaProperty { property: name, reason },
        ClientError::Other(source) => {
            Error::KafkaClient { address: config.bootstrap.clone(), source: Box::new(source) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::producer::FutureProducer;

    fn with(name: &str, value: &str) -> KafkaConfig {
        let mut config = KafkaConfig::new("localhost:1");
        config.properties.insert(name, value);
        config
    }

    #[test]
    fn a_bad_property_is_named_without_its_value() {
        let config = with("security.protocol", "hunter2");
        let made: Result<FutureProducer, _> = client(&config, "test").expect("allowed").create();
        let error = client_error(&config, made.err().expect("refused"));
        let text = crate::error::chain(&error);
        assert!(text.contains("security.protocol") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_default_can_be_overridden() {
        let timeout = |config: KafkaConfig| {
            let client = consumer(&config, "test", "group").expect("allowed");
            client.get("session.timeout.ms").map(str::to_owned)
        };
        assert_eq!(timeout(KafkaConfig::new("localhost:1")).as_deref(), Some("6000"));
        assert_eq!(timeout(with("session.timeout.ms", "30000")).as_deref(), Some("30000"));
    }

    #[test]
    fn a_producer_has_one_request_under_way() {
        let client =
            producer(&KafkaConfig::new("localhost:1"), "test", Duration::from_secs(1)).expect("allowed");
        let guarantee = ["acks", "enable.idempotence", "max.in.flight.requests.per.connection"];
        assert_eq!(guarantee.map(|name| client.get(name)), [Some("all"), Some("true"), Some("1")]);
    }

    #[test]
    fn what_the_guarantee_rests_on_cannot_be_set() {
        for name in RESERVED.iter().chain(&firesteel_common::kafka::RESERVED) {
            let error = client(&with(name, "0"), "test").expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
