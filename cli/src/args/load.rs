//! The arguments of producers: how many, how fast, from which data set.

use std::path::PathBuf;

use clap::Args;
use firesteel_pipeline::producer;

use super::kafka::KafkaArgs;

/// How much is published.
#[derive(Debug, Args)]
#[command(next_help_heading = "Producers")]
pub(crate) struct LoadArgs {
    /// How many producers publish side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) producers: u32,
    /// Images per producer
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) images: u64,
    /// Images per second and producer; 0 = as fast as possible
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// A Parquet file with columns `name`, `label`, `class` and `jpeg`; label and class are null where the true class is not
    /// known [default: the CIFAR-10 test set, 10,000 images, inside this binary]
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset: Option<PathBuf>,
}

impl LoadArgs {
    /// The configuration of producers that publish to the images' topic of `kafka`.
    pub(crate) fn config(&self, kafka: &KafkaArgs) -> anyhow::Result<producer::Config> {
        Ok(producer::Config {
            kafka: kafka.config()?,
            topic: kafka.images_topic.clone(),
            partitions: kafka.kafka_partitions,
            replication: kafka.kafka_replication,
            producers: self.producers as usize,
            images: self.images,
            rate: self.rate,
            dataset: self.dataset.clone(),
            ..producer::Config::default()
        })
    }

    /// How many images all producers publish together.
    pub(crate) fn total(&self) -> u64 {
        self.images.saturating_mul(u64::from(self.producers))
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("expected images per second, 0 or more".to_owned()),
    }
}
