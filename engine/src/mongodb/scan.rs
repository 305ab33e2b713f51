//! The scan as a physical node.
//!
//! Ballista sends a task only the partitions that are its own by slicing the leaves that it knows. A leaf of any other
//! kind is sent whole, and then every task reads every partition. So this node is not a leaf: its input is an in-memory
//! table whose partition *i* holds one row, the descriptor of what partition *i* reads. Ballista slices that table, and this node takes
//! its partitioning from whatever is left of it.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bson::{Document, Timestamp};
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

use super::connection::Connection;
use super::find::Find;
use super::mode::Reading;
use super::reader;
use super::walk::{Walk, describe, descriptor_schema};

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

/// Reads what its input describes.
#[derive(Debug)]
pub(crate) struct MongoScanExec {
    spec: Arc<ScanSpec>,
    connection: Arc<Connection>,
    descriptors: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MongoScanExec {
    /// A scan of `walks`, one a partition.
    pub(crate) fn over(spec: ScanSpec, connection: Arc<Connection>, walks: &[Walk]) -> Result<Self> {
        let partitions: Vec<Vec<RecordBatch>> =
            walks.iter().map(|walk| Ok(vec![describe(walk)?])).collect::<Result<_>>()?;
        let source = MemorySourceConfig::try_new(&partitions, descriptor_schema(), None)?;
        Ok(Self::new(Arc::new(spec), connection, DataSourceExec::from_data_source(source)))
    }

    /// A scan of what `descriptors` yields.
    pub(crate) fn new(
        spec: Arc<ScanSpec>,
        connection: Arc<Connection>,
        descriptors: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&spec.schema)),
            descriptors.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            spec,
            connection,
            descriptors,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    pub(crate) fn spec(&self) -> &ScanSpec {
        &self.spec
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) fn descriptors(&self) -> &Arc<dyn ExecutionPlan> {
        &self.descriptors
    }
}

impl DisplayAs for MongoScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.spec;
        let columns: Vec<&str> = spec.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let partitions = self.properties.partitioning.partition_count();
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
}

impl ExecutionPlan for MongoScanExec {
    fn name(&self) -> &'static str {
        "MongoScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.descriptors]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(descriptors), true) => {
                Ok(Arc::new(Self::new(Arc::clone(&self.spec), Arc::clone(&self.connection), descriptors)))
            }
            _ => Err(DataFusionError::Internal("MongoScanExec has exactly one input".to_owned())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let descriptors = self.descriptors.execute(partition, context)?;
        let spec = Arc::clone(&self.spec);
        reader::read(spec, Arc::clone(&self.connection), descriptors, &self.metrics, partition)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
