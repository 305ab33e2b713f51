//! Cached tables: the content of a table, kept as Spark's `CACHE TABLE` keeps it.
//!
//! ```text
//!  CACHE TABLE t ──▶ job: scan of t at one cluster time ──▶ Parquet files in the cache folder
//!                                                             │ names and rows come back to the session
//!  SELECT … FROM t ──▶ CachedTable: one descriptor a row group┘
//!                        │ executor: memory, else file, decoded once; text with few values as a dictionary
//!                        └─ GROUP BY text: CachedAggregateExec counts by the dictionary's keys
//! ```
//!
//! What is kept is a snapshot: it carries the cluster time that it holds, and stays as it is until `REFRESH TABLE` reads
//! the table anew. It belongs to the session that made it, and lives in files that every executor sees, so any executor
//! serves any part of it and a lost one takes nothing with it. The memory of an executor is only a copy of what it read,
//! within a budget; the least recently used part goes first.
//!
//! A plan names a session's folder and a file in it, never a path: each process has the folder from its own settings.

mod aggregate;
mod column;
mod groups;
mod job;
mod pipeline;
mod scan;
mod session;
mod store;
mod table;

pub(crate) use self::aggregate::{CachedAggregateExec, CachedAggregateRule};
pub(crate) use self::job::{Action, CacheJob, CacheJobExec};
pub(crate) use self::scan::{CachedScanExec, CachedScanSpec};
pub(crate) use self::session::Registry;
pub(crate) use self::store::{CacheStore, Folder};
pub(crate) use self::table::{CachedTable, Part, Stamp};
