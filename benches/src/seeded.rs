//! The collections that are measured: made by `firesteel seed`, once.

use anyhow::{Context as _, ensure};
use bson::{Document, doc};
use clap::Args;
use std::path::PathBuf;
use std::process::Command;

/// Where the collections are, and what makes them.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The binary that seeds, and that clusters are made of
    #[arg(long, value_name = "FILE", default_value = "target/release/firesteel")]
    pub(crate) firesteel: PathBuf,
    /// MongoDB's address
    #[arg(
        long,
        value_name = "URI",
        env = "FIRESTEEL_MONGODB_URI",
        default_value = "mongodb://localhost:27017",
        hide_env_values = true
    )]
    pub(crate) mongodb_uri: String,
}

/// How MongoDB stores the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Clustered,
    Plain,
}

impl Layout {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clustered => "clustered",
            Self::Plain => "plain",
        }
    }
}

/// A database with so many predictions in that layout; its name. What an earlier run made is used again.
pub(crate) async fn ensure(target: &Target, docs: u64, layout: Layout) -> anyhow::Result<String> {
    let Target { firesteel, mongodb_uri: uri } = target;
    let name = format!("firesteel_bench_{}_{docs}", layout.name());
    let database = mongodb::Client::with_uri_str(uri).await?.database(&name);
    let collection = database.collection::<Document>("predictions");
    let count = async || anyhow::Ok(collection.count_documents(doc! {}).await?);
    if collection.estimated_document_count().await? == docs && count().await? == docs {
        return Ok(name);
    }
    eprintln!("seeding {docs} documents, {}", layout.name());
    let mut command = Command::new(firesteel);
    command.args(["seed", "--drop", "--docs", &docs.to_string()]);
    if layout == Layout::Plain {
        command.arg("--plain");
    }
    // The address may hold a password, which an argument would show to everyone.
    command.env("FIRESTEEL_MONGODB_URI", uri).env("FIRESTEEL_MONGODB_DATABASE", &name);
    let status = command.status().with_context(|| format!("cannot run {}", firesteel.display()))?;
    ensure!(status.success(), "{} seed failed: {status}", firesteel.display());
    let found = count().await?;
    ensure!(found == docs, "{name} holds {found} documents after seeding {docs}");
    Ok(name)
}
