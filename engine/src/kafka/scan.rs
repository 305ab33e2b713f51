//! The scan as a physical node.
//!
//! It is not a leaf, for the reason that the scan of a MongoDB collection is none: its input is an in-memory table
//! whose partition *i* holds the offsets of part *i*, which Ballista slices, and this node takes its partitioning from
//! whatever is left of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
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

use super::bounds::OffsetRange;
use super::connection::Connection;
use super::options::{Format, Isolation, Mode};
use super::reader;
use super::schema::table_schema;

/// So many ranges are shown, and how many more there are; all of them in a verbose plan.
const RANGES_SHOWN: usize = 8;

/// What all partitions of a scan share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScanSpec {
    /// The connection's name.
    pub(crate) connection: String,
    pub(crate) topic: String,
    pub(crate) format: Format,
    pub(crate) mode: Mode,
    pub(crate) isolation: Isolation,
    pub(crate) fail_on_data_loss: bool,
    pub(crate) fetch_timeout: Duration,
    /// The table's columns that come out, by position.
    pub(crate) columns: Vec<usize>,
    /// The most rows of a partition.
    pub(crate) limit: Option<u64>,
    pub(crate) batch_rows: usize,
}

impl ScanSpec {
    /// The columns that come out.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        Ok(Arc::new(table_schema(self.format, self.mode).project(&self.columns)?))
    }
}

/// Reads the offsets that its input describes.
#[derive(Debug)]
pub(crate) struct KafkaScanExec {
    spec: Arc<ScanSpec>,
    schema: SchemaRef,
    connection: Arc<Connection>,
    descriptors: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl KafkaScanExec {
    /// A scan of `parts`, one a partition; of one empty partition where there are none.
    pub(crate) fn over(spec: ScanSpec, connection: Arc<Connection>, parts: &[OffsetRange]) -> Result<Self> {
        let mut partitions: Vec<Vec<RecordBatch>> =
            parts.iter().map(|part| Ok(vec![describe(&[*part])?])).collect::<Result<_>>()?;
        if partitions.is_empty() {
            partitions.push(vec![describe(&[])?]);
        }
        let source = MemorySourceConfig::try_new(&partitions, descriptor_schema(), None)?;
        Self::new(Arc::new(spec), connection, DataSourceExec::from_data_source(source))
    }

    /// A scan of the offsets that `descriptors` yields.
    pub(crate) fn new(
        spec: Arc<ScanSpec>,
        connection: Arc<Connection>,
        descriptors: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let schema = spec.schema()?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            descriptors.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            spec,
            schema,
            connection,
            descriptors,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    pub(crate) fn spec(&self) -> &ScanSpec {
        &self.spec
    }

    /// The ranges of all partitions, where the input still is the table that they were put in.
    fn ranges(&self) -> Option<Vec<OffsetRange>> {
        let source = self.descriptors.downcast_ref::<DataSourceExec>()?;
        let source = source.data_source().downcast_ref::<MemorySourceConfig>()?;
        let ranges = source.partitions().iter().flatten().map(ranges_of).collect::<Result<Vec<_>>>().ok()?;
        Some(ranges.concat())
    }
}

impl DisplayAs for KafkaScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.spec;
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let partitions = self.properties.partitioning.partition_count();
        let columns = columns.join(", ");
        write!(f, "KafkaScanExec: topic={}, partitions={partitions}, projection=[{columns}]", spec.topic)?;
        if let Some(ranges) = self.ranges() {
            let verbose = matches!(format, DisplayFormatType::Verbose);
            let shown = if verbose { ranges.len() } else { ranges.len().min(RANGES_SHOWN) };
            let mut words: Vec<String> = ranges[..shown]
                .iter()
                .map(|range| format!("{}:{}..{}", range.partition, range.start, range.end))
                .collect();
            if shown < ranges.len() {
                words.push(format!("{} more", ranges.len() - shown));
            }
            write!(f, ", ranges=[{}]", words.join(", "))?;
        }
        if let Some(limit) = spec.limit {
            write!(f, ", limit={limit}")?;
        }
        write!(f, ", isolation={}", spec.isolation.name())
    }
}

impl ExecutionPlan for KafkaScanExec {
    fn name(&self) -> &'static str {
        "KafkaScanExec"
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
                Ok(Arc::new(Self::new(Arc::clone(&self.spec), Arc::clone(&self.connection), descriptors)?))
            }
            _ => Err(DataFusionError::Internal("KafkaScanExec has exactly one input".to_owned())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let descriptors = self.descriptors.execute(partition, context)?;
        let (spec, connection) = (Arc::clone(&self.spec), Arc::clone(&self.connection));
        reader::read(spec, Arc::clone(&self.schema), connection, descriptors, &self.metrics, partition)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

fn descriptor_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("start", DataType::Int64, false),
        Field::new("end", DataType::Int64, false),
    ]))
}

/// Ranges as rows.
fn describe(ranges: &[OffsetRange]) -> Result<RecordBatch> {
    let partitions: Int32Array = ranges.iter().map(|range| Some(range.partition)).collect();
    let starts: Int64Array = ranges.iter().map(|range| Some(range.start)).collect();
    let ends: Int64Array = ranges.iter().map(|range| Some(range.end)).collect();
    let columns = vec![Arc::new(partitions) as _, Arc::new(starts) as _, Arc::new(ends) as _];
    Ok(RecordBatch::try_new(descriptor_schema(), columns)?)
}

/// The ranges in the rows of a descriptor batch.
pub(crate) fn ranges_of(batch: &RecordBatch) -> Result<Vec<OffsetRange>> {
    let [partitions, starts, ends] = batch.columns() else {
        return Err(DataFusionError::Internal("a descriptor has three columns".to_owned()));
    };
    let other = || DataFusionError::Internal("a descriptor holds a partition and two offsets".to_owned());
    let partitions = partitions.as_primitive_opt::<Int32Type>().ok_or_else(other)?.values();
    let starts = starts.as_primitive_opt::<Int64Type>().ok_or_else(other)?.values();
    let ends = ends.as_primitive_opt::<Int64Type>().ok_or_else(other)?.values();
    let rows = partitions.iter().zip(starts).zip(ends);
    Ok(rows.map(|((&partition, &start), &end)| OffsetRange { partition, start, end }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_keep_their_ranges() {
        let range = |partition, start, end| OffsetRange { partition, start, end };
        for ranges in [vec![], vec![range(0, 0, 5)], vec![range(3, i64::MAX - 1, i64::MAX), range(0, 7, 7)]] {
            assert_eq!(ranges_of(&describe(&ranges).unwrap()).unwrap(), ranges);
        }
    }
}
