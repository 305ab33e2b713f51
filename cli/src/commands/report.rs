//! `firesteel report`: the map / reduce-by-key job over what is in MongoDB.

use crate::args::{KafkaArgs, MongoArgs, ReportArgs, Switch};
use crate::{Context, Outcome, output};
use anyhow::bail;
use firesteel_engine::{Config, Session, report};
use std::time::Duration;

/// After this long without an answer, the user is told that work is going on.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: ReportArgs, context: Context) -> anyhow::Result<Outcome> {
    let producers = match args.producers.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>() {
        Ok(producers) => producers,
        Err(error) => bail!("--producer: {error}"),
    };
    let mut config = engine(&args.mongo, None)?;
    config.scan.max_partitions = args.scan_partitions.map(|n| n as usize);
    config.scan.aggregate_pushdown = args.aggregate_pushdown == Switch::On;

    let job = make(config, args.scheduler.as_deref(), &producers);
    let spinner = context.bars.add(indicatif::ProgressBar::new_spinner());
    spinner.set_message(format!("reading {}.predictions", args.mongo.mongodb_database));
    let patience = async {
        tokio::time::sleep(PATIENCE).await;
        if spinner.is_hidden() {
            eprintln!("reading {}.predictions …", args.mongo.mongodb_database);
        }
        spinner.enable_steady_tick(Duration::from_millis(100));
        std::future::pending::<()>().await;
    };
    let report = tokio::select! {
        report = job => report?,
        () = context.signals.shutdown.cancelled() => return Ok(Outcome::Interrupted),
        () = patience => bail!("waiting ended by itself"),
    };
    spinner.finish_and_clear();

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

/// The engine's configuration for the settings of MongoDB, and of Kafka where a command has them.
pub(crate) fn engine(mongo: &MongoArgs, kafka: Option<&KafkaArgs>) -> anyhow::Result<Config> {
    let mut config = Config::new(mongo.mongodb_uri.clone(), mongo.mongodb_database.clone());
    if let Some(kafka) = kafka {
        config.kafka = kafka.connection()?;
    }
    Ok(config)
}

/// Runs the job on the cluster at `scheduler`, or on an engine in this process that lasts as long as the job.
pub(crate) async fn make(
    config: Config,
    scheduler: Option<&str>,
    producers: &[firesteel_proto::ProducerId],
) -> anyhow::Result<report::Report> {
    let session = match scheduler {
        Some(url) => Session::connect(url, config).await?,
        None => Session::embedded(config).await?,
    };
    let filter: Vec<String> = producers.iter().map(ToString::to_string).collect();
    let filter = (!filter.is_empty()).then_some(filter.as_slice());
    let report = report::run(&session, filter).await;
    session.shutdown().await;
    Ok(report?)
}
