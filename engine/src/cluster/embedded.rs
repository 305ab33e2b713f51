//! A scheduler and one executor in this process, joined over loopback.
//!
//! Ballista's own standalone mode pulls: its executor asks for work every 50 ms and cannot cancel. This one composes
//! the same parts as a real cluster, see [`crate::cluster`], so the scheduler pushes tasks the moment they are ready.
//!
//! Scheduler, planning and reads run on one runtime, and the tasks of queries on another. The threads of both have
//! large stacks, because deep plans are walked recursively, and ending them ends Ballista's background tasks, some of
//! which have no other way to end.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::executor::{Home, Incarnation, STACK_BYTES};
use super::{ExecutorConfig, MemoryLimit, Scheduler, SchedulerConfig};
use crate::connections::Connections;
use crate::{Config, Error, Result};

/// How long ending the engine may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a lost executor is looked for: never, as it lives and dies with the scheduler.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// A running engine.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// `None` once it is ended.
    runtime: Option<Runtime>,
    parts: Option<Parts>,
    scheduler_url: String,
}

/// What has to be kept while the engine runs.
struct Parts {
    scheduler: CancellationToken,
    executor: Incarnation,
    home: Home,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts scheduler and executor, and makes the connections that both use.
    pub(crate) async fn start(config: &Config) -> Result<(Self, Arc<Connections>)> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.resolved_vcores().max(2))
            .thread_name("firesteel-engine")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(failed)?;
        let connections = Arc::new(Connections::new(config, runtime.handle().clone()));
        let start = runtime.spawn(start(config.clone(), Arc::clone(&connections)));
        let mut embedded = Self { runtime: Some(runtime), parts: None, scheduler_url: String::new() };
        let (parts, scheduler_url) = start.await.map_err(failed)?.map_err(|error| match error {
            // What the caller has to mend stays what it is.
            named @ Error::InvalidFunction { .. } => named,
            other => failed(other),
        })?;
        embedded.parts = Some(parts);
        embedded.scheduler_url = scheduler_url;
        Ok((embedded, connections))
    }

    pub(crate) fn scheduler_url(&self) -> &str {
        &self.scheduler_url
    }

    /// Ends everything, and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        let (runtime, parts) = (self.runtime.take(), self.parts.take());
        // Ending a runtime blocks, which a task may not do.
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(mut parts) = parts {
                parts.scheduler.cancel();
                parts.executor.cut();
                parts.home.end_tasks(STOP_TIMEOUT);
                if let Some(runtime) = runtime {
                    runtime.shutdown_timeout(STOP_TIMEOUT);
                }
            }
        });
        if ended.await.is_err() {
            tracing::warn!("the engine did not end in order");
        }
    }

    #[cfg(test)]
    fn work_dir(&self) -> Option<std::path::PathBuf> {
        self.parts.as_ref().map(|parts| parts.home.work_dir().to_owned())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(parts) = &self.parts {
            parts.scheduler.cancel();
            parts.executor.cut();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Embedded { message: error.to_string() }
}

async fn start(config: Config, connections: Arc<Connections>) -> Result<(Parts, String)> {
    let loopback = "127.0.0.1".to_owned();
    let scheduler = SchedulerConfig {
        bind_host: loopback.clone(),
        bind_port: 0,
        flight_sql: false,
        executor_timeout: NEVER,
        // Ballista warns of one that is not shorter than the timeout.
        expire_interval: NEVER / 2,
        no_executors_grace: NEVER,
        grace: Duration::ZERO,
        ..SchedulerConfig::new(config.clone())
    };
    let scheduler = Scheduler::compose(&scheduler, &connections).await?;
    let scheduler_url = format!("http://{}", scheduler.address());
    let stop = CancellationToken::new();
    let (port, until) = (scheduler.address().port(), stop.clone());
    tokio::spawn(async move {
        if let Err(error) = scheduler.run(until).await {
            tracing::error!(%error, "the embedded scheduler ended");
        }
    });

    let executor = ExecutorConfig {
        scheduler_host: loopback.clone(),
        scheduler_port: port,
        external_host: Some(loopback.clone()),
        bind_host: loopback,
        bind_port: 0,
        bind_grpc_port: 0,
        memory: MemoryLimit::Unlimited,
        ..ExecutorConfig::new(config)
    };
    let home = Home::make(&executor, connections)?;
    let executor = home.register(&executor, &scheduler_url).await?;
    Ok((Parts { scheduler: stop, executor, home }, scheduler_url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_ends_leaves_no_files() {
        for gently in [true, false] {
            let (embedded, _) = Embedded::start(&Config::default()).await.unwrap();
            let work_dir = embedded.work_dir().unwrap();
            assert!(work_dir.is_dir());
            if gently {
                embedded.stop().await;
            } else {
                drop(embedded);
            }
            assert!(!work_dir.exists(), "{}", work_dir.display());
        }
    }
}
