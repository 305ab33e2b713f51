//! A scheduler and one executor in this process, joined over loopback.
//!
//! In Ballista's own standalone mode the executor polls for work every 50 ms and cannot cancel tasks. This module
//! composes the same scheduler and executor as a cluster of processes, so the scheduler pushes tasks as soon as they
//! are ready.
//!
//! Scheduler, planning and reads run on one runtime, and the tasks of queries on another. The threads of both have
//! large stacks, because deep plans are walked recursively. Shutting the runtimes down also ends Ballista's background
//! tasks, some of which have no other way to end.
//!
//! The ports are those of loopback, which every user of the machine reaches. So each engine has a random secret, which its
//! scheduler, its executor and its session prove to each other, and everybody else is refused.

use std::sync::Arc;
use std::time::Duration;

use firesteel_common::access::{Access, Secret};
use firesteel_common::net::Dialer;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::executor::{ExecutorResources, Registration, STACK_BYTES};
use super::{ExecutorConfig, MemoryLimit, Scheduler, SchedulerConfig};
use crate::connectors::registry::Connectors;
use crate::wire::MAX_MESSAGE;
use crate::{Config, Error, FileAccess, Result};

/// How long the engine may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Disables the checks for lost executors: the executor lives in the same process as the scheduler.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// A running embedded engine.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// `None` once the engine has ended.
    runtime: Option<Runtime>,
    parts: Option<Parts>,
    scheduler_url: String,
    /// How the session reaches scheduler and executor.
    dialer: Dialer,
}

/// The scheduler and the executor of a running engine.
struct Parts {
    scheduler: CancellationToken,
    executor: Registration,
    resources: ExecutorResources,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("resources", &self.resources).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts scheduler and executor, and returns the connectors that both use.
    pub(crate) async fn start(config: &Config) -> Result<(Self, Arc<Connectors>)> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.resolved_vcores().max(2))
            .thread_name("firesteel-engine")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(failed)?;
        let files = config.files.clone().or(FileAccess::current_folder());
        let config = &Config { files, ..config.clone() };
        let connectors = Arc::new(Connectors::new(config, runtime.handle().clone()));
        let secret = Secret::random();
        let dialer = Dialer::default().with_credential(Some(secret.clone()));
        let access = Arc::new(Access::open().with_cluster_secret(secret));
        let start = runtime.spawn(start(config.clone(), Arc::clone(&connectors), access, dialer.clone()));
        let mut embedded = Self { runtime: Some(runtime), parts: None, scheduler_url: String::new(), dialer };
        let (parts, scheduler_url) = start.await.map_err(failed)?.map_err(|error| match error {
            // The caller can correct this one, so it keeps its variant.
            named @ Error::InvalidFunction { .. } => named,
            other => failed(other),
        })?;
        embedded.parts = Some(parts);
        embedded.scheduler_url = scheduler_url;
        Ok((embedded, connectors))
    }

    pub(crate) fn scheduler_url(&self) -> &str {
        &self.scheduler_url
    }

    /// How its session reaches it, with its secret.
    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Stops the engine and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        let (runtime, parts) = (self.runtime.take(), self.parts.take());
        // Shutting a runtime down blocks, which an async task must not do.
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(mut parts) = parts {
                parts.scheduler.cancel();
                parts.executor.abort();
                parts.resources.end_tasks(STOP_TIMEOUT);
                if let Some(runtime) = runtime {
                    runtime.shutdown_timeout(STOP_TIMEOUT);
                }
            }
        });
        if ended.await.is_err() {
            tracing::warn!("the engine panicked while it ended");
        }
    }

    #[cfg(test)]
    fn work_dir(&self) -> Option<std::path::PathBuf> {
        self.parts.as_ref().map(|parts| parts.resources.work_dir().to_owned())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(parts) = &self.parts {
            parts.scheduler.cancel();
            parts.executor.abort();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Embedded { message: error.to_string() }
}

async fn start(
    config: Config,
    connectors: Arc<Connectors>,
    access: Arc<Access>,
    dialer: Dialer,
) -> Result<(Parts, String)> {
    let loopback = "127.0.0.1".to_owned();
    let scheduler = SchedulerConfig {
        bind_host: loopback.clone(),
        bind_port: 0,
        flight_sql: false,
        executor_timeout: NEVER,
        // Ballista warns about an interval that is not shorter than the timeout.
        expire_interval: NEVER / 2,
        no_executors_grace: NEVER,
        grace: Duration::ZERO,
        access: Arc::clone(&access),
        dialer: dialer.clone(),
        open_metrics: Some(false),
        // Only the session of this process sends any.
        max_request_bytes: MAX_MESSAGE,
        ..SchedulerConfig::new(config.clone())
    };
    let scheduler = Scheduler::compose(&scheduler, &connectors).await?;
    let scheduler_url = format!("http://{}", scheduler.address());
    let stop = CancellationToken::new();
    let (port, shutdown) = (scheduler.address().port(), stop.clone());
    tokio::spawn(async move {
        if let Err(error) = scheduler.run(shutdown).await {
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
        memory: MemoryLimit::Detect,
        access,
        dialer,
        ..ExecutorConfig::new(config)
    };
    let resources = ExecutorResources::create(&executor, connectors)?;
    let executor = resources.register(&executor, &scheduler_url).await?;
    Ok((Parts { scheduler: stop, executor, resources }, scheduler_url))
}

#[cfg(test)]
mod tests {
    use arrow_flight::Ticket;
    use arrow_flight::flight_service_client::FlightServiceClient;
    use ballista_core::extension::SessionStateExt as _;
    use ballista_core::serde::protobuf::execute_query_params::Query;
    use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
    use ballista_core::serde::protobuf::{CancelJobParams, ExecuteQueryParams, RegisterExecutorParams};
    use datafusion::execution::SessionState;
    use datafusion::prelude::SessionContext;
    use firesteel_testkit::http;
    use tonic::Code;

    use super::*;
    use crate::jobs::JobClient;

    /// What another user of the machine finds, who reads the ports off the system.
    #[tokio::test]
    async fn another_process_is_refused() {
        let (embedded, _) = Embedded::start(&Config::default()).await.unwrap();
        let stranger = Dialer::default().with_credential(Some(Secret::random()));
        for dialer in [Dialer::default(), stranger] {
            let channel = dialer.endpoint(embedded.scheduler_url()).unwrap().connect().await.unwrap();
            let mut client = SchedulerGrpcClient::new(channel);
            let query =
                ExecuteQueryParams { query: Some(Query::LogicalPlan(Vec::new())), ..Default::default() };
            let status = client.execute_query(query).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{status}");
            let status = client.cancel_job(CancelJobParams { job_id: "x".to_owned() }).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{status}");
            let register = RegisterExecutorParams::default();
            let status = client.register_executor(register).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        }
        let address = embedded.scheduler_url().trim_start_matches("http://").parse().unwrap();
        for path in ["/", "/api/jobs", "/api/executors", "/metrics", "/api/firesteel/activity"] {
            assert_eq!(http(address, "GET", path).await.unwrap().status, 401, "{path}");
        }
        // A stock client of Ballista.
        let state = SessionState::new_ballista_state(embedded.scheduler_url().to_owned()).unwrap();
        let stock = SessionContext::new_with_state(state);
        let told = stock.sql("SELECT 1").await.unwrap().collect().await.unwrap_err().to_string();
        assert!(told.contains("Unauthenticated"), "{told}");
        // The executor's ports, which the engine's own session is told.
        let jobs = JobClient::new(embedded.scheduler_url(), embedded.dialer()).unwrap();
        let executors = jobs.activity("").await.unwrap().unwrap().executors;
        let [executor] = executors.as_slice() else { panic!("{executors:?}") };
        let url = format!("http://{}:{}", executor.host, executor.port);
        let channel = Dialer::default().endpoint(&url).unwrap().connect().await.unwrap();
        let status = FlightServiceClient::new(channel).do_get(Ticket::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        embedded.stop().await;
    }

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
