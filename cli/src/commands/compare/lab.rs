//! Everything that the contenders run on, and how each of them is run and measured.

use anyhow::{Context as _, bail, ensure};
use firesteel_engine::report::{self, Report};
use firesteel_engine::{Config, Outcome, Session};
use mongodb::Client;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::TempDir;
use tokio::process::Command;

use super::cluster::Cluster;
use super::contenders::{Contender, Peer};
use super::served::{self, Served};
use super::server::{self, Counters};
use super::tools::{Scripts, Spark};
use super::watch::{Cost, Root, Watch};

/// Executors of the cluster, of one slot each.
const EXECUTORS: usize = 2;

/// What one round of one contender gave.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) answer: Answer,
    pub(super) seconds: f64,
    pub(super) cost: Cost,
    pub(super) server: Counters,
}

/// What was counted. The time is the one thing in which the same reports differ, so it is 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Whole(Box<Report>),
    /// Spark's RDD job counts by producer only.
    Producers(Vec<report::ProducerRow>),
}

impl Answer {
    /// A report of this process. It takes the way over JSON that those of other programs take: what reads a number there
    /// may be off by its last bit, and is so for equal numbers alike.
    fn of(report: &Report) -> anyhow::Result<Self> {
        Self::read(serde_json::from_str(&serde_json::to_string(report)?)?)
    }

    /// A report of another program. Its tables have the names of ours.
    fn read(mut json: Value) -> anyhow::Result<Self> {
        if let Some(totals) = json.get_mut("totals").and_then(Value::as_object_mut) {
            totals.insert("job_seconds".to_owned(), Value::from(0.0));
            return Ok(Self::Whole(Box::new(Report::deserialize(json)?)));
        }
        let producers =
            json.get_mut("producers").map(Value::take).context("there is no table of producers")?;
        Ok(Self::Producers(Vec::deserialize(producers)?))
    }

    pub(super) fn producers(&self) -> &[report::ProducerRow] {
        match self {
            Self::Whole(report) => &report.producers,
            Self::Producers(producers) => producers,
        }
    }

    /// Whether both counted the same, to the last digit.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one == other,
            _ => self.producers() == other.producers(),
        }
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let sum = |of: fn(&report::ProducerRow) -> u64| self.producers().iter().map(of).sum();
        (sum(|row| row.total_inferences), sum(|row| row.wrong_inference_count))
    }
}

/// What lasts for all sizes.
pub(super) struct Lab {
    pub(super) binary: PathBuf,
    pub(super) uri: String,
    pub(super) client: Client,
    pub(super) folder: TempDir,
    pub(super) scripts: Scripts,
    pub(super) spark: Option<Spark>,
    /// The Python of the peers.
    pub(super) python: Option<PathBuf>,
    spark_session: Option<Served>,
    peers: BTreeMap<Peer, Served>,
}

/// What is there for one number of documents.
pub(super) struct Bench {
    pub(super) database: String,
    pub(super) parquet: PathBuf,
    cluster: Cluster,
    pushdown: Session,
    rows: Session,
}

impl Lab {
    pub(super) fn new(
        uri: &str,
        client: Client,
        spark: Option<Spark>,
        python: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("firesteel-compare-").tempdir()?;
        Ok(Self {
            binary: std::env::current_exe().context("where this program is")?,
            uri: uri.to_owned(),
            client,
            scripts: Scripts::write(folder.path())?,
            folder,
            spark,
            python,
            spark_session: None,
            peers: BTreeMap::new(),
        })
    }

    /// Opens what stays open, and says which versions answered.
    pub(super) async fn open(&mut self, database: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let mut versions = BTreeMap::new();
        versions.insert("MongoDB".to_owned(), server::version(&self.client).await?);
        if let Some(spark) = &self.spark {
            let command = spark.session(&self.scripts.mapreduce, &self.uri, database);
            let served = Served::start("Spark", command).await?;
            let said = |name: &str| text(served.ready.pointer(&format!("/spark/{name}")));
            versions.insert("Spark".to_owned(), said("version"));
            versions.insert("Java".to_owned(), said("java"));
            versions.insert("Python of Spark".to_owned(), said("python"));
            self.spark_session = Some(served);
        }
        if let Some(python) = &self.python {
            for peer in Peer::ALL {
                let mut command = self.scripts.peer(python, peer);
                command.arg("--serve");
                let served = Served::start(peer.name(), command).await?;
                versions.insert(peer.name().to_owned(), text(served.ready.pointer("/engine/version")));
                self.peers.insert(peer, served);
            }
        }
        Ok(versions)
    }

    /// Makes what one number of documents needs: the export and a cluster.
    pub(super) async fn bench(&self, database: &str) -> anyhow::Result<(Bench, f64)> {
        let parquet = self.folder.path().join(format!("{database}.parquet"));
        let began = Instant::now();
        if self.python.is_some() {
            let session = Session::embedded(Config::new(&self.uri, database)).await?;
            let path = parquet.to_str().context("the temporary folder's path is no text")?;
            let sql = format!("COPY (SELECT * FROM predictions) TO '{path}' STORED AS PARQUET");
            match Box::pin(session.execute(&sql)).await.context("exporting to Parquet")? {
                Outcome::Rows(rows) => drop(rows.collect().await?),
                Outcome::Done(_) => {}
            }
            session.shutdown().await;
        }
        let export = began.elapsed().as_secs_f64();
        let cluster =
            Cluster::start(&self.binary, &self.uri, database, EXECUTORS, self.folder.path()).await?;
        let mut config = Config::new(&self.uri, database);
        let pushdown = Session::connect(&cluster.url(), config.clone()).await?;
        config.scan.aggregate_pushdown = false;
        let rows = Session::connect(&cluster.url(), config).await?;
        Ok((Bench { database: database.to_owned(), parquet, cluster, pushdown, rows }, export))
    }

    /// Runs one contender once.
    pub(super) async fn round(&mut self, contender: Contender, bench: &Bench) -> anyhow::Result<Round> {
        let before = server::counters(&self.client).await?;
        let began = Instant::now();
        let (answer, seconds, cost) = match contender {
            Contender::SparkCold => {
                let spark = self.spark.as_ref().context("there is no Spark")?;
                let mut command = spark.submit(&self.scripts.mapreduce, &self.uri, &bench.database);
                command.args(["--job", "report"]);
                cold(&contender.name(), command).await?
            }
            Contender::FiresteelCold | Contender::FiresteelColdRows => {
                let mut command = Command::new(&self.binary);
                let switch = if contender == Contender::FiresteelCold { "on" } else { "off" };
                command.args(["report", "--format", "json", "--aggregate-pushdown", switch]);
                command.env("FIRESTEEL_MONGODB_URI", &self.uri);
                command.env("FIRESTEEL_MONGODB_DATABASE", &bench.database).env_remove("FIRESTEEL_SCHEDULER");
                cold(&contender.name(), command).await?
            }
            Contender::PeerCold(peer) => {
                let python = self.python.as_ref().context("there is no Python for the peers")?;
                let mut command = self.scripts.peer(python, peer);
                command.arg("--parquet").arg(&bench.parquet);
                cold(&contender.name(), command).await?
            }
            Contender::SparkWarm | Contender::SparkRdd => {
                let job = if contender == Contender::SparkWarm { "report" } else { "rdd" };
                let session = self.spark_session.as_mut().context("there is no Spark")?;
                ask(session, &format!("{job} {}", bench.database)).await?
            }
            Contender::PeerWarm(peer) => {
                let served = self.peers.get_mut(&peer).context("there is no such peer")?;
                ask(served, &format!("report {}", bench.parquet.display())).await?
            }
            Contender::ClusterPushdown | Contender::ClusterRows => {
                let session =
                    if contender == Contender::ClusterPushdown { &bench.pushdown } else { &bench.rows };
                let watch = Watch::start(bench.cluster.roots());
                let report = Box::pin(report::run(session, None)).await;
                let seconds = began.elapsed().as_secs_f64();
                let cost = watch.finish();
                (Answer::of(&report?)?, seconds, cost)
            }
            Contender::MongoGroup => {
                let watch = Watch::start(vec![Root::Alone(std::process::id())]);
                let report = firesteel_engine::bench::group(&self.client.database(&bench.database)).await;
                let seconds = began.elapsed().as_secs_f64();
                let cost = watch.finish();
                (Answer::of(&report?)?, seconds, cost)
            }
        };
        let server = server::counters(&self.client).await?.since(before);
        Ok(Round { answer, seconds, cost, server })
    }
}

impl Bench {
    pub(super) async fn close(self) {
        self.pushdown.shutdown().await;
        self.rows.shutdown().await;
    }

    pub(super) fn export_bytes(&self) -> u64 {
        self.parquet.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// Runs a program from its start to its end.
async fn cold(name: &str, command: Command) -> anyhow::Result<(Answer, f64, Cost)> {
    let began = Instant::now();
    let mut cost = Cost::default();
    let begun = |pid| Watch::start(vec![Root::Tree(pid)]);
    let json = served::run(name, command, begun, |watch| cost = watch.finish()).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok((Answer::read(json).with_context(|| format!("{name} answered something else"))?, seconds, cost))
}

/// Asks a program that is up.
async fn ask(served: &mut Served, line: &str) -> anyhow::Result<(Answer, f64, Cost)> {
    let watch = Watch::start(vec![Root::Tree(served.pid())]);
    let began = Instant::now();
    let json = served.ask(line).await;
    let seconds = began.elapsed().as_secs_f64();
    let cost = watch.finish();
    Ok((Answer::read(json?)?, seconds, cost))
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or("unknown").to_owned()
}

/// Makes the predictions, where an earlier run has not; the name of their database.
pub(super) async fn seed(binary: &Path, uri: &str, client: &Client, docs: u64) -> anyhow::Result<String> {
    // The name that the other benchmarks use, for the same documents.
    let name = format!("firesteel_bench_clustered_{docs}");
    let database = client.database(&name);
    if server::count(&database).await? == docs {
        return Ok(name);
    }
    let mut command = Command::new(binary);
    command.args(["seed", "--drop", "--docs", &docs.to_string()]);
    command.env("FIRESTEEL_MONGODB_URI", uri).env("FIRESTEEL_MONGODB_DATABASE", &name);
    let status = command.stdout(std::process::Stdio::null()).kill_on_drop(true).status().await?;
    ensure!(status.success(), "`firesteel seed --docs {docs}` failed: {status}");
    match server::count(&database).await? {
        found if found == docs => Ok(name),
        found => bail!("{name} holds {found} documents after seeding {docs}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_other_programs_are_read() {
        let producer =
            r#"{"producer_id":"a","wrong_inference_count":1,"total_inferences":4,"error_rate":25.0}"#;
        let whole = format!(
            r#"{{"producers":[{producer}],"classes":[],"timings":{{}},"totals":{{"images":4,"accuracy":75.0,
            "average_error_rate":25.0,"producers":1,"images_per_second_per_producer":0.0,"ingest_seconds":0.0}}}}"#
        );
        let whole = Answer::read(serde_json::from_str(&whole).unwrap()).unwrap();
        let part = format!(r#"{{"producers":[{producer}],"seconds":1.5}}"#);
        let part = Answer::read(serde_json::from_str(&part).unwrap()).unwrap();
        assert_eq!(whole.counts(), (4, 1));
        assert!(whole.agrees(&part) && part.agrees(&whole));
        let other = Answer::Producers(Vec::new());
        assert!(!whole.agrees(&other));
        assert!(Answer::read(serde_json::json!({"rows": []})).is_err());
    }
}
