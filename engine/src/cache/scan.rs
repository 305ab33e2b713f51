//! The scan of a cached table as a physical node: unary over its descriptors, for the reason that the scan of MongoDB is.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type};
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::column::{RowGroup, load};
use super::store::{CacheStore, Folder};
use super::table::{Part, Stamp};

/// What all partitions of a scan share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CachedScanSpec {
    pub(crate) folder: Folder,
    /// The columns that come out.
    pub(crate) schema: SchemaRef,
    /// Where they are in the files.
    pub(crate) columns: Vec<u32>,
    /// The most rows of a partition.
    pub(crate) limit: Option<u64>,
    pub(crate) stamp: Stamp,
}

/// Reads the row groups that its input describes.
#[derive(Debug)]
pub(crate) struct CachedScanExec {
    spec: Arc<CachedScanSpec>,
    store: Arc<CacheStore>,
    descriptors: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The columns of one row group, as memory holds them: text may be a dictionary.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) rows: usize,
    pub(super) columns: Vec<ArrayRef>,
}

impl CachedScanExec {
    /// A scan of `partitions`.
    pub(crate) fn over(
        spec: CachedScanSpec,
        store: Arc<CacheStore>,
        partitions: &[Vec<Part>],
    ) -> Result<Self> {
        let described: Vec<Vec<RecordBatch>> =
            partitions.iter().map(|parts| Ok(vec![describe(parts)?])).collect::<Result<_>>()?;
        let source = MemorySourceConfig::try_new(&described, descriptor_schema(), None)?;
        Ok(Self::new(Arc::new(spec), store, DataSourceExec::from_data_source(source)))
    }

    /// A scan of the row groups that `descriptors` yields.
    pub(crate) fn new(
        spec: Arc<CachedScanSpec>,
        store: Arc<CacheStore>,
        descriptors: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&spec.schema)),
            descriptors.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { spec, store, descriptors, properties: Arc::new(properties), metrics }
    }

    pub(crate) fn spec(&self) -> &CachedScanSpec {
        &self.spec
    }

    /// The row groups of a partition, each read when it is asked for, without regard to `limit`.
    pub(super) async fn chunks(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<impl Iterator<Item = Result<Chunk>> + Send + use<>> {
        let descriptors = self.descriptors.execute(partition, context)?;
        let counts = self.counts(partition);
        chunks(Arc::clone(&self.spec), Arc::clone(&self.store), descriptors, counts).await
    }

    /// Counts columns that were in memory, and those that had to be read.
    fn counts(&self, partition: usize) -> (Count, Count) {
        let counter = |name: &'static str| MetricBuilder::new(&self.metrics).counter(name, partition);
        (counter("columns_from_memory"), counter("columns_from_file"))
    }
}

async fn chunks(
    spec: Arc<CachedScanSpec>,
    store: Arc<CacheStore>,
    descriptors: SendableRecordBatchStream,
    (memory, file): (Count, Count),
) -> Result<impl Iterator<Item = Result<Chunk>> + Send + use<>> {
    let descriptors: Vec<RecordBatch> = descriptors.try_collect().await?;
    let mut parts = Vec::new();
    for descriptor in &descriptors {
        parts.extend(parts_of(descriptor)?);
    }
    Ok(parts.into_iter().map(move |part| {
        let rows = usize::try_from(part.rows).unwrap_or(usize::MAX);
        let group = RowGroup { folder: spec.folder.clone(), file: part.file, row_group: part.row_group };
        let (columns, hits) = load(&store, &group, &spec.columns)?;
        memory.add(hits);
        file.add(columns.len() - hits);
        Ok(Chunk { rows, columns })
    }))
}

/// Rows of a chunk as a batch of the table's schema.
pub(super) fn batch(chunk: &Chunk, schema: &SchemaRef, from: usize, rows: usize) -> Result<RecordBatch> {
    let columns = chunk.columns.iter().zip(schema.fields());
    let columns = columns
        .map(|(column, field)| {
            let part = column.slice(from, rows);
            let same = part.data_type() == field.data_type();
            if same { Ok(part) } else { cast(&part, field.data_type()) }
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

impl DisplayAs for CachedScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.spec;
        let columns: Vec<&str> = spec.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let partitions = self.properties.partitioning.partition_count();
        write!(f, "CachedScanExec: partitions={partitions}, projection=[{}]", columns.join(", "))?;
        if let Some(limit) = spec.limit {
            write!(f, ", limit={limit}")?;
        }
        write!(f, ", cached at {}", spec.stamp)
    }
}

impl ExecutionPlan for CachedScanExec {
    fn name(&self) -> &'static str {
        "CachedScanExec"
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
                Ok(Arc::new(Self::new(Arc::clone(&self.spec), Arc::clone(&self.store), descriptors)))
            }
            _ => Err(DataFusionError::Internal("CachedScanExec has exactly one input".to_owned())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size().max(1);
        let (spec, store) = (Arc::clone(&self.spec), Arc::clone(&self.store));
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let counts = self.counts(partition);
        let descriptors = self.descriptors.execute(partition, context)?;
        let schema = Arc::clone(&spec.schema);
        let mut left = spec.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let batches = stream::once(async move {
            let schema = Arc::clone(&spec.schema);
            let mut chunks = chunks(spec, store, descriptors, counts).await?;
            let (mut chunk, mut from) = (Chunk { rows: 0, columns: Vec::new() }, 0);
            let batches = std::iter::from_fn(move || {
                while left > 0 && from == chunk.rows {
                    match chunks.next()? {
                        Ok(next) => (chunk, from) = (next, 0),
                        Err(error) => {
                            left = 0;
                            return Some(Err(error));
                        }
                    }
                }
                let rows = batch_rows.min(chunk.rows - from).min(left);
                if rows == 0 {
                    return None;
                }
                let timer = baseline.elapsed_compute().timer();
                let batch = batch(&chunk, &schema, from, rows);
                timer.done();
                (from, left) = (from + rows, left - rows);
                baseline.record_output(rows);
                Some(batch)
            });
            Ok::<_, DataFusionError>(stream::iter(batches))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.try_flatten().boxed())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

fn descriptor_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("file", DataType::Utf8, false),
        Field::new("row_group", DataType::UInt32, false),
        Field::new("rows", DataType::UInt64, false),
    ]))
}

/// Parts as rows.
fn describe(parts: &[Part]) -> Result<RecordBatch> {
    let files: StringArray = parts.iter().map(|part| Some(part.file.as_ref())).collect();
    let row_groups: UInt32Array = parts.iter().map(|part| Some(part.row_group)).collect();
    let rows: UInt64Array = parts.iter().map(|part| Some(part.rows)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(files), Arc::new(row_groups), Arc::new(rows)];
    Ok(RecordBatch::try_new(descriptor_schema(), columns)?)
}

/// The parts in the rows of a descriptor batch.
fn parts_of(batch: &RecordBatch) -> Result<Vec<Part>> {
    let wrong = || DataFusionError::Internal("a descriptor has a file, a row group and a count".to_owned());
    let column = |index: usize| batch.columns().get(index).ok_or_else(wrong);
    let files = column(0)?.as_string_opt::<i32>().ok_or_else(wrong)?;
    let row_groups = column(1)?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
    let rows = column(2)?.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
    let part = |row: usize| Part {
        file: files.value(row).into(),
        row_group: row_groups.value(row),
        rows: rows.value(row),
    };
    Ok((0..batch.num_rows()).map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_keeps_its_parts() {
        let parts: Vec<Part> = (0..3)
            .map(|i| Part { file: format!("f{i}").into(), row_group: i, rows: u64::from(i) << 33 })
            .collect();
        assert_eq!(parts_of(&describe(&parts).unwrap()).unwrap(), parts);
        assert_eq!(parts_of(&describe(&[]).unwrap()).unwrap(), []);
    }
}
