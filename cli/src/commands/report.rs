//! `firesteel report`: the map / reduce-by-key job over what is in MongoDB.

use std::pin::pin;

use anyhow::bail;
use clap::Args;
use firesteel_engine::{Config, Session, report};
use firesteel_proto::ProducerId;

use crate::args::{FileArgs, MongoArgs, SessionArgs};
use crate::context::{Context, Outcome};
use crate::output::{self, Format};
use crate::tasks::TaskProgress;

/// Which predictions to report on, with which engine.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Report")]
    pub(crate) format: Format,
    /// Only these producers, by their ids of 32, or 8, hexadecimal digits [default: all]
    #[arg(long = "producer", value_name = "ID", value_delimiter = ',', help_heading = "Report")]
    pub(crate) producers: Vec<String>,
    #[command(flatten)]
    pub(crate) engine: SessionArgs,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
}

pub(crate) async fn run(args: ReportArgs, context: Context) -> anyhow::Result<Outcome> {
    let producers = match args.producers.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>() {
        Ok(producers) => producers,
        Err(error) => bail!("--producer: {error}"),
    };
    let session = args.engine.connect(Config { files: args.files.config(), ..args.mongo.engine() }).await?;
    let what = format!("reading {}.predictions", args.mongo.mongodb_database);
    let progress = TaskProgress::start(&context.bars, session.watch(), what);
    let mut job = pin!(run_on(&session, &producers));
    let report = tokio::select! {
        report = &mut job => report,
        () = context.signals.shutdown.cancelled() => {
            drop(progress);
            // An embedded engine ends with this process. A cluster would go on with the job.
            if !session.is_embedded() {
                session.watch().cancel_until(job).await?;
            }
            session.shutdown().await;
            return Ok(Outcome::Interrupted);
        }
    };
    drop(progress);
    session.shutdown().await;
    let report = report?;

    if report.is_empty() && producers.is_empty() {
        bail!(
            "there are no predictions in {}.predictions (FIRESTEEL_MONGODB_DATABASE); `firesteel demo` makes some",
            args.mongo.mongodb_database
        );
    }
    if report.is_empty() {
        bail!(
            "no prediction in {}.predictions is by these producers (--producer)",
            args.mongo.mongodb_database
        );
    }
    output::print(&output::render(&report, args.format)?)?;
    Ok(Outcome::Done)
}

async fn run_on(session: &Session, producers: &[ProducerId]) -> firesteel_engine::Result<report::Report> {
    let filter: Vec<String> = producers.iter().map(ToString::to_string).collect();
    report::run(session, (!filter.is_empty()).then_some(filter.as_slice())).await
}

/// Runs the job on an engine in this process that lasts as long as the job.
pub(crate) async fn make(config: Config, producers: &[ProducerId]) -> anyhow::Result<report::Report> {
    let session = Session::embedded(config).await?;
    let report = run_on(&session, producers).await;
    session.shutdown().await;
    Ok(report?)
}
