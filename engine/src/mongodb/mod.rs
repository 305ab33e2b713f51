//! The MongoDB source: a collection as a table that is scanned in partitions, at one snapshot.
//!
//! ```text
//!  table ──scan()──▶ partition: size, boundaries (see `Partitioner`) ────▶ walks: ranges of `_id`, or of records
//!                                                                            │ one descriptor a partition
//!  batches ◀── decode ◀── raw BSON batches ◀── reader ◀── find command ◀── scan node
//! ```
//!
//! Guarantees, each with a test against a real server: every document is read exactly once, whatever the BSON
//! type of its `_id`; on a replica set all partitions of all scans of a query read at one cluster time; a filter is
//! evaluated by the server only where that gives what DataFusion would. That holds for documents that fit the schema,
//! and in the modes PERMISSIVE and DROPMALFORMED for any ([`mode`]). In the mode FAILFAST the server compares a value
//! of another type as it is, and a query may succeed where reading the field would have failed.
//!
//! A standalone server has no cluster time: there the partitions are plain reads, and a document that is written
//! meanwhile may or may not be seen.

mod aggregate;
mod connection;
mod decode;
mod factory;
mod fault;
mod filter;
mod find;
mod location;
mod mode;
mod options;
mod partition;
mod reader;
mod retry;
mod scan;
mod schema;
mod table;
mod walk;
mod write;

pub(crate) use aggregate::{AggregatePushdown, MongoGroupExec};
pub(crate) use connection::Connection;
pub(crate) use decode::Decoder;
pub(crate) use factory::{MongoTableFactory, open};
pub(crate) use filter::conjunction;
pub(crate) use location::Location;
pub(crate) use mode::Reading;
pub(crate) use options::TableOptions;
pub(crate) use scan::{MongoScanExec, ScanSpec};
pub use schema::predictions_schema;
pub(crate) use table::MongoTable;
#[cfg(test)]
pub(crate) use walk::{IdRange, Records, Walk};
pub(crate) use write::{MongoWriteExec, WriteSpec};
