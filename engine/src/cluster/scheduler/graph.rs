//! A job's graph of stages, kept from counting rows twice when an executor is lost.
//!
//! Ballista passes the output of each finished task on to the stage that reads it. When that executor or another one is
//! lost, and the task's stage has to begin anew because its own input is gone, the output that was passed on stays with
//! the reader, next to that of the second run: half of a join counted twice. Two things keep that from happening:
//!
//! * **A stage that reads other stages, or is the last, passes its output on when it is whole.** Until then what its
//!   tasks report is held here, and forgotten when the stage begins anew.
//! * **Only what is safe is recovered within the job**: tasks of a stage that reads no other and is still running. Where
//!   a stage that was whole, or one that reads others, would have to begin anew, the job is ended with a reason: with a
//!   part of its input from one run and a part from another, Ballista 55 has been seen to count rows twice, and to leave
//!   rows out. The same goes for a reader that holds output of a task which, by Ballista's own book, is not finished. A
//!   session of ours runs a query that only reads again by itself.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{FailedTask, JobStatus, TaskStatus, task_status};
use ballista_core::serde::scheduler::{ExecutorMetadata, PartitionLocation};
use ballista_scheduler::scheduler_server::event::QueryStageSchedulerEvent;
use ballista_scheduler::state::execution_graph::{ExecutionGraph, ExecutionGraphBox, RunningTaskInfo};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage, StageOutput};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;

/// Ends a job whose result would be wrong.
pub(super) type Ender = Arc<dyn Fn(JobId) + Send + Sync>;

/// The graph of one job.
pub(super) struct WholeStages {
    inner: ExecutionGraphBox,
    held: Vec<Held>,
    end: Ender,
    ended: bool,
    /// Tasks, as stage and number, that reported after the job was ended: they hold no slot any more.
    over: HashSet<(usize, usize)>,
    /// Executors that are gone, with whatever slots they had.
    lost: HashSet<String>,
}

/// What a task reported, not yet passed on.
#[derive(Clone, Debug)]
struct Held {
    executor: ExecutorMetadata,
    status: TaskStatus,
}

impl WholeStages {
    pub(super) fn over(inner: ExecutionGraphBox, end: Ender) -> Self {
        Self { inner, held: Vec::new(), end, ended: false, over: HashSet::new(), lost: HashSet::new() }
    }

    fn running(&self, stage: u32) -> Option<&RunningStage> {
        match self.inner.stages().get(&(stage as usize)) {
            Some(ExecutionStage::Running(stage)) => Some(stage),
            _ => None,
        }
    }

    /// Whether a report waits until its stage is whole.
    fn waits(&self, status: &TaskStatus) -> bool {
        let Some(stage) = self.running(status.stage_id) else { return false };
        matches!(status.status, Some(task_status::Status::Successful(_)))
            && stage.stage_attempt_num == status.stage_attempt_num as usize
            && (!stage.inputs.is_empty() || stage.output_links.is_empty())
            && stage.running_tasks().iter().any(|(task, ..)| *task == status.task_id as usize)
    }

    fn is_held(&self, stage: usize, task: usize) -> bool {
        self.held
            .iter()
            .any(|held| held.status.stage_id as usize == stage && held.status.task_id as usize == task)
    }

    /// Takes out the reports of stages whose tasks have all reported.
    fn take_whole(&mut self) -> Vec<Held> {
        let whole: HashSet<usize> = self
            .inner
            .stages()
            .iter()
            .filter_map(|(id, stage)| match stage {
                ExecutionStage::Running(stage) if stage.available_tasks() == 0 => Some((id, stage)),
                _ => None,
            })
            .filter(|(id, stage)| stage.running_tasks().iter().all(|(task, ..)| self.is_held(**id, *task)))
            .map(|(id, _)| *id)
            .collect();
        let (ready, held) =
            self.held.drain(..).partition(|held| whole.contains(&(held.status.stage_id as usize)));
        self.held = held;
        ready
    }

    /// Forgets reports of stages that have begun anew, and of tasks that were taken back.
    fn forget(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.held = held.into_iter().filter(|held| self.waits(&held.status)).collect();
    }

    /// Ends the job if a reader holds output that counts for nothing.
    fn check(&mut self) {
        if is_tainted(self.inner.stages()) {
            self.end();
        }
    }

    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            (self.end)(self.inner.job_id().clone());
        }
    }

    /// Whether the loss of an executor takes more than tasks of stages that read no other and still run.
    fn needs_more_than_leaves(&self, executor: &str) -> bool {
        self.inner.stages().values().any(|stage| match stage {
            ExecutionStage::Running(stage) if stage.inputs.is_empty() => false,
            ExecutionStage::Running(stage) => {
                let mut read = stage.inputs.values().flat_map(|input| input.partition_locations.values());
                read.any(|made| made.iter().any(|location| location.executor_meta.id == executor))
                    || stage.running_tasks().iter().any(|(.., by)| by.as_str() == executor)
            }
            other => other.task_infos().unwrap_or_default().iter().any(|task| match &task.task_status {
                task_status::Status::Successful(task) => task.executor_id == executor,
                _ => false,
            }),
        })
    }
}

/// Whether a task could not fetch its input: the stage that made it would have to begin anew.
fn has_lost_its_input(status: &TaskStatus) -> bool {
    matches!(
        &status.status,
        Some(task_status::Status::Failed(FailedTask {
            failed_reason: Some(FailedReason::FetchPartitionError(_)),
            ..
        }))
    )
}

/// Whether some stage would read output of a task that is not finished.
fn is_tainted(stages: &HashMap<usize, ExecutionStage>) -> bool {
    let inputs = |stage: &ExecutionStage| -> Option<HashMap<usize, StageOutput>> {
        match stage {
            ExecutionStage::UnResolved(stage) => Some(stage.inputs.clone()),
            ExecutionStage::Resolved(stage) => Some(stage.inputs.clone()),
            ExecutionStage::Running(stage) => Some(stage.inputs.clone()),
            ExecutionStage::Successful(_) | ExecutionStage::Failed(_) => None,
        }
    };
    stages.values().filter_map(inputs).flatten().any(|(source, output)| {
        let finished: HashSet<usize> = stages
            .get(&source)
            .and_then(ExecutionStage::task_infos)
            .unwrap_or_default()
            .iter()
            .filter(|task| matches!(task.task_status, task_status::Status::Successful(_)))
            .map(|task| task.task_id)
            .collect();
        output.partition_locations.values().flatten().any(|read| !finished.contains(&read.map_partition_id))
    })
}

impl ExecutionGraph for WholeStages {
    fn update_task_status(
        &mut self,
        executor: &ExecutorMetadata,
        statuses: Vec<TaskStatus>,
        max_task_failures: usize,
        max_stage_failures: usize,
    ) -> Result<Vec<QueryStageSchedulerEvent>> {
        if statuses.iter().any(has_lost_its_input) {
            self.end();
        }
        if self.ended {
            // Nothing that comes now may complete it.
            self.over
                .extend(statuses.iter().map(|status| (status.stage_id as usize, status.task_id as usize)));
            return Ok(Vec::new());
        }
        let (wait, pass): (Vec<_>, Vec<_>) = statuses.into_iter().partition(|status| self.waits(status));
        self.held.extend(wait.into_iter().map(|status| Held { executor: executor.clone(), status }));
        let mut events = Vec::new();
        if !pass.is_empty() {
            events = self.inner.update_task_status(executor, pass, max_task_failures, max_stage_failures)?;
        }
        self.forget();
        for Held { executor, status } in self.take_whole() {
            events.extend(self.inner.update_task_status(
                &executor,
                vec![status],
                max_task_failures,
                max_stage_failures,
            )?);
        }
        self.check();
        Ok(events)
    }

    fn reset_stages_on_lost_executor(
        &mut self,
        executor: &str,
    ) -> Result<(HashSet<usize>, Vec<RunningTaskInfo>)> {
        self.held.retain(|held| held.executor.id != executor);
        self.lost.insert(executor.to_owned());
        if self.ended || self.needs_more_than_leaves(executor) {
            // Left as it is: a stage that Ballista rolls back forgets its tasks, and so the slots that they hold.
            self.end();
            return Ok((HashSet::new(), Vec::new()));
        }
        let reset = self.inner.reset_stages_on_lost_executor(executor)?;
        self.forget();
        self.check();
        Ok(reset)
    }

    /// Without those that have ended and only wait for the rest of their stage: they hold no slot any more.
    fn running_tasks(&self) -> Vec<RunningTaskInfo> {
        let running = self.inner.running_tasks().into_iter();
        running
            .filter(|task| !self.is_held(task.stage_id, task.task_id))
            .filter(|task| !self.over.contains(&(task.stage_id, task.task_id)))
            .filter(|task| !self.lost.contains(task.executor_id.as_str()))
            .collect()
    }

    fn abort_running(&mut self, error: String) -> Vec<RunningTaskInfo> {
        let running = self.running_tasks();
        self.held.clear();
        self.inner.abort_running(error);
        running
    }

    /// For looking at, and for keeping when the job has ended.
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

impl fmt::Debug for WholeStages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeStages").field("inner", &self.inner).field("held", &self.held).finish()
    }
}
