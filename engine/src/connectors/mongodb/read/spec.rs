//! What all partitions of a scan share.

use arrow::datatypes::SchemaRef;
use bson::{Document, Timestamp};

use super::find::Find;
use crate::connectors::mongodb::schema::mode::DecodeOptions;

/// The part of a scan that all of its partitions share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScanSpec {
    /// The connection's name.
    pub(crate) connection: String,
    pub(crate) database: String,
    pub(crate) collection: String,
    /// The columns that come out.
    pub(crate) schema: SchemaRef,
    pub(crate) filter: Option<Document>,
    /// The time at which every partition reads; `None` on a server without snapshots.
    pub(crate) cluster_time: Option<Timestamp>,
    /// The most rows of a partition.
    pub(crate) limit: Option<u64>,
    pub(crate) batch_rows: usize,
    pub(crate) clustered: bool,
    /// Whether the server sends whole documents, which costs it less than picking most of their fields.
    pub(crate) whole_documents: bool,
    /// What becomes of documents that do not fit.
    pub(crate) decode: DecodeOptions,
    /// Whether an aggregate over the scan may be computed by the server.
    pub(crate) aggregate_pushdown: bool,
    /// How the parts were found, for `EXPLAIN`.
    pub(crate) partitioner: String,
}

impl ScanSpec {
    /// Whether the server sends whole documents: because that costs less, or because they are shown where they do not fit.
    pub(crate) fn fetches_whole_documents(&self) -> bool {
        self.whole_documents || self.decode.corrupt_record.is_some()
    }

    /// Everything of a `find` but the range.
    pub(crate) fn find(&self) -> Find<'_> {
        Find {
            collection: &self.collection,
            columns: self.decode.columns(&self.schema),
            whole_documents: self.fetches_whole_documents(),
            filter: self.filter.as_ref(),
            cluster_time: self.cluster_time,
            limit: self.limit,
            batch_rows: self.batch_rows,
            clustered: self.clustered,
        }
    }
}
