//! `firesteel consume-images`: Kafka images → inference → Kafka predictions.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use firesteel_pipeline::consumer::{Metrics, Stats, images};

use crate::args::{ClientSecurityArgs, ConsumerArgs, HealthListenArgs, KafkaArgs, size};
use crate::context::{Context, Outcome};
use crate::role::consume;

/// Which consumer of which servers.
#[derive(Debug, Args)]
pub(crate) struct ConsumeImagesArgs {
    /// The inference server's address
    #[arg(
        long,
        value_name = "URL",
        env = "FIRESTEEL_INFERENCE_URL",
        default_value = "http://localhost:50060",
        help_heading = "Inference"
    )]
    pub(crate) inference_url: String,
    /// The model that images are for, by any of the server's names for it: NAME, NAME@VERSION, NAME/PRECISION. A record's header
    /// firesteel-model goes before it. A topic for another model has a consumer of its own [default: the server chooses]
    #[arg(long = "model", value_name = "NAME", env = "FIRESTEEL_IMAGES_MODEL", help_heading = "Inference",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) asked_model: Option<String>,
    /// The consumer group
    #[arg(
        long,
        value_name = "GROUP",
        env = "FIRESTEEL_IMAGES_GROUP",
        default_value = "firesteel-images",
        help_heading = "Consumer"
    )]
    pub(crate) group: String,
    /// How many images may be between Kafka's poll and the acknowledged prediction
    #[arg(long, value_name = "N", env = "FIRESTEEL_IMAGES_IN_FLIGHT", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Consumer")]
    pub(crate) max_in_flight: u32,
    /// How many bytes one image may have, as a file; a larger one becomes a dead letter
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_MAX_IMAGE_SIZE", default_value = "16MiB", value_parser = size,
          help_heading = "Consumer")]
    pub(crate) max_image_size: usize,
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
    /// How often an image that has the inference server fail, while others are answered, or whose header names a model that there is
    /// not, is tried before it becomes a dead letter
    #[arg(long, value_name = "N", env = "FIRESTEEL_IMAGES_MAX_ATTEMPTS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Consumer")]
    pub(crate) max_attempts: u32,
    /// How long the inference server may take for one image while it answers others, in seconds
    #[arg(long, value_name = "SECONDS", env = "FIRESTEEL_IMAGES_DEADLINE", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..=3600), help_heading = "Consumer")]
    pub(crate) deadline: u32,
    #[command(flatten)]
    pub(crate) security: ClientSecurityArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) health: HealthListenArgs,
}

pub(crate) async fn run(args: ConsumeImagesArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = images::Config {
        inference_url: args.inference_url,
        model: args.asked_model,
        dialer: args.security.dialer()?,
        group: args.group,
        max_in_flight: args.max_in_flight as usize,
        max_in_flight_bytes: args.consumer.max_in_flight_bytes,
        max_image_bytes: args.max_image_size,
        max_attempts: args.max_attempts,
        deadline: Duration::from_secs(u64::from(args.deadline)),
        on_data_loss: args.consumer.on_data_loss(),
        ..args.kafka.images_consumer()?
    };
    let stats = Arc::new(Stats::default());
    let metrics = Arc::new(Metrics::images(&config, Arc::clone(&stats)));
    let consumer = images::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    args.health.beside(metrics, Box::pin(consume("consume-images", stats, consumer))).await
}
