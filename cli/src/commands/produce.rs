//! `firesteel produce`: CIFAR-10 images → Kafka.

use crate::args::ProduceArgs;
use crate::progress::Progress;
use crate::{Context, Outcome, output};
use firesteel_pipeline::producer::{self, Share, Stats};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) async fn run(args: ProduceArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = producer::Config {
        kafka: args.kafka.config()?,
        topic: args.kafka.images_topic.clone(),
        partitions: args.kafka.kafka_partitions,
        replication: args.kafka.kafka_replication,
        producers: args.load.producers as usize,
        images: args.load.images,
        rate: args.load.rate,
        dataset: args.load.dataset,
        ledger: args.ledger,
        ..producer::Config::default()
    };
    let total = config.images.saturating_mul(u64::from(args.load.producers));
    let stats = Arc::new(Stats::default());
    let work = producer::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    tokio::pin!(work);
    let mut progress = Progress::new(&context.bars, &[("produced", total)]);
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = ticks.tick() => progress.update(&[stats.acknowledged.load(Ordering::Relaxed)]),
        }
    };
    progress.update(&[stats.acknowledged.load(Ordering::Relaxed)]);
    progress.finish();
    let summary = result?;
    let line = |share: &Share| format!("{} {} images acknowledged\n", share.producer, share.acknowledged);
    output::print(&summary.producers.iter().map(line).collect::<String>())?;
    Ok(if summary.acknowledged() == total { Outcome::Done } else { Outcome::Interrupted })
}
