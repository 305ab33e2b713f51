//! `firesteel produce`: CIFAR-10 images → Kafka.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use firesteel_pipeline::producer::{self, Share, Stats};

use crate::args::{KafkaArgs, LoadArgs};
use crate::context::{Context, Outcome};
use crate::output;
use crate::progress::Progress;

/// What is published, and where.
#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Appends the id of each image that Kafka acknowledged, one a line
    #[arg(long, value_name = "FILE", help_heading = "Producers")]
    pub(crate) ledger: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

pub(crate) async fn run(args: ProduceArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = producer::Config { ledger: args.ledger, ..args.load.config(&args.kafka)? };
    let total = args.load.total();
    let stats = Arc::new(Stats::default());
    let work = producer::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    let progress = Progress::new(&context.bars, &[("produced", total)]);
    let summary = progress.follow(work, || [stats.acknowledged.load(Ordering::Relaxed)]).await?;
    let line = |share: &Share| format!("{} {} images acknowledged\n", share.producer, share.acknowledged);
    output::print(&summary.producers.iter().map(line).collect::<String>())?;
    Ok(if summary.acknowledged() == total { Outcome::Done } else { Outcome::Interrupted })
}
