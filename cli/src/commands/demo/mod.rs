//! `firesteel demo`: the whole job in one process, with its own producers.
//!
//! Producers → Kafka → image consumer → inference server → Kafka → prediction consumer → MongoDB, each the same
//! component that the role of that name runs, then the report. The consumers get groups of this run, placed at the
//! ends of the topics before the first image is sent, so that records of earlier runs are not read again; the
//! report is filtered to the producers of this run. In every case all components are joined at the end and the
//! groups are removed.

mod flow;

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use firesteel_engine::Config;
use firesteel_engine::report::Report;
use firesteel_proto::ProducerId;

use self::flow::{Arrived, Flow};
use super::report;
use crate::args::{InferenceArgs, KafkaArgs, LoadArgs, MongoArgs};
use crate::context::{Context, Outcome};
use crate::output::{self, Format};

/// How much is published, which model classifies it, and which servers are used.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Also writes the report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: InferenceArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
}

pub(crate) async fn run(args: DemoArgs, context: Context) -> anyhow::Result<Outcome> {
    if let Some(path) = &args.report {
        output::check_writable(path, "--report")?;
    }
    let dataset = args.load.open().await?;
    let mut flow = Flow::new(&args, &dataset)?;
    let shutdown = context.signals.shutdown.clone();
    let driven = tokio::select! {
        driven = flow.drive(&args, &context) => driven,
        () = shutdown.cancelled() => Ok(None),
    };
    flow.stop().await;
    let Some(arrived) = driven? else {
        eprintln!("interrupted: {}; nothing is left running", flow.position());
        return Ok(Outcome::Interrupted);
    };

    let config = Config { kafka: args.kafka.config()?, topics: args.kafka.topics(), ..args.mongo.engine() };
    let job = report::make(config, &flow.producers);
    let report = tokio::select! {
        report = job => report?,
        () = shutdown.cancelled() => return Ok(Outcome::Interrupted),
    };
    output::print(&output::render(&report, Format::Table)?)?;
    if let Some(path) = &args.report {
        output::save(&report, path)?;
    }
    verify(&report, &arrived)?;
    where_next(&args, &flow.producers);
    Ok(Outcome::Done)
}

/// Checks that every acknowledged image is in the report once or is a dead letter.
fn verify(report: &Report, Arrived { summary, dead_letters }: &Arrived) -> anyhow::Result<()> {
    let counted = |id: ProducerId| {
        let id = id.to_string();
        report
            .producers
            .iter()
            .find(|row| row.producer_id == id)
            .map_or(0, |row| row.total_inferences + row.unlabelled)
    };
    let mut missing = 0;
    for share in &summary.producers {
        let counted = counted(share.producer);
        ensure!(
            counted <= share.acknowledged,
            "producer {} has {counted} predictions for {} images: some are counted twice",
            share.producer,
            share.acknowledged
        );
        missing += share.acknowledged - counted;
    }
    ensure!(
        missing <= *dead_letters,
        "{missing} acknowledged images are not in the report, and there are {dead_letters} dead letters"
    );
    if missing > 0 {
        eprintln!("{missing} images are dead letters: their topic's headers say why");
    }
    Ok(())
}

fn where_next(args: &DemoArgs, producers: &[ProducerId]) {
    let program = std::env::args().next().unwrap_or_else(|| "firesteel".to_owned());
    let ids = producers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let database = &args.mongo.mongodb_database;
    eprintln!("\nWhere to look next:");
    for (what, how) in [
        ("these producers again", format!("{program} report --producer {ids}")),
        ("all producers so far", format!("{program} report   (--format json or csv for programs)")),
        ("each role on its own", format!("{program} help")),
        ("the predictions themselves", format!("MongoDB, database {database}, collection predictions")),
        ("Kafka and MongoDB down", "make services-down".to_owned()),
    ] {
        eprintln!("  {what:<28}{how}");
    }
}
