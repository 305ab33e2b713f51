//! The engine against a real MongoDB. An embedded engine runs with several partitions, and the tests compare its rows
//! with what plain Rust or the server itself computes.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod aggregates;
mod dataflow;
mod exactly_once;
mod failures;
mod functions;
mod insert;
mod jobs;
mod lost;
mod operators;
mod plans;
mod predicates;
mod report;
mod round_trip;
mod schemas;
mod snapshot;

use bson::Document;
use firesteel_engine::{Config, Session};
use firesteel_testkit::{Services, TempDatabase, create_collection as create, fill_collection, samples};

/// A database for one test, and an embedded engine over it with several partitions and slots.
struct Fixture {
    session: Session,
    database: mongodb::Database,
    config: Config,
    _temporary: TempDatabase,
}

impl Fixture {
    /// Starts an engine; `None` if no servers are configured.
    async fn start(name: &str) -> anyhow::Result<Option<Self>> {
        Self::start_with(name, |_| {}).await
    }

    async fn start_with(name: &str, change: impl FnOnce(&mut Config)) -> anyhow::Result<Option<Self>> {
        let Some(services) = Services::from_env() else { return Ok(None) };
        let temporary = TempDatabase::new(&services.mongodb_uri, name);
        let mut config = Config::new(&services.mongodb_uri, &temporary.name);
        config.vcores = Some(3);
        config.partitions = Some(4);
        config.scan.min_documents_per_partition = 100;
        config.scan.batch_rows = 64;
        change(&mut config);
        let session = Session::embedded(config.clone()).await?;
        let database = temporary.open().await?;
        Ok(Some(Self { session, database, config, _temporary: temporary }))
    }

    /// Creates a collection and fills it.
    async fn fill(&self, collection: &str, clustered: bool, documents: &[Document]) -> anyhow::Result<()> {
        fill_collection(&self.database, collection, clustered, documents).await
    }
}

/// Returns prediction number `index` of a run with `producers` producers.
fn prediction(index: usize, producers: usize) -> Document {
    samples::prediction_document(index, producers)
}

fn predictions(count: usize, producers: usize) -> Vec<Document> {
    (0..count).map(|index| prediction(index, producers)).collect()
}
