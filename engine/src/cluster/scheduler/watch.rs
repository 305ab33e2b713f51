//! What the scheduler looks after by itself, where Ballista would wait for longer or for ever.
//!
//! * **An executor whose process died is lost at once.** Heartbeats tell after seconds. A connection to a process that
//!   dies is closed by its system, and the next one refused, within milliseconds: the scheduler keeps one connection to
//!   every executor for that. Only a refusal counts; where a machine or a network is gone, the heartbeat decides.
//! * **A job is not left waiting on an empty cluster.** Ballista ends jobs that ran when the last executor was lost, and
//!   leaves those that came later waiting. They end here, after the same grace and with a reason.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::JobId;
use ballista_core::serde::protobuf::ExecutorStoppedParams;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::scheduler::ExecutorMetadata;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tonic::Request;

use super::Server;
use super::overview::Overview;
use super::state::{Executors, Jobs};
use crate::Error;
use crate::cluster::net;

/// How long to wait before a connection is tried again.
const PROBE_PAUSE: Duration = Duration::from_millis(200);

/// How often waiting jobs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Beyond the grace: Ballista's own timer, which has the better reason for what it knows of, comes first.
const AFTER_BALLISTA: Duration = Duration::from_secs(2);

/// Follows every executor that registers.
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

/// Until the executor is gone.
async fn follow(server: Arc<Server>, executor: ExecutorMetadata) {
    loop {
        match until_closed(&executor).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
            Err(error) => {
                tracing::debug!(%error, executor = executor.id, "cannot tell whether an executor lives")
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
    tracing::warn!(executor = executor.id, "executor is lost: its process is gone");
    let farewell = ExecutorStoppedParams {
        executor_id: executor.id,
        reason: "its process is gone: the connection is refused".to_owned(),
    };
    if let Err(status) = server.executor_stopped(Request::new(farewell)).await {
        tracing::error!(%status, "cannot remove a lost executor");
    }
}

/// Connects, and returns once the connection is closed.
async fn until_closed(executor: &ExecutorMetadata) -> io::Result<()> {
    let mut stream = TcpStream::connect((executor.host.as_str(), executor.grpc_port)).await?;
    net::refuse_itself(&stream)?;
    let mut said = [0; 256];
    while stream.read(&mut said).await.is_ok_and(|bytes| bytes > 0) {}
    Ok(())
}

/// Ends jobs that have waited for `grace` on a cluster without executors.
pub(super) async fn end_waiting_jobs(
    server: Arc<Server>,
    executors: Arc<Executors>,
    jobs: Arc<Jobs>,
    grace: Duration,
) {
    let mut waiting = Waiting::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let overview = Overview::take(&server, &executors).await;
        let running = server.state.task_manager.get_running_job_cache();
        let hopeless =
            waiting.look(Instant::now(), overview.active(), running.keys().cloned(), grace + AFTER_BALLISTA);
        for job in hopeless {
            tracing::warn!(%job, "ending a job that no executor is there for");
            jobs.give_reason(&job, &Error::NoExecutors { seconds: grace.as_secs() });
            if let Err(error) = server.cancel_job(job).await {
                tracing::error!(%error, "cannot end a job");
            }
        }
    }
}

/// Since when which jobs wait on an empty cluster.
#[derive(Debug, Default)]
struct Waiting(HashMap<JobId, Instant>);

impl Waiting {
    /// The jobs that have waited for `patience` by now.
    fn look(
        &mut self,
        now: Instant,
        executors: usize,
        jobs: impl Iterator<Item = JobId>,
        patience: Duration,
    ) -> Vec<JobId> {
        if executors > 0 {
            self.0.clear();
            return Vec::new();
        }
        let seen: HashMap<JobId, Instant> =
            jobs.map(|job| (job.clone(), self.0.get(&job).copied().unwrap_or(now))).collect();
        self.0 = seen;
        let waited = |since: &Instant| now.saturating_duration_since(*since) >= patience;
        self.0.iter().filter(|(_, since)| waited(since)).map(|(job, _)| job.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_waits_for_as_long_as_there_is_no_executor() {
        let (start, patience) = (Instant::now(), Duration::from_secs(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        let jobs = || [JobId::from("a")].into_iter();
        let mut waiting = Waiting::default();
        assert!(waiting.look(at(0), 0, jobs(), patience).is_empty());
        assert!(waiting.look(at(9), 0, jobs(), patience).is_empty());
        // One comes and goes: its wait begins anew.
        assert!(waiting.look(at(10), 1, jobs(), patience).is_empty());
        assert!(waiting.look(at(11), 0, jobs(), patience).is_empty());
        assert!(waiting.look(at(20), 0, jobs(), patience).is_empty());
        assert_eq!(waiting.look(at(21), 0, jobs(), patience), [JobId::from("a")]);
        // A job that ended is forgotten.
        assert!(waiting.look(at(22), 0, [].into_iter(), patience).is_empty());
        assert!(waiting.look(at(23), 0, jobs(), patience).is_empty());
    }
}
