//! One file a subcommand: from arguments to configurations, to a component's `run`, to an outcome.

pub(crate) mod consume_images;
pub(crate) mod consume_predictions;
pub(crate) mod demo;
pub(crate) mod evaluate;
pub(crate) mod executor;
pub(crate) mod health;
pub(crate) mod inference_server;
pub(crate) mod produce;
pub(crate) mod report;
pub(crate) mod scheduler;
pub(crate) mod seed;
pub(crate) mod sql;

use crate::Outcome;
use crate::args::{HealthArgs, KafkaArgs, ModelArgs, MongoArgs};
use anyhow::bail;
use firesteel_engine::KafkaConnection;
use firesteel_pipeline::consumer::Stats;
use firesteel_pipeline::health::{Server, Watched};
use firesteel_pipeline::inference;
use firesteel_pipeline::kafka::KafkaConfig;
use firesteel_pipeline::sink::MongoConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a long-running role says what it has done.
const SUMMARY_EVERY: Duration = Duration::from_secs(30);

impl KafkaArgs {
    fn config(&self) -> anyhow::Result<KafkaConfig> {
        let mut config = KafkaConfig::new(self.kafka_bootstrap.clone());
        for text in &self.kafka_properties {
            config.properties.extend(properties(text)?);
        }
        Ok(config)
    }

    /// The engine's connection for the tables of Kafka.
    pub(crate) fn connection(&self) -> anyhow::Result<KafkaConnection> {
        let KafkaConfig { bootstrap, properties } = self.config()?;
        Ok(KafkaConnection {
            bootstrap,
            properties,
            images_topic: self.images_topic.clone(),
            predictions_topic: self.predictions_topic.clone(),
        })
    }
}

/// Reads properties, one a line. A line that does not begin one goes on with the value before it, as in a PEM.
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

impl MongoArgs {
    pub(crate) fn sink(&self) -> MongoConfig {
        MongoConfig {
            uri: self.mongodb_uri.clone(),
            database: self.mongodb_database.clone(),
            ..MongoConfig::default()
        }
    }
}

impl ModelArgs {
    fn server(&self) -> inference::Config {
        inference::Config {
            weights: self.choice.weights.clone(),
            precision: self.choice.precision,
            device: self.choice.on.device,
            max_batch: self.max_batch as usize,
            ..inference::Config::default()
        }
    }
}

impl HealthArgs {
    /// Runs a role and, beside it from its first moment to its last, the health server, where one is asked for.
    async fn beside(
        &self,
        watched: Arc<dyn Watched>,
        role: impl Future<Output = anyhow::Result<Outcome>>,
    ) -> anyhow::Result<Outcome> {
        let Some(listen) = self.health_listen else { return role.await };
        let server = Server::bind(listen).await?;
        tracing::info!(address = %server.address(), "health is served");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(watched, stop.clone()));
        let outcome = role.await;
        stop.cancel();
        if let Ok(Err(error)) = serving.await {
            tracing::warn!(%error, "the health server failed");
        }
        outcome
    }
}

/// Runs a consumer, which a signal stops, and says every now and then what it has done.
async fn consume(
    role: &'static str,
    stats: Arc<Stats>,
    consumer: impl Future<Output = firesteel_pipeline::Result<()>>,
) -> anyhow::Result<Outcome> {
    let summaries = async {
        let mut before = stats.snapshot();
        loop {
            tokio::time::sleep(SUMMARY_EVERY).await;
            let now = stats.snapshot();
            if now != before {
                let (succeeded, dead_lettered, in_flight) = (now.succeeded, now.dead_lettered, now.in_flight);
                tracing::info!(role, succeeded, dead_lettered, in_flight, "so far");
            }
            before = now;
        }
    };
    tokio::select! {
        result = consumer => result?,
        () = summaries => {}
    }
    let total = stats.snapshot();
    tracing::info!(role, succeeded = total.succeeded, dead_lettered = total.dead_lettered, "stopped");
    Ok(Outcome::Done)
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
