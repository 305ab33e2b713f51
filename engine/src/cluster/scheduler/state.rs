//! Wraps Ballista's in-memory state of executors; that of jobs is wrapped in [`super::jobs`].
//!
//! The wrapper adds five things: an executor that leaves is removed at once, a draining executor is kept while it
//! reports, the number of slots is always up to date, an executor that does not fit the scheduler is refused (see
//! [`Identity`]), and the beats of [`Pulse`] are answered.
//!
//! Ballista compares heartbeats by the wall clock, and a clock that is set would lose all executors at once. Here their
//! life is measured by a clock that cannot be set. Ballista is given a timestamp of the distant future for an executor that
//! has been heard of within its timeout, and one of the distant past for any other.
//!
//! Ballista has one grace period for how long a draining executor may run and for how long a stopped one is remembered.
//! Here it is zero, so a stopped executor is removed at once, and the timestamps keep a draining one while it reports.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::{BallistaError, Result};
use ballista_core::serde::protobuf::{ExecutorHeartbeat, executor_status};
use ballista_core::serde::scheduler::{
    ExecutorData, ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification,
};
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::task_manager::JobInfoCache;
use tokio::sync::mpsc;

use super::pulse::Pulse;
use crate::ConfigField;
use crate::cluster::Mismatch;
use crate::cluster::identity::{Difference, Identity};
use crate::lease::{Fence, longest};
use crate::slots::Slots;

pub(super) use super::jobs::Jobs;

/// The timestamps of an executor that lives and of one that is silent, whatever the time is.
const ALIVE: u64 = u64::MAX;
const SILENT: u64 = 0;

/// The executor whose reports make the event loop of a test panic.
#[cfg(test)]
pub(super) const PANICKING: &str = "panicking";

/// A clock that cannot be set.
pub(super) type Clock = fn() -> Instant;

/// What decides about an executor.
pub(super) struct Rules {
    /// How long an executor may be silent.
    pub(super) timeout: Duration,
    pub(super) clock: Clock,
    /// What the scheduler is.
    pub(super) identity: Identity,
    /// What becomes of an executor that may give other answers.
    pub(super) mismatch: Mismatch,
    /// Holds statements that write while an executor that was lost may still be writing.
    pub(super) fence: Fence,
}

/// Ballista's state of the executors, with the additions of this module.
pub(super) struct Executors {
    inner: Arc<dyn ClusterState>,
    rules: Rules,
    /// When each executor was heard of last.
    heard: Mutex<HashMap<String, Instant>>,
    /// Receives each executor that registers.
    registered: mpsc::UnboundedSender<ExecutorMetadata>,
    /// The number of tasks that can run at once.
    slots: Slots,
    pulse: Arc<Pulse>,
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
        rules: Rules,
        registered: mpsc::UnboundedSender<ExecutorMetadata>,
        slots: Slots,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self { inner, rules, heard: Mutex::default(), registered, slots, pulse }
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how long an executor may be silent.
    pub(super) fn timeout(&self) -> Duration {
        self.rules.timeout
    }

    /// Returns whether an executor has been silent for too long.
    fn is_silent(&self, executor: &str) -> bool {
        let now = (self.rules.clock)();
        let mut heard = self.heard();
        // One that is not there registers at this moment.
        let last = *heard.entry(executor.to_owned()).or_insert(now);
        now.saturating_duration_since(last) >= self.rules.timeout
    }

    /// Returns why an executor must not register, and warns of what it may do differently.
    fn compare(&self, executor: &ExecutorMetadata) -> Result<()> {
        let told = Identity::from_os_info(&executor.os_info);
        let (mut versions, mut answers) = (Vec::new(), Vec::new());
        for difference in self.rules.identity.compare(told.as_ref()) {
            match difference {
                Difference::Version(reason) => versions.push(reason),
                Difference::Answers(what) => answers.push(what),
            }
        }
        let answers = answers.join(", ");
        let refused = match (versions.first(), self.rules.mismatch) {
            (Some(reason), _) => Some(format!("{reason}; scheduler and executors have to fit")),
            (None, Mismatch::Refuse) if !answers.is_empty() => Some(format!(
                "it differs in {answers}, and {} is `refuse`",
                ConfigField::SchedulerMismatchedExecutors
            )),
            (None, _) => None,
        };
        if let Some(reason) = refused {
            tracing::warn!(executor = executor.id, host = executor.host, reason, "executor is refused");
            return Err(BallistaError::Configuration(format!(
                "executor `{}` is refused: {reason}",
                executor.id
            )));
        }
        if !answers.is_empty() {
            tracing::warn!(
                executor = executor.id,
                host = executor.host,
                differs_in = answers,
                "the executor may answer otherwise than others do: configure all alike"
            );
        }
        Ok(())
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
        let mut alive = Vec::new();
        for metadata in self.inner.registered_executor_metadata().await {
            let Some(heartbeat) = heartbeats.get(&metadata.id) else { continue };
            if !self.is_silent(&metadata.id) {
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
        if slots.iter().any(|(executor, _)| self.pulse.is_beat(executor)) {
            // The event loop gives back the slots of a report first. A beat has none.
            self.pulse.answer();
            return Ok(());
        }
        #[cfg(test)]
        assert!(slots.iter().all(|(executor, _)| executor != PANICKING), "the test wants it");
        self.inner.unbind_tasks(slots).await
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, data: ExecutorData) -> Result<()> {
        self.compare(&metadata)?;
        self.inner.register_executor(metadata.clone(), data).await?;
        self.heard().insert(metadata.id.clone(), (self.rules.clock)());
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
        if self.pulse.is_beat(executor) {
            return Ok(ExecutorMetadata {
                id: executor.to_owned(),
                host: String::new(),
                port: 0,
                grpc_port: 0,
                specification: ExecutorSpecification::default(),
                os_info: ExecutorOperatingSystemSpecification::default(),
            });
        }
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
        self.heard().insert(heartbeat.executor_id.clone(), (self.rules.clock)());
        self.inner.save_executor_heartbeat(heartbeat).await?;
        if starts_draining {
            self.update_slots().await;
        }
        Ok(())
    }

    async fn remove_executor(&self, executor: &str) -> Result<()> {
        tracing::info!(executor, "executor left");
        self.inner.remove_executor(executor).await?;
        // The loss may have been noticed before the lease of the executor has ended.
        if let Some(last) = self.heard().remove(executor) {
            self.rules.fence.hold(last + longest(self.rules.timeout));
        }
        self.update_slots().await;
        Ok(())
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        let timestamp = |id: &str| if self.is_silent(id) { SILENT } else { ALIVE };
        let heartbeats = self.inner.executor_heartbeats().into_iter();
        heartbeats
            .map(|(id, heartbeat)| {
                let timestamp = timestamp(&id);
                (id, ExecutorHeartbeat { timestamp, ..heartbeat })
            })
            .collect()
    }

    fn get_executor_heartbeat(&self, executor: &str) -> Option<ExecutorHeartbeat> {
        if self.pulse.is_beat(executor) {
            return Some(ExecutorHeartbeat::default());
        }
        self.inner.get_executor_heartbeat(executor)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use ballista_core::serde::protobuf::ExecutorStatus;
    use ballista_core::utils::get_time_before;
    use ballista_scheduler::cluster::memory::InMemoryClusterState;
    use ballista_scheduler::scheduler_server::timestamp_secs;

    use super::*;
    use crate::Config;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn executor(id: &str, os_info: ExecutorOperatingSystemSpecification) -> (ExecutorMetadata, ExecutorData) {
        let metadata = ExecutorMetadata {
            id: id.to_owned(),
            host: "localhost".to_owned(),
            port: 1,
            grpc_port: 2,
            specification: ExecutorSpecification::default().with_vcores(2),
            os_info,
        };
        (metadata, ExecutorData { executor_id: id.to_owned(), total_vcores: 2, available_vcores: 2 })
    }

    fn fitting(id: &str) -> (ExecutorMetadata, ExecutorData) {
        executor(id, Identity::of(&Config::default()).to_os_info())
    }

    fn heartbeat(id: &str, timestamp: u64, draining: bool) -> ExecutorHeartbeat {
        let status = if draining {
            executor_status::Status::Terminating(String::new())
        } else {
            executor_status::Status::Active(String::new())
        };
        ExecutorHeartbeat {
            executor_id: id.to_owned(),
            timestamp,
            status: Some(ExecutorStatus { status: Some(status) }),
            ..ExecutorHeartbeat::default()
        }
    }

    fn executors(clock: Clock, mismatch: Mismatch) -> Executors {
        let identity = Identity::of(&Config::default());
        let rules = Rules { timeout: TIMEOUT, clock, identity, mismatch, fence: Fence::default() };
        let inner = Arc::new(InMemoryClusterState::default());
        Executors::new(inner, rules, mpsc::unbounded_channel().0, Slots::default(), Arc::new(Pulse::new()))
    }

    /// What Ballista takes for alive, by the comparison that it makes with the wall clock.
    fn alive_to_ballista(executors: &Executors) -> Vec<String> {
        let threshold = get_time_before(TIMEOUT.as_secs());
        let heartbeats = executors.executor_heartbeats().into_iter();
        let mut alive: Vec<String> =
            heartbeats.filter(|(_, last)| last.timestamp > threshold).map(|(id, _)| id).collect();
        alive.sort();
        alive
    }

    #[tokio::test]
    async fn a_step_of_the_wall_clock_loses_nobody_and_silence_does() {
        static SECONDS: AtomicU64 = AtomicU64::new(0);
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        fn clock() -> Instant {
            *START + Duration::from_secs(SECONDS.load(Ordering::SeqCst))
        }
        let executors = executors(clock, Mismatch::Warn);
        for id in ["active", "draining", "silent"] {
            let (metadata, data) = fitting(id);
            executors.register_executor(metadata, data).await.unwrap();
        }
        // Stamped before the clock was set forwards, and before it was set backwards: what is seen is the same.
        for step in [-60, 0, 60] {
            SECONDS.fetch_add(3, Ordering::SeqCst);
            let wall = timestamp_secs().saturating_add_signed(step);
            executors.save_executor_heartbeat(heartbeat("active", wall, false)).await.unwrap();
            executors.save_executor_heartbeat(heartbeat("draining", wall, true)).await.unwrap();
            assert_eq!(alive_to_ballista(&executors), ["active", "draining", "silent"], "{step} s");
        }
        SECONDS.fetch_add(1, Ordering::SeqCst);
        assert_eq!(alive_to_ballista(&executors), ["active", "draining"], "silent for the whole timeout");
        let alive = executors.alive().await;
        let alive: Vec<_> = alive.iter().map(|one| (one.metadata.id.as_str(), one.draining)).collect();
        assert_eq!(alive, [("active", false), ("draining", true)]);
        SECONDS.fetch_add(10, Ordering::SeqCst);
        assert!(alive_to_ballista(&executors).is_empty() && executors.alive().await.is_empty());
    }

    #[tokio::test]
    async fn statements_that_write_wait_for_the_lease_of_an_executor_that_was_removed() {
        let executors = executors(Instant::now, Mismatch::Warn);
        let (metadata, data) = fitting("removed");
        let before = Instant::now();
        executors.register_executor(metadata, data).await.unwrap();
        assert_eq!(executors.rules.fence.left(Instant::now()), Duration::ZERO);
        executors.remove_executor("removed").await.unwrap();
        let left = executors.rules.fence.left(Instant::now());
        assert!(left <= TIMEOUT && left + before.elapsed() >= TIMEOUT, "{left:?}");
        executors.remove_executor("removed").await.unwrap();
        assert!(executors.rules.fence.left(Instant::now()) <= left, "it is lost once");
    }

    #[tokio::test]
    async fn an_executor_that_does_not_fit_is_refused() {
        let stranger = || executor("stranger", ExecutorOperatingSystemSpecification::default());
        let other = || {
            let config = Config::new("mongodb://elsewhere:27017", "firesteel");
            executor("other", Identity::of(&config).to_os_info())
        };
        for (mismatch, (metadata, data), refused) in [
            (Mismatch::Warn, fitting("alike"), None),
            (Mismatch::Refuse, fitting("alike"), None),
            (Mismatch::Warn, other(), None),
            (Mismatch::Refuse, other(), Some("it differs in MongoDB")),
            (Mismatch::Warn, stranger(), Some("it does not tell its version")),
        ] {
            let executors = executors(Instant::now, mismatch);
            let registered = executors.register_executor(metadata, data).await;
            match refused {
                None => registered.unwrap(),
                Some(reason) => {
                    let error = registered.unwrap_err().to_string();
                    assert!(error.contains(reason), "{error}");
                }
            }
            assert_eq!(executors.alive().await.len(), usize::from(refused.is_none()));
        }
    }
}
