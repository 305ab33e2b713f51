//! The executor: runs tasks, keeps their output for others to fetch, and reports to the scheduler.
//!
//! It waits for a scheduler that is not there yet and finds the next one when that is gone, so the order in which
//! processes start does not matter. Asked to stop, it takes no more tasks, ends those that run, and keeps its shuffle
//! files until the jobs that need them are over, as far as its grace allows.

mod clients;
mod incarnation;
mod memory;
mod metrics;
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
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use self::metrics::Metrics;
use self::tasks::Tasks;
use self::workdir::WorkDir;
use super::{ExecutorConfig, Served, http, net};
use crate::connections::Connections;
use crate::{Error, Result};

pub(crate) use self::incarnation::Incarnation;
pub(crate) use self::tasks::STACK_BYTES;

const ROLE: &str = "the executor";

/// How long to wait before the scheduler is tried again: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// How often a warning about an absent scheduler is repeated.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// How often the end of tasks and jobs is looked for on the way out.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// For how long nothing may have run before an executor counts as idle: the last tasks that it was sent may still be
/// on their way, and the last states on theirs to the scheduler.
const IDLE_FOR: Duration = Duration::from_millis(500);

/// For how long the result of a job that has just ended stays, for its client to fetch.
const LAST_FETCH: Duration = Duration::from_secs(2);

/// An executor that has its health port and does nothing yet.
#[derive(Debug)]
pub struct Executor {
    config: ExecutorConfig,
    health_listener: TcpListener,
    health_address: SocketAddr,
    home: Home,
}

/// What outlives an incarnation.
pub(crate) struct Home {
    connections: Arc<Connections>,
    work: WorkDir,
    runtime_env: Arc<RuntimeEnv>,
    memory_limit: Option<usize>,
    metrics: Arc<Metrics>,
    /// Whether the scheduler answers.
    health: ExecutorHealth,
    /// Where tasks run; `None` once it is ended.
    runtime: Option<Runtime>,
    incarnations: AtomicU64,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Home").field("work", &self.work).finish_non_exhaustive()
    }
}

impl Executor {
    /// What every executor answers over HTTP.
    ///
    /// # Errors
    /// Metrics that cannot be registered.
    pub fn served() -> Result<Served> {
        let metrics = Metrics::new().map_err(failed)?;
        Ok(Served { routes: ROUTES.to_vec(), metrics: http::names(&metrics.registry), answers: Vec::new() })
    }
}

impl Home {
    pub(crate) fn make(config: &ExecutorConfig, connections: Arc<Connections>) -> Result<Self> {
        let work = WorkDir::create(config.work_dir.as_deref())?;
        let (pool, memory_limit) = memory::pool(config.memory);
        connections.functions().charge(&pool);
        let runtime_env =
            RuntimeEnvBuilder::new().with_memory_pool(pool).with_temp_file_path(work.spill()).build_arc()?;
        Ok(Self {
            connections,
            work,
            runtime_env,
            memory_limit,
            metrics: Arc::new(Metrics::new().map_err(failed)?),
            health: ExecutorHealth::new(),
            runtime: Some(tasks::runtime(config.engine.resolved_vcores()).map_err(failed)?),
            incarnations: AtomicU64::new(0),
        })
    }

    /// The folder of all files.
    pub(crate) fn work_dir(&self) -> &Path {
        self.work.path()
    }

    /// Registers with the scheduler at `url`.
    pub(crate) async fn register(&self, config: &ExecutorConfig, url: &str) -> Result<Incarnation> {
        Incarnation::begin(config, self, url).await
    }

    /// Ends all tasks; blocks for `timeout` at most.
    pub(crate) fn end_tasks(&mut self, timeout: Duration) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(timeout);
        }
    }

    fn engine(&self, until: CancellationToken) -> Arc<dyn ExecutionEngine> {
        // A runtime that was ended takes no more tasks; nobody registers after that.
        let handle = self.runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone());
        Arc::new(Tasks::new(handle, Arc::clone(&self.metrics), until))
    }

    fn next_number(&self) -> u64 {
        self.incarnations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether the number handed out last was the first.
    fn is_first(&self) -> bool {
        self.incarnations.load(Ordering::Relaxed) <= 1
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // In an async context a runtime may not be dropped where it would wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Executor {
    /// Takes the health port and makes the work directory. The clients of MongoDB live on the current runtime.
    pub fn bind(config: ExecutorConfig) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let connections = Arc::new(Connections::new(&config.engine, Handle::current()));
            let (health_listener, health_address) = net::listen(
                &config.bind_host,
                config.bind_health_port,
                ROLE,
                "--bind-host and --bind-health-port",
            )
            .await?;
            let home = Home::make(&config, connections)?;
            Ok(Self { config, health_listener, health_address, home })
        })
    }

    /// Where it answers `/healthz`, `/readyz` and `/metrics`.
    pub fn health_address(&self) -> SocketAddr {
        self.health_address
    }

    /// Runs tasks until `shutdown`; then what is under way has its grace to end.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let Self { config, health_listener, health_address, mut home } = self;
            let shared = Shared {
                metrics: Arc::clone(&home.metrics),
                runtime_env: Arc::clone(&home.runtime_env),
                memory_limit: home.memory_limit,
                slots: config.engine.resolved_vcores(),
                health: home.health.clone(),
            };
            tracing::info!(
                %health_address,
                work_dir = %home.work_dir().display(),
                memory_limit_bytes = home.memory_limit.unwrap_or(0),
                vcores = shared.slots,
                "executor starts"
            );
            let stop = CancellationToken::new();
            let serving = tokio::spawn(http::serve(health_listener, router(shared), stop.clone()));
            let result = live(&config, &home, &shutdown).await;
            stop.cancel();
            if let Ok(Err(error)) = serving.await {
                tracing::warn!(%error, "the health service ended");
            }
            let ended = tokio::task::spawn_blocking(move || {
                home.end_tasks(LAST_FETCH);
                drop(home);
            });
            if ended.await.is_err() {
                tracing::warn!("the tasks did not end in order");
            }
            result
        })
    }
}

/// One incarnation after the other.
async fn live(config: &ExecutorConfig, home: &Home, shutdown: &CancellationToken) -> Result<()> {
    let url = format!("http://{}", net::authority(&config.scheduler_host, config.scheduler_port));
    loop {
        let registered = tokio::select! {
            registered = register(config, home, &url) => registered,
            () = shutdown.cancelled() => return Ok(()),
        };
        let mut incarnation = registered?;
        tracing::info!(
            id = incarnation.id,
            scheduler = url,
            flight = %incarnation.flight,
            grpc_port = incarnation.grpc_port,
            "executor is ready"
        );
        let cleaner = tokio::spawn(clean_up(config.clone(), incarnation.jobs.clone()));
        let over = tokio::select! {
            why = incarnation.over() => Some(why),
            () = shutdown.cancelled() => None,
        };
        cleaner.abort();
        let Some(why) = over else {
            drain(&mut incarnation, home, config.grace).await;
            incarnation.say_farewell().await;
            incarnation.end().await;
            return Ok(());
        };
        tracing::warn!(why, "registering anew");
        home.health.mark_heartbeat_failed();
        let jobs = incarnation.jobs.clone();
        incarnation.end().await;
        if let Err(error) = tokio::fs::remove_dir_all(&jobs).await {
            tracing::debug!(%error, "cannot remove the files of an earlier life");
        }
    }
}

/// Until the scheduler takes this executor in. Only what no scheduler can cure is an error.
async fn register(config: &ExecutorConfig, home: &Home, url: &str) -> Result<Incarnation> {
    let (mut pause, mut warned) = (RETRY_FIRST, None::<Instant>);
    loop {
        match home.register(config, url).await {
            Ok(incarnation) => return Ok(incarnation),
            Err(error @ (Error::Listen { .. } | Error::Folder { .. })) if home.is_first() => {
                return Err(error);
            }
            Err(error) if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) => {
                tracing::warn!(%error, "cannot register, trying again until the scheduler is there");
                warned = Some(Instant::now());
            }
            Err(error) => tracing::debug!(%error, "cannot register"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

/// Ends what is under way, and keeps the files of jobs that go on elsewhere.
async fn drain(incarnation: &mut Incarnation, home: &Home, grace: Duration) {
    let began = Instant::now();
    incarnation.announce_drain().await;
    tracing::info!(tasks = home.metrics.running(), grace_seconds = grace.as_secs(), "draining");
    let drained = async {
        let mut idle_since = Instant::now();
        while idle_since.elapsed() < IDLE_FOR {
            tokio::time::sleep(DRAIN_POLL).await;
            if home.metrics.running() > 0 || incarnation.executor.active_task_count() > 0 {
                idle_since = Instant::now();
            }
        }
        let mut needed = false;
        for job in jobs_in(&incarnation.jobs) {
            while !incarnation.is_over(&job).await {
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
            tasks = home.metrics.running(),
            "the grace is over: what still runs is cut off"
        );
    }
}

/// The jobs that have files in `dir`.
fn jobs_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Removes old files every now and then, for as long as this runs.
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
            Err(error) => tracing::warn!(%error, "cannot look for the files of old jobs"),
        }
    }
}

/// What the handlers use.
#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    runtime_env: Arc<RuntimeEnv>,
    memory_limit: Option<usize>,
    slots: usize,
    health: ExecutorHealth,
}

/// What an executor answers over HTTP.
const ROUTES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

fn router(shared: Shared) -> Router {
    let [health, ready, numbers] = ROUTES;
    Router::new()
        .route(health, get(http::healthz))
        .route(ready, get(readyz))
        .route(numbers, get(metrics))
        .with_state(shared)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let ready = shared.health.is_ready();
    let why = if ready { "the scheduler answers\n" } else { "the scheduler does not answer, or not yet\n" };
    http::readiness(ready, why.to_owned())
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let pool = shared.runtime_env.memory_pool.as_ref();
    shared.metrics.look_up(pool, shared.memory_limit, shared.slots, shared.health.is_ready());
    http::metrics(&shared.metrics.registry)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Component { role: ROLE, message: error.to_string() }
}
