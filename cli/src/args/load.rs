//! The arguments of producers: how many, how fast, from which data set.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::{Error, producer};

use super::dataset::{DatasetArgs, tell_notes};
use super::kafka::KafkaArgs;

/// Images of each producer, of the data set inside this binary.
const IMAGES: u64 = 1_000;

/// How much is published.
#[derive(Debug, Args)]
#[command(next_help_heading = "Producers")]
pub(crate) struct LoadArgs {
    /// How many producers publish side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) producers: u32,
    /// Images per producer, starting anew at the end of the data set [default: 1000; with --dataset each image once, shared among
    /// the producers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) images: Option<u64>,
    /// Images per second and producer; 0 = as fast as possible
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) dataset: DatasetArgs,
}

impl LoadArgs {
    /// Opens the data set, and tells what of it is not sent.
    pub(crate) async fn open(&self) -> anyhow::Result<Arc<Dataset>> {
        let options = self.dataset.options();
        let opened = tokio::task::spawn_blocking(move || Dataset::open(&options)).await;
        let dataset = opened.context("opening the data set died")?.map_err(Error::from)?;
        tell_notes(&dataset);
        Ok(Arc::new(dataset))
    }

    /// The configuration of producers that publish a data set to the images' topic of `kafka`.
    pub(crate) fn config(
        &self,
        kafka: &KafkaArgs,
        dataset: &Arc<Dataset>,
    ) -> anyhow::Result<producer::Config> {
        let usual = self.dataset.dataset.is_none().then_some(IMAGES);
        Ok(producer::Config {
            kafka: kafka.config()?,
            topic: kafka.images_topic.clone(),
            partitions: kafka.kafka_partitions,
            replication: kafka.kafka_replication,
            producers: self.producers as usize,
            images: self.images.or(usual),
            rate: self.rate,
            dataset: Some(Arc::clone(dataset)),
            max_image_bytes: self.dataset.max_image_size,
            skip_unreadable: self.dataset.skip_unreadable,
            ..producer::Config::default()
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("expected images per second, 0 or more".to_owned()),
    }
}
