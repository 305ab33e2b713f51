//! Background checks of the scheduler, for cases in which Ballista would wait for longer or for ever.
//!
//! * **An executor whose process died is removed at once.** A missing heartbeat shows that only after seconds. The
//!   operating system closes the connections of a dead process and refuses new ones within milliseconds, so the
//!   scheduler keeps a connection to every executor. Only a refused connection counts; when a machine or a network
//!   fails, the heartbeat decides.
//! * **A job does not wait for ever on an empty cluster.** When the last executor is lost, Ballista fails the jobs that
//!   run, after a grace period, but lets jobs wait that are submitted later. They are cancelled here after the same
//!   grace period, with a reason.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::JobId;
use ballista_core::serde::protobuf::ExecutorStoppedParams;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::scheduler::ExecutorMetadata;
use firesteel_common::net::refuse_itself;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tonic::Request;

use super::Server;
use super::overview::Overview;
use super::state::{Executors, Jobs};
use crate::Error;

/// The pause before a connection is tried again.
const PROBE_PAUSE: Duration = Duration::from_millis(200);

/// The interval at which waiting jobs are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Added to the grace period, so that Ballista's own timer fires first: its reason is better for the jobs that it
/// covers.
const AFTER_BALLISTA: Duration = Duration::from_secs(2);

/// Watches every executor that registers, until the scheduler ends.
pub(super) async fn follow_executors(
    server: Arc<Server>,
    mut registered: mpsc::UnboundedReceiver<ExecutorMetadata>,
) {
    let mut followers = JoinSet::new();
    let mut by_id: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        tokio::select! {
            executor = registered.recv() => {
                let Some(executor) = executor else { return };
                let id = executor.id.clone();
                let follower = followers.spawn(follow(Arc::clone(&server), executor));
                if let Some(earlier) = by_id.insert(id, follower) {
                    earlier.abort();
                }
            }
            Some(_) = followers.join_next() => by_id.retain(|_, follower| !follower.is_finished()),
        }
    }
}

/// Watches an executor until it is gone, and removes it if its process has died.
async fn follow(server: Arc<Server>, executor: ExecutorMetadata) {
    loop {
        match until_closed(&executor).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
            Err(error) => {
                tracing::debug!(%error, executor = executor.id, "cannot check whether an executor is alive")
            }
            Ok(()) => {}
        }
        if server.state.executor_manager.get_executor_metadata(&executor.id).await.is_err() {
            return;
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    if server.state.executor_manager.get_executor_metadata(&executor.id).await.is_err() {
        return;
    }
    tracing::warn!(executor = executor.id, "executor is lost, its process is gone");
    let stopped = ExecutorStoppedParams {
        executor_id: executor.id,
        reason: "its process is gone: the connection is refused".to_owned(),
    };
    if let Err(status) = server.executor_stopped(Request::new(stopped)).await {
        tracing::error!(%status, "cannot remove a lost executor");
    }
}

/// Connects to an executor, and returns once the connection is closed.
async fn until_closed(executor: &ExecutorMetadata) -> io::Result<()> {
    let mut stream = TcpStream::connect((executor.host.as_str(), executor.grpc_port)).await?;
    refuse_itself(&stream)?;
    let mut ignored = [0; 256];
    while stream.read(&mut ignored).await.is_ok_and(|bytes| bytes > 0) {}
    Ok(())
}

/// Cancels jobs that have waited for `grace` on a cluster without executors, and forgets finished jobs that are too old.
pub(super) async fn cancel_waiting_jobs(
    server: Arc<Server>,
    executors: Arc<Executors>,
    jobs: Arc<Jobs>,
    grace: Duration,
) {
    let mut waiting = WaitingJobs::default();
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        jobs.forget_surplus().await;
        let overview = Overview::take(&server, &executors).await;
        let running = server.state.task_manager.get_running_job_cache();
        let expired = waiting.update(
            Instant::now(),
            overview.active_executors(),
            running.keys().cloned(),
            grace + AFTER_BALLISTA,
        );
        for job in expired {
            tracing::warn!(%job, "cancelling a job, because the cluster has no executor");
            jobs.set_reason(&job, &Error::NoExecutors { seconds: grace.as_secs() });
            if let Err(error) = server.cancel_job(job).await {
                tracing::error!(%error, "cannot cancel a job");
            }
        }
    }
}

/// Since when each job has waited on an empty cluster.
#[derive(Debug, Default)]
struct WaitingJobs(HashMap<JobId, Instant>);

impl WaitingJobs {
    /// Notes the jobs that wait at `now`, and returns those that have waited for `timeout`.
    fn update(
        &mut self,
        now: Instant,
        executors: usize,
        jobs: impl Iterator<Item = JobId>,
        timeout: Duration,
    ) -> Vec<JobId> {
        if executors > 0 {
            self.0.clear();
            return Vec::new();
        }
        let waiting: HashMap<JobId, Instant> =
            jobs.map(|job| (job.clone(), self.0.get(&job).copied().unwrap_or(now))).collect();
        self.0 = waiting;
        let expired = |since: &Instant| now.saturating_duration_since(*since) >= timeout;
        self.0.iter().filter(|(_, since)| expired(since)).map(|(job, _)| job.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_waits_for_as_long_as_there_is_no_executor() {
        let (start, timeout) = (Instant::now(), Duration::from_secs(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        let jobs = || [JobId::from("a")].into_iter();
        let mut waiting = WaitingJobs::default();
        assert!(waiting.update(at(0), 0, jobs(), timeout).is_empty());
        assert!(waiting.update(at(9), 0, jobs(), timeout).is_empty());
        // An executor comes and goes: the job waits from the start again.
        assert!(waiting.update(at(10), 1, jobs(), timeout).is_empty());
        assert!(waiting.update(at(11), 0, jobs(), timeout).is_empty());
        assert!(waiting.update(at(20), 0, jobs(), timeout).is_empty());
        assert_eq!(waiting.update(at(21), 0, jobs(), timeout), [JobId::from("a")]);
        // A job that ended is forgotten.
        assert!(waiting.update(at(22), 0, [].into_iter(), timeout).is_empty());
        assert!(waiting.update(at(23), 0, jobs(), timeout).is_empty());
    }
}
