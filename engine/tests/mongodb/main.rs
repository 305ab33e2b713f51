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
mod schemas;
mod snapshot;

use bson::{Document, doc};
use firesteel_engine::{Config, Session};
use firesteel_testkit::{Services, TempDatabase};

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
        let client = mongodb::Client::with_uri_str(&services.mongodb_uri).await?;
        let mut config = Config::new(&services.mongodb_uri, &temporary.name);
        config.vcores = Some(3);
        config.partitions = Some(4);
        config.scan.min_documents_per_partition = 100;
        config.scan.batch_rows = 64;
        change(&mut config);
        let session = Session::embedded(config.clone()).await?;
        let database = client.database(&temporary.name);
        Ok(Some(Self { session, database, config, _temporary: temporary }))
    }

    /// Creates a collection and fills it.
    async fn fill(&self, collection: &str, clustered: bool, documents: &[Document]) -> anyhow::Result<()> {
        create(&self.database, collection, clustered).await?;
        self.database.collection::<Document>(collection).insert_many(documents).await?;
        Ok(())
    }
}

async fn create(database: &mongodb::Database, collection: &str, clustered: bool) -> anyhow::Result<()> {
    let mut command = doc! { "create": collection };
    if clustered {
        command.insert("clusteredIndex", doc! { "key": { "_id": 1 }, "unique": true });
    }
    database.run_command(command).await?;
    Ok(())
}

const LABELS: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Returns prediction number `index` of a run with `producers` producers.
fn prediction(index: usize, producers: usize) -> Document {
    let producer = format!("{:08x}", 0xab00_0000 + index % producers);
    let sequence = (index / producers) as i64;
    let label = LABELS[index % 10];
    let wrong = index.is_multiple_of(7);
    let predicted = if wrong { LABELS[(index + 1) % 10] } else { label };
    let produced = 1_760_000_000_000 + index as i64 * 10;
    doc! {
        "_id": format!("{producer}:{sequence}"),
        "producer_id": producer,
        "sequence": sequence,
        "label": label,
        "predicted": predicted,
        "correct": !wrong,
        "confidence": 0.5 + (index % 50) as f64 / 100.0,
        "model": "resnet18",
        "produced_at": bson::DateTime::from_millis(produced),
        "inferred_at": bson::DateTime::from_millis(produced + 250),
    }
}

fn predictions(count: usize, producers: usize) -> Vec<Document> {
    (0..count).map(|index| prediction(index, producers)).collect()
}
