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
use arrow::datatypes::{Schema, SchemaRef, UInt32Type, UInt64Type};
use async_trait::async_trait;
use ballista_core::ids::new_instance_id;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use futures::{StreamExt, stream};

use super::config::ROW_GROUP_ROWS;
use super::connection::{CacheStore, Folder};
use super::error::unusable;
use super::read::spec::Part;
use super::schema::report_schema;
use crate::connectors::connector::ClusterTime;
use crate::connectors::descriptors::{Execution, Input, Operator, OperatorExec};
use crate::connectors::registry::Connectors;

/// After how many bytes of rows the size of a session's files is checked.
const CHECK_ROOM: usize = 32 << 20;

/// The action of a job.
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
    pub(crate) store: Arc<CacheStore>,
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
        let store = Arc::clone(&self.store);
        let Action::Write(plan) = &self.action else {
            return Ok(Arc::new(CacheJobExec::removing(self.folder.clone(), store)?));
        };
        let input = state.create_physical_plan(plan).await?;
        let connectors = state.config().get_extension::<Connectors>();
        let connectors = connectors.ok_or_else(|| {
            DataFusionError::Internal("a cache job is planned by a session with connectors".to_owned())
        })?;
        // All scans of a query read at one time, and asking again gives the same.
        let mut cluster_time = None;
        for name in connectors.connections_of(plan)? {
            let connector = connectors.named(name.connector)?;
            cluster_time = cluster_time.max(connector.cluster_time(&name.connection, state).await?);
        }
        Ok(Arc::new(CacheJobExec::of(self.folder.clone(), false, cluster_time, store, input)))
    }
}

/// Writes the rows of its input, a file a partition, or removes the folder.
#[derive(Debug)]
pub(crate) struct FolderJob {
    folder: Folder,
    remove: bool,
    cluster_time: Option<ClusterTime>,
    store: Arc<CacheStore>,
}

/// The node of a job.
pub(crate) type CacheJobExec = OperatorExec<FolderJob>;

impl CacheJobExec {
    /// A job over the rows of `input`.
    pub(crate) fn of(
        folder: Folder,
        remove: bool,
        cluster_time: Option<ClusterTime>,
        store: Arc<CacheStore>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Self {
        Self::new(FolderJob { folder, remove, cluster_time, store }, input)
    }

    /// The job that removes a folder. One task removes what all have written: the folder is the same for all.
    fn removing(folder: Folder, store: Arc<CacheStore>) -> Result<Self> {
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let job = FolderJob { folder, remove: true, cluster_time: None, store };
        Self::over(job, nothing.schema(), vec![nothing])
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.operator().folder
    }

    pub(crate) fn removes(&self) -> bool {
        self.operator().remove
    }

    pub(crate) fn cluster_time(&self) -> Option<ClusterTime> {
        self.operator().cluster_time
    }
}

impl Operator for FolderJob {
    fn name(&self) -> &'static str {
        "CacheJobExec"
    }

    fn schema(&self) -> SchemaRef {
        report_schema()
    }

    fn emission(&self) -> EmissionType {
        EmissionType::Final
    }

    fn fmt_as(&self, _: &Input<'_>, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheJobExec: {} {}", if self.remove { "remove" } else { "write" }, self.folder)
    }

    fn execute(
        self: Arc<Self>,
        input: SendableRecordBatchStream,
        Execution { partition, .. }: Execution<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let report = stream::once(async move {
            if self.remove {
                self.store.remove(&self.folder)?;
                return report(&[], None);
            }
            let file = format!("part-{partition}-{}.parquet", new_instance_id());
            let parts = write(&self.store, &self.folder, &file, input).await?;
            report(&parts, self.cluster_time)
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
    let failed = |error: &dyn fmt::Display| DataFusionError::from(unusable(&path, error));
    let mut writer: Option<ArrowWriter<File>> = None;
    let mut unchecked = 0;
    while let Some(batch) = input.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        unchecked += batch.get_array_memory_size();
        if unchecked >= CHECK_ROOM {
            unchecked = 0;
            store.check_room(folder)?;
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
    store.check_room(folder)?;
    let groups = metadata.row_groups().iter().zip(0_u32..);
    let part = |(group, row_group): (&datafusion::parquet::file::metadata::RowGroupMetaData, u32)| Part {
        file: file.into(),
        row_group,
        rows: u64::try_from(group.num_rows()).unwrap_or_default(),
    };
    Ok(groups.map(part).collect())
}

/// The report of one task, in the columns of [`report_schema`].
fn report(parts: &[Part], cluster_time: Option<ClusterTime>) -> Result<RecordBatch> {
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
type JobOutcome = (Vec<Part>, Option<ClusterTime>);

/// Reads the reports of the tasks of a job: the parts, in order, and the cluster time.
pub(crate) fn outcome_of(batches: &[RecordBatch]) -> Result<JobOutcome> {
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
        let (parts, found) = outcome_of(&batches).unwrap();
        assert_eq!(parts, [second.as_slice(), &first].concat());
        assert_eq!(found, time);
        assert_eq!(outcome_of(&[report(&[], None).unwrap()]).unwrap(), (Vec::new(), None));
    }
}
