//! Runs a plan, and runs it again when executors, or the scheduler, were lost together with a part of the result.
//!
//! The scheduler recovers what it safely can within a job and fails the job otherwise. A plan that only reads gives the
//! same answer when it is run again, so it is run again up to three times: on preemptible machines a run of several
//! minutes may lose executors more than once. A scheduler that went away is waited for, see [`Reconnect`]; that counts as
//! a run, too, because it may be the query that ends it. A plan that writes is never run again; its caller gets the error.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt as _;

use super::reconnect::Reconnect;
use crate::functions::{calls_vectorized, vectorized_settings};
use crate::limits::Deep;
use crate::{Error, Result};

/// The maximal number of runs of a plan that only reads, the first one included.
const RUNS: usize = 4;

/// The running job of a plan.
pub(crate) struct Run {
    state: SessionState,
    /// Kept until the end, because it keeps the files of cached tables that it reads.
    plan: LogicalPlan,
    schema: SchemaRef,
    /// The rows of the current run; `None` when the last run failed and the next has not started.
    stream: Option<SendableRecordBatchStream>,
    /// Whether [`Self::next`] has returned rows of this run, or its end.
    answered: bool,
    /// The number of runs that may follow the current one.
    runs_left: usize,
    /// The error of the last run, until the next one starts.
    lost: Option<String>,
}

impl Run {
    /// Starts the job of a plan.
    pub(crate) async fn start(mut state: SessionState, plan: LogicalPlan) -> Result<Self> {
        if calls_vectorized(&plan) {
            *state.config_mut() = vectorized_settings(state.config().clone())?;
        }
        let stream = Deep::new(stream(&state, &plan)).await?;
        let runs = if only_reads(&plan) { RUNS } else { 1 };
        let schema = stream.schema();
        Ok(Self {
            state,
            plan,
            schema,
            stream: Some(stream),
            answered: false,
            runs_left: runs - 1,
            lost: None,
        })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns whether [`Self::next`] has returned rows of the current run, or its end.
    pub(crate) fn answered(&self) -> bool {
        self.answered
    }

    /// Prevents any further run.
    pub(crate) fn disable_rerun(&mut self) {
        self.runs_left = 0;
    }

    /// Returns the next rows, or `None` at the end. The future may be dropped and the method called again.
    pub(crate) async fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            let Some(rows) = &mut self.stream else {
                if let Err(error) = Box::pin(self.restart()).await {
                    return Some(Err(error));
                }
                continue;
            };
            match rows.next().await.map(|batch| batch.map_err(Error::from)) {
                Some(Err(error)) if !self.answered && self.may_rerun(&error) => self.rerun(&error),
                next => {
                    self.answered = true;
                    return next;
                }
            }
        }
    }

    /// Returns all rows. Here a run that has already returned rows may fail and be followed by another: its rows are
    /// dropped.
    pub(crate) async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(next) = self.next().await {
            match next {
                Ok(batch) => batches.push(batch),
                Err(error) if self.may_rerun(&error) => {
                    self.rerun(&error);
                    batches.clear();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(batches)
    }

    fn may_rerun(&self, error: &Error) -> bool {
        self.runs_left > 0 && error.is_lost_work()
    }

    fn rerun(&mut self, error: &Error) {
        self.runs_left -= 1;
        self.lost = Some(error.to_string());
        self.stream = None;
        self.answered = false;
    }

    /// Starts the next run, once a scheduler answers.
    async fn restart(&mut self) -> Result<()> {
        if let Some(error) = &self.lost {
            let reconnect = self.state.config().get_extension::<Reconnect>();
            let was_gone = match reconnect {
                Some(reconnect) => reconnect.wait().await?,
                None => false,
            };
            if was_gone {
                tracing::info!("the scheduler is back, running the query again");
            } else {
                tracing::warn!(
                    error,
                    runs_left = self.runs_left,
                    "an executor was lost with a part of the result, running the query again"
                );
            }
            self.lost = None;
        }
        self.stream = Some(Deep::new(stream(&self.state, &self.plan)).await?);
        Ok(())
    }
}

async fn stream(state: &SessionState, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
    let plan = state.create_physical_plan(plan).await?;
    Ok(execute_stream(plan, state.task_ctx())?)
}

/// Returns whether a plan has no side effects, so that it may be run twice.
fn only_reads(plan: &LogicalPlan) -> bool {
    let writes = plan.exists(|node| {
        Ok(matches!(
            node,
            LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Ddl(_) | LogicalPlan::Statement(_)
        ))
    });
    matches!(writes, Ok(false))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::MemTable;
    use datafusion::error::DataFusionError;
    use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
    use datafusion::prelude::SessionContext;

    use super::*;

    fn lost() -> Error {
        Error::LostWork { message: "its shuffle files".to_owned() }
    }

    /// Returns a context whose function `flaky` fails in its first `failures` calls.
    fn flaky(failures: usize, error: fn() -> Error) -> (SessionContext, Arc<AtomicUsize>) {
        failing(move |call| call < failures, error)
    }

    /// Returns a context whose function `flaky` fails in the calls that `fails` selects.
    fn failing(
        fails: impl Fn(usize) -> bool + Send + Sync + 'static,
        error: fn() -> Error,
    ) -> (SessionContext, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let function = move |_: &[ColumnarValue]| {
            if fails(counted.fetch_add(1, Ordering::SeqCst)) {
                return Err(DataFusionError::from(error()));
            }
            Ok(ColumnarValue::Array(Arc::new(Int64Array::from(vec![7])) as ArrayRef))
        };
        let context = SessionContext::new();
        let int = DataType::Int64;
        context.register_udf(create_udf(
            "flaky",
            vec![int.clone()],
            int,
            Volatility::Volatile,
            Arc::new(function),
        ));
        (context, calls)
    }

    async fn collect(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
        let (state, plan) = context.sql(sql).await.unwrap().into_parts();
        Run::start(state, plan).await?.collect().await
    }

    #[tokio::test]
    async fn a_plan_that_only_reads_is_run_up_to_the_limit() {
        for (failures, ends_well) in [(0, true), (1, true), (RUNS - 1, true), (RUNS, false)] {
            let (context, calls) = flaky(failures, lost);
            let ended = collect(&context, "SELECT flaky(column1) FROM (VALUES (1))").await;
            assert_eq!(ended.is_ok(), ends_well, "{failures} failures");
            assert_eq!(calls.load(Ordering::SeqCst), RUNS.min(failures + 1), "{failures} failures");
            assert!(
                ended.map_or(true, |batches| batches.iter().map(RecordBatch::num_rows).sum::<usize>() == 1)
            );
        }
    }

    /// Returns a context whose table `two` has two batches of one row; `flaky` fails on the second in the first run.
    fn lost_midway() -> (SessionContext, Arc<AtomicUsize>) {
        let (context, calls) = failing(|call| call == 1, lost);
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let row =
            |n| RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![n]))]).unwrap();
        let table = MemTable::try_new(Arc::clone(&schema), vec![vec![row(1), row(2)]]).unwrap();
        context.register_table("two", Arc::new(table)).unwrap();
        (context, calls)
    }

    #[tokio::test]
    async fn rows_of_a_run_that_was_lost_are_dropped() {
        let (context, calls) = lost_midway();
        let batches = collect(&context, "SELECT flaky(n) FROM two").await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
        assert_eq!(calls.load(Ordering::SeqCst), 4, "two in each run");
    }

    #[tokio::test]
    async fn a_run_that_has_returned_rows_is_not_repeated() {
        let (context, calls) = lost_midway();
        let (state, plan) = context.sql("SELECT flaky(n) FROM two").await.unwrap().into_parts();
        let mut run = Run::start(state, plan).await.unwrap();
        assert_eq!(run.next().await.unwrap().unwrap().num_rows(), 1);
        assert!(run.next().await.unwrap().is_err());
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn no_run_follows_once_reruns_are_disabled() {
        let (context, calls) = flaky(1, lost);
        let (state, plan) =
            context.sql("SELECT flaky(column1) FROM (VALUES (1))").await.unwrap().into_parts();
        let mut run = Run::start(state, plan).await.unwrap();
        run.disable_rerun();
        assert!(run.next().await.unwrap().is_err());
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn any_other_failure_is_returned_at_once() {
        let (context, calls) = flaky(1, || Error::Job { message: "the schema does not fit".to_owned() });
        let error = collect(&context, "SELECT flaky(column1) FROM (VALUES (1))").await.unwrap_err();
        assert!(error.to_string().contains("the schema does not fit"), "{error}");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_plan_that_writes_is_run_once() {
        let (context, calls) = flaky(1, lost);
        let target = tempfile::tempdir().unwrap();
        let sql = format!(
            "COPY (SELECT flaky(column1) FROM (VALUES (1))) TO '{}' STORED AS CSV",
            target.path().join("t.csv").display()
        );
        collect(&context, &sql).await.unwrap_err();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
