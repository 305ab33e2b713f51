//! `firesteel consume-images`: Kafka images → inference → Kafka predictions.

use super::consume;
use crate::args::ConsumeImagesArgs;
use crate::{Context, Outcome};
use firesteel_pipeline::consumer::{Metrics, Stats, images};
use std::sync::Arc;

pub(crate) async fn run(args: ConsumeImagesArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = images::Config {
        kafka: args.kafka.config()?,
        inference_url: args.inference_url,
        group: args.group,
        images_topic: args.kafka.images_topic,
        predictions_topic: args.kafka.predictions_topic,
        partitions: args.kafka.kafka_partitions,
        replication: args.kafka.kafka_replication,
        max_in_flight: args.max_in_flight as usize,
        ..images::Config::default()
    };
    let stats = Arc::new(Stats::default());
    let metrics = Arc::new(Metrics::images(&config, Arc::clone(&stats)));
    let consumer = images::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    args.health.beside(metrics, Box::pin(consume("consume-images", stats, consumer))).await
}
