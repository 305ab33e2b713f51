//! A cluster in the test's own process: a scheduler and executors on loopback, of the engine's library functions.
//!
//! Every part is made from the same configuration, so what a test registers there in Rust, such as a function or a
//! source of tables, is known to all of them, as it is to the processes of a program of its own. Plans, tasks and rows
//! travel as between processes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use firesteel_engine::cluster::{Executor, ExecutorConfig, MemoryLimit, Scheduler, SchedulerConfig};
use firesteel_engine::{Config, Session};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::cluster::active_executors;
use crate::http::http;
use crate::{SOON, wait_until};

const LOOPBACK: &str = "127.0.0.1";
/// The planner walks deep plans recursively.
const STACK_BYTES: usize = 32 << 20;
/// How long ending everything may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running cluster, and a session that is connected to it. Everything of it ends when it is dropped.
#[derive(Debug)]
pub struct InProcessCluster {
    /// A client with the configuration of the cluster.
    pub session: Session,
    executors: Vec<SocketAddr>,
    runtime: Background,
    // Removed last.
    _folder: TempDir,
}

impl InProcessCluster {
    /// Starts a scheduler and `executors` executors, each with the slots that `config` says, and waits until all of
    /// them are registered.
    ///
    /// # Errors
    /// When a part does not start.
    ///
    /// # Panics
    /// When the executors do not register soon.
    pub async fn start(config: Config, executors: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_stack_size(STACK_BYTES)
            .thread_name("in-process-cluster")
            .build()?;
        let folder = tempfile::Builder::new().prefix("test-cluster-").tempdir()?;
        let (work, client) = (folder.path().to_owned(), config.clone());
        let parts = runtime.spawn(async move {
            let scheduler = Scheduler::bind(SchedulerConfig {
                bind_host: LOOPBACK.to_owned(),
                bind_port: 0,
                ..SchedulerConfig::new(config.clone())
            });
            let scheduler = scheduler.await.context("the scheduler")?;
            let address = scheduler.address();
            // They end with the runtime.
            tokio::spawn(scheduler.run(CancellationToken::new()));
            let mut health = Vec::new();
            for _ in 0..executors {
                let executor = Executor::bind(ExecutorConfig {
                    scheduler_host: LOOPBACK.to_owned(),
                    scheduler_port: address.port(),
                    bind_host: LOOPBACK.to_owned(),
                    bind_port: 0,
                    bind_grpc_port: 0,
                    bind_health_port: 0,
                    external_host: Some(LOOPBACK.to_owned()),
                    work_dir: Some(work.clone()),
                    memory: MemoryLimit::Unlimited,
                    heartbeat_interval: Duration::from_secs(1),
                    ..ExecutorConfig::new(config.clone())
                });
                let executor = executor.await.context("an executor")?;
                health.push(executor.health_address());
                tokio::spawn(executor.run(CancellationToken::new()));
            }
            anyhow::Ok((address, health))
        });
        let runtime = Background(Some(runtime));
        let (scheduler, executors) = parts.await??;
        let session = Session::connect(&format!("df://{scheduler}"), client).await?;
        let cluster = Self { session, executors, runtime, _folder: folder };
        let count = cluster.executors.len();
        let all_there = async || active_executors(scheduler).await == Some(count);
        wait_until(&format!("{count} executors are there"), SOON, all_there).await;
        Ok(cluster)
    }

    /// What each executor says of a metric of the scans of a source, such as `rows` of `mongodb`.
    ///
    /// # Errors
    /// When an executor does not answer.
    pub async fn scanned(&self, what: &str, source: &str) -> anyhow::Result<Vec<f64>> {
        let name = format!("firesteel_scan_{what}_total{{source=\"{source}\"}}");
        let mut values = Vec::new();
        for address in &self.executors {
            values.push(http(*address, "GET", "/metrics").await?.metric(&name).unwrap_or_default());
        }
        Ok(values)
    }

    /// Ends everything, and waits until it has ended.
    ///
    /// # Errors
    /// When a part of it panicked.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.session.shutdown().await;
        if let Some(runtime) = self.runtime.0.take() {
            // Ending a runtime blocks, which a task may not do.
            tokio::task::spawn_blocking(move || runtime.shutdown_timeout(STOP_TIMEOUT)).await?;
        }
        Ok(())
    }
}

/// A runtime that may be dropped by a task: in an async context one may not be dropped where it would wait.
#[derive(Debug)]
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
