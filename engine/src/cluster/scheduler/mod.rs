//! The scheduler: plans queries, pushes tasks to executors as soon as they can run, and tracks jobs and executors.
//!
//! Its state is in memory. When it dies, the running jobs are lost; executors register again with the next scheduler by
//! themselves, and our clients run a query that only reads again. With an event log, finished jobs can be listed after a
//! restart. A scheduler whose event loop has ended cannot go on and ends, see [`pulse`].

mod door;
mod event_log;
mod jobs;
mod metrics;
mod overview;
mod pulse;
mod recovery;
mod reports;
mod routes;
mod state;
#[cfg(test)]
mod tests;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::Router;
use ballista_core::JobId;
use ballista_core::config::{
    BALLISTA_ADAPTIVE_PLANNER_ENABLED, BALLISTA_CLIENT_USE_TLS, TaskSchedulingPolicy,
};
use ballista_core::ids::new_instance_id;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::scheduler::ExecutorMetadata;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig as BallistaConfig;
use ballista_scheduler::history::HistoryStore;
use ballista_scheduler::metrics::SchedulerMetricsCollector;
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use firesteel_common::access::{Access, Doors, gate};
use firesteel_common::http;
use firesteel_common::tls::ServerTls;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Request;

pub(crate) use self::door::role_of_plan;
use self::event_log::{Folder, event_log};
use self::jobs::Limits;
use self::metrics::SchedulerMetrics;
use self::pulse::Pulse;
use self::recovery::{JobAborter, StageCommitGraph};
use self::state::{Executors, Jobs, Rules};
use super::identity::Identity;
use super::{SchedulerConfig, exposure, net};
use crate::connectors::registry::Connectors;
use crate::peers;
use crate::plan::codec;
use crate::plan::settings;
use crate::plan::state::{Role, session_config, session_state};
use crate::plan::tables;
use crate::slots::Slots;
use crate::wire::max_message;
use crate::{ConfigField, Error, Result};

const ROLE: &str = "the scheduler";

/// The interval at which a draining scheduler checks whether jobs have ended.
const DRAIN_POLL: Duration = Duration::from_millis(50);

type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// A scheduler that has bound its port and does not serve yet.
#[derive(Debug)]
pub struct Scheduler {
    listener: TcpListener,
    address: SocketAddr,
    /// The port of health and metrics alone.
    health: Option<(TcpListener, SocketAddr)>,
    parts: Parts,
}

/// The composed services of a scheduler.
struct Parts {
    server: Arc<Server>,
    executors: Arc<Executors>,
    jobs: Arc<Jobs>,
    registered: mpsc::UnboundedReceiver<ExecutorMetadata>,
    pulse: Arc<Pulse>,
    event_log: Option<event_log::Writer>,
    router: Router,
    health_router: Router,
    tls: Option<ServerTls>,
    max_request_bytes: usize,
    no_executors_grace: Duration,
    grace: Duration,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("scheduler_id", &self.server.scheduler_id).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Binds the port and composes the services. The clients of MongoDB use the current runtime.
    ///
    /// With authentication clients fetch results through the scheduler, which knows whose they are: executors serve members
    /// of the cluster alone.
    ///
    /// # Errors
    /// A port or a folder that cannot be used, users without a secret that lets executors register, and an address of other
    /// machines without authentication.
    pub fn bind(mut config: SchedulerConfig) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            if !config.access.is_open() && !config.access.knows_members() {
                return Err(Error::InvalidSetting {
                    setting: ConfigField::AccessClusterSecret,
                    message: "there are tokens, and executors register with the secret of the cluster alone"
                        .to_owned(),
                });
            }
            config.flight_proxy |= !config.access.is_open();
            let connectors = Arc::new(Connectors::new(&config.engine, Handle::current()));
            Self::compose(&config, &connectors).await
        })
    }

    pub(crate) async fn compose(config: &SchedulerConfig, connectors: &Arc<Connectors>) -> Result<Self> {
        let fields = (ConfigField::SchedulerBindHost, ConfigField::SchedulerBindPort);
        let (listener, address) = net::listen(&config.bind_host, config.bind_port, ROLE, fields).await?;
        exposure::check(ROLE, address, fields.0, &config.access, config.insecure)?;
        let health = match config.bind_health_port {
            None => None,
            Some(port) => {
                let fields = (fields.0, ConfigField::SchedulerBindHealthPort);
                Some(net::listen(&config.bind_host, port, ROLE, fields).await?)
            }
        };
        // The number of scan partitions follows the slots, unless a setting of this process fixes it.
        let slots = match config.engine.partitions {
            None => connectors.slots().clone(),
            Some(_) => Slots::default(),
        };
        // What is wrong with the configuration is told as what it is, before Ballista makes a text of it.
        session_state(Role::Scheduler, session_config(&config.engine, connectors), connectors)?;
        let owners = Arc::new(door::Owners::default());
        let external_host = external_host(config, address);
        let access = access(config, &external_host);
        let ballista = ballista_config(config, (external_host, address.port()), connectors, &slots, &owners)?;
        let ballista = Arc::new(ballista);
        let log = config.event_log_dir.as_deref().map(|dir| open_log(dir, config)).transpose()?;
        let history = config.event_log_dir.as_deref().map(open_history).transpose()?;
        let (log, writer) = log.map(event_log).unzip();

        let cluster = BallistaCluster::new_from_config(&ballista).await.map_err(failed)?;
        let (sender, registered) = mpsc::unbounded_channel();
        let rules = Rules {
            timeout: config.executor_timeout,
            clock: Instant::now,
            identity: Identity::of(&config.engine),
            mismatch: config.mismatched_executors,
            fence: connectors.fence().clone(),
        };
        let pulse = Arc::new(Pulse::new());
        let executors = Executors::new(cluster.cluster_state(), rules, sender, slots, Arc::clone(&pulse));
        let executors = Arc::new(executors);
        let age = (!config.job_state_clean_up.is_zero()).then_some(config.job_state_clean_up);
        let limits = Limits { jobs: config.finished_jobs, age };
        let jobs = Arc::new(Jobs::new(cluster.job_state(), limits, log));
        let metrics = Arc::new(SchedulerMetrics::new());
        let cluster = BallistaCluster::new(Arc::clone(&executors) as _, Arc::clone(&jobs) as _);
        let mut server = Server::new(
            ballista.scheduler_endpoint(),
            cluster,
            codec::both(connectors),
            ballista,
            Arc::clone(&metrics) as Arc<dyn SchedulerMetricsCollector>,
        );
        server.init().await.map_err(failed)?;
        let server = Arc::new(server);
        metrics.on_submitted(wrap_graphs(&server, &jobs));
        let door = door::Door::new(
            (Arc::clone(&server), Arc::clone(connectors)),
            Arc::clone(&executors),
            &jobs,
            Arc::clone(&owners),
            Arc::clone(&access),
            config.dialer.clone(),
        );
        let door = door.await?;
        let state = routes::AppState {
            server: Arc::clone(&server),
            executors: Arc::clone(&executors),
            metrics,
            pulse: Arc::clone(&pulse),
            min_ready_executors: config.min_ready_executors,
        };
        // A handshake may have its token where the gate does not look.
        let mut doors = Doors::new();
        if config.flight_sql {
            doors = doors.free(routes::HANDSHAKE);
        }
        if config.open_metrics.unwrap_or(address.ip().is_loopback()) {
            doors = doors.free(routes::METRICS);
        }
        // Nobody is asked for a credential there; a page of the web gets in nowhere.
        let watched = Arc::new(access.without_credentials());
        let parts = Parts {
            health_router: routes::health(state.clone()).layer(gate(watched, Doors::new())),
            router: routes::router(config, state, &door, owners, history)
                .layer(gate(access, doors))
                .layer(routes::cors(&config.cors_allowed_origins)),
            max_request_bytes: config.max_request_bytes,
            tls: config.tls.clone(),
            server,
            executors,
            jobs,
            registered,
            pulse,
            event_log: writer,
            no_executors_grace: config.no_executors_grace,
            grace: config.grace,
        };
        Ok(Self { listener, address, health, parts })
    }

    /// Returns the address of the port of health and metrics alone, if there is one.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|(_, address)| *address)
    }

    /// Returns the address of the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is cancelled, and then waits for running jobs, for at most the grace period.
    ///
    /// Ballista's own background tasks run until the runtime ends.
    ///
    /// # Errors
    /// A scheduler that cannot go on: its socket fails, or its event loop has ended. The process has to be started again.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let Self { listener, address, health, parts } = self;
            let health_address = health.as_ref().map(|(_, address)| tracing::field::display(*address));
            tracing::info!(%address, health_address, "scheduler is ready");
            let mut watchers = JoinSet::new();
            watchers.spawn(watch::follow_executors(Arc::clone(&parts.server), parts.registered));
            watchers.spawn(watch::cancel_waiting_jobs(
                Arc::clone(&parts.server),
                Arc::clone(&parts.executors),
                parts.jobs,
                parts.no_executors_grace,
            ));
            let stop = CancellationToken::new();
            let watched = health
                .map(|(listener, _)| tokio::spawn(http::serve(listener, parts.health_router, stop.clone())));
            let log_stop = CancellationToken::new();
            let log = parts.event_log.map(|log| {
                let api = ballista_scheduler::api::get_routes(Arc::clone(&parts.server));
                tokio::spawn(log.run(api, log_stop.clone()))
            });
            let mut limits = http::Limits::default();
            limits.message_bytes = limits.message_bytes.max(parts.max_request_bytes.saturating_mul(2));
            let serve = http::Server::new(listener, parts.router)
                .with_tls(parts.tls)
                .with_limits(limits)
                .run(stop.clone());
            tokio::pin!(serve);
            let beats = pulse::watch(&parts.pulse, || {
                let (server, beat) = (Arc::clone(&parts.server), Request::new(parts.pulse.beat()));
                async move { SchedulerGrpc::update_task_status(server.as_ref(), beat).await.map(drop) }
            });
            let served = tokio::select! {
                () = &mut serve => Ok(()),
                status = beats => {
                    tracing::error!(%status, "the event loop has ended");
                    Err(failed("its event loop has ended, after a panic that its log shows; it has to be started again"))
                }
                () = async {
                    shutdown.cancelled().await;
                    drain(&parts.server, parts.grace).await;
                } => {
                    stop.cancel();
                    serve.await;
                    Ok(())
                }
            };
            watchers.shutdown().await;
            stop.cancel();
            log_stop.cancel();
            if let Some(log) = log
                && tokio::time::timeout(event_log::LAST, log).await.is_err()
            {
                tracing::warn!("the folder of the event log does not answer");
            }
            if let Some(watched) = watched
                && watched.await.is_err()
            {
                tracing::warn!("the health service panicked");
            }
            served
        })
    }
}

/// Returns an action that wraps the graph of a job that has just been planned in a [`StageCommitGraph`].
fn wrap_graphs(server: &Arc<Server>, jobs: &Arc<Jobs>) -> impl Fn(&JobId) + Send + Sync + 'static {
    // Weak, because the server owns the metrics, which own this action.
    let (server, jobs) = (Arc::downgrade(server), Arc::clone(jobs));
    let runtime = Handle::current();
    move |job| {
        let Some(strong) = server.upgrade() else { return };
        let running = strong.state.task_manager.get_running_job_cache();
        let Some(cached) = running.get(job) else { return };
        let (server, jobs, runtime) = (Weak::clone(&server), Arc::clone(&jobs), runtime.clone());
        let aborter: JobAborter = Arc::new(move |job, reason| {
            let Some(server) = server.upgrade() else { return };
            jobs.set_reason(&job, &reason);
            tracing::warn!(%job, %reason, "aborting a job");
            runtime.spawn(async move {
                if let Err(error) = server.cancel_job(job).await {
                    tracing::error!(%error, "cannot abort a job");
                }
            });
        });
        // Every other lock on a graph is short and never held across an await.
        let mut graph = loop {
            match cached.execution_graph.try_write() {
                Ok(graph) => break graph,
                Err(_) => std::thread::yield_now(),
            }
        };
        let inner = graph.cloned();
        *graph = Box::new(StageCommitGraph::new(inner, aborter));
    }
}

/// Waits until no job runs, for at most `grace`.
async fn drain(server: &Arc<Server>, grace: Duration) {
    let jobs = || server.running_job_number() + server.pending_job_number();
    if jobs() > 0 {
        tracing::info!(jobs = jobs(), grace_seconds = grace.as_secs(), "waiting for jobs to end");
    }
    let ended = async {
        while jobs() > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    if tokio::time::timeout(grace, ended).await.is_err() {
        tracing::warn!(jobs = jobs(), "the grace period has ended, aborting the jobs that still run");
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Component { role: ROLE, message: error.to_string() }
}

fn open_log(dir: &Path, config: &SchedulerConfig) -> Result<Folder> {
    let (bytes, age) = (config.event_log_bytes, config.event_log_age);
    create_private(dir).map(|()| Folder::new(dir, bytes, age)).map_err(|error| unusable(dir, &error))
}

fn unusable(dir: &Path, error: &std::io::Error) -> Error {
    Error::Folder {
        setting: ConfigField::SchedulerEventLogDir,
        path: dir.display().to_string(),
        message: error.to_string(),
    }
}

fn open_history(dir: &Path) -> Result<Arc<HistoryStore>> {
    HistoryStore::load(dir).map(Arc::new).map_err(|error| unusable(dir, &error))
}

/// Creates a folder that its owner alone can enter. One that exists stays as it is, with a warning if others can.
fn create_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&dir.metadata()?.permissions()) & 0o007 != 0 {
        tracing::warn!(
            folder = %dir.display(),
            field = %ConfigField::SchedulerEventLogDir,
            "every user of this machine can enter the folder of the event log, which holds the statements of all jobs"
        );
    }
    Ok(())
}

/// Returns what the configuration accepts, under the names that the scheduler has.
fn access(config: &SchedulerConfig, external_host: &str) -> Arc<Access> {
    let origins = config.cors_allowed_origins.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    let access =
        Access::clone(&config.access).with_hosts([external_host, &config.bind_host]).with_origins(origins);
    Arc::new(access)
}

/// Returns the host name under which executors reach the scheduler.
fn external_host(config: &SchedulerConfig, address: SocketAddr) -> String {
    let wildcard = config.bind_host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    match &config.external_host {
        Some(host) => host.clone(),
        None if wildcard => {
            tracing::warn!(
                field = %ConfigField::SchedulerExternalHost,
                "executors on other machines cannot report back to `localhost`: name this host"
            );
            "localhost".to_owned()
        }
        None => address.ip().to_string(),
    }
}

fn ballista_config(
    config: &SchedulerConfig,
    (external_host, port): (String, u16),
    connectors: &Arc<Connectors>,
    slots: &Slots,
    owners: &Arc<door::Owners>,
) -> Result<BallistaConfig> {
    let defaults = session_config(&config.engine, connectors);
    let (own_partitions, slots) = (config.engine.partitions, slots.clone());
    let (builders, own_settings) = (Arc::clone(connectors), defaults.clone());
    let by_tls = config.dialer.uses_tls();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let own_origin = format!("{scheme}://{}", peers::authority(&external_host, port));
    let seconds = |duration: Duration| duration.as_secs();
    let ballista = BallistaConfig {
        scheduler_id: new_instance_id(),
        // Ballista appends the port without adding brackets.
        external_host: if external_host.contains(':') { format!("[{external_host}]") } else { external_host },
        bind_host: config.bind_host.clone(),
        bind_port: port,
        scheduling_policy: TaskSchedulingPolicy::PushStaged,
        executor_timeout_seconds: seconds(config.executor_timeout).max(1),
        expire_dead_executor_interval_seconds: seconds(config.expire_interval).max(1),
        // See `state`: an executor that leaves is removed at once, and a draining one is kept while it reports.
        executor_termination_grace_period: 0,
        no_executors_grace_period_seconds: seconds(config.no_executors_grace),
        min_ready_executors: config.min_ready_executors,
        finished_job_data_clean_up_interval_seconds: seconds(config.job_data_clean_up),
        // See `jobs`: finished jobs are forgotten there.
        finished_job_state_clean_up_interval_seconds: 0,
        advertise_flight_endpoint: config.advertise_flight_endpoint.clone(),
        enable_embedded_flight_proxy: config.flight_proxy,
        flight_sql: config.flight_sql,
        // See `event_log`: Ballista's event loop would wait for the disk.
        event_log_dir: None,
        // See `routes::cors`: Ballista's layer stands behind the gate, and does not allow a token.
        cors_allowed_origins: own_origin,
        // `/` lists the routes; Ballista's page there would redirect to another host.
        web_tui_route: "/tui".to_owned(),
        grpc_server_max_decoding_message_size: max_message(),
        grpc_server_max_encoding_message_size: max_message(),
        grpc_client_max_message_size: max_message(),
        override_create_grpc_client_endpoint: Some(peers::customize(config.dialer.clone(), peers::limited)),
        job_id_generator: Some(Arc::<door::Owners>::clone(owners)),
        // The settings of a client override these. A client of Flight SQL has none, and gets as many partitions as
        // there are slots.
        override_config_producer: Some(Arc::new(move || match (own_partitions, slots.get()) {
            (None, slots @ 1..) => defaults.clone().with_target_partitions(slots),
            _ => defaults.clone(),
        })),
        override_session_builder: Some(Arc::new(move |config| {
            settings::check(&config, &own_settings)?;
            // Overrides the client: a job of the adaptive planner does not survive the loss of an executor.
            let config = config.set_bool(BALLISTA_ADAPTIVE_PLANNER_ENABLED, false);
            // How executors reach each other is the cluster's to say.
            let config = config.set_bool(BALLISTA_CLIENT_USE_TLS, by_tls);
            let state = session_state(Role::Scheduler, config, &builders)?;
            // Queries of Flight SQL are planned in the scheduler, so their sessions need the tables.
            tables::register(&state, &builders)?;
            Ok(state)
        })),
        override_logical_codec: Some(codec::logical(connectors)),
        override_physical_codec: Some(codec::physical(connectors)),
        ..BallistaConfig::default()
    };
    ballista.validate().map_err(failed)?;
    Ok(ballista)
}
