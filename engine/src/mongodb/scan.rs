//! The scan as a physical node.
//!
//! Ballista sends a task only the partitions that are its own by slicing the leaves that it knows. A leaf of any other
//! kind is sent whole, and then every task reads every partition. So this node is not a leaf: its input is an in-memory
//! table whose partition *i* holds one row, the descriptor of range *i*. Ballista slices that table, and this node takes
//! its partitioning from whatever is left of it.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
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
use super::find::{Find, IdRange};
use super::mode::Reading;
use super::reader;

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
    /// What becomes of documents that do not fit.
    pub(crate) reading: Reading,
    /// Whether an aggregate over the scan may be computed by the server.
    pub(crate) aggregate_pushdown: bool,
    /// How the ranges were found, for `EXPLAIN`.
    pub(crate) partitioner: String,
}

impl ScanSpec {
    /// Everything of a `find` but the range.
    pub(crate) fn find(&self) -> Find<'_> {
        let documents = self.reading.documents.as_ref().unwrap_or(&self.schema);
        Find {
            collection: &self.collection,
            columns: documents.fields().iter().map(|field| field.name().as_str()).collect(),
            whole_documents: self.reading.corrupt_record.is_some(),
            filter: self.filter.as_ref(),
            cluster_time: self.cluster_time,
            limit: self.limit,
            batch_rows: self.batch_rows,
            clustered: self.clustered,
        }
    }
}

/// Reads the ranges that its input describes.
#[derive(Debug)]
pub(crate) struct MongoScanExec {
    spec: Arc<ScanSpec>,
    connection: Arc<Connection>,
    descriptors: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MongoScanExec {
    /// A scan of `ranges`, one a partition.
    pub(crate) fn over(spec: ScanSpec, connection: Arc<Connection>, ranges: &[IdRange]) -> Result<Self> {
        let partitions: Vec<Vec<RecordBatch>> =
            ranges.iter().map(|range| Ok(vec![describe(range)?])).collect::<Result<_>>()?;
        let source = MemorySourceConfig::try_new(&partitions, descriptor_schema(), None)?;
        Ok(Self::new(Arc::new(spec), connection, DataSourceExec::from_data_source(source)))
    }

    /// A scan of the ranges that `descriptors` yields.
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

fn descriptor_schema() -> SchemaRef {
    let bound = |name| Field::new(name, DataType::Binary, true);
    Arc::new(Schema::new(vec![bound("lower"), bound("upper")]))
}

/// One range as a row; an open end is null.
fn describe(range: &IdRange) -> Result<RecordBatch> {
    let bound = |bound: &Option<Document>| -> Result<Arc<dyn Array>> {
        let bytes = bound.as_ref().map(Document::to_vec).transpose();
        let bytes = bytes.map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Arc::new(BinaryArray::from(vec![bytes.as_deref()])))
    };
    Ok(RecordBatch::try_new(descriptor_schema(), vec![bound(&range.lower)?, bound(&range.upper)?])?)
}

/// The ranges in the rows of a descriptor batch.
pub(crate) fn ranges_of(batch: &RecordBatch) -> Result<Vec<IdRange>> {
    let column = |index: usize| {
        let column = batch.columns().get(index).and_then(|column| column.as_binary_opt::<i32>());
        column.ok_or_else(|| DataFusionError::Internal("a descriptor has two binary columns".to_owned()))
    };
    let (lowers, uppers) = (column(0)?, column(1)?);
    let bound = |column: &BinaryArray, row: usize| -> Result<Option<Document>> {
        if column.is_null(row) {
            return Ok(None);
        }
        let document = Document::from_reader(column.value(row));
        document.map(Some).map_err(|error| DataFusionError::External(Box::new(error)))
    };
    (0..batch.num_rows())
        .map(|row| Ok(IdRange { lower: bound(lowers, row)?, upper: bound(uppers, row)? }))
        .collect()
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_descriptor_keeps_any_bson_type() {
        for (lower, upper) in [
            (None, None),
            (None, Some(doc! { "_id": "ab12cd34:7" })),
            (Some(doc! { "_id": bson::oid::ObjectId::new() }), None),
            (
                Some(doc! { "_id": { "a": 1, "b": bson::Bson::Null } }),
                Some(doc! { "_id": bson::Bson::MaxKey }),
            ),
        ] {
            let range = IdRange { lower, upper };
            assert_eq!(ranges_of(&describe(&range).unwrap()).unwrap(), [range]);
        }
    }
}
