//! Holds task reports back until their stage commits as a whole, and aborts the job when [`decision`] demands it.
//!
//! A report of a finished task is *pending* while other tasks of its stage still run. When the last one has reported,
//! all reports of the stage are applied to Ballista's graph together. After an abort nothing is applied any more, so
//! the job cannot complete. Reports that cannot be used are dropped first, see [`mod@check`].

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ballista_core::error::Result;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{FailedTask, TaskStatus, task_status};
use ballista_core::serde::scheduler::ExecutorMetadata;
use ballista_scheduler::scheduler_server::event::QueryStageSchedulerEvent;
use ballista_scheduler::state::execution_graph::{ExecutionGraphBox, RunningTaskInfo};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage};

use super::JobAborter;
use super::check;
use super::decision::{self, Event};
use crate::Error;
use crate::plan::caught::words;

/// Why a job is ended that would count rows twice.
const LOST_WITH_INPUT: &str = "it cannot be recovered within the job, run the query again";

/// The uncommitted reports of a job, and whether it was aborted.
pub(super) struct StageCommit {
    pending: Vec<PendingStatus>,
    aborter: JobAborter,
    aborted: bool,
    /// The tasks, as stage and number, that reported after the abort: they hold no slot any more.
    reported_after_abort: HashSet<(usize, usize)>,
    /// The executors that were lost together with their slots.
    lost_executors: HashSet<String>,
}

/// A task report that has not been applied to the graph.
#[derive(Clone, Debug)]
pub(super) struct PendingStatus {
    executor: ExecutorMetadata,
    status: TaskStatus,
}

impl PendingStatus {
    fn stage(&self) -> usize {
        self.status.stage_id as usize
    }

    fn task(&self) -> usize {
        self.status.task_id as usize
    }
}

impl StageCommit {
    pub(super) fn new(aborter: JobAborter) -> Self {
        Self {
            pending: Vec::new(),
            aborter,
            aborted: false,
            reported_after_abort: HashSet::new(),
            lost_executors: HashSet::new(),
        }
    }

    pub(super) fn pending(&self) -> &[PendingStatus] {
        &self.pending
    }

    /// Applies reports to the graph, or keeps them pending until their stage is complete.
    pub(super) fn update(
        &mut self,
        graph: &mut ExecutionGraphBox,
        executor: &ExecutorMetadata,
        mut statuses: Vec<TaskStatus>,
        max_task_failures: usize,
        max_stage_failures: usize,
    ) -> Result<Vec<QueryStageSchedulerEvent>> {
        // A late report may be the first to tell that an input is gone.
        if statuses.iter().any(|status| has_lost_its_input(status) && !is_broken(graph, executor, status)) {
            self.abort_if_needed(graph, Event::InputLost);
        }
        let mut ended = HashSet::new();
        statuses.retain(|status| {
            let is_end = !matches!(status.status, Some(task_status::Status::Running(_)));
            self.is_usable(graph, executor, status)
                && (!is_end || ended.insert((status.stage_id, status.task_id)))
        });
        if self.aborted {
            let reported = statuses.iter().map(|status| (status.stage_id as usize, status.task_id as usize));
            self.reported_after_abort.extend(reported);
            return Ok(Vec::new());
        }
        for status in &mut statuses {
            check::drop_misfits(graph.stages(), status);
        }
        let (pending, ready): (Vec<_>, Vec<_>) =
            statuses.into_iter().partition(|status| is_deferred(graph, status));
        let executor_of = |status| PendingStatus { executor: executor.clone(), status };
        self.pending.extend(pending.into_iter().map(executor_of));
        let mut events = Vec::new();
        if !ready.is_empty() {
            events = self.apply(graph, executor, ready, max_task_failures, max_stage_failures)?;
        }
        self.drop_stale(graph);
        for PendingStatus { executor, status } in self.take_complete(graph) {
            events.extend(self.apply(
                graph,
                &executor,
                vec![status],
                max_task_failures,
                max_stage_failures,
            )?);
        }
        self.abort_if_needed(graph, Event::StagesChanged);
        Ok(events)
    }

    /// Has the tasks of a lost executor run again, or aborts the job.
    pub(super) fn lose_executor(
        &mut self,
        graph: &mut ExecutionGraphBox,
        executor: &str,
    ) -> Result<(HashSet<usize>, Vec<RunningTaskInfo>)> {
        self.pending.retain(|pending| pending.executor.id != executor);
        self.lost_executors.insert(executor.to_owned());
        self.abort_if_needed(graph, Event::ExecutorLost(executor));
        if self.aborted {
            // The graph stays as it is: a stage that Ballista rolls back forgets its tasks, and so the slots they hold.
            return Ok((HashSet::new(), Vec::new()));
        }
        let reset = graph.reset_stages_on_lost_executor(executor)?;
        self.drop_stale(graph);
        self.abort_if_needed(graph, Event::StagesChanged);
        Ok(reset)
    }

    /// Returns the tasks that hold a slot. A task whose report is pending holds none, and neither does one that
    /// reported after the abort or ran on a lost executor.
    pub(super) fn running_tasks(&self, graph: &ExecutionGraphBox) -> Vec<RunningTaskInfo> {
        let running = graph.running_tasks().into_iter();
        running
            .filter(|task| !self.is_pending(task.stage_id, task.task_id))
            .filter(|task| !self.reported_after_abort.contains(&(task.stage_id, task.task_id)))
            .filter(|task| !self.lost_executors.contains(task.executor_id.as_str()))
            .collect()
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    fn is_pending(&self, stage: usize, task: usize) -> bool {
        self.pending.iter().any(|pending| pending.stage() == stage && pending.task() == task)
    }

    /// Returns whether a report is neither broken nor late, and says so otherwise.
    fn is_usable(&self, graph: &ExecutionGraphBox, executor: &ExecutorMetadata, status: &TaskStatus) -> bool {
        let (job, executor) = (graph.job_id(), executor.id.as_str());
        match check::check(graph.stages(), executor, status) {
            Ok(()) if self.is_pending(status.stage_id as usize, status.task_id as usize) => {
                tracing::debug!(%job, executor, "a task was reported twice");
                false
            }
            Ok(()) => true,
            Err(reason) if reason.is_broken() => {
                tracing::warn!(%job, executor, %reason, "the report of a task is refused");
                false
            }
            Err(reason) => {
                tracing::debug!(%job, executor, %reason, "the report of a task comes too late");
                false
            }
        }
    }

    /// Takes out the reports of stages whose tasks have all reported.
    fn take_complete(&mut self, graph: &ExecutionGraphBox) -> Vec<PendingStatus> {
        let is_complete = |id: usize, stage: &RunningStage| {
            stage.available_tasks() == 0
                && stage.running_tasks().iter().all(|(task, ..)| self.is_pending(id, *task))
        };
        let complete: HashSet<usize> = graph
            .stages()
            .iter()
            .filter(|(id, stage)| match stage {
                ExecutionStage::Running(stage) => is_complete(**id, stage),
                _ => false,
            })
            .map(|(id, _)| *id)
            .collect();
        let (ready, pending) =
            self.pending.drain(..).partition(|pending| complete.contains(&pending.stage()));
        self.pending = pending;
        ready
    }

    /// Drops the reports of stages that have started again, and of tasks that were taken back.
    fn drop_stale(&mut self, graph: &ExecutionGraphBox) {
        self.pending.retain(|pending| is_deferred(graph, &pending.status));
    }

    /// Applies reports to Ballista's graph. When it panics, the job ends and not the scheduler.
    fn apply(
        &mut self,
        graph: &mut ExecutionGraphBox,
        executor: &ExecutorMetadata,
        statuses: Vec<TaskStatus>,
        max_task_failures: usize,
        max_stage_failures: usize,
    ) -> Result<Vec<QueryStageSchedulerEvent>> {
        if self.aborted {
            return Ok(Vec::new());
        }
        // The graph may be half updated afterwards. Nothing is applied to it any more.
        let applied = catch_unwind(AssertUnwindSafe(|| {
            graph.update_task_status(executor, statuses, max_task_failures, max_stage_failures)
        }));
        applied.unwrap_or_else(|panic| {
            let message = format!("the scheduler panicked: {}", words(panic.as_ref()));
            self.abort(graph, Error::Job { message });
            Ok(Vec::new())
        })
    }

    fn abort_if_needed(&mut self, graph: &ExecutionGraphBox, event: Event<'_>) {
        if !self.aborted && decision::must_abort(event, &decision::views(graph.stages())) {
            self.abort(graph, Error::LostWork { message: LOST_WITH_INPUT.to_owned() });
        }
    }

    fn abort(&mut self, graph: &ExecutionGraphBox, reason: Error) {
        self.aborted = true;
        (self.aborter)(graph.job_id().clone(), reason);
    }
}

/// Returns whether a report has to wait until its stage is complete: it reports a running task of the stage's current
/// attempt as finished, and the stage reads other stages or is the last.
fn is_deferred(graph: &ExecutionGraphBox, status: &TaskStatus) -> bool {
    let Some(ExecutionStage::Running(stage)) = graph.stages().get(&(status.stage_id as usize)) else {
        return false;
    };
    matches!(status.status, Some(task_status::Status::Successful(_)))
        && stage.stage_attempt_num == status.stage_attempt_num as usize
        && (!stage.inputs.is_empty() || stage.output_links.is_empty())
        && stage
            .task_infos
            .get(status.task_id as usize)
            .is_some_and(|task| matches!(task.task_status, task_status::Status::Running(_)))
}

fn is_broken(graph: &ExecutionGraphBox, executor: &ExecutorMetadata, status: &TaskStatus) -> bool {
    check::check(graph.stages(), &executor.id, status).is_err_and(|reason| reason.is_broken())
}

/// Returns whether a task could not fetch its input.
fn has_lost_its_input(status: &TaskStatus) -> bool {
    matches!(
        &status.status,
        Some(task_status::Status::Failed(FailedTask {
            failed_reason: Some(FailedReason::FetchPartitionError(_)),
            ..
        }))
    )
}
