//! The scan of a cached table as a physical node.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use futures::{StreamExt, TryStreamExt, stream};

use super::column::{RowGroup, load};
use super::spec::{CachedScanSpec, Part, describe, parts_of};
use crate::connectors::cache::connection::CacheStore;
use crate::connectors::cache::schema::descriptor_schema;
use crate::connectors::descriptors::{Execution, Input, Operator, OperatorExec};
use crate::connectors::metrics::bytes_scanned;

/// Reads the row groups that its descriptors name.
#[derive(Debug)]
pub(crate) struct CachedScan {
    spec: Arc<CachedScanSpec>,
    store: Arc<CacheStore>,
}

/// The scan of a cached table.
pub(crate) type CachedScanExec = OperatorExec<CachedScan>;

/// The columns of one row group, as memory holds them: text may be a dictionary.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) rows: usize,
    pub(super) columns: Vec<ArrayRef>,
}

impl CachedScanExec {
    /// A scan of `partitions`.
    pub(crate) fn try_new(
        spec: CachedScanSpec,
        store: Arc<CacheStore>,
        partitions: &[Vec<Part>],
    ) -> Result<Self> {
        let descriptors = partitions.iter().map(|parts| describe(parts)).collect::<Result<Vec<_>>>()?;
        Self::over(CachedScan { spec: Arc::new(spec), store }, descriptor_schema(), descriptors)
    }

    /// A scan of the row groups that `descriptors`, which came with a plan, name.
    pub(crate) fn decoded(
        spec: CachedScanSpec,
        store: Arc<CacheStore>,
        descriptors: Arc<dyn ExecutionPlan>,
    ) -> Self {
        Self::new(CachedScan { spec: Arc::new(spec), store }, descriptors)
    }

    pub(crate) fn spec(&self) -> &CachedScanSpec {
        &self.operator().spec
    }

    /// The row groups of a partition, each read when it is asked for, without regard to `limit`.
    pub(super) async fn chunks(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<impl Iterator<Item = Result<Chunk>> + Send + use<>> {
        let descriptors = self.input().execute(partition, context)?;
        let counts = Counts::new(self.metrics_set(), partition);
        let CachedScan { spec, store } = self.operator().as_ref();
        chunks(Arc::clone(spec), Arc::clone(store), descriptors, counts).await
    }
}

/// The counters of one partition.
struct Counts {
    /// Columns that were in memory.
    memory: Count,
    /// Columns that had to be read.
    file: Count,
    /// The size of all of them, as memory holds them.
    bytes: Count,
}

impl Counts {
    fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            memory: counter("columns_from_memory"),
            file: counter("columns_from_file"),
            bytes: bytes_scanned(metrics, partition),
        }
    }
}

async fn chunks(
    spec: Arc<CachedScanSpec>,
    store: Arc<CacheStore>,
    descriptors: SendableRecordBatchStream,
    counts: Counts,
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
        counts.memory.add(hits);
        counts.file.add(columns.len() - hits);
        counts.bytes.add(columns.iter().map(|column| column.get_array_memory_size()).sum());
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

impl Operator for CachedScan {
    fn name(&self) -> &'static str {
        "CachedScanExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.spec.schema)
    }

    fn fmt_as(&self, input: &Input<'_>, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.spec;
        let columns: Vec<&str> = spec.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let partitions = input.partitions();
        write!(f, "CachedScanExec: partitions={partitions}, projection=[{}]", columns.join(", "))?;
        if let Some(limit) = spec.limit {
            write!(f, ", limit={limit}")?;
        }
        write!(f, ", cached at {}", spec.stamp)
    }

    fn execute(
        self: Arc<Self>,
        descriptors: SendableRecordBatchStream,
        Execution { partition, context, metrics }: Execution<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size().max(1);
        let (spec, store) = (Arc::clone(&self.spec), Arc::clone(&self.store));
        let baseline = BaselineMetrics::new(metrics, partition);
        let counts = Counts::new(metrics, partition);
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
}
