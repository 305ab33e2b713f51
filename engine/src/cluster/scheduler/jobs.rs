//! Wraps Ballista's in-memory state of jobs.
//!
//! The wrapper adds three things: a job that this scheduler cancels fails with a reason, a job that has ended is handed to
//! the event log, and finished jobs are remembered by number, size and age.
//!
//! Ballista keeps the graph of every finished job for as long as a timer says, and one that could not be planned for ever:
//! a scheduler with many small queries would run out of memory. Here the oldest are forgotten when there are too many, and
//! a job with many tasks counts as several. Ballista's own timer is off.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::{FailedJob, JobStatus, task_status};
use ballista_core::{JobId, JobStatusSubscriber};
use ballista_scheduler::cluster::{JobState, JobStateEventStream};
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::event_log::EventLog;
use crate::Error;
use crate::error::{encode, readable};
use crate::jobs::NAME_PREFIX;

/// What the graph of a job with a few tasks takes in memory.
const JOB_BYTES: usize = 96 * 1024;
/// What one more task takes, and one more piece of its output.
const TASK_BYTES: usize = 2 * 1024;
const OUTPUT_BYTES: usize = 512;

/// How many finished jobs are remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The most jobs of a usual size.
    pub(super) jobs: usize,
    /// `None`: for ever.
    pub(super) age: Option<Duration>,
}

/// The finished jobs that are remembered, the oldest first.
#[derive(Debug, Default)]
struct Finished {
    order: VecDeque<Ended>,
    known: HashSet<JobId>,
    bytes: usize,
}

#[derive(Debug)]
struct Ended {
    job: JobId,
    at: Instant,
    bytes: usize,
}

impl Finished {
    /// Adds a job that ended at `at`, unless it is there.
    fn add(&mut self, job: &JobId, bytes: usize, at: Instant) {
        if self.known.insert(job.clone()) {
            self.bytes += bytes;
            self.order.push_back(Ended { job: job.clone(), at, bytes });
        }
    }

    /// Takes out the jobs that are beyond the limits at `now`. The last one stays for as long as its age allows: its
    /// client may not know yet that it has ended.
    fn take_surplus(&mut self, limits: Limits, now: Instant) -> Vec<JobId> {
        let mut surplus = Vec::new();
        while let Some(oldest) = self.order.front() {
            let old = limits.age.is_some_and(|age| now.saturating_duration_since(oldest.at) >= age);
            let many = self.order.len() > limits.jobs || self.bytes > limits.jobs.saturating_mul(JOB_BYTES);
            if !(old || many && self.order.len() > 1) {
                break;
            }
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.known.remove(&oldest.job);
            surplus.push(oldest.job);
        }
        surplus
    }
}

/// About how many bytes the graph of a finished job takes.
fn bytes(graph: &ExecutionGraphBox) -> usize {
    let tasks = graph.stages().values().filter_map(|stage| stage.task_infos()).flatten();
    let bytes = |status: &task_status::Status| match status {
        task_status::Status::Successful(task) => TASK_BYTES + OUTPUT_BYTES * task.partitions.len(),
        _ => TASK_BYTES,
    };
    JOB_BYTES / 2 + tasks.map(|task| bytes(&task.task_status)).sum::<usize>()
}

/// Ballista's state of the jobs, with the additions of this module.
pub(super) struct Jobs {
    inner: Arc<dyn JobState>,
    /// The reasons of jobs that this scheduler cancels, and which therefore fail.
    reasons: Mutex<HashMap<JobId, String>>,
    finished: Mutex<Finished>,
    limits: Limits,
    event_log: Option<EventLog>,
}

impl Jobs {
    pub(super) fn new(inner: Arc<dyn JobState>, limits: Limits, event_log: Option<EventLog>) -> Self {
        let (reasons, finished) = (Mutex::default(), Mutex::default());
        Self { inner, reasons, finished, limits, event_log }
    }

    /// Sets the error with which a job fails once it is cancelled. It takes the place of Ballista's message.
    pub(super) fn set_reason(&self, job: &JobId, reason: &Error) {
        let reason = encode(reason);
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).insert(job.clone(), reason);
    }

    /// Forgets the finished jobs that are beyond the limits.
    pub(super) async fn forget_surplus(&self) {
        let surplus = {
            let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
            finished.take_surplus(self.limits, Instant::now())
        };
        for job in surplus {
            if let Err(error) = self.remove_job(&job).await {
                tracing::debug!(%error, %job, "cannot forget a finished job");
            }
        }
    }

    /// Remembers a job that has ended.
    async fn ended(&self, job: &JobId, bytes: usize) {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).add(job, bytes, Instant::now());
        if let Some(log) = &self.event_log {
            log.append(job);
        }
        self.forget_surplus().await;
    }

    /// Saves a job that has failed, with the reason of this scheduler in place of Ballista's message.
    async fn save_failed(&self, job: &JobId, graph: &ExecutionGraphBox, failed: &FailedJob) -> Result<()> {
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
        match &graph.status().status {
            Some(Status::Failed(failed)) => self.save_failed(job, graph, failed).await?,
            Some(Status::Successful(_)) => self.inner.save_job(job, graph).await?,
            _ => return self.inner.save_job(job, graph).await,
        }
        self.ended(job, bytes(graph)).await;
        Ok(())
    }

    async fn fail_unscheduled_job(&self, job: &JobId, reason: String) -> Result<()> {
        self.inner.fail_unscheduled_job(job, reason).await?;
        // Without a graph there is nothing to log.
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).add(job, 0, Instant::now());
        self.forget_surplus().await;
        Ok(())
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
    use super::*;

    fn ids(jobs: &[JobId]) -> Vec<String> {
        jobs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn finished_jobs_are_remembered_by_number_size_and_age() {
        let (start, age) = (Instant::now(), Duration::from_secs(100));
        let at = |seconds| start + Duration::from_secs(seconds);
        let limits = Limits { jobs: 3, age: Some(age) };
        let mut finished = Finished::default();
        for (second, job) in [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (4, "d")] {
            finished.add(&JobId::from(job), JOB_BYTES / 2, at(second));
        }
        assert_eq!(ids(&finished.take_surplus(limits, at(5))), ["a"], "by number");
        finished.add(&JobId::from("large"), 2 * JOB_BYTES + 1, at(6));
        assert_eq!(ids(&finished.take_surplus(limits, at(6))), ["b", "c"], "a large one counts as several");
        finished.add(&JobId::from("huge"), 9 * JOB_BYTES, at(7));
        assert_eq!(ids(&finished.take_surplus(limits, at(7))), ["d", "large"], "the last one stays");
        assert!(finished.take_surplus(limits, at(106)).is_empty());
        assert_eq!(ids(&finished.take_surplus(limits, at(107))), ["huge"], "by age");
        assert!(finished.order.is_empty() && finished.known.is_empty());
        assert_eq!(finished.bytes, 0);
        let for_ever = Limits { age: None, ..limits };
        finished.add(&JobId::from("z"), 0, at(8));
        assert!(finished.take_surplus(for_ever, at(1_000_000)).is_empty());
    }
}
