//! Named connections: the only place that knows addresses and credentials.
//!
//! Plans carry a connection's name. Each process builds its own registry from its own settings, so a plan that is
//! read, logged or replayed gives nothing away. Clients are made on first use.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::catalog::Session;
use tokio::runtime::Handle;

use crate::cache::CacheStore;
use crate::config::{DEFAULT_CONNECTION, ScanConfig, WriteConfig};
use crate::functions::Functions;
use crate::slots::Slots;
use crate::{Config, Error, Result, kafka, mongodb};

/// How many recent queries keep what they read at.
const REMEMBERED_QUERIES: usize = 256;

/// What plans refer to by name, as this process has it: connections, where MongoDB and Kafka have their names each, and
/// the functions of the program.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    mongodb: HashMap<String, Arc<mongodb::Connection>>,
    kafka: HashMap<String, Arc<kafka::Connection>>,
    scan: ScanConfig,
    cache: Arc<CacheStore>,
    functions: Functions,
    write: WriteConfig,
    slots: Slots,
}

/// A connection that a plan uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConnectionName {
    /// One to MongoDB.
    MongoDb(String),
    /// One to Kafka.
    Kafka(String),
}

impl Connections {
    /// The registry of a process with this configuration. MongoDB's clients live on `runtime`.
    pub(crate) fn new(config: &Config, runtime: Handle) -> Self {
        let default = || DEFAULT_CONNECTION.to_owned();
        Self {
            mongodb: HashMap::from([(default(), Arc::new(mongodb::Connection::new(config, runtime)))]),
            kafka: HashMap::from([(default(), Arc::new(kafka::Connection::new(config)))]),
            scan: config.scan.clone(),
            cache: Arc::new(CacheStore::new(&config.cache)),
            functions: config.functions.clone(),
            write: config.write.clone(),
            slots: Slots::default(),
        }
    }

    /// How this process has collections read and written whose tables do not say so themselves.
    pub(crate) fn table_options(&self) -> mongodb::TableOptions {
        mongodb::TableOptions::new(self.scan.clone(), self.write.clone())
    }

    /// How many tasks the cluster runs at once: set by who watches the executors, asked by who plans a scan.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The connection to MongoDB that a plan calls `name`.
    pub(crate) fn mongodb(&self, name: &str) -> Result<Arc<mongodb::Connection>> {
        self.mongodb.get(name).cloned().ok_or_else(|| Error::UnknownConnection { name: name.to_owned() })
    }

    /// The connection to Kafka that a plan calls `name`.
    pub(crate) fn kafka(&self, name: &str) -> Result<Arc<kafka::Connection>> {
        self.kafka.get(name).cloned().ok_or_else(|| Error::UnknownConnection { name: name.to_owned() })
    }

    /// The cached tables of this process.
    pub(crate) fn cache(&self) -> Arc<CacheStore> {
        Arc::clone(&self.cache)
    }

    /// The functions that the program registered.
    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Checks that the server behind a connection answers. The error names the address and the setting.
    pub(crate) async fn check(&self, name: &ConnectionName) -> Result<()> {
        match name {
            ConnectionName::MongoDb(name) => self.mongodb(name)?.check().await,
            ConnectionName::Kafka(name) => self.kafka(name)?.check().await,
        }
    }
}

/// Names one query of one session.
pub(crate) type QueryKey = (String, i64);

/// Names the query that is being planned: all its scans are planned with one state, which is stamped once.
pub(crate) fn query_key(state: &dyn Session) -> Option<QueryKey> {
    let started = state.execution_props().query_execution_start_time?;
    Some((state.session_id().to_owned(), started.timestamp_nanos_opt()?))
}

/// What recent queries read at, such as a cluster time or the ends of a topic: all scans of one query that have the
/// same key read at the same.
#[derive(Debug)]
pub(crate) struct PerQuery<K, V> {
    known: Mutex<VecDeque<(QueryKey, K, V)>>,
}

impl<K, V> Default for PerQuery<K, V> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}

impl<K: PartialEq, V: Clone> PerQuery<K, V> {
    /// What `query` reads at: what `now` says the first time that the query asks for `key`, and the same ever after.
    pub(crate) async fn once(
        &self,
        query: Option<QueryKey>,
        key: K,
        now: impl AsyncFnOnce() -> Result<V>,
    ) -> Result<V> {
        let find = |known: &VecDeque<(QueryKey, K, V)>, query: &QueryKey| {
            known.iter().find(|(of, what, _)| of == query && *what == key).map(|(.., value)| value.clone())
        };
        let Some(query) = query else { return now().await };
        if let Some(value) = find(&self.known.lock().unwrap_or_else(PoisonError::into_inner), &query) {
            return Ok(value);
        }
        let value = now().await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Another scan of the query may have been faster.
        if let Some(value) = find(&known, &query) {
            return Ok(value);
        }
        known.push_back((query, key, value.clone()));
        if known.len() > REMEMBERED_QUERIES {
            known.pop_front();
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_is_not_configured_is_told() {
        let connections = Connections::new(&Config::default(), Handle::current());
        assert!(
            connections.mongodb(DEFAULT_CONNECTION).is_ok() && connections.kafka(DEFAULT_CONNECTION).is_ok()
        );
        assert!(
            matches!(connections.mongodb("other"), Err(Error::UnknownConnection { name }) if name == "other")
        );
        assert!(
            matches!(connections.kafka("other"), Err(Error::UnknownConnection { name }) if name == "other")
        );
    }

    #[tokio::test]
    async fn a_query_reads_at_one_point_and_the_next_at_another() {
        let reads: PerQuery<&str, u32> = PerQuery::default();
        let query = |n: i64| Some(("session".to_owned(), n));
        let at = async |query, key, now| reads.once(query, key, async || Ok(now)).await.unwrap();
        assert_eq!(at(query(1), "images", 10).await, 10);
        assert_eq!(at(query(1), "images", 11).await, 10, "the same query");
        assert_eq!(at(query(1), "predictions", 12).await, 12, "another topic");
        assert_eq!(at(query(2), "images", 13).await, 13, "another query");
        assert_eq!(at(None, "images", 14).await, 14, "no query to share with");
        // One that fails is asked again.
        let failed =
            reads.once(query(3), "images", async || Err(Error::Embedded { message: "no".into() })).await;
        assert!(failed.is_err());
        assert_eq!(at(query(3), "images", 15).await, 15);
        for n in 4..4 + i64::try_from(REMEMBERED_QUERIES).unwrap() {
            at(query(n), "images", 0).await;
        }
        assert_eq!(at(query(1), "images", 16).await, 16, "old queries are forgotten");
    }
}
