//! [`StageCommitGraph`]: Ballista's execution graph of one job, with [`StageCommit`] between it and the scheduler.
//!
//! Reports of tasks, lost executors and running tasks go through the commit. Every other method passes its call on.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::{JobStatus, TaskStatus};
use ballista_core::serde::scheduler::{ExecutorMetadata, PartitionLocation};
use ballista_scheduler::scheduler_server::event::QueryStageSchedulerEvent;
use ballista_scheduler::state::execution_graph::{ExecutionGraph, ExecutionGraphBox, RunningTaskInfo};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;

use super::JobAborter;
use super::commit::StageCommit;

/// The execution graph of one job, whose stages commit as a whole.
pub(in crate::cluster::scheduler) struct StageCommitGraph {
    inner: ExecutionGraphBox,
    commit: StageCommit,
}

impl StageCommitGraph {
    /// Wraps a graph that has just been planned. `aborter` ends the job when its result would be wrong.
    pub(in crate::cluster::scheduler) fn new(inner: ExecutionGraphBox, aborter: JobAborter) -> Self {
        Self { inner, commit: StageCommit::new(aborter) }
    }
}

impl ExecutionGraph for StageCommitGraph {
    fn update_task_status(
        &mut self,
        executor: &ExecutorMetadata,
        statuses: Vec<TaskStatus>,
        max_task_failures: usize,
        max_stage_failures: usize,
    ) -> Result<Vec<QueryStageSchedulerEvent>> {
        self.commit.update(&mut self.inner, executor, statuses, max_task_failures, max_stage_failures)
    }

    fn reset_stages_on_lost_executor(
        &mut self,
        executor: &str,
    ) -> Result<(HashSet<usize>, Vec<RunningTaskInfo>)> {
        self.commit.lose_executor(&mut self.inner, executor)
    }

    fn running_tasks(&self) -> Vec<RunningTaskInfo> {
        self.commit.running_tasks(&self.inner)
    }

    fn abort_running(&mut self, error: String) -> Vec<RunningTaskInfo> {
        let running = self.running_tasks();
        self.commit.clear();
        self.inner.abort_running(error);
        running
    }

    /// Clones the inner graph alone: the clone is inspected, or kept after the job has ended, and gets no reports.
    fn cloned(&self) -> ExecutionGraphBox {
        self.inner.cloned()
    }

    fn job_id(&self) -> &JobId {
        self.inner.job_id()
    }

    fn job_name(&self) -> &str {
        self.inner.job_name()
    }

    fn session_id(&self) -> &str {
        self.inner.session_id()
    }

    fn scheduler_id(&self) -> Option<&str> {
        self.inner.scheduler_id()
    }

    fn session_config(&self) -> Arc<SessionConfig> {
        self.inner.session_config()
    }

    fn status(&self) -> &JobStatus {
        self.inner.status()
    }

    fn logical_plan(&self) -> Option<&str> {
        self.inner.logical_plan()
    }

    fn physical_plan(&self) -> Arc<dyn ExecutionPlan> {
        self.inner.physical_plan()
    }

    fn start_time(&self) -> u64 {
        self.inner.start_time()
    }

    fn end_time(&self) -> u64 {
        self.inner.end_time()
    }

    fn completed_stages(&self) -> usize {
        self.inner.completed_stages()
    }

    fn is_successful(&self) -> bool {
        self.inner.is_successful()
    }

    fn revive(&mut self) -> bool {
        self.inner.revive()
    }

    fn running_stages(&self) -> Vec<usize> {
        self.inner.running_stages()
    }

    fn available_tasks(&self) -> usize {
        self.inner.available_tasks()
    }

    fn fetch_running_stage(&mut self, black_list: &[usize]) -> Option<&mut RunningStage> {
        self.inner.fetch_running_stage(black_list)
    }

    fn update_status(&mut self, status: JobStatus) {
        self.inner.update_status(status);
    }

    fn output_locations(&self) -> Vec<PartitionLocation> {
        self.inner.output_locations()
    }

    fn resolve_stage(&mut self, stage: usize) -> Result<bool> {
        self.inner.resolve_stage(stage)
    }

    fn succeed_stage(&mut self, stage: usize) -> bool {
        self.inner.succeed_stage(stage)
    }

    fn fail_stage(&mut self, stage: usize, error: String) -> bool {
        self.inner.fail_stage(stage, error)
    }

    fn rollback_running_stage(
        &mut self,
        stage: usize,
        reasons: HashSet<String>,
    ) -> Result<Vec<RunningTaskInfo>> {
        self.inner.rollback_running_stage(stage, reasons)
    }

    fn rollback_resolved_stage(&mut self, stage: usize) -> Result<bool> {
        self.inner.rollback_resolved_stage(stage)
    }

    fn rerun_successful_stage(&mut self, stage: usize) -> bool {
        self.inner.rerun_successful_stage(stage)
    }

    fn fail_job(&mut self, error: String) {
        self.inner.fail_job(error);
    }

    fn succeed_job(&mut self) -> Result<()> {
        self.inner.succeed_job()
    }

    fn stages(&self) -> &HashMap<usize, ExecutionStage> {
        self.inner.stages()
    }

    fn stage_count(&self) -> usize {
        self.inner.stage_count()
    }
}

impl fmt::Debug for StageCommitGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageCommitGraph")
            .field("inner", &self.inner)
            .field("pending", &self.commit.pending())
            .finish()
    }
}
