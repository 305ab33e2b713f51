//! `firesteel consume-predictions`: Kafka predictions → MongoDB.

use std::sync::Arc;

use clap::Args;
use firesteel_pipeline::consumer::{Metrics, Stats, predictions};

use crate::args::{ConsumerArgs, HealthListenArgs, KafkaArgs, MongoArgs};
use crate::context::{Context, Outcome};
use crate::role::consume;

/// Which consumer of which servers.
#[derive(Debug, Args)]
pub(crate) struct ConsumePredictionsArgs {
    /// The consumer group
    #[arg(
        long,
        value_name = "GROUP",
        env = "FIRESTEEL_PREDICTIONS_GROUP",
        default_value = "firesteel-predictions",
        help_heading = "Consumer"
    )]
    pub(crate) group: String,
    /// How many predictions may be between Kafka's poll and the acknowledged write
    #[arg(long, value_name = "N", env = "FIRESTEEL_PREDICTIONS_IN_FLIGHT", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Consumer")]
    pub(crate) max_in_flight: u32,
    /// The largest bulk write
    #[arg(long, value_name = "N", env = "FIRESTEEL_MONGODB_BATCH", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Consumer")]
    pub(crate) max_batch: u32,
    #[command(flatten)]
    pub(crate) consumer: ConsumerArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
    #[command(flatten)]
    pub(crate) health: HealthListenArgs,
}

pub(crate) async fn run(args: ConsumePredictionsArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = predictions::Config {
        group: args.group,
        max_in_flight: args.max_in_flight as usize,
        max_in_flight_bytes: args.consumer.max_in_flight_bytes,
        on_data_loss: args.consumer.on_data_loss(),
        max_batch: args.max_batch as usize,
        ..args.kafka.predictions_consumer(args.mongo.sink())?
    };
    let stats = Arc::new(Stats::default());
    let metrics = Arc::new(Metrics::predictions(&config, Arc::clone(&stats)));
    let consumer = predictions::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    args.health.beside(metrics, Box::pin(consume("consume-predictions", stats, consumer))).await
}
