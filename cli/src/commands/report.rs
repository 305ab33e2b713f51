//! `firesteel report`: the map / reduce-by-key job over what is in MongoDB.

use crate::args::{CacheArgs, EngineArgs, KafkaArgs, MongoArgs, ReportArgs, Switch};
use crate::tasks::TaskProgress;
use crate::{Context, Outcome, output};
use anyhow::bail;
use firesteel_engine::{CacheConfig, Config, Session, report};
use std::pin::pin;

pub(crate) async fn run(args: ReportArgs, context: Context) -> anyhow::Result<Outcome> {
    let producers = match args.producers.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>() {
        Ok(producers) => producers,
        Err(error) => bail!("--producer: {error}"),
    };
    let session = args.engine.connect(engine(&args.mongo, None)?).await?;
    let what = format!("reading {}.predictions", args.mongo.mongodb_database);
    let progress = TaskProgress::start(&context.bars, session.watch(), what);
    let mut job = pin!(run_on(&session, &producers));
    let report = tokio::select! {
        report = &mut job => report,
        () = context.signals.shutdown.cancelled() => {
            drop(progress);
            // An engine in this process ends with it; a cluster would go on for nobody.
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

impl CacheArgs {
    /// Where an engine keeps cached tables.
    pub(crate) fn config(&self) -> CacheConfig {
        let defaults = CacheConfig::default();
        CacheConfig {
            folder: self.cache_dir.clone().unwrap_or(defaults.folder),
            memory_bytes: self.cache_memory,
        }
    }
}

/// The engine's configuration for the settings of MongoDB, and of Kafka where a command has them.
pub(crate) fn engine(mongo: &MongoArgs, kafka: Option<&KafkaArgs>) -> anyhow::Result<Config> {
    let mut config = Config::new(mongo.mongodb_uri.clone(), mongo.mongodb_database.clone());
    if let Some(kafka) = kafka {
        config.kafka = kafka.connection()?;
    }
    Ok(config)
}

impl EngineArgs {
    /// The engine that answers: one in this process, or the cluster.
    pub(crate) async fn connect(&self, mut config: Config) -> firesteel_engine::Result<Session> {
        config.scan.max_partitions = self.scan_partitions.map(|n| n as usize);
        config.scan.aggregate_pushdown = self.aggregate_pushdown == Switch::On;
        match self.scheduler.as_deref() {
            Some(url) => Session::connect(url, config).await,
            None => Session::embedded(config).await,
        }
    }
}

async fn run_on(
    session: &Session,
    producers: &[firesteel_proto::ProducerId],
) -> firesteel_engine::Result<report::Report> {
    let filter: Vec<String> = producers.iter().map(ToString::to_string).collect();
    report::run(session, (!filter.is_empty()).then_some(filter.as_slice())).await
}

/// Runs the job on an engine in this process that lasts as long as the job.
pub(crate) async fn make(
    config: Config,
    producers: &[firesteel_proto::ProducerId],
) -> anyhow::Result<report::Report> {
    let session = Session::embedded(config).await?;
    let report = run_on(&session, producers).await;
    session.shutdown().await;
    Ok(report?)
}
