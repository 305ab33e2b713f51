//! The scan of a collection as a physical node.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use super::decode::exact::Written;
use super::partition::{ScanPartition, describe, descriptor_schema};
use super::reader;
use super::spec::ScanSpec;
use crate::connectors::descriptors::{Execution, Input, Operator, OperatorExec};
use crate::connectors::mongodb::connection::Connection;

/// Reads the parts of a collection that its descriptors name.
#[derive(Debug)]
pub(crate) struct MongoScan {
    spec: Arc<ScanSpec>,
    connection: Arc<Connection>,
}

/// The scan of a collection.
pub(crate) type MongoScanExec = OperatorExec<MongoScan>;

impl MongoScanExec {
    /// A scan of `partitions`, one a partition.
    pub(crate) fn try_new(
        spec: ScanSpec,
        connection: Arc<Connection>,
        partitions: &[ScanPartition],
    ) -> Result<Self> {
        let descriptors = partitions.iter().map(describe).collect::<Result<Vec<_>>>()?;
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

    /// The same scan of a statement that writes these columns back into a collection.
    pub(crate) fn writing_back(&self, written: Vec<Written>) -> Self {
        let mut spec = self.spec().clone();
        spec.decode.written = written;
        let scan = MongoScan { spec: Arc::new(spec), connection: Arc::clone(self.connection()) };
        Self::new(scan, Arc::clone(self.input()))
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
        let count = input.partitions();
        write!(
            f,
            "MongoScanExec: collection={}.{}, partitions={count}, partitioner={}, projection=[{}]",
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
        if !spec.decode.mode.is_failfast() {
            write!(f, ", mode={}", spec.decode.mode)?;
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
