//! SQL statements on an embedded engine with several partitions, and cached tables compared with live ones.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cache;
mod files;
mod images;
mod limits;
mod servers;
mod speed;
mod statements;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bson::Document;
use firesteel_engine::{Config, FileAccess, Outcome, Session};
use firesteel_proto::Sequence;
use firesteel_testkit::cifar::label;
use firesteel_testkit::{Services, TempDatabase, samples};

/// An embedded engine with its own folders.
struct Fixture {
    session: Session,
    config: Config,
    folder: tempfile::TempDir,
    database: Option<(mongodb::Database, TempDatabase)>,
}

impl Fixture {
    /// Starts an engine that needs no server.
    async fn alone() -> anyhow::Result<Self> {
        Self::over(Config::default(), None).await
    }

    /// Starts an engine over its own database; `None` if no servers are configured.
    async fn with_mongodb(name: &str) -> anyhow::Result<Option<Self>> {
        let Some(services) = Services::from_env() else { return Ok(None) };
        let temporary = TempDatabase::new(&services.mongodb_uri, name);
        let mut config = Config::new(&services.mongodb_uri, &temporary.name);
        config.kafka.bootstrap.clone_from(&services.kafka_bootstrap);
        let database = temporary.open().await?;
        Self::over(config, Some((database, temporary))).await.map(Some)
    }

    async fn over(
        mut config: Config,
        database: Option<(mongodb::Database, TempDatabase)>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        config.vcores = Some(3);
        config.partitions = Some(4);
        config.scan.min_documents_per_partition = 100;
        config.cache.folder = folder.path().join("cache");
        config.files = FileAccess::below([folder.path()]);
        let session = Session::embedded(config.clone()).await?;
        Ok(Self { session, config, folder, database })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn predictions(&self) -> anyhow::Result<mongodb::Collection<Document>> {
        let (database, _) = self.database.as_ref().context("there is a database")?;
        Ok(database.collection("predictions"))
    }

    /// Runs a statement that returns no rows, and returns its message.
    async fn done(&self, sql: &str) -> anyhow::Result<String> {
        match self.session.execute(sql).await.with_context(|| sql.to_owned())? {
            Outcome::Done(words) => Ok(words),
            Outcome::Rows(_) => bail!("{sql} gives rows"),
        }
    }

    /// Runs a query, and returns the rows as sorted texts.
    async fn rows(&self, sql: &str) -> anyhow::Result<Vec<String>> {
        match self.session.execute(sql).await.with_context(|| sql.to_owned())? {
            Outcome::Rows(rows) => {
                let batches = rows.batches().await.with_context(|| sql.to_owned())?;
                let table = arrow::util::pretty::pretty_format_batches(&batches)?.to_string();
                let mut lines: Vec<String> =
                    table.lines().filter(|line| line.starts_with('|')).skip(1).map(tidy).collect();
                lines.sort();
                Ok(lines)
            }
            Outcome::Done(words) => bail!("{sql}: {words}, and no rows"),
        }
    }

    /// Returns the error of a statement that fails when it is planned or run.
    async fn fails(&self, sql: &str) -> anyhow::Result<firesteel_engine::Error> {
        let error = match self.session.execute(sql).await {
            Err(error) => Some(error),
            Ok(Outcome::Rows(rows)) => rows.collect().await.err(),
            Ok(Outcome::Done(_)) => None,
        };
        error.with_context(|| format!("{sql} does not fail"))
    }

    /// Returns all files below the cache folder.
    fn cached_files(&self) -> Vec<PathBuf> {
        files(&self.config.cache.folder)
    }
}

/// Turns `| a | b |` into `a|b`.
fn tidy(line: &str) -> String {
    line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

const LABELS: [&str; 4] = ["cat", "dog", "frog", "ship"];

/// Returns prediction number `index`. Some predictions lack a field.
fn prediction(index: usize) -> Document {
    let mut record = samples::prediction(index, 7);
    record.id.sequence = Sequence(index as u64);
    let truth = LABELS[index % 4];
    record.label = Some(label(truth));
    record.predicted = label(if index.is_multiple_of(5) { "truck" } else { truth });
    let mut document = samples::document(&record);
    if index.is_multiple_of(11) {
        document.remove("label");
    }
    if index.is_multiple_of(13) {
        document.remove("correct");
    }
    document
}

fn predictions(numbers: std::ops::Range<usize>) -> Vec<Document> {
    numbers.map(prediction).collect()
}
