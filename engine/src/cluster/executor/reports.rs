//! What an executor tells the scheduler by itself: that it is there, and how its tasks have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ballista_core::serde::protobuf::executor_metric::Metric;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    ExecutorMetric, ExecutorRegistration, ExecutorStatus, HeartBeatParams, TaskStatus,
    UpdateTaskStatusParams, executor_status,
};
use ballista_executor::health::ExecutorHealth;
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// The scheduler, as an executor knows it.
pub(super) type Client = SchedulerGrpcClient<Channel>;

/// The number of heartbeats without an answer after which an executor gives its registration up.
const MISSED: u32 = 5;

/// The number of statuses in one message, at most.
const TOGETHER: usize = 256;

/// Whether an executor takes tasks, as its heartbeats say. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Draining(Arc<AtomicBool>);

impl Draining {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn status(&self) -> ExecutorStatus {
        let status = match self.0.load(Ordering::Acquire) {
            true => executor_status::Status::Terminating(String::new()),
            false => executor_status::Status::Active(String::new()),
        };
        ExecutorStatus { status: Some(status) }
    }
}

/// A heartbeat at this moment.
pub(super) fn heartbeat(metadata: &ExecutorRegistration, draining: &Draining) -> HeartBeatParams {
    HeartBeatParams {
        executor_id: metadata.id.clone(),
        metrics: memory(),
        status: Some(draining.status()),
        metadata: Some(metadata.clone()),
    }
}

/// The memory of this process, where the system tells.
fn memory() -> Vec<ExecutorMetric> {
    let Some(used) = memory_stats::memory_stats() else { return Vec::new() };
    let metric = |metric| ExecutorMetric { metric: Some(metric) };
    vec![
        metric(Metric::ProcPhysicalMemory(used.physical_mem as u64)),
        metric(Metric::ProcVirtualMemory(used.virtual_mem as u64)),
    ]
}

/// Sends heartbeats until too many in a row have got no answer.
pub(super) async fn beat(
    mut scheduler: Client,
    metadata: ExecutorRegistration,
    interval: Duration,
    draining: Draining,
    health: ExecutorHealth,
) {
    let mut missed = 0;
    while missed < MISSED {
        match scheduler.heart_beat_from_executor(heartbeat(&metadata, &draining)).await {
            Ok(_) => {
                missed = 0;
                health.mark_heartbeat_ok();
            }
            Err(status) => {
                missed += 1;
                health.mark_heartbeat_failed();
                tracing::warn!(missed, %status, "the scheduler has not taken a heartbeat");
            }
        }
        tokio::time::sleep(interval).await;
    }
}

/// Reports statuses, those that have gathered together, until no more can come.
pub(super) async fn report(
    mut scheduler: Client,
    executor_id: String,
    mut statuses: mpsc::UnboundedReceiver<TaskStatus>,
) {
    let mut gathered = Vec::new();
    while statuses.recv_many(&mut gathered, TOGETHER).await > 0 {
        let task_status = std::mem::take(&mut gathered);
        let tasks = task_status.len();
        let params = UpdateTaskStatusParams { executor_id: executor_id.clone(), task_status };
        if let Err(status) = scheduler.update_task_status(params).await {
            tracing::error!(tasks, %status, "cannot report the end of tasks");
        }
    }
}
