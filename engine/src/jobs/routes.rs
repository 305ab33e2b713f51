//! The scheduler's side: answers with the activity, which it reads from the execution graphs of the running jobs.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::scheduler_server::SchedulerServer;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use serde::Deserialize;

use super::{ACTIVITY_PATH, Activity, ExecutorInfo, Job, Stage, StageState};

type Scheduler = Arc<SchedulerServer<LogicalPlanNode, PhysicalPlanNode>>;

/// The query parameters: which jobs to return.
#[derive(Debug, Deserialize)]
struct Filter {
    /// The prefix of the names of the jobs. Empty: all jobs.
    #[serde(default)]
    name: String,
}

/// Serves `GET /api/firesteel/activity?name=PREFIX`: the executors, and the running jobs whose name has the prefix.
pub(crate) fn routes(scheduler: Scheduler) -> Router {
    Router::new().route(ACTIVITY_PATH, get(activity)).with_state(scheduler)
}

async fn activity(
    State(scheduler): State<Scheduler>,
    Query(filter): Query<Filter>,
) -> Result<Json<Activity>, StatusCode> {
    let executors = scheduler.state.executor_manager.get_executors_state().await.map_err(|error| {
        tracing::error!(%error, "cannot list the executors");
        StatusCode::INTERNAL_SERVER_ERROR
    })?;
    let mut executors: Vec<ExecutorInfo> = executors
        .into_iter()
        .map(|(executor, _, _)| ExecutorInfo {
            id: executor.id,
            host: executor.host,
            port: executor.port,
            vcores: executor.specification.vcores,
        })
        .collect();
    executors.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));

    let mut jobs = Vec::new();
    for (id, job) in scheduler.state.task_manager.get_running_job_cache().iter() {
        let graph = job.execution_graph.read().await;
        if !graph.job_name().starts_with(&filter.name) {
            continue;
        }
        let mut stages: Vec<Stage> = graph.stages().iter().map(|(id, stage)| describe(*id, stage)).collect();
        stages.sort_by_key(|stage| stage.id);
        jobs.push(Job {
            id: id.to_string(),
            name: graph.job_name().to_owned(),
            started_at: graph.start_time(),
            stages,
        });
    }
    jobs.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    Ok(Json(Activity { executors, jobs }))
}

fn describe(id: usize, stage: &ExecutionStage) -> Stage {
    let (state, tasks) = match stage {
        ExecutionStage::UnResolved(_) => (StageState::Waiting, None),
        ExecutionStage::Resolved(stage) => (StageState::Waiting, Some(stage.partitions)),
        ExecutionStage::Running(stage) => (StageState::Running, Some(stage.partitions)),
        ExecutionStage::Successful(stage) => (StageState::Done, Some(stage.partitions)),
        ExecutionStage::Failed(stage) => (StageState::Failed, Some(stage.partitions)),
    };
    let (done, running) = count(stage.task_infos().unwrap_or_default());
    Stage { id, state, tasks, done, running }
}

/// Returns how many partitions are finished and how many are on an executor. A retry is a second task over the same
/// partitions, and a partition whose result was lost and that is read again is not finished.
fn count(tasks: &[TaskInfo]) -> (usize, usize) {
    let (mut done, mut running) = (HashSet::new(), HashSet::new());
    for task in tasks {
        for partition in &task.global_input_partition_ids {
            match task.task_status {
                task_status::Status::Successful(_) => {
                    done.insert(*partition);
                    running.remove(partition);
                }
                task_status::Status::Running(_) => {
                    running.insert(*partition);
                    done.remove(partition);
                }
                task_status::Status::Failed(_) => {
                    running.remove(partition);
                    done.remove(partition);
                }
            }
        }
    }
    (done.len(), running.len())
}

#[cfg(test)]
mod tests {
    use ballista_core::serde::protobuf::{FailedTask, RunningTask, SuccessfulTask};
    use task_status::Status;

    use super::*;

    fn task(partitions: &[usize], task_status: Status) -> TaskInfo {
        TaskInfo {
            task_id: 0,
            scheduled_time: 0,
            launch_time: 0,
            start_exec_time: 0,
            end_exec_time: 0,
            finish_time: 0,
            task_status,
            global_input_partition_ids: partitions.to_vec(),
            vcores_consumed: 1,
        }
    }

    #[test]
    fn a_partition_counts_once_however_many_tasks_it_had() {
        let running = || Status::Running(RunningTask::default());
        let failed = || Status::Failed(FailedTask::default());
        let successful = || Status::Successful(SuccessfulTask::default());
        for (tasks, expected) in [
            (vec![], (0, 0)),
            (vec![task(&[0, 1], successful()), task(&[2], running())], (2, 1)),
            (vec![task(&[0, 1], failed()), task(&[0], running()), task(&[1], running())], (0, 2)),
            (vec![task(&[0], failed()), task(&[0], successful())], (1, 0)),
            (vec![task(&[0], successful()), task(&[0], running())], (0, 1)),
        ] {
            assert_eq!(count(&tasks), expected);
        }
    }
}
