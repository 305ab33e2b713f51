//! Checks the report of a task before Ballista's graph sees it.
//!
//! Ballista takes the numbers of a report as indices and its status as given, so one broken report would end the only
//! event loop of the scheduler. A report comes over the network, and also from executors of other versions, so each one
//! is judged here first:
//!
//! * A **broken** report can never have been true: it has no status, or names a stage, a task or an attempt that the job
//!   does not have, or comes from another executor than the one that runs the task. It is refused.
//! * A **late** report was true once: its attempt or its task has ended meanwhile. It is dropped, because the output of a
//!   task that is reported twice would be read twice.
//! * The **metrics** of a good report that do not fit its stage are taken out. Ballista would fail halfway, and the
//!   output of the task would be missing from the result.

use std::collections::HashMap;

use ballista_core::serde::protobuf::{TaskStatus, task_status};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage};

/// Why a report is not applied to the graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cluster::scheduler) enum Unusable {
    /// It was true once.
    #[error("task {task} of stage {stage} is not running any more")]
    Late {
        /// The stage.
        stage: u32,
        /// The number of the task.
        task: u32,
    },
    /// It can never have been true.
    #[error("{reason}")]
    Broken {
        /// What is wrong with it.
        reason: String,
    },
}

fn broken(reason: String) -> Unusable {
    Unusable::Broken { reason }
}

impl Unusable {
    /// Returns whether a report can never have been true.
    pub(in crate::cluster::scheduler) fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// Judges a report of `executor` by the stages of its job.
pub(in crate::cluster::scheduler) fn check(
    stages: &HashMap<usize, ExecutionStage>,
    executor: &str,
    report: &TaskStatus,
) -> Result<(), Unusable> {
    let (stage_id, task) = (report.stage_id, report.task_id);
    let Some(status) = &report.status else {
        return Err(broken(format!("the report of task {task} of stage {stage_id} has no status")));
    };
    let named = match status {
        task_status::Status::Running(running) => Some(&running.executor_id),
        task_status::Status::Successful(successful) => Some(&successful.executor_id),
        task_status::Status::Failed(_) => None,
    };
    if let Some(named) = named.filter(|named| *named != executor) {
        return Err(broken(format!("executor `{executor}` reports a task of executor `{named}`")));
    }
    let Some(stage) = stages.get(&(stage_id as usize)) else {
        return Err(broken(format!("the job has no stage {stage_id}")));
    };
    let (attempt, current) = (report.stage_attempt_num as usize, attempt(stage));
    if current.is_some_and(|current| attempt > current) {
        return Err(broken(format!("stage {stage_id} has had no attempt {attempt}")));
    }
    match stage {
        ExecutionStage::Running(stage) if attempt == stage.stage_attempt_num => {
            check_running(stage, executor, report)
        }
        ExecutionStage::Running(_) => Err(Unusable::Late { stage: stage_id, task }),
        // Ballista does not look at the task of such a stage.
        _ => Ok(()),
    }
}

/// The number of the current attempt, from 0, for as long as it can be reported on.
fn attempt(stage: &ExecutionStage) -> Option<usize> {
    match stage {
        ExecutionStage::UnResolved(stage) => Some(stage.stage_attempt_num),
        ExecutionStage::Resolved(stage) => Some(stage.stage_attempt_num),
        ExecutionStage::Running(stage) => Some(stage.stage_attempt_num),
        ExecutionStage::Successful(_) | ExecutionStage::Failed(_) => None,
    }
}

fn check_running(stage: &RunningStage, executor: &str, report: &TaskStatus) -> Result<(), Unusable> {
    let (stage_id, task) = (report.stage_id, report.task_id);
    let Some(info) = stage.task_infos.get(task as usize) else {
        let tasks = stage.task_infos.len();
        return Err(broken(format!("stage {stage_id} has {tasks} tasks and no task {task}")));
    };
    match &info.task_status {
        task_status::Status::Running(running) if running.executor_id == executor => Ok(()),
        task_status::Status::Running(running) => Err(broken(format!(
            "executor `{executor}` reports task {task} of stage {stage_id}, which runs on executor `{}`",
            running.executor_id
        ))),
        _ => Err(Unusable::Late { stage: stage_id, task }),
    }
}

/// Takes out the metrics of a report that do not fit those of its stage.
pub(super) fn drop_misfits(stages: &HashMap<usize, ExecutionStage>, report: &mut TaskStatus) {
    let Some(ExecutionStage::Running(stage)) = stages.get(&(report.stage_id as usize)) else { return };
    let fits = stage.stage_metrics.as_ref().is_none_or(|known| known.len() == report.metrics.len());
    let readable = || report.metrics.iter().flat_map(|set| &set.metrics).all(|one| one.metric.is_some());
    if report.metrics.is_empty() || (fits && readable()) {
        return;
    }
    tracing::warn!(
        job = report.job_id,
        stage = report.stage_id,
        task = report.task_id,
        "the metrics of a task do not fit its stage and are left out"
    );
    report.metrics.clear();
}
