//! Ballista's in-memory state, with what it lacks: executors that leave are gone at once, those that drain are left
//! alone, the number of slots is known at any moment, and a job that this scheduler ends says why.
//!
//! Ballista knows one grace period for two things: how long a draining executor may go on, and how long after its
//! farewell it is forgotten. Here the period is zero, so a farewell counts at once, and a draining executor is shown
//! to Ballista as one that has reported just now for as long as it does report.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::session::Slots;
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

use crate::Error;
use crate::error::{encode, readable};
use crate::jobs::NAME_PREFIX;

/// The executors.
pub(super) struct Executors {
    inner: Arc<dyn ClusterState>,
    timeout: Duration,
    /// Whom it tells about each executor that registers.
    registered: mpsc::UnboundedSender<ExecutorMetadata>,
    /// How many tasks can run at once.
    slots: Slots,
}

/// An executor as the scheduler sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
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

    /// Counts the slots anew: whenever an executor comes, drains or goes.
    async fn count_slots(&self) {
        let alive = self.alive().await;
        let active = alive.iter().filter(|seen| !seen.draining);
        let slots = active.map(|seen| seen.metadata.specification.vcores as usize).sum();
        self.slots.set(slots);
    }

    /// The executors that have reported in time, those that drain among them.
    pub(super) async fn alive(&self) -> Vec<Seen> {
        let heartbeats = self.inner.executor_heartbeats();
        let now = timestamp_secs();
        let mut alive = Vec::new();
        for metadata in self.inner.registered_executor_metadata().await {
            let Some(heartbeat) = heartbeats.get(&metadata.id) else { continue };
            if !is_silent(heartbeat, now, self.timeout) {
                alive.push(Seen { draining: is_draining(heartbeat), metadata });
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

/// What Ballista is shown of a heartbeat.
fn shown(mut heartbeat: ExecutorHeartbeat, now: u64, timeout: Duration) -> ExecutorHeartbeat {
    if is_draining(&heartbeat) && !is_silent(&heartbeat, now, timeout) {
        // Ballista drops a draining executor whose last report is not newer than now.
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
        self.count_slots().await;
        // Nobody listens once the scheduler is about to end.
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
        let drains = is_draining(&heartbeat) && !known.as_ref().is_some_and(is_draining);
        if drains {
            tracing::info!(executor = heartbeat.executor_id, "executor drains");
        }
        self.inner.save_executor_heartbeat(heartbeat).await?;
        if drains {
            self.count_slots().await;
        }
        Ok(())
    }

    async fn remove_executor(&self, executor: &str) -> Result<()> {
        tracing::info!(executor, "executor left");
        self.inner.remove_executor(executor).await?;
        self.count_slots().await;
        Ok(())
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        let now = timestamp_secs();
        let heartbeats = self.inner.executor_heartbeats().into_iter();
        heartbeats.map(|(id, heartbeat)| (id, shown(heartbeat, now, self.timeout))).collect()
    }

    fn get_executor_heartbeat(&self, executor: &str) -> Option<ExecutorHeartbeat> {
        self.inner.get_executor_heartbeat(executor)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}

/// The jobs.
pub(super) struct Jobs {
    inner: Arc<dyn JobState>,
    /// Why jobs were ended that Ballista believes to be cancelled.
    reasons: Mutex<HashMap<JobId, String>>,
}

impl Jobs {
    pub(super) fn new(inner: Arc<dyn JobState>) -> Self {
        Self { inner, reasons: Mutex::default() }
    }

    /// Notes why a job is about to be ended. The reason takes the place of Ballista's message about the job.
    pub(super) fn give_reason(&self, job: &JobId, reason: &Error) {
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
            // Silent for as long as the timeout: as it is, and so expired.
            (90, true, 90),
            (95, false, 95),
        ] {
            let shown = shown(heartbeat(timestamp, draining), 100, timeout);
            assert_eq!(shown.timestamp, expected, "{timestamp} {draining}");
        }
    }
}
