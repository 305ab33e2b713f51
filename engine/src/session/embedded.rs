//! A scheduler and one executor in this process, joined over loopback.
//!
//! Ballista's own standalone mode pulls: its executor asks for work every 50 ms and cannot cancel. This one composes
//! the same parts as a real cluster, so the scheduler pushes tasks the moment they are ready.
//!
//! Scheduler, planning and reads run on a runtime of their own. Its threads have large stacks, because deep plans are
//! walked recursively, and ending it ends Ballista's background tasks, some of which have no other way to end. The
//! tasks of a query run on a thread pool that Ballista's executor makes for itself and does not hand out: one that is
//! cut off midway fails at its next read, and may leave a file in the work directory behind.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::ids::new_instance_id;
use ballista_core::serde::protobuf::ExecutorRegistration;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_core::serde::scheduler::{ExecutorOperatingSystemSpecification, ExecutorSpecification};
use ballista_core::utils::{GrpcServerConfig, create_grpc_server};
use ballista_executor::executor::Executor;
use ballista_executor::executor_process::ExecutorProcessConfig;
use ballista_executor::executor_server;
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::health::ExecutorHealth;
use ballista_executor::metrics::{ExecutorMetricCollectionPolicy, LoggingMetricsCollector};
use ballista_executor::shutdown::ShutdownNotifier;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::create_scheduler;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tonic::transport::Endpoint;
use tonic::transport::server::TcpIncoming;

use super::state::{MAX_MESSAGE, Role, session_config, session_state};
use crate::connections::Connections;
use crate::{Config, Error, Result, codec};

/// The stack of every thread of the engine, as Ballista's own scheduler has it.
const STACK_BYTES: usize = 32 * 1024 * 1024;

/// How long ending the engine may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to look for a free port for the executor: another process may take it in between.
const PORT_ATTEMPTS: usize = 5;

/// A running engine.
#[derive(Debug)]
pub(super) struct Embedded {
    /// `None` once it is ended.
    runtime: Option<Runtime>,
    parts: Option<Parts>,
    scheduler_url: String,
}

/// What has to be kept while the engine runs.
struct Parts {
    notifier: ShutdownNotifier,
    /// Held so that the executor's sender stays valid.
    _stop: mpsc::Receiver<bool>,
    work_dir: TempDir,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("work_dir", &self.work_dir).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts scheduler and executor, and makes the connections that both use.
    pub(super) async fn start(config: &Config) -> Result<(Self, Arc<Connections>)> {
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
        let (parts, scheduler_url) = start.await.map_err(failed)??;
        embedded.parts = Some(parts);
        embedded.scheduler_url = scheduler_url;
        Ok((embedded, connections))
    }

    pub(super) fn scheduler_url(&self) -> &str {
        &self.scheduler_url
    }

    /// Ends everything, and waits until it has ended.
    pub(super) async fn stop(mut self) {
        let (runtime, parts) = (self.runtime.take(), self.parts.take());
        // Ending a runtime blocks, which a task may not do.
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(parts) = &parts {
                let _ = parts.notifier.notify_shutdown.send(());
            }
            if let Some(runtime) = runtime {
                runtime.shutdown_timeout(STOP_TIMEOUT);
            }
            parts.map(|parts| parts.work_dir.close())
        });
        if let Ok(Some(Err(error))) = ended.await {
            tracing::warn!(%error, "cannot remove the work directory");
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(parts) = &self.parts {
            let _ = parts.notifier.notify_shutdown.send(());
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
    let scheduler_url = start_scheduler(&config, &connections).await?;
    let mut attempt = 1;
    loop {
        match start_executor(&config, &connections, &scheduler_url).await {
            Ok(parts) => return Ok((parts, scheduler_url)),
            Err(error) if attempt == PORT_ATTEMPTS => return Err(error),
            Err(error) => {
                tracing::debug!(%error, attempt, "the embedded executor did not start, trying again")
            }
        }
        attempt += 1;
    }
}

/// Starts the scheduler; its address.
async fn start_scheduler(config: &Config, connections: &Arc<Connections>) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;

    let (defaults, builders) = (session_config(config, connections), Arc::clone(connections));
    let message_size = u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX);
    let scheduler_config = SchedulerConfig {
        external_host: address.ip().to_string(),
        bind_host: address.ip().to_string(),
        bind_port: address.port(),
        scheduling_policy: TaskSchedulingPolicy::PushStaged,
        grpc_server_max_decoding_message_size: message_size,
        grpc_server_max_encoding_message_size: message_size,
        grpc_client_max_message_size: message_size,
        override_config_producer: Some(Arc::new(move || defaults.clone())),
        override_session_builder: Some(Arc::new(move |config| {
            session_state(Role::Server, config, &builders)
        })),
        override_logical_codec: Some(codec::logical(connections)),
        override_physical_codec: Some(codec::physical(connections)),
        ..SchedulerConfig::default()
    };
    let cluster = BallistaCluster::new_from_config(&scheduler_config).await.map_err(failed)?;
    let scheduler =
        create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(scheduler_config))
            .await
            .map_err(failed)?;
    let service = SchedulerGrpcServer::new(scheduler)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    tokio::spawn(async move {
        let serve = create_grpc_server(&GrpcServerConfig::default())
            .add_service(service)
            .serve_with_incoming(incoming(listener));
        if let Err(error) = serve.await {
            tracing::error!(%error, "the embedded scheduler ended");
        }
    });
    Ok(format!("http://{address}"))
}

/// Starts the executor and registers it with the scheduler.
async fn start_executor(
    config: &Config,
    connections: &Arc<Connections>,
    scheduler_url: &str,
) -> Result<Parts> {
    let vcores = config.resolved_vcores();
    let work_dir = tempfile::Builder::new().prefix("firesteel-engine-").tempdir().map_err(failed)?;
    let work_path = work_dir.path().to_string_lossy().into_owned();

    let flight = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let flight_port = flight.local_addr().map_err(failed)?.port();
    let grpc_port = free_port().map_err(failed)?;

    let registration = ExecutorRegistration {
        id: new_instance_id(),
        host: Some(Ipv4Addr::LOCALHOST.to_string()),
        port: u32::from(flight_port),
        grpc_port: u32::from(grpc_port),
        specification: Some(
            ExecutorSpecification::default().with_vcores(u32::try_from(vcores).unwrap_or(u32::MAX)).into(),
        ),
        os_info: Some(ExecutorOperatingSystemSpecification::default().into()),
        ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
    };
    let runtime_env = RuntimeEnvBuilder::new().with_temp_file_path(&work_path).build_arc()?;
    let state = session_state(Role::Server, session_config(config, connections), connections)?;
    let defaults = state.config().clone();
    let executor = Executor::with_default_execution_engine(
        registration,
        &work_path,
        Arc::new(move |_| Ok(Arc::clone(&runtime_env))),
        Arc::new(move || defaults.clone()),
        Arc::new((&state).into()),
        Arc::new(LoggingMetricsCollector::default()),
        vcores,
    );

    let channel =
        Endpoint::from_shared(scheduler_url.to_owned()).map_err(failed)?.connect().await.map_err(failed)?;
    let scheduler = SchedulerGrpcClient::new(channel)
        .max_encoding_message_size(MAX_MESSAGE)
        .max_decoding_message_size(MAX_MESSAGE);
    let message_size = u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX);
    let process = ExecutorProcessConfig {
        bind_host: Ipv4Addr::LOCALHOST.to_string(),
        vcores,
        grpc_max_decoding_message_size: message_size,
        grpc_max_encoding_message_size: message_size,
        metric_collection_policy: ExecutorMetricCollectionPolicy::Off,
        ..ExecutorProcessConfig::default()
    };
    let (stop_sender, stop) = mpsc::channel(1);
    let notifier = ShutdownNotifier::new();
    // Registration makes the scheduler call back, so the executor's port is open before this returns.
    executor_server::startup(
        scheduler,
        Arc::new(process),
        Arc::new(executor),
        codec::both(connections),
        stop_sender,
        &notifier,
        ExecutorHealth::new(),
    )
    .await
    .map_err(failed)?;

    let service = FlightServiceServer::new(BallistaFlightService::new(work_path))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let mut shutdown = notifier.subscribe_for_shutdown();
    tokio::spawn(async move {
        let serve = create_grpc_server(&GrpcServerConfig::default())
            .add_service(service)
            .serve_with_incoming_shutdown(incoming(flight), shutdown.recv());
        if let Err(error) = serve.await {
            tracing::error!(%error, "the embedded executor's flight service ended");
        }
    });
    Ok(Parts { notifier, _stop: stop, work_dir })
}

/// Connections whose small messages are sent at once: with Nagle's algorithm each answer waits 40 ms for an
/// acknowledgement, and a query is a dozen answers.
fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// A port that is free now. Ballista binds the executor's port itself and takes no listener.
fn free_port() -> std::io::Result<u16> {
    let listener = StdTcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_ends_leaves_no_files() {
        for gently in [true, false] {
            let (embedded, _) = Embedded::start(&Config::default()).await.unwrap();
            let work_dir = embedded.parts.as_ref().unwrap().work_dir.path().to_owned();
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
