//! The scan of a collection as a physical node, and what all of its partitions share.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bson::{Document, Timestamp};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use super::connection::Connection;
use super::find::Find;
use super::mode::Reading;
use super::reader;
use super::walk::{Walk, describe, descriptor_schema};
use crate::connectors::{Execution, Input, Operator, OperatorExec};

/// What all partitions of a scan share.
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
    pub(crate) reading: Reading,
    /// Whether an aggregate over the scan may be computed by the server.
    pub(crate) aggregate_pushdown: bool,
    /// How the parts were found, for `EXPLAIN`.
    pub(crate) partitioner: String,
}

impl ScanSpec {
    /// Whether the server sends whole documents: because that costs less, or because they are shown where they do not fit.
    fn fetches_whole_documents(&self) -> bool {
        self.whole_documents || self.reading.corrupt_record.is_some()
    }

    /// Everything of a `find` but the range.
    pub(crate) fn find(&self) -> Find<'_> {
        Find {
            collection: &self.collection,
            columns: self.reading.columns(&self.schema),
            whole_documents: self.fetches_whole_documents(),
            filter: self.filter.as_ref(),
            cluster_time: self.cluster_time,
            limit: self.limit,
            batch_rows: self.batch_rows,
            clustered: self.clustered,
        }
    }
}

/// Reads the parts of a collection that its descriptors name.
#[derive(Debug)]
pub(crate) struct MongoScan {
    spec: Arc<ScanSpec>,
    connection: Arc<Connection>,
}

/// The scan of a collection.
pub(crate) type MongoScanExec = OperatorExec<MongoScan>;

impl MongoScanExec {
    /// A scan of `walks`, one a partition.
    pub(crate) fn try_new(spec: ScanSpec, connection: Arc<Connection>, walks: &[Walk]) -> Result<Self> {
        let descriptors = walks.iter().map(describe).collect::<Result<Vec<_>>>()?;
        Self::over(MongoScan { spec: Arc::new(spec), connection }, descriptor_schema(), descriptors)
    }

    /// A scan of what `descriptors`, which came with a plan, name.
    pub(crate) fn decoded(
        spec: ScanSpec,
        connection: Arc<Connection>,
        descriptors: Arc<dyn ExecutionPlan>,
    ) -> Self {
        Self::new(MongoScan { spec: Arc::new(spec), connection }, descriptors)
    }

    pub(crate) fn spec(&self) -> &ScanSpec {
        &self.operator().spec
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.operator().connection
    }
}

impl Operator for MongoScan {
    fn name(&self) -> &'static str {
        "MongoScanExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.spec.schema)
    }

    fn fmt_as(
        &self,
        input: &Input<'_>,
        format: DisplayFormatType,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let spec = &self.spec;
        let columns: Vec<&str> = spec.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let partitions = input.partitions();
        write!(
            f,
            "MongoScanExec: collection={}.{}, partitions={partitions}, partitioner={}, projection=[{}]",
            spec.database,
            spec.collection,
            spec.partitioner,
            columns.join(", ")
        )?;
        if let Some(filter) = &spec.filter {
            write!(f, ", filter={filter}")?;
        }
        if let Some(limit) = spec.limit {
            write!(f, ", limit={limit}")?;
        }
        if spec.fetches_whole_documents() {
            write!(f, ", fetch=whole documents")?;
        }
        if !spec.reading.mode.is_failfast() {
            write!(f, ", mode={}", spec.reading.mode)?;
        }
        match (spec.cluster_time, format) {
            (None, _) => write!(f, ", read=plain"),
            (Some(time), DisplayFormatType::Verbose) => {
                write!(f, ", read=snapshot({}, {})", time.time, time.increment)
            }
            (Some(_), _) => write!(f, ", read=snapshot"),
        }
    }

    fn execute(
        self: Arc<Self>,
        descriptors: SendableRecordBatchStream,
        Execution { partition, metrics, .. }: Execution<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let (spec, connection) = (Arc::clone(&self.spec), Arc::clone(&self.connection));
        reader::read(spec, connection, descriptors, metrics, partition)
    }
}
