//! Runs tasks on a runtime of their own, whose threads have large stacks.
//!
//! A deep plan needs a larger stack than a runtime gives by itself, and tasks that are left behind have to end with the
//! executor. So plans are executed on the runtime of this module, which can be shut down. Dropping the task that waits for
//! an execution drops the execution, too.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::SessionConfig;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fetch::with_checked_readers;
use super::metrics::{ExecutorMetrics, TaskOutcome};
use super::scratch::Scratch;
use crate::error::failed_task;
use crate::peers::Clients;
use crate::plan::caught::words;

/// The stack size of every thread that plans or runs queries, equal to that of Ballista's scheduler.
pub(crate) const STACK_BYTES: usize = 32 * 1024 * 1024;

/// Creates the runtime of the tasks, with one thread per slot.
pub(super) fn runtime(slots: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(slots.max(1))
        .thread_name("firesteel-task")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
}

/// The execution engine that Ballista's executor calls for each task.
pub(super) struct TaskEngine {
    inner: DefaultExecutionEngine,
    runtime: Handle,
    /// The connections to other executors.
    clients: Clients,
    metrics: Arc<ExecutorMetrics>,
    scratch: Scratch,
    /// Cancels all tasks.
    shutdown: CancellationToken,
}

impl TaskEngine {
    pub(super) fn new(
        runtime: Handle,
        clients: Clients,
        metrics: Arc<ExecutorMetrics>,
        scratch: Scratch,
        shutdown: CancellationToken,
    ) -> Self {
        Self { inner: DefaultExecutionEngine::new(), runtime, clients, metrics, scratch, shutdown }
    }
}

impl ExecutionEngine for TaskEngine {
    fn create_query_stage_exec(
        &self,
        job: JobId,
        stage: usize,
        task: usize,
        partitions: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let plan = with_checked_readers(plan, work_dir, &self.clients).map_err(failed_task)?;
        let inner = self
            .inner
            .create_query_stage_exec(
                job.clone(),
                stage,
                task,
                partitions,
                Arc::clone(&plan),
                work_dir,
                config,
            )
            .map_err(failed_task)?;
        // Ballista replaces the node that writes the shuffle alone, so the scans in `plan` are those that run, and their
        // metrics can be read from it.
        Ok(Arc::new(Task {
            inner,
            job,
            plan,
            runtime: self.runtime.clone(),
            metrics: Arc::clone(&self.metrics),
            scratch: self.scratch.clone(),
            shutdown: self.shutdown.clone(),
        }))
    }
}

/// One task: a stage over some of its partitions.
#[derive(Debug)]
struct Task {
    inner: Arc<dyn QueryStageExecutor>,
    job: JobId,
    plan: Arc<dyn ExecutionPlan>,
    runtime: Handle,
    metrics: Arc<ExecutorMetrics>,
    scratch: Scratch,
    shutdown: CancellationToken,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl QueryStageExecutor for Task {
    async fn execute_query_stage(
        &self,
        task: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        let mut guard = TaskGuard::begin(&self.metrics, &self.plan);
        let writing = self.scratch.begin(&self.job);
        let inner = Arc::clone(&self.inner);
        // When the job is cancelled, this future is dropped, and dropping the set aborts the execution.
        let mut running = JoinSet::new();
        running.spawn_on(async move { inner.execute_query_stage(task, context).await }, &self.runtime);
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            full = writing.full() => Some(Ok(Err(full))),
            () = self.shutdown.cancelled() => None,
        };
        let result = match ended {
            Some(Ok(result)) => result,
            Some(Err(error)) if error.is_panic() => Err(panicked(error.into_panic().as_ref())),
            _ => Err(DataFusionError::IoError(std::io::Error::other("the executor is shutting down"))),
        }
        .map_err(failed_task);
        guard.outcome = if result.is_ok() { TaskOutcome::Completed } else { TaskOutcome::Failed };
        result
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.inner.collect_plan_metrics()
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.inner.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.inner.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.inner.collect_column_stats()
    }
}

/// The failure of a task that panicked.
fn panicked(panic: &(dyn Any + Send)) -> DataFusionError {
    let text = words(panic);
    tracing::error!(panic = text, "a task panicked");
    DataFusionError::Execution(format!("a task panicked: {text}"))
}

/// Records the metrics of a task when it is dropped, however the task ended.
struct TaskGuard<'a> {
    metrics: &'a ExecutorMetrics,
    plan: &'a Arc<dyn ExecutionPlan>,
    started: Instant,
    outcome: TaskOutcome,
}

impl<'a> TaskGuard<'a> {
    fn begin(metrics: &'a ExecutorMetrics, plan: &'a Arc<dyn ExecutionPlan>) -> Self {
        metrics.task_started();
        Self { metrics, plan, started: Instant::now(), outcome: TaskOutcome::Cancelled }
    }
}

impl Drop for TaskGuard<'_> {
    fn drop(&mut self) {
        self.metrics.task_ended(self.outcome, self.started.elapsed(), self.plan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        let panics: [Box<dyn Any + Send>; 3] =
            [Box::new("out of bounds"), Box::new("out of bounds".to_owned()), Box::new(7)];
        for (panic, expected) in panics.iter().zip(["out of bounds", "out of bounds", "no message"]) {
            let error = Error::from(failed_task(panicked(panic.as_ref())));
            assert!(
                matches!(&error, Error::Job { message } if *message == format!("a task panicked: {expected}")),
                "{error}"
            );
        }
    }
}
