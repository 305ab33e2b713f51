//! What an executor tells the scheduler by itself: that it is there, and how its tasks have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ballista_core::serde::protobuf::executor_metric::Metric;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    ExecutorMetric, ExecutorRegistration, ExecutorStatus, HeartBeatParams, TaskStatus,
    UpdateTaskStatusParams, executor_status,
};
use ballista_executor::health::ExecutorHealth;
use firesteel_common::retry::RetryPolicy;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::lease;

/// The scheduler, as an executor knows it.
pub(super) type Client = SchedulerGrpcClient<Channel>;

/// The number of heartbeats without an answer after which an executor gives its registration up.
const MISSED: u32 = 5;

/// The number of statuses in one message, at most.
const TOGETHER: usize = 256;

/// The bytes of the statuses in one message, but for a single one that is larger.
const TOGETHER_BYTES: usize = 1 << 20;

/// How often a message is sent that the scheduler does not take, and the pauses between.
const ATTEMPTS: u32 = 6;
const PAUSES: RetryPolicy =
    RetryPolicy { initial: Duration::from_millis(500), maximum: Duration::from_secs(8), factor: 2.0 };

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

/// The timeout that an answer of the scheduler tells.
pub(super) fn timeout(answer: &MetadataMap) -> Duration {
    lease::told_timeout(answer.get(lease::TIMEOUT_HEADER).and_then(|header| header.to_str().ok()))
}

/// Sends heartbeats until too many in a row have got no answer, or the scheduler does not know the executor any more, or may
/// have given it up. Every answer renews the lease.
pub(super) async fn beat(
    mut scheduler: Client,
    metadata: ExecutorRegistration,
    interval: Duration,
    draining: Draining,
    health: ExecutorHealth,
    lease: lease::Registration,
) {
    let mut missed = 0;
    while missed < MISSED {
        let sent = Instant::now();
        match scheduler.heart_beat_from_executor(heartbeat(&metadata, &draining)).await {
            Ok(answer) => {
                if !lease.answered(sent, timeout(answer.metadata())) {
                    tracing::warn!(
                        "the answer to a heartbeat comes so late that the scheduler may have given up"
                    );
                    return;
                }
                missed = 0;
                health.mark_heartbeat_ok();
            }
            Err(status) if status.code() == Code::FailedPrecondition => {
                tracing::warn!(%status, "the scheduler does not know this executor");
                return;
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

/// Reports statuses, those that have gathered together, until no more can come, or until the scheduler does not take them. A
/// status that is lost would leave its task running for ever in the eyes of the scheduler, so the registration ends then.
pub(super) async fn report(
    mut scheduler: Client,
    executor_id: String,
    mut statuses: mpsc::UnboundedReceiver<TaskStatus>,
) {
    let mut gathered = Vec::new();
    while statuses.recv_many(&mut gathered, TOGETHER).await > 0 {
        while !gathered.is_empty() {
            let task_status = first_message(&mut gathered);
            let params = UpdateTaskStatusParams { executor_id: executor_id.clone(), task_status };
            if !deliver(&mut scheduler, params).await {
                return;
            }
        }
    }
}

/// Takes out what goes into the next message.
fn first_message(statuses: &mut Vec<TaskStatus>) -> Vec<TaskStatus> {
    let mut bytes = 0;
    let fit = statuses.iter().take_while(|status| {
        bytes += status.encoded_len();
        bytes <= TOGETHER_BYTES
    });
    let fit = fit.count().max(1).min(statuses.len());
    statuses.drain(..fit).collect()
}

/// Says whether the scheduler has taken a message. What it takes twice it applies once.
async fn deliver(scheduler: &mut Client, params: UpdateTaskStatusParams) -> bool {
    let (tasks, mut backoff) = (params.task_status.len(), PAUSES.backoff());
    for attempt in 1..=ATTEMPTS {
        match scheduler.update_task_status(params.clone()).await {
            Ok(_) => return true,
            // It has taken the others, and will never take what is broken.
            Err(status) if status.code() == Code::InvalidArgument => {
                tracing::error!(tasks, %status, "the scheduler refuses the report of a task");
                return true;
            }
            Err(status) => tracing::warn!(tasks, attempt, %status, "cannot report the end of tasks"),
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
    tracing::error!(tasks, "cannot report the end of tasks, leaving the scheduler");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_size_and_everything_is_in_one() {
        let status = |task_id, bytes: usize| TaskStatus {
            task_id,
            job_id: "x".repeat(bytes),
            ..TaskStatus::default()
        };
        let sizes = [10, TOGETHER_BYTES / 2, TOGETHER_BYTES / 3, TOGETHER_BYTES / 3, 2 * TOGETHER_BYTES, 5];
        let mut statuses: Vec<_> = sizes.into_iter().zip(0..).map(|(bytes, id)| status(id, bytes)).collect();
        let mut messages = Vec::new();
        while !statuses.is_empty() {
            messages.push(first_message(&mut statuses).iter().map(|one| one.task_id).collect::<Vec<_>>());
        }
        assert_eq!(messages, [vec![0, 1, 2], vec![3], vec![4], vec![5]]);
    }
}
