//! The jobs that write and remove the files of cached tables, where the executors run.
//!
//! A job is a table without rows of its own: scanned, it plans the query whose result is kept, puts a node that writes over
//! it, and gives back which files there are. So the query is planned, pushed down and spread like any other, and the
//! session, which may see neither the folder nor the server, learns what was written and which cluster time it holds.
//!
//! A task that is tried again writes files under other names. Only what a task gave back belongs to the table; the rest
//! goes with the folder.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type};
use async_trait::async_trait;
use ballista_core::ids::new_instance_id;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{StreamExt, stream};

use super::store::{CacheStore, Folder};
use super::table::Part;
use crate::connections::{ConnectionName, Connections, query_key};
use crate::session::connections_of;

/// Rows of a row group: what is read, held and counted at a time.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// What a job does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Keeps the result of a plan in the folder.
    Write(Box<LogicalPlan>),
    /// Removes the folder.
    Remove,
}

/// A job as a table: reading it runs it.
#[derive(Clone, Debug)]
pub(crate) struct CacheJob {
    pub(crate) connections: Arc<Connections>,
    pub(crate) folder: Folder,
    pub(crate) action: Action,
}

#[async_trait]
impl TableProvider for CacheJob {
    fn schema(&self) -> SchemaRef {
        report_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    /// Runs where the query is planned: in the scheduler.
    async fn scan(
        &self,
        state: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let store = self.connections.cache();
        let Action::Write(plan) = &self.action else {
            // One task removes what all have written: the folder is the same for all.
            let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
            let source = MemorySourceConfig::try_new(&[vec![nothing]], Arc::new(Schema::empty()), None)?;
            let input = DataSourceExec::from_data_source(source);
            return Ok(Arc::new(CacheJobExec::new(self.folder.clone(), true, None, store, input)));
        };
        let input = state.create_physical_plan(plan).await?;
        // All scans of a query read at one time, and asking again gives the same.
        let mut cluster_time = None;
        for name in connections_of(plan)? {
            let ConnectionName::MongoDb(name) = name else { continue };
            let time = self.connections.mongodb(&name)?.read_time(query_key(state)).await?;
            cluster_time = cluster_time.max(time.map(|time| (time.time, time.increment)));
        }
        Ok(Arc::new(CacheJobExec::new(self.folder.clone(), false, cluster_time, store, input)))
    }
}

/// Writes the rows of its input, a file a partition, or removes the folder.
#[derive(Debug)]
pub(crate) struct CacheJobExec {
    folder: Folder,
    remove: bool,
    cluster_time: Option<(u32, u32)>,
    store: Arc<CacheStore>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl CacheJobExec {
    pub(crate) fn new(
        folder: Folder,
        remove: bool,
        cluster_time: Option<(u32, u32)>,
        store: Arc<CacheStore>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(report_schema()),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                input.output_partitioning().partition_count(),
            ),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { folder, remove, cluster_time, store, input, properties: Arc::new(properties) }
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn removes(&self) -> bool {
        self.remove
    }

    pub(crate) fn cluster_time(&self) -> Option<(u32, u32)> {
        self.cluster_time
    }
}

impl DisplayAs for CacheJobExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheJobExec: {} {}", if self.remove { "remove" } else { "write" }, self.folder)
    }
}

impl ExecutionPlan for CacheJobExec {
    fn name(&self) -> &'static str {
        "CacheJobExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
            (Some(input), true) => {
                let (folder, store) = (self.folder.clone(), Arc::clone(&self.store));
                Ok(Arc::new(Self::new(folder, self.remove, self.cluster_time, store, input)))
            }
            _ => Err(DataFusionError::Internal("CacheJobExec has exactly one input".to_owned())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (store, folder) = (Arc::clone(&self.store), self.folder.clone());
        let (remove, cluster_time) = (self.remove, self.cluster_time);
        let report = stream::once(async move {
            if remove {
                store.remove(&folder)?;
                return report(&[], None);
            }
            let file = format!("part-{partition}-{}.parquet", new_instance_id());
            let parts = write(&store, &folder, &file, input).await?;
            report(&parts, cluster_time)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(report_schema(), report)))
    }
}

/// Writes all rows to one file, which is there only where there are rows.
async fn write(
    store: &CacheStore,
    folder: &Folder,
    file: &str,
    mut input: SendableRecordBatchStream,
) -> Result<Vec<Part>> {
    let path = store.create(folder)?.join(file);
    let failed = |error: &dyn fmt::Display| DataFusionError::from(store.failed(&path, error));
    let mut writer: Option<ArrowWriter<File>> = None;
    while let Some(batch) = input.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let writer = match &mut writer {
            Some(writer) => writer,
            None => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let file = File::create(&path).map_err(|error| failed(&error))?;
                let made = ArrowWriter::try_new(file, batch.schema(), Some(properties));
                writer.insert(made.map_err(|error| failed(&error))?)
            }
        };
        writer.write(&batch).map_err(|error| failed(&error))?;
    }
    let Some(writer) = writer else { return Ok(Vec::new()) };
    let metadata = writer.close().map_err(|error| failed(&error))?;
    let groups = metadata.row_groups().iter().zip(0_u32..);
    let part = |(group, row_group): (&datafusion::parquet::file::metadata::RowGroupMetaData, u32)| Part {
        file: file.into(),
        row_group,
        rows: u64::try_from(group.num_rows()).unwrap_or_default(),
    };
    Ok(groups.map(part).collect())
}

/// What a job tells: a row for each row group, and one without a file, so that a task that wrote nothing tells the time too.
pub(crate) fn report_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("file", DataType::Utf8, true),
        Field::new("row_group", DataType::UInt32, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("time", DataType::UInt32, true),
        Field::new("increment", DataType::UInt32, true),
    ]))
}

fn report(parts: &[Part], cluster_time: Option<(u32, u32)>) -> Result<RecordBatch> {
    let rows = parts.len() + 1;
    let files: StringArray =
        parts.iter().map(|part| Some(part.file.as_ref())).chain(std::iter::once(None)).collect();
    let row_groups: UInt32Array = parts.iter().map(|part| part.row_group).chain([0]).map(Some).collect();
    let counts: UInt64Array = parts.iter().map(|part| part.rows).chain([0]).map(Some).collect();
    let repeat = |part: Option<u32>| -> ArrayRef { Arc::new(UInt32Array::from(vec![part; rows])) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(files),
        Arc::new(row_groups),
        Arc::new(counts),
        repeat(cluster_time.map(|(time, _)| time)),
        repeat(cluster_time.map(|(_, increment)| increment)),
    ];
    Ok(RecordBatch::try_new(report_schema(), columns)?)
}

/// The parts of a table, and the cluster time that they hold.
type Told = (Vec<Part>, Option<(u32, u32)>);

/// Reads what the tasks of a job told: the parts, in order, and the cluster time.
pub(super) fn told(batches: &[RecordBatch]) -> Result<Told> {
    let wrong = || DataFusionError::Internal("a cache job tells files and counts".to_owned());
    let (mut parts, mut cluster_time) = (Vec::new(), None);
    for batch in batches {
        let column = |index: usize| batch.columns().get(index).ok_or_else(wrong);
        let files = column(0)?.as_string_opt::<i32>().ok_or_else(wrong)?;
        let row_groups = column(1)?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
        let rows = column(2)?.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
        let times = column(3)?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
        let increments = column(4)?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
        for row in 0..batch.num_rows() {
            if !arrow::array::Array::is_null(files, row) {
                let file = files.value(row).into();
                parts.push(Part { file, row_group: row_groups.value(row), rows: rows.value(row) });
            }
            if !arrow::array::Array::is_null(times, row) {
                cluster_time = Some((times.value(row), increments.value(row)));
            }
        }
    }
    parts.sort_by(|a, b| (&a.file, a.row_group).cmp(&(&b.file, b.row_group)));
    Ok((parts, cluster_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tasks_tell_comes_together() {
        let part = |file: &str, row_group, rows| Part { file: file.into(), row_group, rows };
        let first = [part("b", 0, 7), part("b", 1, 2)];
        let second = [part("a", 0, 1 << 40)];
        let time = Some((1_700_000_000, 3));
        let batches =
            [report(&first, time).unwrap(), report(&[], time).unwrap(), report(&second, time).unwrap()];
        let (parts, found) = told(&batches).unwrap();
        assert_eq!(parts, [second.as_slice(), &first].concat());
        assert_eq!(found, time);
        assert_eq!(told(&[report(&[], None).unwrap()]).unwrap(), (Vec::new(), None));
    }
}
