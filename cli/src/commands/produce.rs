//! `firesteel produce`: the images of a data set → Kafka.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use firesteel_pipeline::producer::{self, Share, Stats};
use firesteel_proto::ProducerId;

use crate::args::{KafkaArgs, LoadArgs};
use crate::context::{Context, Outcome};
use crate::output;
use crate::progress::Progress;

/// What is published, and where.
#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// The model that the images are for, by any of the inference server's names for it: it becomes the records' header
    /// firesteel-model [default: the consumer or the server chooses]
    #[arg(long = "model", value_name = "NAME", help_heading = "Producers",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) asked_model: Option<String>,
    /// Appends the id of each image that Kafka acknowledged, one a line
    #[arg(long, value_name = "FILE", help_heading = "Producers")]
    pub(crate) ledger: Option<PathBuf>,
    /// Lasting ids, one for each producer, with commas in between: 32 hexadecimal digits, or 8. A producer that is started again
    /// with its id and its ledger goes on behind what was acknowledged, to the same number of images. An id belongs to one
    /// ledger. Without this, each run has new ids
    #[arg(
        long = "producer-id",
        value_name = "ID",
        env = "FIRESTEEL_PRODUCER_ID",
        value_delimiter = ',',
        requires = "ledger",
        conflicts_with = "producers",
        help_heading = "Producers"
    )]
    pub(crate) producer_ids: Vec<ProducerId>,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

pub(crate) async fn run(args: ProduceArgs, context: Context) -> anyhow::Result<Outcome> {
    let ids = args.producer_ids;
    let dataset = args.load.open().await?;
    let config = args.load.config(&args.kafka, &dataset)?;
    let mut config = producer::Config { ledger: args.ledger, model: args.asked_model, ..config };
    if !ids.is_empty() {
        config = producer::Config { producers: ids.len(), ids, resume: true, ..config };
    }
    let total = config.total();
    let stats = Arc::new(Stats::default());
    let work = producer::run(config, Arc::clone(&stats), context.signals.shutdown.clone());
    let progress = Progress::new(&context.bars, &[("produced", total)]);
    let summary = progress.follow(work, || [stats.acknowledged.load(Ordering::Relaxed)]).await?;
    let line = |share: &Share| {
        let earlier = match share.resumed {
            0 => String::new(),
            resumed => format!(", {resumed} of them in earlier runs"),
        };
        let skipped = match share.skipped {
            0 => String::new(),
            skipped => format!(", {skipped} passed over"),
        };
        format!("{} {} images acknowledged{earlier}{skipped}\n", share.producer, share.acknowledged)
    };
    output::print(&summary.producers.iter().map(line).collect::<String>())?;
    Ok(if summary.acknowledged() + summary.skipped() == total { Outcome::Done } else { Outcome::Interrupted })
}
