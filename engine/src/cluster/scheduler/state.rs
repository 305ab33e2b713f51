//! Wraps Ballista's in-memory state of executors and jobs.
//!
//! The wrappers add four things: an executor that leaves is removed at once, a draining executor is kept while it
//! reports, the number of slots is always up to date, and a job that this scheduler cancels fails with a reason.
//!
//! Ballista has one grace period for how long a draining executor may run and for how long a stopped one is remembered.
//! Here it is zero, so a stopped executor is removed at once. As long as a draining executor sends heartbeats, Ballista
//! is given a fresh timestamp for it, so that it is not removed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::{ExecutorHeartbeat, FailedJob, JobStatus, executor_status};
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_core::{JobId, JobStatusSubscriber};
use ballista_scheduler::cluster::{
    BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot, JobState, JobStateEventStream,
};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::scheduler_server::timestamp_secs;
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion::prelude::{SessionConfig, SessionContext};
use tokio::sync::mpsc;

use super::door::Owners;
use crate::Error;
use crate::error::{encode, readable};
use crate::jobs::NAME_PREFIX;
use crate::slots::Slots;

/// Ballista's state of the executors, with the additions of this module.
pub(super) struct Executors {
    inner: Arc<dyn ClusterState>,
    timeout: Duration,
    /// Receives each executor that registers.
    registered: mpsc::UnboundedSender<ExecutorMetadata>,
    /// The number of tasks that can run at once.
    slots: Slots,
}

/// A registered executor at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ExecutorSnapshot {
    pub(super) metadata: ExecutorMetadata,
    pub(super) draining: bool,
}

impl Executors {
    pub(super) fn new(
        inner: Arc<dyn ClusterState>,
        timeout: Duration,
        registered: mpsc::UnboundedSender<ExecutorMetadata>,
        slots: Slots,
    ) -> Self {
        Self { inner, timeout, registered, slots }
    }

    /// Counts the slots again. It is called whenever an executor registers, drains or leaves.
    async fn update_slots(&self) {
        let alive = self.alive().await;
        let active = alive.iter().filter(|executor| !executor.draining);
        let slots = active.map(|executor| executor.metadata.specification.vcores as usize).sum();
        self.slots.set(slots);
    }

    /// Returns the executors whose heartbeat is recent enough, the draining ones included.
    pub(super) async fn alive(&self) -> Vec<ExecutorSnapshot> {
        let heartbeats = self.inner.executor_heartbeats();
        let now = timestamp_secs();
        let mut alive = Vec::new();
        for metadata in self.inner.registered_executor_metadata().await {
            let Some(heartbeat) = heartbeats.get(&metadata.id) else { continue };
            if !is_silent(heartbeat, now, self.timeout) {
                alive.push(ExecutorSnapshot { draining: is_draining(heartbeat), metadata });
            }
        }
        alive.sort_by(|a, b| a.metadata.id.cmp(&b.metadata.id));
        alive
    }
}

fn is_draining(heartbeat: &ExecutorHeartbeat) -> bool {
    let status = heartbeat.status.as_ref().and_then(|status| status.status.as_ref());
    matches!(status, Some(executor_status::Status::Terminating(_)))
}

fn is_silent(heartbeat: &ExecutorHeartbeat, now: u64, timeout: Duration) -> bool {
    heartbeat.timestamp.saturating_add(timeout.as_secs()) <= now
}

/// Returns the heartbeat to give to Ballista, which removes a draining executor unless its last heartbeat is in the
/// future.
fn keep_while_draining(mut heartbeat: ExecutorHeartbeat, now: u64, timeout: Duration) -> ExecutorHeartbeat {
    if is_draining(&heartbeat) && !is_silent(&heartbeat, now, timeout) {
        heartbeat.timestamp = now + 1;
    }
    heartbeat
}

#[async_trait]
impl ClusterState for Executors {
    async fn init(&self) -> Result<()> {
        self.inner.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        self.inner.bind_schedulable_tasks(distribution, active_jobs, executors).await
    }

    async fn unbind_tasks(&self, slots: Vec<ExecutorSlot>) -> Result<()> {
        self.inner.unbind_tasks(slots).await
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, data: ExecutorData) -> Result<()> {
        self.inner.register_executor(metadata.clone(), data).await?;
        tracing::info!(
            executor = metadata.id,
            host = metadata.host,
            vcores = metadata.specification.vcores,
            "executor joined"
        );
        self.update_slots().await;
        // The receiver is gone while the scheduler shuts down.
        let _ = self.registered.send(metadata);
        Ok(())
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.inner.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor: &str) -> Result<ExecutorMetadata> {
        self.inner.get_executor_metadata(executor).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.inner.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        let known = self.inner.get_executor_heartbeat(&heartbeat.executor_id);
        let starts_draining = is_draining(&heartbeat) && !known.as_ref().is_some_and(is_draining);
        if starts_draining {
            tracing::info!(executor = heartbeat.executor_id, "executor drains");
        }
        self.inner.save_executor_heartbeat(heartbeat).await?;
        if starts_draining {
            self.update_slots().await;
        }
        Ok(())
    }

    async fn remove_executor(&self, executor: &str) -> Result<()> {
        tracing::info!(executor, "executor left");
        self.inner.remove_executor(executor).await?;
        self.update_slots().await;
        Ok(())
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        let now = timestamp_secs();
        let heartbeats = self.inner.executor_heartbeats().into_iter();
        heartbeats.map(|(id, heartbeat)| (id, keep_while_draining(heartbeat, now, self.timeout))).collect()
    }

    fn get_executor_heartbeat(&self, executor: &str) -> Option<ExecutorHeartbeat> {
        self.inner.get_executor_heartbeat(executor)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}

/// Ballista's state of the jobs, with the reasons of this scheduler.
pub(super) struct Jobs {
    inner: Arc<dyn JobState>,
    /// The reasons of jobs that this scheduler cancels, and which therefore fail.
    reasons: Mutex<HashMap<JobId, String>>,
    /// Whose jobs they are.
    owners: Arc<Owners>,
}

impl Jobs {
    pub(super) fn new(inner: Arc<dyn JobState>, owners: Arc<Owners>) -> Self {
        Self { inner, reasons: Mutex::default(), owners }
    }

    /// Sets the error with which a job fails once it is cancelled. It takes the place of Ballista's message.
    pub(super) fn set_reason(&self, job: &JobId, reason: &Error) {
        let reason = encode(reason);
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).insert(job.clone(), reason);
    }

    fn take_reason(&self, job: &JobId) -> Option<String> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).remove(job)
    }
}

#[async_trait]
impl JobState for Jobs {
    fn accept_job(&self, job: &JobId, name: &str, queued_at: u64) -> Result<()> {
        self.inner.accept_job(job, name, queued_at)
    }

    fn pending_job_number(&self) -> usize {
        self.inner.pending_job_number()
    }

    async fn submit_job(
        &self,
        job: JobId,
        graph: &ExecutionGraphBox,
        subscriber: Option<JobStatusSubscriber>,
    ) -> Result<()> {
        self.inner.submit_job(job, graph, subscriber).await
    }

    async fn get_jobs(&self) -> Result<HashSet<JobId>> {
        self.inner.get_jobs().await
    }

    async fn get_all_jobs(&self) -> Result<HashSet<JobId>> {
        self.inner.get_all_jobs().await
    }

    async fn get_job_status(&self, job: &JobId) -> Result<Option<JobStatus>> {
        self.inner.get_job_status(job).await
    }

    async fn get_execution_graph(&self, job: &JobId) -> Result<Option<ExecutionGraphBox>> {
        self.inner.get_execution_graph(job).await
    }

    async fn save_job(&self, job: &JobId, graph: &ExecutionGraphBox) -> Result<()> {
        let Some(Status::Failed(failed)) = &graph.status().status else {
            return self.inner.save_job(job, graph).await;
        };
        let mut error = self.take_reason(job).unwrap_or_else(|| failed.error.clone());
        if !graph.job_name().starts_with(NAME_PREFIX) {
            // A client that is not ours shows the message as it is.
            error = readable(&error);
        }
        if error == failed.error {
            return self.inner.save_job(job, graph).await;
        }
        let mut graph = graph.cloned();
        let status = Status::Failed(FailedJob { error, ..failed.clone() });
        graph.update_status(JobStatus { status: Some(status), ..graph.status().clone() });
        self.inner.save_job(job, &graph).await
    }

    async fn fail_unscheduled_job(&self, job: &JobId, reason: String) -> Result<()> {
        self.inner.fail_unscheduled_job(job, reason).await
    }

    async fn remove_job(&self, job: &JobId) -> Result<()> {
        self.take_reason(job);
        self.owners.forget(job.as_str());
        self.inner.remove_job(job).await
    }

    async fn try_acquire_job(&self, job: &JobId) -> Result<Option<ExecutionGraphBox>> {
        self.inner.try_acquire_job(job).await
    }

    async fn job_state_events(&self) -> Result<JobStateEventStream> {
        self.inner.job_state_events().await
    }

    async fn create_or_update_session(
        &self,
        session: &str,
        config: &SessionConfig,
    ) -> Result<Arc<SessionContext>> {
        self.inner.create_or_update_session(session, config).await
    }

    async fn remove_session(&self, session: &str) -> Result<()> {
        self.inner.remove_session(session).await
    }

    fn produce_config(&self) -> SessionConfig {
        self.inner.produce_config()
    }
}

#[cfg(test)]
mod tests {
    use ballista_core::serde::protobuf::ExecutorStatus;

    use super::*;

    fn heartbeat(timestamp: u64, draining: bool) -> ExecutorHeartbeat {
        let status = if draining {
            executor_status::Status::Terminating(String::new())
        } else {
            executor_status::Status::Active(String::new())
        };
        ExecutorHeartbeat {
            executor_id: "a".to_owned(),
            timestamp,
            status: Some(ExecutorStatus { status: Some(status) }),
            ..ExecutorHeartbeat::default()
        }
    }

    #[test]
    fn a_draining_executor_stays_while_it_reports() {
        let timeout = Duration::from_secs(10);
        for (timestamp, draining, expected) in [
            (95, true, 101),
            (91, true, 101),
            // Silent for the whole timeout: unchanged, and so expired.
            (90, true, 90),
            (95, false, 95),
        ] {
            let kept = keep_while_draining(heartbeat(timestamp, draining), 100, timeout);
            assert_eq!(kept.timestamp, expected, "{timestamp} {draining}");
        }
    }
}
