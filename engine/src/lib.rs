//! Firesteel's engine: SQL and map / reduce-by-key over MongoDB, Kafka and files, distributed by Ballista.
//!
//! ```text
//!  Session ── SQL or dataflow ──▶ logical plan ──codec──▶ scheduler ──codec──▶ executors
//!     │                                                      │ plans `_id` ranges    │ read one range each,
//!     └── embedded: both in this process, over loopback      ▼ at one cluster time   ▼ BSON → Arrow
//!                                                         MongoDB ◀──────────────────┘
//! ```
//!
//! A [`Session`] runs queries on an embedded engine or on a cluster; the two differ only in where scheduler and
//! executors live. All three roles build their state with one function and share one plan codec, so that a plan
//! means the same everywhere. Ballista's generic types stay inside this crate: a crate that names them is slow to
//! compile. For the same reason a public function that awaits returns a boxed future: its state machine is compiled once,
//! here, and not in every crate that calls it.
//!
//! Plans and session settings never carry credentials. A plan names a connection, and every process resolves the
//! name from its own [`Config`].

pub mod cluster;
mod config;
pub mod connect;
pub mod connectors;
pub mod dataflow;
pub mod documents;
mod error;
pub mod functions;
#[doc(hidden)]
pub mod fuzz;
mod jobs;
mod lease;
mod limits;
mod peers;
mod plan;
pub mod prelude;
mod query;
pub mod report;
mod slots;
mod suggestions;
mod value;
mod wire;

pub use config::{
    Acknowledgement, CacheConfig, Config, DEFAULT_CONNECTION, Dialer, FileAccess, KafkaConfig, KafkaTopics,
    MongoConnection, MongoUri, Partitioner, ReadMode, ScanConfig, WriteConcern, WriteConfig,
};
pub use connectors::predictions_schema;
pub use error::{ConfigField, Error, Result};
pub use firesteel_common::access::Secret;
pub use firesteel_common::tls::ClientTls;
pub use jobs::{Activity, ExecutorInfo, Job, Progress, Stage, StageState, Watch};
pub use limits::SqlLimits;
pub use query::{
    ColumnInfo, FunctionInfo, Outcome, Query, Session, Statement, TableInfo, asks_for_tls, scheduler_address,
};
