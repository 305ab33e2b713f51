//! Everything that the systems run on, and how each of them is run and measured.

use anyhow::Context as _;
use firesteel_engine::{Config, FileAccess, Outcome, Session, report};
use firesteel_testkit::{Cluster, ClusterSettings};
use mongodb::Client;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use tempfile::TempDir;
use tokio::process::Command;

use super::counters::{self, Counters};
use super::sampler::{Cost, Root, Sampler};
use super::systems::{Peer, System};
use super::tools::{Scripts, Spark};
use crate::answer::Answer;
use crate::group::group;
use crate::seeded::ServerArgs;
use crate::server_process::{self, ServerProcess};

/// Executors of the cluster, of one slot each.
const EXECUTORS: usize = 2;

/// What one round of one system gave.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) answer: Answer,
    pub(super) seconds: f64,
    pub(super) cost: Cost,
    pub(super) server: Counters,
}

/// What lasts for all sizes.
pub(super) struct Runner {
    server: ServerArgs,
    binary: PathBuf,
    client: Client,
    pub(super) folder: TempDir,
    pub(super) scripts: Scripts,
    pub(super) spark: Option<Spark>,
    /// The Python of the peers.
    pub(super) python: Option<PathBuf>,
    spark_session: Option<ServerProcess>,
    peers: BTreeMap<Peer, ServerProcess>,
}

/// What is there for one number of documents.
pub(super) struct Prepared {
    database: String,
    parquet: PathBuf,
    cluster: Cluster,
    pushdown: Session,
    rows: Session,
}

impl Runner {
    pub(super) fn new(
        server: ServerArgs,
        client: Client,
        scripts: Scripts,
        spark: Option<Spark>,
        python: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("firesteel-compare-").tempdir()?;
        Ok(Self {
            binary: server.binary()?,
            server,
            client,
            scripts,
            folder,
            spark,
            python,
            spark_session: None,
            peers: BTreeMap::new(),
        })
    }

    /// MongoDB's address.
    pub(super) fn uri(&self) -> &str {
        &self.server.mongodb_uri
    }

    /// A cluster over a database: a scheduler and two executors of one slot each, as processes.
    pub(super) async fn cluster(&self, database: &str) -> Cluster {
        let settings = ClusterSettings::new(&self.binary, self.uri(), database);
        // Where the tables of TPC-H are.
        let settings = settings.with("FIRESTEEL_ALLOW_READ", &self.folder.path().to_string_lossy());
        Cluster::start(ClusterSettings { vcores: 1, ..settings }, EXECUTORS).await
    }

    /// Opens what stays open, and says which versions answered.
    pub(super) async fn open(&mut self, database: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let mut versions = BTreeMap::new();
        versions.insert("MongoDB".to_owned(), counters::version(&self.client).await?);
        if let Some(spark) = &self.spark {
            let command = spark.session(&self.scripts.mapreduce, self.uri(), database);
            let session = ServerProcess::start("Spark", command).await?;
            let said = |name: &str| text(session.ready.pointer(&format!("/spark/{name}")));
            versions.insert("Spark".to_owned(), said("version"));
            versions.insert("Java".to_owned(), said("java"));
            versions.insert("Python of Spark".to_owned(), said("python"));
            self.spark_session = Some(session);
        }
        if let Some(python) = &self.python {
            for peer in Peer::ALL {
                let mut command = self.scripts.peer(python, peer);
                command.arg("--serve");
                let process = ServerProcess::start(peer.name(), command).await?;
                versions.insert(peer.name().to_owned(), text(process.ready.pointer("/engine/version")));
                self.peers.insert(peer, process);
            }
        }
        Ok(versions)
    }

    /// Makes what one number of documents needs: the export and a cluster.
    pub(super) async fn prepare(&self, database: &str) -> anyhow::Result<(Prepared, f64)> {
        let parquet = self.folder.path().join(format!("{database}.parquet"));
        let began = Instant::now();
        if self.python.is_some() {
            let files = FileAccess::below([self.folder.path()]);
            let session = Session::embedded(Config { files, ..Config::new(self.uri(), database) }).await?;
            let path = parquet.to_str().context("the temporary folder's path is no text")?;
            let sql = format!("COPY (SELECT * FROM predictions) TO '{path}' STORED AS PARQUET");
            match Box::pin(session.execute(&sql)).await.context("exporting to Parquet")? {
                Outcome::Rows(rows) => drop(rows.collect().await?),
                Outcome::Done(_) => {}
            }
            session.shutdown().await;
        }
        let export = began.elapsed().as_secs_f64();
        let cluster = self.cluster(database).await;
        let mut config = Config::new(self.uri(), database);
        let pushdown = Session::connect(&cluster.url(), config.clone()).await?;
        config.scan.aggregate_pushdown = false;
        let rows = Session::connect(&cluster.url(), config).await?;
        Ok((Prepared { database: database.to_owned(), parquet, cluster, pushdown, rows }, export))
    }

    /// Runs one system once.
    pub(super) async fn round(&mut self, system: System, prepared: &Prepared) -> anyhow::Result<Round> {
        let before = counters::counters(&self.client).await?;
        let began = Instant::now();
        let (answer, seconds, cost) = match system {
            System::SparkCold => {
                let spark = self.spark.as_ref().context("there is no Spark")?;
                let mut command = spark.submit(&self.scripts.mapreduce, self.uri(), &prepared.database);
                command.args(["--job", "report"]);
                cold(&system.name(), command).await?
            }
            System::FiresteelCold | System::FiresteelColdRows => {
                let mut command = Command::new(&self.binary);
                let switch = if system == System::FiresteelCold { "on" } else { "off" };
                command.args(["report", "--format", "json", "--aggregate-pushdown", switch]);
                command.env("FIRESTEEL_MONGODB_URI", self.uri());
                command
                    .env("FIRESTEEL_MONGODB_DATABASE", &prepared.database)
                    .env_remove("FIRESTEEL_SCHEDULER");
                cold(&system.name(), command).await?
            }
            System::PeerCold(peer) => {
                let python = self.python.as_ref().context("there is no Python for the peers")?;
                let mut command = self.scripts.peer(python, peer);
                command.arg("--parquet").arg(&prepared.parquet);
                cold(&system.name(), command).await?
            }
            System::SparkWarm | System::SparkRdd => {
                let job = if system == System::SparkWarm { "report" } else { "rdd" };
                let session = self.spark_session.as_mut().context("there is no Spark")?;
                ask(session, &format!("{job} {}", prepared.database)).await?
            }
            System::PeerWarm(peer) => {
                let process = self.peers.get_mut(&peer).context("there is no such peer")?;
                ask(process, &format!("report {}", prepared.parquet.display())).await?
            }
            System::ClusterPushdown | System::ClusterRows => {
                let session =
                    if system == System::ClusterPushdown { &prepared.pushdown } else { &prepared.rows };
                let processes = prepared.cluster.process_ids().into_iter().map(Root::Tree);
                let roots = processes.chain([Root::Alone(std::process::id())]).collect();
                let sampler = Sampler::start(roots);
                let report = Box::pin(report::run(session, None)).await;
                let seconds = began.elapsed().as_secs_f64();
                let cost = sampler.finish();
                (Answer::of(&report?)?, seconds, cost)
            }
            System::MongoGroup => {
                let sampler = Sampler::start(vec![Root::Alone(std::process::id())]);
                let report = group(&self.client.database(&prepared.database)).await;
                let seconds = began.elapsed().as_secs_f64();
                let cost = sampler.finish();
                (Answer::of(&report?)?, seconds, cost)
            }
        };
        let server = counters::counters(&self.client).await?.since(before);
        Ok(Round { answer, seconds, cost, server })
    }
}

impl Prepared {
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
    let begun = |pid| Sampler::start(vec![Root::Tree(pid)]);
    let json = server_process::run(name, command, begun, |sampler| cost = sampler.finish()).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok((Answer::read(json).with_context(|| format!("{name} answered something else"))?, seconds, cost))
}

/// Asks a program that is up.
async fn ask(process: &mut ServerProcess, line: &str) -> anyhow::Result<(Answer, f64, Cost)> {
    let sampler = Sampler::start(vec![Root::Tree(process.pid())]);
    let began = Instant::now();
    let json = process.ask(line).await;
    let seconds = began.elapsed().as_secs_f64();
    let cost = sampler.finish();
    Ok((Answer::read(json?)?, seconds, cost))
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or("unknown").to_owned()
}
