//! The executor: runs tasks, serves their output to clients and other executors, and reports to the scheduler.
//!
//! [`ExecutorResources`] live as long as the process: connectors, work directory, memory pool, task runtime. A
//! [`Registration`] is one membership in the cluster. When it stops, because the scheduler restarted or removed the
//! executor, the next one begins with the same resources. An executor retries until a scheduler answers, so the order
//! in which processes start does not matter.
//!
//! On shutdown the executor drains: it takes no more tasks, finishes the running ones, and keeps its shuffle files
//! until the jobs that read them have ended, for at most its grace period.

mod fetch;
mod memory;
mod metrics;
mod orders;
mod registration;
mod reports;
mod scratch;
mod shuffles;
mod tasks;
mod workdir;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use ballista_executor::execution_engine::ExecutionEngine;
use ballista_executor::health::ExecutorHealth;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use firesteel_common::http;
use firesteel_common::net::Dialer;
use firesteel_common::retry::RetryPolicy;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use self::metrics::ExecutorMetrics;
use self::scratch::Scratch;
use self::tasks::TaskEngine;
use self::workdir::WorkDir;
use super::{ExecutorConfig, Served, exposure, net};
use crate::connectors::registry::Connectors;
use crate::peers::{self, Clients};
use crate::{Config, ConfigField, Error, Result};

pub(crate) use self::fetch::decoded as decoded_shuffle;
pub(crate) use self::registration::Registration;
pub(crate) use self::tasks::STACK_BYTES;

const ROLE: &str = "the executor";

/// The pauses between two attempts to register.
const REGISTER: RetryPolicy =
    RetryPolicy { initial: Duration::from_millis(100), maximum: Duration::from_secs(2), factor: 2.0 };

/// The interval at which the warning about an unreachable scheduler is repeated.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// The interval at which a draining executor checks whether tasks and jobs have ended.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// How long no task must have run before a draining executor counts as idle: tasks that the scheduler has sent, and
/// states that the executor has sent, may still be on their way.
const IDLE_FOR: Duration = Duration::from_millis(500);

/// How long the result of a job that has just ended is kept, so that its client can fetch it.
const LAST_FETCH: Duration = Duration::from_secs(2);

/// An executor that has bound its health port and does not run yet.
#[derive(Debug)]
pub struct Executor {
    config: ExecutorConfig,
    health_listener: TcpListener,
    health_address: SocketAddr,
    resources: ExecutorResources,
}

/// What an executor process has from its start to its end, over all its registrations.
pub(crate) struct ExecutorResources {
    connectors: Arc<Connectors>,
    work: WorkDir,
    runtime_env: Arc<RuntimeEnv>,
    memory_limit: Option<usize>,
    scratch: Scratch,
    metrics: Arc<ExecutorMetrics>,
    /// Whether the scheduler answers heartbeats.
    health: ExecutorHealth,
    /// The runtime of the tasks; `None` once it has ended.
    runtime: Option<Runtime>,
    /// The number of registrations so far.
    registrations: AtomicU64,
    /// How other executors are reached.
    dialer: Dialer,
}

impl std::fmt::Debug for ExecutorResources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecutorResources").field("work", &self.work).finish_non_exhaustive()
    }
}

impl ExecutorResources {
    pub(crate) fn create(config: &ExecutorConfig, connectors: Arc<Connectors>) -> Result<Self> {
        let work = WorkDir::create(config.work_dir.as_deref())?;
        let (pool, memory_limit) = memory::pool(config.memory);
        connectors.functions().charge(&pool);
        let mut environment =
            RuntimeEnvBuilder::new().with_memory_pool(pool).with_temp_file_path(work.spill());
        if let Some(bytes) = config.scratch {
            environment = environment.with_max_temp_directory_size(bytes);
        }
        let runtime_env = connectors.files().serve(environment).build_arc()?;
        let metrics = ExecutorMetrics::new(&connectors);
        Ok(Self {
            connectors,
            work,
            runtime_env,
            memory_limit,
            scratch: Scratch::new(config.scratch),
            metrics: Arc::new(metrics),
            health: ExecutorHealth::new(),
            runtime: Some(tasks::runtime(config.engine.resolved_vcores()).map_err(failed)?),
            registrations: AtomicU64::new(0),
            dialer: config.dialer.clone(),
        })
    }

    /// Returns the folder of all files.
    pub(crate) fn work_dir(&self) -> &Path {
        self.work.path()
    }

    /// Registers with the scheduler at `url`.
    pub(crate) async fn register(&self, config: &ExecutorConfig, url: &str) -> Result<Registration> {
        Registration::open(config, self, url).await
    }

    /// Ends all tasks. Blocks for at most `timeout`.
    pub(crate) fn end_tasks(&mut self, timeout: Duration) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(timeout);
        }
    }

    fn engine(&self, until: CancellationToken) -> Arc<dyn ExecutionEngine> {
        let clients = Clients::new(self.dialer.clone(), peers::limited);
        let (runtime, metrics) = (self.task_runtime(), Arc::clone(&self.metrics));
        Arc::new(TaskEngine::new(runtime, clients, metrics, self.scratch.clone(), until))
    }

    /// Returns the runtime of the tasks. Nothing registers after it has ended.
    fn task_runtime(&self) -> Handle {
        self.runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }

    /// Counts a registration and returns its number, from 1.
    fn next_registration(&self) -> u64 {
        self.registrations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns whether no registration precedes the current one.
    fn is_first_registration(&self) -> bool {
        self.registrations.load(Ordering::Relaxed) <= 1
    }
}

impl Drop for ExecutorResources {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which is not allowed in an async context.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Executor {
    /// Returns what every executor answers over HTTP.
    ///
    /// # Panics
    /// Outside of a Tokio runtime: a connector's clients live on the current one.
    pub fn served() -> Served {
        let connectors = Connectors::new(&Config::default(), Handle::current());
        Served::new(ROUTES, &ExecutorMetrics::new(&connectors).registry)
    }

    /// Binds the health port and creates the work directory. The clients of MongoDB use the current runtime.
    pub fn bind(config: ExecutorConfig) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let connectors = Arc::new(Connectors::new(&config.engine, Handle::current()));
            let fields = (ConfigField::ExecutorBindHost, ConfigField::ExecutorBindHealthPort);
            let (health_listener, health_address) =
                net::listen(&config.bind_host, config.bind_health_port, ROLE, fields).await?;
            exposure::check(ROLE, health_address, fields.0, &config.access, config.insecure)?;
            let resources = ExecutorResources::create(&config, connectors)?;
            Ok(Self { config, health_listener, health_address, resources })
        })
    }

    /// Returns the address that serves `/healthz`, `/readyz` and `/metrics`.
    pub fn health_address(&self) -> SocketAddr {
        self.health_address
    }

    /// Runs tasks until `shutdown` is cancelled, and then drains for at most the grace period.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let Self { config, health_listener, health_address, mut resources } = self;
            let state = AppState {
                metrics: Arc::clone(&resources.metrics),
                runtime_env: Arc::clone(&resources.runtime_env),
                memory_limit: resources.memory_limit,
                slots: config.engine.resolved_vcores(),
                health: resources.health.clone(),
            };
            tracing::info!(
                %health_address,
                work_dir = %resources.work_dir().display(),
                memory_limit_bytes = resources.memory_limit.unwrap_or(0),
                vcores = state.slots,
                "executor starts"
            );
            let stop = CancellationToken::new();
            let scratch = resources.scratch.clone();
            tokio::spawn(scratch.watch(resources.work_dir().to_owned(), resources.work.jobs(), stop.clone()));
            let serving = tokio::spawn(http::serve(
                health_listener,
                router(state).layer(http::monitoring(health_address)),
                stop.clone(),
            ));
            let result = run_registrations(&config, &resources, &shutdown).await;
            stop.cancel();
            if serving.await.is_err() {
                tracing::warn!("the health service panicked");
            }
            let ended = tokio::task::spawn_blocking(move || {
                resources.end_tasks(LAST_FETCH);
                drop(resources);
            });
            if ended.await.is_err() {
                tracing::warn!("the task runtime panicked while it ended");
            }
            result
        })
    }
}

/// Registers again and again, whenever a registration has stopped, until `shutdown` is cancelled.
async fn run_registrations(
    config: &ExecutorConfig,
    resources: &ExecutorResources,
    shutdown: &CancellationToken,
) -> Result<()> {
    let url = config.dialer.url(&peers::authority(&config.scheduler_host, config.scheduler_port));
    loop {
        let registered = tokio::select! {
            registered = register_with_retry(config, resources, &url) => registered,
            () = shutdown.cancelled() => return Ok(()),
        };
        let mut registration = registered?;
        tracing::info!(
            id = registration.id,
            scheduler = url,
            flight = %registration.flight,
            grpc_port = registration.grpc_port,
            "executor is ready"
        );
        let cleaner = tokio::spawn(clean_up(config.clone(), registration.jobs.clone()));
        let stopped = tokio::select! {
            reason = registration.stopped() => Some(reason),
            () = shutdown.cancelled() => None,
        };
        cleaner.abort();
        let Some(reason) = stopped else {
            drain(&mut registration, resources, config.grace).await;
            registration.deregister().await;
            registration.close().await;
            return Ok(());
        };
        tracing::warn!(reason, "the registration stopped, registering again");
        resources.health.mark_heartbeat_failed();
        let jobs = registration.jobs.clone();
        registration.close().await;
        if let Err(error) = tokio::fs::remove_dir_all(&jobs).await {
            tracing::debug!(%error, "cannot remove the files of the previous registration");
        }
    }
}

/// Tries to register until the scheduler accepts the executor. Returns an error only for a port or a folder that this
/// process cannot use.
async fn register_with_retry(
    config: &ExecutorConfig,
    resources: &ExecutorResources,
    url: &str,
) -> Result<Registration> {
    let (mut backoff, mut warned) = (REGISTER.backoff(), None::<Instant>);
    loop {
        match resources.register(config, url).await {
            Ok(registration) => return Ok(registration),
            Err(error @ (Error::Listen { .. } | Error::Folder { .. }))
                if resources.is_first_registration() =>
            {
                return Err(error);
            }
            Err(error) if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) => {
                tracing::warn!(%error, "cannot register, trying again until the scheduler answers");
                warned = Some(Instant::now());
            }
            Err(error) => tracing::debug!(%error, "cannot register"),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Waits until the running tasks have ended, and until the jobs that read files of this executor have, for at most
/// `grace`.
async fn drain(registration: &mut Registration, resources: &ExecutorResources, grace: Duration) {
    let began = Instant::now();
    registration.announce_drain().await;
    tracing::info!(tasks = resources.metrics.running(), grace_seconds = grace.as_secs(), "draining");
    let drained = async {
        let mut idle_since = Instant::now();
        while idle_since.elapsed() < IDLE_FOR {
            tokio::time::sleep(DRAIN_POLL).await;
            if resources.metrics.running() > 0 || registration.executor.active_task_count() > 0 {
                idle_since = Instant::now();
            }
        }
        let mut needed = false;
        for job in jobs_in(&registration.jobs) {
            while !registration.is_job_finished(&job).await {
                needed = true;
                tokio::time::sleep(DRAIN_POLL).await;
            }
        }
        if needed {
            tokio::time::sleep(LAST_FETCH).await;
        }
    };
    let in_time = tokio::time::timeout(grace, drained).await.is_ok();
    let seconds = began.elapsed().as_secs_f64();
    if in_time {
        tracing::info!(seconds, "drained");
    } else {
        tracing::warn!(
            seconds,
            tasks = resources.metrics.running(),
            "the grace period has ended, aborting the tasks that still run"
        );
    }
}

/// Returns the jobs that have files in `dir`.
fn jobs_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Removes the files of old jobs at the configured interval. Never returns, unless the interval is zero.
async fn clean_up(config: ExecutorConfig, jobs: std::path::PathBuf) {
    if config.job_data_clean_up_interval.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep(config.job_data_clean_up_interval).await;
        let (jobs, ttl) = (jobs.clone(), config.job_data_ttl);
        match tokio::task::spawn_blocking(move || workdir::remove_old_jobs(&jobs, ttl)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "removed the files of old jobs"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot remove the files of old jobs"),
            Err(error) => tracing::warn!(%error, "cannot search for the files of old jobs"),
        }
    }
}

/// The state of the HTTP handlers.
#[derive(Clone)]
struct AppState {
    metrics: Arc<ExecutorMetrics>,
    runtime_env: Arc<RuntimeEnv>,
    memory_limit: Option<usize>,
    slots: usize,
    health: ExecutorHealth,
}

/// The routes of an executor.
const ROUTES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

fn router(state: AppState) -> Router {
    let [health, ready, numbers] = ROUTES;
    Router::new()
        .route(health, get(http::healthz))
        .route(ready, get(readyz))
        .route(numbers, get(metrics))
        .with_state(state)
}

async fn readyz(State(state): State<AppState>) -> Response {
    let ready = state.health.is_ready();
    let reason =
        if ready { "the scheduler answers\n" } else { "the scheduler does not answer, or not yet\n" };
    http::readiness(ready, reason.to_owned())
}

async fn metrics(State(state): State<AppState>) -> Response {
    let pool = state.runtime_env.memory_pool.as_ref();
    state.metrics.update_gauges(pool, state.memory_limit, state.slots, state.health.is_ready());
    http::metrics(state.metrics.registry.gather())
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Component { role: ROLE, message: error.to_string() }
}
