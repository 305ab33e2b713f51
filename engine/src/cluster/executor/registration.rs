//! One registration of an executor with a scheduler, from the call that registers it until it stops.
//!
//! Ballista's executor stops for good when the scheduler does not answer for a while, or has removed it. This one
//! registers again, with a new id and a new folder for shuffle files, so that nothing of one registration is taken for
//! a part of the next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::ids::new_instance_id;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    ExecutorRegistration, ExecutorStatus, ExecutorStoppedParams, GetJobStatusParams, HeartBeatParams,
    executor_status, job_status,
};
use ballista_core::serde::scheduler::ExecutorSpecification;
use ballista_core::utils::{GrpcServerConfig, create_grpc_server};
use ballista_executor::executor::Executor as BallistaExecutor;
use ballista_executor::executor_process::ExecutorProcessConfig;
use ballista_executor::executor_server;
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::metrics::{ExecutorMetricCollectionPolicy, LoggingMetricsCollector};
use ballista_executor::shutdown::ShutdownNotifier;
use firesteel_common::error::root_cause;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{ExecutorResources, ROLE};
use crate::cluster::ExecutorConfig;
use crate::cluster::identity::Identity;
use crate::cluster::net;
use crate::plan::codec;
use crate::plan::state::{Role, session_config, session_state};
use crate::wire::{MAX_MESSAGE, max_message};
use crate::{ConfigField, Error, Result};

/// The number of attempts to start with a free gRPC port: another process may take the port in between.
const PORT_ATTEMPTS: usize = 5;

/// How long the services may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

type Client = SchedulerGrpcClient<Channel>;

/// A registered executor.
pub(crate) struct Registration {
    pub(super) id: String,
    /// The address of Arrow Flight, from which shuffle files are fetched.
    pub(super) flight: SocketAddr,
    /// The port of the gRPC service that the scheduler calls.
    pub(super) grpc_port: u16,
    pub(super) executor: Arc<BallistaExecutor>,
    /// The folder of shuffle files, by job.
    pub(super) jobs: PathBuf,
    client: Client,
    notifier: ShutdownNotifier,
    stop_orders: mpsc::Receiver<bool>,
    /// Cancels the tasks of this registration.
    tasks: CancellationToken,
    grpc_server: JoinHandle<Result<(), ballista_core::error::BallistaError>>,
    flight_server: JoinHandle<()>,
}

impl Registration {
    /// Registers with the scheduler at `url`. The services accept connections before this returns.
    pub(super) async fn open(
        config: &ExecutorConfig,
        resources: &ExecutorResources,
        url: &str,
    ) -> Result<Self> {
        let channel = net::connect(url).await.map_err(|error| Error::Unreachable {
            role: "the scheduler",
            address: url.trim_start_matches("http://").to_owned(),
            setting: ConfigField::ExecutorSchedulerHost,
            message: root_cause(&error),
        })?;
        let client = Client::new(channel)
            .max_encoding_message_size(MAX_MESSAGE)
            .max_decoding_message_size(MAX_MESSAGE);
        let mut attempt = 1;
        loop {
            match Self::start(config, resources, client.clone()).await {
                Err(error) if config.bind_grpc_port == 0 && attempt < PORT_ATTEMPTS => {
                    tracing::debug!(%error, attempt, "the executor did not start, trying again");
                }
                ended => return ended,
            }
            attempt += 1;
        }
    }

    async fn start(config: &ExecutorConfig, resources: &ExecutorResources, client: Client) -> Result<Self> {
        let vcores = config.engine.resolved_vcores();
        let jobs = resources.work.create_job_folder(resources.next_registration()).map_err(failed)?;
        let work_path = jobs.to_string_lossy().into_owned();

        let fields = (ConfigField::ExecutorBindHost, ConfigField::ExecutorBindPort);
        let (listener, flight) = net::listen(&config.bind_host, config.bind_port, ROLE, fields).await?;
        let grpc_port = match config.bind_grpc_port {
            0 => net::free_port(&config.bind_host).map_err(failed)?,
            port => port,
        };
        let id = match (&config.id, resources.is_first_registration()) {
            (Some(id), true) => id.clone(),
            (Some(id), false) => format!("{id}-{}", new_instance_id()),
            (None, _) => new_instance_id(),
        };
        let registration = ExecutorRegistration {
            id: id.clone(),
            host: config.external_host.clone(),
            port: u32::from(flight.port()),
            grpc_port: u32::from(grpc_port),
            specification: Some(
                ExecutorSpecification::default()
                    .with_vcores(u32::try_from(vcores).unwrap_or(u32::MAX))
                    .into(),
            ),
            os_info: Some(Identity::of(&config.engine).to_os_info().into()),
            ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
        };
        let tasks = CancellationToken::new();
        let state = session_state(
            Role::Server,
            session_config(&config.engine, &resources.connectors),
            &resources.connectors,
        )?;
        let (defaults, runtime_env) = (state.config().clone(), Arc::clone(&resources.runtime_env));
        let executor = Arc::new(BallistaExecutor::new(
            registration,
            &work_path,
            Arc::new(move |_| Ok(Arc::clone(&runtime_env))),
            Arc::new(move || defaults.clone()),
            Arc::new((&state).into()),
            Arc::new(LoggingMetricsCollector::default()),
            vcores,
            resources.engine(tasks.clone()),
        ));
        let process = ExecutorProcessConfig {
            bind_host: config.bind_host.clone(),
            vcores,
            grpc_max_decoding_message_size: max_message(),
            grpc_max_encoding_message_size: max_message(),
            executor_heartbeat_interval_seconds: config.heartbeat_interval.as_secs().max(1),
            metric_collection_policy: ExecutorMetricCollectionPolicy::ProcessOnly,
            override_create_grpc_client_endpoint: Some(Arc::new(|endpoint| Ok(net::limited(endpoint)))),
            ..ExecutorProcessConfig::default()
        };

        let notifier = ShutdownNotifier::new();
        let service = FlightServiceServer::new(BallistaFlightService::new(work_path))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let mut shutdown = notifier.subscribe_for_shutdown();
        let flight_server = tokio::spawn(async move {
            let serve = create_grpc_server(&GrpcServerConfig::default())
                .add_service(service)
                .serve_with_incoming_shutdown(net::incoming(listener), shutdown.recv());
            if let Err(error) = serve.await {
                tracing::error!(%error, "the flight service ended");
            }
        });
        let (stop_sender, stop_orders) = mpsc::channel(1);
        // The scheduler calls back when an executor registers, so the executor's port is open before this returns.
        let started = executor_server::startup(
            client.clone(),
            Arc::new(process),
            Arc::clone(&executor),
            codec::both(&resources.connectors),
            stop_sender,
            &notifier,
            resources.health.clone(),
        );
        match started.await {
            Ok(grpc_server) => Ok(Self {
                id,
                flight,
                grpc_port,
                executor,
                jobs,
                client,
                notifier,
                stop_orders,
                tasks,
                grpc_server,
                flight_server,
            }),
            Err(error) => {
                flight_server.abort();
                // The port is free again only once the socket is closed.
                let _ = flight_server.await;
                Err(failed(error))
            }
        }
    }

    /// Waits until the registration has stopped, and returns the reason: the scheduler does not answer, has removed the
    /// executor, or a service has ended.
    pub(super) async fn stopped(&mut self) -> &'static str {
        let mut silent = self.notifier.subscribe_for_shutdown();
        tokio::select! {
            () = silent.recv() => "the scheduler does not answer",
            _ = self.stop_orders.recv() => "the scheduler has removed this executor",
            _ = &mut self.grpc_server => "the gRPC service ended",
            _ = &mut self.flight_server => "the flight service ended",
        }
    }

    /// Tells the scheduler to send no more tasks.
    pub(super) async fn announce_drain(&mut self) {
        // The regular heartbeats report this flag from now on. It is a static of Ballista, one for the whole process.
        executor_server::TERMINATING.store(true, std::sync::atomic::Ordering::Release);
        let heartbeat = HeartBeatParams {
            executor_id: self.id.clone(),
            metrics: Vec::new(),
            status: Some(ExecutorStatus {
                status: Some(executor_status::Status::Terminating(String::new())),
            }),
            metadata: Some(self.executor.metadata.clone()),
        };
        if let Err(status) = self.client.heart_beat_from_executor(heartbeat).await {
            tracing::warn!(%status, "cannot tell the scheduler that this executor drains");
        }
    }

    /// Returns whether a job has ended. A job whose scheduler does not answer, or does not know it, counts as ended.
    pub(super) async fn is_job_finished(&mut self, job: &str) -> bool {
        let asked = self.client.get_job_status(GetJobStatusParams { job_id: job.to_owned() }).await;
        let status =
            asked.ok().and_then(|answer| answer.into_inner().status).and_then(|status| status.status);
        !matches!(status, Some(job_status::Status::Running(_) | job_status::Status::Queued(_)))
    }

    /// Tells the scheduler that this executor leaves.
    pub(super) async fn deregister(&mut self) {
        let stopped =
            ExecutorStoppedParams { executor_id: self.id.clone(), reason: "it was asked to stop".to_owned() };
        if let Err(status) = self.client.executor_stopped(stopped).await {
            tracing::warn!(%status, "cannot deregister from the scheduler");
        }
    }

    /// Aborts every service without waiting.
    pub(crate) fn abort(&self) {
        self.tasks.cancel();
        let _ = self.notifier.notify_shutdown.send(());
        self.grpc_server.abort();
        self.flight_server.abort();
    }

    /// Stops every service and waits until it has ended.
    pub(super) async fn close(self) {
        self.tasks.cancel();
        let _ = self.notifier.notify_shutdown.send(());
        let (mut grpc_server, mut flight_server) = (self.grpc_server, self.flight_server);
        let ended = async {
            // The service that stopped this registration has been awaited, and must not be awaited a second time.
            if !grpc_server.is_finished() {
                let _ = (&mut grpc_server).await;
            }
            if !flight_server.is_finished() {
                let _ = (&mut flight_server).await;
            }
        };
        // Idle connections do not end by themselves.
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            grpc_server.abort();
            flight_server.abort();
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Component { role: ROLE, message: error.to_string() }
}
