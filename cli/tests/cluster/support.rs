//! Data that every test of the cluster can compute for itself, and sessions over it.

use firesteel_engine::{Config, Session};
use firesteel_testkit::{Cluster, ClusterSettings, Services, TempDatabase};
use mongodb::bson::{DateTime, Document, doc};
use std::time::Duration;

/// Classes of the made-up predictions.
const LABELS: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// How long a query may take before it counts as hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A database with predictions, which is dropped at the end.
pub(crate) struct World {
    pub(crate) services: Services,
    pub(crate) database: TempDatabase,
    documents: usize,
    producers: usize,
}

impl World {
    /// `documents` predictions by `producers` producers in a clustered collection; none, loudly, without servers.
    pub(crate) async fn new(name: &str, documents: usize, producers: usize) -> Option<Self> {
        let services = Services::from_env()?;
        let database = TempDatabase::new(&services.mongodb_uri, name);
        let client = mongodb::Client::with_uri_str(&services.mongodb_uri).await.expect("MongoDB");
        let target = client.database(&database.name);
        let key = doc! { "key": { "_id": 1 }, "unique": true };
        target
            .run_command(doc! { "create": "predictions", "clusteredIndex": key })
            .await
            .expect("a collection");
        let collection = target.collection::<Document>("predictions");
        let all: Vec<Document> = (0..documents).map(|index| prediction(index, producers)).collect();
        for some in all.chunks(20_000) {
            collection.insert_many(some).await.expect("documents");
        }
        Some(Self { services, database, documents, producers })
    }

    pub(crate) fn settings(&self) -> ClusterSettings {
        ClusterSettings::new(env!("CARGO_BIN_EXE_firesteel"), &self.services.mongodb_uri, &self.database.name)
            .with("FIRESTEEL_KAFKA_BOOTSTRAP", &self.services.kafka_bootstrap)
    }

    /// The client's configuration. Four partitions, so that two executors have something to share.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(&self.services.mongodb_uri, &self.database.name);
        config.partitions = Some(4);
        config.scan.min_documents_per_partition = 1_000;
        config
    }

    pub(crate) async fn session(&self, cluster: &Cluster) -> Session {
        Session::connect(&cluster.url(), self.config()).await.expect("a session")
    }

    /// Pairs of predictions by the same producer, which [`PAIRS`] counts.
    pub(crate) fn pairs(&self) -> i64 {
        let (each, more) = (self.documents / self.producers, self.documents % self.producers);
        let square = |n: usize| i64::try_from(n * n).expect("fits");
        (0..self.producers).map(|producer| square(each + usize::from(producer < more))).sum()
    }
}

/// A query with a shuffle between two scans and a join, and all work in the engine: nothing of it can be pushed down.
pub(crate) const PAIRS: &str = "SELECT count(*) AS pairs, \
     sum(CASE WHEN a.sequence <= b.sequence THEN 1 ELSE 0 END) AS ordered \
     FROM predictions a JOIN predictions b ON a.producer_id = b.producer_id";

/// What [`PAIRS`] returns.
pub(crate) async fn count_pairs(session: &Session) -> firesteel_engine::Result<i64> {
    let rows: Vec<(i64, i64)> = session.sql(PAIRS).await?.collect_as().await?;
    assert_eq!(rows.len(), 1, "{rows:?}");
    Ok(rows[0].0)
}

/// Fails a test whose query takes too long.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} hangs"),
    }
}

fn prediction(index: usize, producers: usize) -> Document {
    let producer = format!("{:08x}", 0xab00_0000 + index % producers);
    let sequence = i64::try_from(index / producers).expect("fits");
    let wrong = index.is_multiple_of(7);
    let predicted = if wrong { LABELS[(index + 1) % 10] } else { LABELS[index % 10] };
    let produced = 1_760_000_000_000 + i64::try_from(index).expect("fits") * 10;
    doc! {
        "_id": format!("{producer}:{sequence}"),
        "producer_id": producer,
        "sequence": sequence,
        "label": LABELS[index % 10],
        "predicted": predicted,
        "correct": !wrong,
        "confidence": 0.5 + (index % 50) as f64 / 100.0,
        "model": "resnet18",
        "produced_at": DateTime::from_millis(produced),
        "inferred_at": DateTime::from_millis(produced + 250),
    }
}
