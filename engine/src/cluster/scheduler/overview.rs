//! What the cluster is doing right now, in plain numbers: for metrics, for the REST API, and for whoever waits.

use std::sync::Arc;

use serde::Serialize;

use super::Server;
use super::state::Executors;

/// A moment of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Overview {
    pub(super) slots: Slots,
    pub(super) tasks: Tasks,
    pub(super) jobs: Jobs,
    pub(super) executors: Vec<ExecutorView>,
}

/// Where tasks can run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Slots {
    pub(super) total: u64,
    pub(super) free: u64,
}

/// Tasks of all jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Tasks {
    pub(super) running: u64,
    pub(super) pending: u64,
}

/// Jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Jobs {
    pub(super) queued: u64,
    pub(super) running: u64,
}

/// An executor.
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
    pub(super) async fn take(server: &Arc<Server>, executors: &Executors) -> Self {
        let executors: Vec<ExecutorView> = executors
            .alive()
            .await
            .into_iter()
            .map(|seen| ExecutorView {
                id: seen.metadata.id,
                host: seen.metadata.host,
                flight_port: seen.metadata.port,
                grpc_port: seen.metadata.grpc_port,
                vcores: seen.metadata.specification.vcores,
                status: if seen.draining { "draining" } else { "active" },
            })
            .collect();
        let running_jobs = server.state.task_manager.get_running_job_cache();
        let (mut tasks, mut busy) = (Tasks::default(), 0);
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
            slots: Slots { total, free: total.saturating_sub(busy) },
            tasks,
            jobs: Jobs { queued: server.pending_job_number() as u64, running: running_jobs.len() as u64 },
            executors,
        }
    }

    /// How many executors take tasks.
    pub(super) fn active(&self) -> usize {
        self.executors.iter().filter(|executor| executor.is_active()).count()
    }
}

impl ExecutorView {
    fn is_active(&self) -> bool {
        self.status == "active"
    }
}
