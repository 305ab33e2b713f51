//! Data that every test of the cluster can compute for itself, and sessions over it.

use firesteel_engine::{Config, Session};
use firesteel_testkit::{Cluster, ClusterSettings, Services, TempDatabase, fill_collection, samples};
use std::time::Duration;

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
        let all: Vec<_> =
            (0..documents).map(|index| samples::prediction_document(index, producers)).collect();
        let target = database.open().await.expect("MongoDB");
        fill_collection(&target, "predictions", true, &all).await.expect("documents");
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
