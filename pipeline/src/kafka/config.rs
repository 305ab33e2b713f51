//! How this process reaches Kafka, and the librdkafka clients made from it.
//!
//! Any librdkafka property may be passed through (SASL, TLS, buffer sizes), except those that the delivery
//! guarantee rests on. Property values may be secrets: they are never printed, neither by `Debug` nor in errors.

use crate::error::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Properties that decide whether an image can be lost; nobody sets them from outside.
const RESERVED: [&str; 11] = [
    "acks",
    "request.required.acks",
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "auto.offset.reset",
    "partition.assignment.strategy",
    "group.protocol",
];

/// How to reach Kafka.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Comma-separated `host:port`.
    pub bootstrap: String,
    /// Further librdkafka properties, such as `security.protocol` or `sasl.password`.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self { bootstrap: "localhost:9092".to_owned(), properties: BTreeMap::new() }
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redacted: BTreeMap<&str, &str> =
            self.properties.keys().map(|name| (name.as_str(), "<redacted>")).collect();
        f.debug_struct("KafkaConfig")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &redacted)
            .finish()
    }
}

impl KafkaConfig {
    /// A configuration with no further properties.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into(), properties: BTreeMap::new() }
    }

    /// The properties every client of `role` shares.
    ///
    /// # Errors
    /// [`Error::KafkaProperty`] for a reserved property.
    pub(crate) fn client(&self, role: &str) -> Result<ClientConfig> {
        self.client_with(role, &[])
    }

    /// The same with further defaults, which the user's properties override like the others.
    fn client_with(&self, role: &str, defaults: &[(&str, &str)]) -> Result<ClientConfig> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", format!("firesteel-{role}"))
            // A topic that is created, or a broker that comes back, is seen soon.
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true");
        for (name, value) in defaults {
            client.set(*name, *value);
        }
        for (name, value) in &self.properties {
            if RESERVED.contains(&name.as_str()) {
                return Err(Error::KafkaProperty {
                    property: name.clone(),
                    reason: "the delivery guarantee, or a setting of its own, decides it".to_owned(),
                });
            }
            client.set(name, value);
        }
        // librdkafka's own lines go through `Context::log`, which keeps them at debug level.
        client.set_log_level(RDKafkaLogLevel::Warning);
        Ok(client)
    }

    /// A producer that acknowledges a record only when every in-sync replica has it, at most once and in order.
    pub(crate) fn producer(&self, role: &str, delivery_timeout: Duration) -> Result<ClientConfig> {
        // The topic's own limit decides; this one only has to be no smaller.
        let mut client = self.client_with(role, &[("message.max.bytes", "67108864")])?;
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", delivery_timeout.as_millis().to_string());
        Ok(client)
    }

    /// A member of consumer group `group` that commits only what it is told to.
    pub(crate) fn consumer(&self, role: &str, group: &str) -> Result<ClientConfig> {
        let defaults = [
            // A member that was killed keeps its partitions for this long.
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "3000"),
            // Prefetched records are memory too: 16 MiB at most, whatever the number of partitions.
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.wait.max.ms", "100"),
        ];
        let mut client = self.client_with(role, &defaults)?;
        client
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // A group with no offset yet starts at the beginning: an image is never skipped.
            .set("auto.offset.reset", "earliest")
            // Members keep the partitions they do not have to give up while others come and go.
            .set("partition.assignment.strategy", "cooperative-sticky");
        Ok(client)
    }
}

/// Turns a failure to make a client into an error that does not repeat the value of a property.
pub(crate) fn client_error(config: &KafkaConfig, source: KafkaError) -> Error {
    match source {
        KafkaError::ClientConfig(_, reason, property, value) => {
            // librdkafka's description quotes the value it did not like.
            let reason = if value.is_empty() { reason } else { reason.replace(&value, "<redacted>") };
            Error::KafkaProperty { property, reason }
        }
        KafkaError::ClientCreation(reason) => {
            let reason = config
                .properties
                .values()
                .filter(|value| value.len() > 3)
                .fold(reason, |text, value| text.replace(value.as_str(), "<redacted>"));
            Error::KafkaClient {
                address: config.bootstrap.clone(),
                source: Box::new(KafkaError::ClientCreation(reason)),
            }
        }
        source => Error::KafkaClient { address: config.bootstrap.clone(), source: Box::new(source) },
    }
}

/// Sends librdkafka's own lines to `tracing`, at debug level: during an outage they repeat without end, and the
/// component that notices the outage says so itself, once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context;

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::producer::FutureProducer;

    fn with(name: &str, value: &str) -> KafkaConfig {
        let mut config = KafkaConfig::new("localhost:1");
        config.properties.insert(name.to_owned(), value.to_owned());
        config
    }

    #[test]
    fn a_secret_is_never_printed() {
        let text = format!("{:?}", with("sasl.password", "hunter2"));
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_bad_property_is_named_without_its_value() {
        let config = with("security.protocol", "hunter2");
        let made: Result<FutureProducer, _> = config.client("test").expect("allowed").create();
        let error = client_error(&config, made.err().expect("refused"));
        let text = crate::error::chain(&error);
        assert!(text.contains("security.protocol") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_default_can_be_overridden() {
        let timeout = |config: KafkaConfig| {
            let client = config.consumer("test", "group").expect("allowed");
            client.get("session.timeout.ms").map(str::to_owned)
        };
        assert_eq!(timeout(KafkaConfig::new("localhost:1")).as_deref(), Some("10000"));
        assert_eq!(timeout(with("session.timeout.ms", "30000")).as_deref(), Some("30000"));
    }

    #[test]
    fn what_the_guarantee_rests_on_cannot_be_set() {
        for name in RESERVED {
            let error = with(name, "0").client("test").expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
