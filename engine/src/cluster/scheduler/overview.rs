//! Counts of slots, tasks, jobs and executors at one moment, for metrics, the REST API and the checks of `watch`.

use std::sync::Arc;

use serde::Serialize;

use super::Server;
use super::state::Executors;

/// The state of the cluster at one moment, in the JSON format of `/api/firesteel/cluster`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Overview {
    pub(super) slots: SlotCounts,
    pub(super) tasks: TaskCounts,
    pub(super) jobs: JobCounts,
    pub(super) executors: Vec<ExecutorView>,
}

/// Slots of active executors.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct SlotCounts {
    pub(super) total: u64,
    pub(super) free: u64,
}

/// Tasks of all jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct TaskCounts {
    pub(super) running: u64,
    pub(super) pending: u64,
}

/// Jobs that have not ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct JobCounts {
    pub(super) queued: u64,
    pub(super) running: u64,
}

/// A registered executor, in the JSON format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ExecutorView {
    pub(super) id: String,
    pub(super) host: String,
    pub(super) flight_port: u16,
    pub(super) grpc_port: u16,
    pub(super) vcores: u32,
    /// `active` or `draining`.
    pub(super) status: &'static str,
}

impl Overview {
    /// Counts at this moment.
    pub(super) async fn take(server: &Arc<Server>, executors: &Executors) -> Self {
        let executors: Vec<ExecutorView> = executors
            .alive()
            .await
            .into_iter()
            .map(|executor| ExecutorView {
                id: executor.metadata.id,
                host: executor.metadata.host,
                flight_port: executor.metadata.port,
                grpc_port: executor.metadata.grpc_port,
                vcores: executor.metadata.specification.vcores,
                status: if executor.draining { "draining" } else { "active" },
            })
            .collect();
        let running_jobs = server.state.task_manager.get_running_job_cache();
        let (mut tasks, mut busy) = (TaskCounts::default(), 0);
        for job in running_jobs.values() {
            let graph = job.execution_graph.read().await;
            tasks.pending += graph.available_tasks() as u64;
            for task in graph.running_tasks() {
                tasks.running += 1;
                if executors.iter().any(|executor| executor.is_active() && executor.id == task.executor_id) {
                    busy += u64::from(graph.task_vcores(task.stage_id, task.task_id).unwrap_or(1));
                }
            }
        }
        let total = executors.iter().filter(|executor| executor.is_active());
        let total = total.map(|executor| u64::from(executor.vcores)).sum::<u64>();
        Self {
            slots: SlotCounts { total, free: total.saturating_sub(busy) },
            tasks,
            jobs: JobCounts {
                queued: server.pending_job_number() as u64,
                running: running_jobs.len() as u64,
            },
            executors,
        }
    }

    /// Returns the number of executors that take tasks.
    pub(super) fn active_executors(&self) -> usize {
        self.executors.iter().filter(|executor| executor.is_active()).count()
    }
}

impl ExecutorView {
    fn is_active(&self) -> bool {
        self.status == "active"
    }
}
