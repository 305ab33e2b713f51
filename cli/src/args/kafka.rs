//! The arguments for Kafka: brokers, properties of the clients and topics, and the configurations made of them.

use anyhow::bail;
use clap::Args;
use firesteel_common::kafka::CA_LOCATION;
use firesteel_engine::KafkaTopics;
use firesteel_pipeline::consumer::{images, predictions};
use firesteel_pipeline::kafka::KafkaConfig;
use firesteel_pipeline::sink::MongoConfig;

/// Which brokers and topics.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct KafkaArgs {
    /// Kafka's address, or several with commas in between
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "FIRESTEEL_KAFKA_BOOTSTRAP",
        default_value = "localhost:9092"
    )]
    pub(crate) kafka_bootstrap: String,
    /// A librdkafka property, for TLS and SASL; may be given several times. Passwords: by the environment
    /// (one property a line) or the settings file (table [kafka.properties]) only
    #[arg(
        long = "kafka-property",
        value_name = "NAME=VALUE",
        env = "FIRESTEEL_KAFKA_PROPERTIES",
        hide_env_values = true
    )]
    pub(crate) kafka_properties: Vec<String>,
    /// The topic of the images; what can never be classified goes to this name with .dead-letter behind it
    #[arg(long, value_name = "TOPIC", env = "FIRESTEEL_IMAGES_TOPIC", default_value = "images")]
    pub(crate) images_topic: String,
    /// The topic of the predictions; its dead letters likewise
    #[arg(long, value_name = "TOPIC", env = "FIRESTEEL_PREDICTIONS_TOPIC", default_value = "predictions")]
    pub(crate) predictions_topic: String,
    /// Partitions of a topic that has to be created: as many consumers can share it
    #[arg(long, value_name = "N", env = "FIRESTEEL_KAFKA_PARTITIONS", default_value_t = 8,
          value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub(crate) kafka_partitions: i32,
    /// Replicas of a topic that has to be created; -1 leaves it to the brokers
    #[arg(long, value_name = "N", env = "FIRESTEEL_KAFKA_REPLICATION", default_value_t = -1,
          allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..=100))]
    pub(crate) kafka_replication: i32,
}

impl KafkaArgs {
    /// The brokers and the properties of their clients.
    pub(crate) fn config(&self) -> anyhow::Result<KafkaConfig> {
        let mut config = KafkaConfig::new(self.kafka_bootstrap.clone());
        for text in &self.kafka_properties {
            config.properties.extend(properties(text)?);
        }
        // As OpenSSL itself does it, which the image relies on: a file of certificates instead of the usual places.
        if let Some(file) = std::env::var("SSL_CERT_FILE").ok().filter(|file| !file.is_empty())
            && config.wants_system_certificates()
        {
            config.properties.insert(CA_LOCATION, file);
        }
        Ok(config)
    }

    /// The topics behind the engine's tables of Kafka.
    pub(crate) fn topics(&self) -> KafkaTopics {
        KafkaTopics { images: self.images_topic.clone(), predictions: self.predictions_topic.clone() }
    }

    /// The configuration of the image consumer; what is not about Kafka has its default.
    pub(crate) fn images_consumer(&self) -> anyhow::Result<images::Config> {
        Ok(images::Config {
            kafka: self.config()?,
            images_topic: self.images_topic.clone(),
            predictions_topic: self.predictions_topic.clone(),
            partitions: self.kafka_partitions,
            replication: self.kafka_replication,
            ..images::Config::default()
        })
    }

    /// The configuration of the prediction consumer, which writes to `mongo`; the rest has its default.
    pub(crate) fn predictions_consumer(&self, mongo: MongoConfig) -> anyhow::Result<predictions::Config> {
        Ok(predictions::Config {
            kafka: self.config()?,
            mongo,
            predictions_topic: self.predictions_topic.clone(),
            partitions: self.kafka_partitions,
            replication: self.kafka_replication,
            ..predictions::Config::default()
        })
    }
}

/// Reads properties, one per line. A line that does not begin a property continues the value before it, as in a PEM.
fn properties(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    // librdkafka's names that can matter here all have a dot, and base64 has none.
    let is_name = |name: &str| {
        name.contains('.') && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_'))
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.split_once('='), pairs.last_mut()) {
            (Some((name, value)), _) if is_name(name.trim()) => {
                pairs.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            (_, Some((_, value))) => {
                value.push('\n');
                value.push_str(line);
            }
            (_, None) if line.trim().is_empty() => {}
            // The line itself is not shown: half of a password is still a secret.
            (_, None) => bail!(
                "FIRESTEEL_KAFKA_PROPERTIES (--kafka-property): expected NAME=VALUE with a librdkafka name such as \
                 security.protocol"
            ),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::properties;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn properties_keep_commas_equals_signs_and_lines() {
        let text =
            "security.protocol = SASL_SSL\nsasl.password=a,b=c\nssl.ca.pem=-----BEGIN\nQUJD==\n-----END";
        let expected = [
            pair("security.protocol", "SASL_SSL"),
            pair("sasl.password", "a,b=c"),
            pair("ssl.ca.pem", "-----BEGIN\nQUJD==\n-----END"),
        ];
        assert_eq!(properties(text).expect("pairs"), expected);
        assert_eq!(properties("").expect("nothing"), []);
    }

    #[test]
    fn what_is_no_property_is_not_repeated() {
        let error = properties("hunter2").expect_err("no pair").to_string();
        assert!(error.contains("FIRESTEEL_KAFKA_PROPERTIES") && !error.contains("hunter2"), "{error}");
    }
}
