//! Where tasks run: on a runtime of their own, whose threads have large stacks.
//!
//! Ballista runs tasks on a pool that it makes for itself, with stacks of 2 MiB, and does not hand out. A deep plan
//! needs more, and a pool that nobody can end leaves tasks behind. So a task that arrives there only waits: its plan is
//! executed here, and dropped with whoever waited.

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

use super::clients::Clients;
use super::metrics::{Metrics, Outcome};
use crate::error::failed_task;

/// The stack of every thread that plans or runs, as Ballista's own scheduler has it.
pub(crate) const STACK_BYTES: usize = 32 * 1024 * 1024;

/// The threads of tasks: one a slot.
pub(super) fn runtime(slots: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(slots.max(1))
        .thread_name("firesteel-task")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
}

/// Makes tasks out of plans.
pub(super) struct Tasks {
    inner: DefaultExecutionEngine,
    runtime: Handle,
    metrics: Arc<Metrics>,
    /// Ends all tasks.
    until: CancellationToken,
}

impl Tasks {
    pub(super) fn new(runtime: Handle, metrics: Arc<Metrics>, until: CancellationToken) -> Self {
        // Kept connections: without them a query with many shuffles runs the machine out of ports.
        let inner = DefaultExecutionEngine::with_client_pool(Arc::new(Clients::default()));
        Self { inner, runtime, metrics, until }
    }
}

impl ExecutionEngine for Tasks {
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
        let inner = self
            .inner
            .create_query_stage_exec(job, stage, task, partitions, Arc::clone(&plan), work_dir, config)
            .map_err(failed_task)?;
        // What Ballista changes are the nodes that read shuffles and those above them: scans stay the same objects.
        Ok(Arc::new(Task {
            inner,
            plan,
            runtime: self.runtime.clone(),
            metrics: Arc::clone(&self.metrics),
            until: self.until.clone(),
        }))
    }
}

/// A part of a query.
#[derive(Debug)]
struct Task {
    inner: Arc<dyn QueryStageExecutor>,
    plan: Arc<dyn ExecutionPlan>,
    runtime: Handle,
    metrics: Arc<Metrics>,
    until: CancellationToken,
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
        let mut count = Counted::begin(&self.metrics, &self.plan);
        let inner = Arc::clone(&self.inner);
        // Dropped with this future, when the job is cancelled, it ends the execution too.
        let mut running = JoinSet::new();
        running.spawn_on(async move { inner.execute_query_stage(task, context).await }, &self.runtime);
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = self.until.cancelled() => None,
        };
        let result = match ended {
            Some(Ok(result)) => result.map_err(failed_task),
            Some(Err(error)) if error.is_panic() => Err(panicked(error.into_panic().as_ref())),
            _ => Err(DataFusionError::IoError(std::io::Error::other("the executor is shutting down"))),
        };
        count.outcome = if result.is_ok() { Outcome::Completed } else { Outcome::Failed };
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
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    tracing::error!(panic = text, "a task panicked");
    failed_task(DataFusionError::Execution(format!("a task panicked: {text}")))
}

/// Counts a task when it ends, however it ends.
struct Counted<'a> {
    metrics: &'a Metrics,
    plan: &'a Arc<dyn ExecutionPlan>,
    begun: Instant,
    outcome: Outcome,
}

impl<'a> Counted<'a> {
    fn begin(metrics: &'a Metrics, plan: &'a Arc<dyn ExecutionPlan>) -> Self {
        metrics.task_begins();
        Self { metrics, plan, begun: Instant::now(), outcome: Outcome::Cancelled }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.task_ends(self.outcome, self.begun.elapsed(), self.plan);
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
            let error = Error::from(panicked(panic.as_ref()));
            assert!(
                matches!(&error, Error::Job { message } if *message == format!("a task panicked: {expected}")),
                "{error}"
            );
        }
    }
}
