//! One file a subcommand: from arguments to configurations, to a component's `run`, to an outcome.

pub(crate) mod consume_images;
pub(crate) mod consume_predictions;
pub(crate) mod demo;
pub(crate) mod inference_server;
pub(crate) mod produce;
pub(crate) mod report;

use crate::Outcome;
use crate::args::{KafkaArgs, ModelArgs, MongoArgs};
use anyhow::bail;
use firesteel_pipeline::consumer::Stats;
use firesteel_pipeline::inference;
use firesteel_pipeline::kafka::KafkaConfig;
use firesteel_pipeline::sink::MongoConfig;
use std::sync::Arc;
use std::time::Duration;

/// How often a long-running role says what it has done.
const SUMMARY_EVERY: Duration = Duration::from_secs(30);

impl KafkaArgs {
    fn config(&self) -> anyhow::Result<KafkaConfig> {
        let mut config = KafkaConfig::new(self.kafka_bootstrap.clone());
        for pair in self.kafka_properties.iter().filter(|pair| !pair.trim().is_empty()) {
            // The pair itself is not shown: half of a password is still a secret.
            let Some((name, value)) = pair.split_once('=') else {
                bail!(
                    "FIRESTEEL_KAFKA_PROPERTIES (--kafka-property): expected NAME=VALUE, found text without `=`"
                );
            };
            config.properties.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        Ok(config)
    }
}

impl MongoArgs {
    fn sink(&self) -> MongoConfig {
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
            weights: self.weights.clone(),
            max_batch: self.max_batch as usize,
            ..inference::Config::default()
        }
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
