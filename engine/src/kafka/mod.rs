//! The Kafka source: a topic as a table that is read as a batch, from one offset to another.
//!
//! ```text
//!  table ──scan()──▶ ends of the topic, bounds ──▶ ranges of offsets ──split──▶ parts
//!                                                                                │ one descriptor a partition
//!  batches ◀── decode ◀── messages ◀── reader (a consumer that joins no group) ◀── scan node
//! ```
//!
//! Guarantees, each with a test against a real broker: which offsets are read is decided once, when the query is
//! planned, so a task that is tried again reads the same; all scans of a query see one end of a topic; every message
//! of a range is read exactly once and the reading ends, also where offsets have gaps (compaction, deleted records,
//! transaction markers, aborted transactions); an offset that is no longer there is an error unless the table says
//! otherwise. No topic is ever created by reading, and no group's offsets are committed.
//!
//! Under `read_committed`, the default, a topic ends at its *last stable offset*: before the first message of a
//! transaction that is still open. Under `read_uncommitted` it ends at the high watermark, and messages of open and
//! aborted transactions are read too.

mod bounds;
mod connection;
mod decode;
mod factory;
mod fault;
mod filter;
#[cfg(test)]
mod live;
mod options;
mod parse;
mod planning;
mod reader;
mod scan;
mod schema;
mod split;
mod table;

#[cfg(test)]
pub(crate) use bounds::OffsetRange;
pub(crate) use bounds::{At, Bound};
pub(crate) use connection::Connection;
pub(crate) use factory::KafkaTableFactory;
pub(crate) use options::{Format, Isolation, Mode, TableOptions};
pub(crate) use scan::{KafkaScanExec, ScanSpec};
#[cfg(test)]
pub(crate) use schema::table_schema;
pub(crate) use split::PartSize;
pub(crate) use table::KafkaTable;
