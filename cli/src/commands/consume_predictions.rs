//! `firesteel consume-predictions`: Kafka predictions → MongoDB.

use super::consume;
use crate::args::ConsumePredictionsArgs;
use crate::{Context, Outcome};
use firesteel_pipeline::consumer::{Metrics, Stats, predictions};
use std::sync::Arc;

pub(crate) async fn run(args: ConsumePredictionsArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = predictions::Config {
        kafka: args.kafka.config()?,
        mongo: args.mongo.sink(),
        group: args.group,
        predictions_topic: args.kafka.predictions_topic,
        partitions: args.kafka.kafka_partitions,
        replication: args.kafka.kafka_replication,
        max_in_flight: args.max_in_flight as usize,
        max_batch: args.max_batch as usize,
        ..predictions::Config::default()
    };
    let stats = Arc::new(Stats::default());
    let metrics = Arc::new(Metrics::predictions(&config, Arc::clone(&stats)));
    let consumer = predictions::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    args.health.beside(metrics, Box::pin(consume("consume-predictions", stats, consumer))).await
}
