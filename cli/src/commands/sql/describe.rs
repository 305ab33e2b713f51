//! Tables about tables: what the backslash commands print.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::error::ArrowError;
use firesteel_engine::{Activity, FunctionInfo, Session, TableInfo};

fn text<T: AsRef<str>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<StringArray>())
}

pub(super) fn tables(tables: &[TableInfo]) -> Result<RecordBatch, ArrowError> {
    let columns = [
        ("schema", text(tables.iter().map(|table| &table.schema))),
        ("table", text(tables.iter().map(|table| &table.name))),
        ("kind", text(tables.iter().map(|table| table.kind))),
        ("columns", text(tables.iter().map(|table| table.columns.len().to_string()))),
    ];
    RecordBatch::try_from_iter(columns)
}

pub(super) fn columns(table: &TableInfo) -> Result<RecordBatch, ArrowError> {
    let nullable: BooleanArray = table.columns.iter().map(|column| Some(column.nullable)).collect();
    let columns = [
        ("column", text(table.columns.iter().map(|column| &column.name))),
        ("type", text(table.columns.iter().map(|column| &column.data_type))),
        ("nullable", Arc::new(nullable) as ArrayRef),
    ];
    RecordBatch::try_from_iter(columns)
}

pub(super) fn functions(functions: &[FunctionInfo]) -> Result<RecordBatch, ArrowError> {
    let columns = [
        ("function", text(functions.iter().map(|function| &function.name))),
        ("kind", text(functions.iter().map(|function| function.kind))),
        ("syntax", text(functions.iter().map(|function| &function.syntax))),
        ("description", text(functions.iter().map(|function| &function.description))),
    ];
    RecordBatch::try_from_iter(columns)
}

/// The running jobs. The text of a query is the second part of its job's name.
pub(super) fn jobs(activity: &Activity) -> Result<RecordBatch, ArrowError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let jobs = || activity.jobs.iter();
    let query = |name: &str| name.split_once(' ').map_or(name, |(_, text)| text).to_owned();
    let seconds =
        |started: u64| format!("{:.1}", now.saturating_sub(Duration::from_millis(started)).as_secs_f64());
    let columns = [
        ("job", text(jobs().map(|job| &job.id))),
        ("seconds", text(jobs().map(|job| seconds(job.started_at)))),
        ("progress", text(jobs().map(|job| crate::tasks::text(job.progress())))),
        ("query", text(jobs().map(|job| query(&job.name)))),
    ];
    RecordBatch::try_from_iter(columns)
}

/// Describes the engine that runs the queries of this shell.
pub(super) fn connection(session: &Session, activity: Option<&Activity>) -> String {
    let place = if session.is_embedded() { "an engine in this process" } else { "the cluster" };
    let mut words = format!("Queries run on {place}, scheduler {}.\n", session.scheduler_address());
    let Some(activity) = activity else {
        words.push_str("This scheduler does not tell about its executors.\n");
        return words;
    };
    let slots: u32 = activity.executors.iter().map(|executor| executor.vcores).sum();
    // Writing to a string cannot fail.
    let _ = writeln!(words, "Executors: {}, slots: {slots}.", activity.executors.len());
    for executor in &activity.executors {
        let _ = writeln!(words, "  {}:{}  slots: {}", executor.host, executor.port, executor.vcores);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_engine::Job;

    #[test]
    fn a_job_is_shown_with_its_query() {
        let job = |name: &str| Job { id: "j".into(), name: name.into(), started_at: 0, stages: Vec::new() };
        let activity = Activity {
            executors: Vec::new(),
            jobs: vec![job("firesteel/s/1 SELECT 1"), job("firesteel/s/0")],
        };
        let batch = jobs(&activity).expect("a batch");
        let queries = batch.column_by_name("query").expect("queries");
        let queries = queries.as_any().downcast_ref::<StringArray>().expect("text");
        assert_eq!((queries.value(0), queries.value(1)), ("SELECT 1", "firesteel/s/0"));
    }
}
