//! The engine's configuration: plain data that the caller fills in, passed explicitly and never global.
//!
//! Credentials stay here. A plan or a session setting carries only the *name* of a connection; each process
//! looks the name up in the registry that it built from its own [`Config`].

mod files;
mod partitioner;
mod read_mode;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use firesteel_common::kafka::KafkaConfig;
pub use firesteel_common::net::Dialer;
pub use firesteel_common::secret::MongoUri;

pub use self::files::FileAccess;
pub use self::partitioner::Partitioner;
pub use self::read_mode::ReadMode;
pub use self::write::{Acknowledgement, WriteConcern, WriteConfig};
use crate::connectors::connector::Connector;
use crate::functions::Functions;
use crate::limits::SqlLimits;

/// The name under which plans refer to the connections of [`Config::mongodb`] and [`Config::kafka`].
pub const DEFAULT_CONNECTION: &str = "default";

/// What a [`Session`](crate::Session) needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The MongoDB server behind the table `predictions`.
    pub mongodb: MongoConnection,
    /// The databases of that server that tables may be in, besides its own.
    pub databases: Vec<String>,
    /// The Kafka brokers behind the tables `images`, `predictions_topic` and `dead_letters`.
    pub kafka: KafkaConfig,
    /// The topics behind these tables.
    pub topics: KafkaTopics,
    /// How many tasks the embedded engine runs at once. `None`: the number of processors.
    pub vcores: Option<usize>,
    /// How many partitions a shuffle has, and a scan at most. `None`: as many as `vcores`, which are those of this
    /// process: for a cluster with more, name a number.
    pub partitions: Option<usize>,
    /// How MongoDB collections are read.
    pub scan: ScanConfig,
    /// Where cached tables are kept.
    pub cache: CacheConfig,
    /// Which files of the machine SQL may read and write.
    pub files: FileAccess,
    /// How much one statement may ask for.
    pub limits: SqlLimits,
    /// How MongoDB collections are written.
    pub write: WriteConfig,
    /// How long a server may take to answer at first before it counts as unreachable.
    pub connect_timeout: Duration,
    /// How long a query that only reads waits for a scheduler that went away while it ran.
    pub reconnect: Duration,
    /// Functions of the program, which scheduler and executors have to know as well: those of the embedded engine do, and
    /// those of a cluster do where they run with the same configuration.
    pub functions: Functions,
    /// Connectors of the program, besides those for MongoDB, Kafka and cached tables. Scheduler and executors have to know
    /// the same ones.
    pub connectors: Vec<Arc<dyn Connector>>,
    /// How a session reaches its cluster: by TLS or not, and with which token.
    pub dialer: Dialer,
}

impl Config {
    /// A configuration for `database` on the server at `uri`; every other field has its default.
    pub fn new(uri: impl Into<MongoUri>, database: impl Into<String>) -> Self {
        Self { mongodb: MongoConnection { uri: uri.into(), database: database.into() }, ..Self::default() }
    }

    /// The same configuration with one more connector. It replaces one of the same name.
    pub fn with_connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connectors.push(connector);
        self
    }

    /// `vcores`, or the number of processors; at least 1.
    pub(crate) fn resolved_vcores(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.vcores.unwrap_or_else(processors).max(1)
    }

    /// `partitions`, or as many as there are vcores; at least 1.
    pub(crate) fn resolved_partitions(&self) -> usize {
        self.partitions.unwrap_or_else(|| self.resolved_vcores()).max(1)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mongodb: MongoConnection {
                uri: "mongodb://localhost:27017".into(),
                database: "firesteel".to_owned(),
            },
            databases: Vec::new(),
            kafka: KafkaConfig::default(),
            topics: KafkaTopics::default(),
            vcores: None,
            partitions: None,
            scan: ScanConfig::default(),
            cache: CacheConfig::default(),
            files: FileAccess::default(),
            limits: SqlLimits::default(),
            write: WriteConfig::default(),
            connect_timeout: Duration::from_secs(5),
            reconnect: Duration::from_secs(30),
            functions: Functions::default(),
            connectors: Vec::new(),
            dialer: Dialer::default(),
        }
    }
}

/// Where a MongoDB database is, with the credentials to read it. `Debug` shows only the hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoConnection {
    /// A MongoDB connection string, which may hold a password.
    pub uri: MongoUri,
    /// The database that holds the collections.
    pub database: String,
}

/// The topics behind the tables that are there from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaTopics {
    /// The topic behind the table `images`.
    pub images: String,
    /// The topic behind the table `predictions_topic`.
    pub predictions: String,
}

impl Default for KafkaTopics {
    fn default() -> Self {
        Self { images: "images".to_owned(), predictions: "predictions".to_owned() }
    }
}

/// The most partitions of a scan.
pub(crate) const MOST_PARTS: u64 = 10_000;

/// How a MongoDB collection is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanConfig {
    /// Rows in an Arrow batch, and documents that the server is asked for at a time.
    pub batch_rows: usize,
    /// How a scan is cut into partitions.
    pub partitioner: Partitioner,
    /// The most partitions of a scan. `None`: as many as the cluster has task slots, and at least as many as the
    /// session has partitions; without limit where the partitioner is told the size or the number of its parts.
    pub max_partitions: Option<usize>,
    /// A partition is not made for fewer documents than this, unless the partitioner is told their size or number.
    pub min_documents_per_partition: u64,
    /// Whether filters are evaluated by the server where that is exact.
    pub filter_pushdown: bool,
    /// What becomes of a document that does not fit the schema.
    pub mode: ReadMode,
    /// The text column of the schema that shows, under [`ReadMode::Permissive`], a document that does not fit.
    pub corrupt_record_column: String,
    /// Whether aggregates are computed by the server where that gives what the engine would.
    pub aggregate_pushdown: bool,
}

impl Default for ScanConfig {
    fn default() -> Self {
        Self {
            batch_rows: 8192,
            partitioner: Partitioner::Auto,
            max_partitions: None,
            min_documents_per_partition: 20_000,
            filter_pushdown: true,
            mode: ReadMode::FailFast,
            corrupt_record_column: "_corrupt_record".to_owned(),
            aggregate_pushdown: true,
        }
    }
}

/// Where cached tables are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// The folder of their files. All executors of a cluster have to see the same one: on several machines it is a
    /// shared volume.
    pub folder: PathBuf,
    /// How many bytes of cached columns a process keeps in memory; 0: none.
    pub memory_bytes: usize,
    /// How many bytes the files of one session may have. `None`: no limit.
    pub session_bytes: Option<u64>,
}

impl Default for CacheConfig {
    /// A folder of this user's own in the system's folder for temporary files.
    fn default() -> Self {
        Self { folder: std::env::temp_dir().join(own_folder()), memory_bytes: 1 << 30, session_bytes: None }
    }
}

/// The name of this user's folder: that of another one could not be written, and is not trusted.
#[cfg(unix)]
fn own_folder() -> String {
    format!("firesteel-cache-{}", rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn own_folder() -> String {
    "firesteel-cache".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_debug_print_hold_no_credentials() {
        let cases = [
            ("mongodb://localhost:27017", "localhost:27017"),
            ("mongodb://user:se@cret@a:1,b:2/admin?replicaSet=rs0", "a:1,b:2"),
            ("mongodb+srv://user:secret@cluster.example.org/?w=majority", "cluster.example.org"),
            ("user:secret@host", "host"),
            ("mongodb://user:sec?ret@host", "host"),
            ("mongodb://user:secret@host:10255/?ssl=true&appName=@user@", "host:10255"),
            ("mongodb://host:1/?appName=@user@", "host:1"),
            ("", ""),
        ];
        for (uri, address) in cases {
            let config = Config::new(uri, "firesteel");
            assert_eq!(config.mongodb.uri.hosts(), address, "{uri}");
            assert!(!format!("{config:?}").contains("cret"), "{uri}");
        }
        let mut config = Config::default();
        config.kafka.properties.insert("sasl.password", "secret");
        let shown = format!("{config:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("cret"), "{shown}");
    }
}
