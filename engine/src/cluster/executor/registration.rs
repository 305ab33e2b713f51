//! One registration of an executor with a scheduler, from the call that registers it until it stops.
//!
//! Ballista's executor stops for good when the scheduler does not answer for a while, or has removed it. This one
//! registers again, with a new id and a new folder for shuffle files, so that nothing of one registration is taken for
//! a part of the next.

use std::error::Error as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::Router;
use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::ids::new_instance_id;
use ballista_core::serde::protobuf::executor_grpc_server::ExecutorGrpcServer;
use ballista_core::serde::protobuf::{
    ExecutorRegistration, ExecutorStoppedParams, GetJobStatusParams, RegisterExecutorParams, job_status,
};
use ballista_core::serde::scheduler::ExecutorSpecification;
use ballista_executor::executor::Executor as BallistaExecutor;
use ballista_executor::metrics::LoggingMetricsCollector;
use firesteel_common::access::{Access, Doors, gate};
use firesteel_common::error::root_cause;
use firesteel_common::http;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::orders::Orders;
use super::reports::{self, Client, Draining};
use super::shuffles::Shuffles;
use super::{ExecutorResources, ROLE};
use crate::cluster::ExecutorConfig;
use crate::cluster::identity::Identity;
use crate::cluster::net;
use crate::lease;
use crate::plan::codec;
use crate::plan::state::{Role, session_config, session_state};
use crate::wire::MAX_MESSAGE;
use crate::{ConfigField, Error, Result};

/// The size of the largest request for a shuffle file, in bytes. It holds numbers and an id.
const MAX_FETCH: usize = 4 * 1024 * 1024;

/// How long the services may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections at a time to each of the two services. Every task of another executor fetches many parts at once.
const CONNECTIONS: usize = 8192;

/// The shortest interval of heartbeats.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

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
    draining: Draining,
    /// Cancelled once the scheduler has removed the executor.
    removed: CancellationToken,
    /// Until when its tasks may write.
    lease: lease::Registration,
    /// Cancels the tasks of this registration.
    tasks: CancellationToken,
    /// Ends the services of this registration.
    stop: CancellationToken,
    grpc_server: JoinHandle<()>,
    flight_server: JoinHandle<()>,
    heartbeats: JoinHandle<()>,
    reports: JoinHandle<()>,
}

impl Registration {
    /// Registers with the scheduler at `url`. The services accept connections before this returns.
    pub(super) async fn open(
        config: &ExecutorConfig,
        resources: &ExecutorResources,
        url: &str,
    ) -> Result<Self> {
        let channel = net::connect(&config.dialer, url).await.map_err(|message| Error::Unreachable {
            role: "the scheduler",
            address: url.split_once("://").map_or(url, |(_, address)| address).to_owned(),
            setting: ConfigField::ExecutorSchedulerHost,
            message,
        })?;
        let client = Client::new(channel)
            .max_encoding_message_size(MAX_MESSAGE)
            .max_decoding_message_size(MAX_MESSAGE);
        Self::start(config, resources, client).await
    }

    async fn start(
        config: &ExecutorConfig,
        resources: &ExecutorResources,
        mut client: Client,
    ) -> Result<Self> {
        let vcores = config.engine.resolved_vcores();
        let jobs = resources.work.create_job_folder(resources.next_registration()).map_err(failed)?;
        let work_path = jobs.to_string_lossy().into_owned();

        let fields = (ConfigField::ExecutorBindHost, ConfigField::ExecutorBindPort);
        let (flight_listener, flight) =
            net::listen(&config.bind_host, config.bind_port, ROLE, fields).await?;
        let fields = (ConfigField::ExecutorBindHost, ConfigField::ExecutorBindGrpcPort);
        let (grpc_listener, grpc) =
            net::listen(&config.bind_host, config.bind_grpc_port, ROLE, fields).await?;
        let id = match (&config.id, resources.is_first_registration()) {
            (Some(id), true) => id.clone(),
            (Some(id), false) => format!("{id}-{}", new_instance_id()),
            (None, _) => new_instance_id(),
        };
        let registration = ExecutorRegistration {
            id: id.clone(),
            host: config.external_host.clone(),
            port: u32::from(flight.port()),
            grpc_port: u32::from(grpc.port()),
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
        let engine = resources.engine(tasks.clone());
        let executor = Arc::new(BallistaExecutor::new(
            registration.clone(),
            &work_path,
            Arc::new(move |_| Ok(Arc::clone(&runtime_env))),
            Arc::new(move || defaults.clone()),
            Arc::new((&state).into()),
            Arc::new(LoggingMetricsCollector::default()),
            vcores,
            Arc::clone(&engine),
        ));
        let (removed, stop, draining) =
            (CancellationToken::new(), CancellationToken::new(), Draining::default());
        let (statuses, ended) = mpsc::unbounded_channel();
        let orders = Orders::new(
            Arc::clone(&executor),
            engine,
            codec::both(&resources.connectors),
            resources.task_runtime(),
            jobs.clone(),
            statuses,
            removed.clone(),
        );
        let orders = ExecutorGrpcServer::new(orders)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let shuffles = FlightServiceServer::new(Shuffles::new(work_path))
            .max_decoding_message_size(MAX_FETCH)
            .max_encoding_message_size(MAX_MESSAGE);
        // The scheduler calls back when an executor registers, so the services answer before that.
        let grpc_server = serve(config, grpc_listener, Routes::new(orders), &stop);
        let flight_server = serve(config, flight_listener, Routes::new(shuffles), &stop);
        let params = RegisterExecutorParams { metadata: Some(registration.clone()) };
        let (lease, sent) = (resources.connectors.lease().begin(), Instant::now());
        let registered = match client.register_executor(params).await {
            Ok(answer) if answer.get_ref().success => {
                lease.answered(sent, reports::timeout(answer.metadata()));
                Ok(())
            }
            Ok(_) => Err("the scheduler has refused the registration".to_owned()),
            // What the scheduler has said itself has no cause.
            Err(status) if status.source().is_none() => Err(status.message().to_owned()),
            Err(status) => Err(root_cause(&status)),
        };
        if let Err(message) = registered {
            grpc_server.abort();
            flight_server.abort();
            // The ports are free again only once the sockets are closed.
            let _ = tokio::join!(grpc_server, flight_server);
            return Err(failed(message));
        }
        let heartbeats = tokio::spawn(reports::beat(
            client.clone(),
            registration,
            config.heartbeat_interval.max(SHORTEST_INTERVAL),
            draining.clone(),
            resources.health.clone(),
            lease.clone(),
        ));
        let reports = tokio::spawn(reports::report(client.clone(), id.clone(), ended));
        Ok(Self {
            id,
            flight,
            grpc_port: grpc.port(),
            executor,
            jobs,
            client,
            draining,
            removed,
            lease,
            tasks,
            stop,
            grpc_server,
            flight_server,
            heartbeats,
            reports,
        })
    }

    /// Waits until the registration has stopped, and returns the reason: the scheduler does not answer, has removed the
    /// executor, or a service has ended.
    pub(super) async fn stopped(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.heartbeats => "the scheduler does not answer, or does not know this executor",
            () = self.removed.cancelled() => "the scheduler has removed this executor",
            _ = &mut self.reports => "the scheduler takes no reports",
            _ = &mut self.grpc_server => "the gRPC service ended",
            _ = &mut self.flight_server => "the flight service ended",
        }
    }

    /// Tells the scheduler to send no more tasks. The heartbeats repeat it from now on.
    pub(super) async fn announce_drain(&mut self) {
        self.draining.begin();
        let heartbeat = reports::heartbeat(&self.executor.metadata, &self.draining);
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
        // The scheduler gives what still runs to others at once.
        self.lease.end();
        let stopped =
            ExecutorStoppedParams { executor_id: self.id.clone(), reason: "it was asked to stop".to_owned() };
        if let Err(status) = self.client.executor_stopped(stopped).await {
            tracing::warn!(%status, "cannot deregister from the scheduler");
        }
    }

    /// Aborts every service without waiting.
    pub(crate) fn abort(&self) {
        self.lease.end();
        self.tasks.cancel();
        self.stop.cancel();
        for service in [&self.grpc_server, &self.flight_server, &self.heartbeats, &self.reports] {
            service.abort();
        }
    }

    /// Stops every service and waits until it has ended.
    pub(super) async fn close(self) {
        self.lease.end();
        self.tasks.cancel();
        self.stop.cancel();
        self.heartbeats.abort();
        self.reports.abort();
        for service in [self.grpc_server, self.flight_server] {
            // The service that stopped this registration has been awaited, and must not be awaited a second time.
            if !service.is_finished() && service.await.is_err() {
                tracing::warn!("a service of the executor panicked");
            }
        }
    }
}

/// Serves one of the executor's gRPC services until `stop`.
fn serve(
    config: &ExecutorConfig,
    listener: TcpListener,
    routes: Routes,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let doors = Doors::new().members_only();
    // The scheduler and the other executors ask under the name that this one has registered.
    let names = config.external_host.iter().chain([&config.bind_host]);
    let access = Access::clone(&config.access).with_hosts(names);
    let router: Router = routes.into_axum_router().layer(gate(Arc::new(access), doors));
    let limits = http::Limits {
        // Each task of another executor fetches several parts at once, by a connection each.
        connections: CONNECTIONS,
        message_bytes: 2 * MAX_MESSAGE,
        last_answers: STOP_TIMEOUT,
        ..http::Limits::default()
    };
    let server = http::Server::new(listener, router).with_tls(config.tls.clone()).with_limits(limits);
    tokio::spawn(server.run(stop.clone()))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Component { role: ROLE, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use arrow_flight::Ticket;
    use arrow_flight::flight_service_client::FlightServiceClient;
    use ballista_core::serde::protobuf::executor_grpc_client::ExecutorGrpcClient;
    use ballista_core::serde::protobuf::{
        LaunchMultiTaskParams, MultiTaskDefinition, RemoveJobDataParams, StopExecutorParams,
    };
    use firesteel_common::access::{Principal, Role as UserRole, Secret, Tokens};
    use firesteel_common::net::Dialer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tonic::transport::Channel;
    use tonic::{Code, Status};

    use super::*;
    use crate::Config;
    use crate::cluster::{MemoryLimit, Scheduler, SchedulerConfig};
    use crate::connectors::registry::Connectors;

    struct Cluster {
        registration: Registration,
        resources: ExecutorResources,
        scheduler: CancellationToken,
    }

    /// An executor whose doors `access` guards, at a scheduler that asks nobody.
    async fn registered(access: Access) -> Cluster {
        let loopback = "127.0.0.1".to_owned();
        let scheduler = Scheduler::bind(SchedulerConfig {
            bind_host: loopback.clone(),
            bind_port: 0,
            ..SchedulerConfig::new(Config::default())
        });
        let (scheduler, stop) = (scheduler.await.unwrap(), CancellationToken::new());
        let url = format!("http://{}", scheduler.address());
        tokio::spawn(scheduler.run(stop.clone()));
        let config = ExecutorConfig {
            bind_port: 0,
            bind_grpc_port: 0,
            bind_host: loopback.clone(),
            external_host: Some(loopback),
            memory: MemoryLimit::Unlimited,
            access: Arc::new(access),
            ..ExecutorConfig::new(Config::default())
        };
        let connectors = Arc::new(Connectors::new(&config.engine, tokio::runtime::Handle::current()));
        let resources = ExecutorResources::create(&config, connectors).unwrap();
        let registration = resources.register(&config, &url).await.unwrap();
        Cluster { registration, resources, scheduler: stop }
    }

    impl Cluster {
        async fn channel(&self, port: u16, credential: Option<&Secret>) -> Channel {
            let dialer = Dialer::default().with_credential(credential.cloned());
            net::connect(&dialer, &format!("http://127.0.0.1:{port}")).await.unwrap()
        }

        /// What the Flight service answers to a ticket that means nothing.
        async fn flight(&self, credential: Option<&Secret>) -> Status {
            let channel = self.channel(self.registration.flight.port(), credential).await;
            let ticket = Ticket { ticket: "x".into() };
            FlightServiceClient::new(channel).do_get(ticket).await.unwrap_err()
        }

        async fn orders(&self, credential: Option<&Secret>) -> ExecutorGrpcClient<Channel> {
            ExecutorGrpcClient::new(self.channel(self.registration.grpc_port, credential).await)
        }

        async fn stop(self) {
            self.registration.close().await;
            self.scheduler.cancel();
            drop(self.resources);
        }
    }

    fn stop_of_another() -> StopExecutorParams {
        StopExecutorParams { executor_id: "another".to_owned(), reason: String::new(), force: true }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_members_order_tasks_and_fetch_shuffle_files() {
        let (secret, token) = (Secret::random(), Secret::random());
        let admin = Principal { name: "root".to_owned(), role: UserRole::Admin };
        let tokens = Tokens::fixed([(admin, token.clone())]);
        let cluster =
            registered(Access::open().with_tokens(tokens).with_cluster_secret(secret.clone())).await;
        for (credential, flight, order) in [
            (None, Code::Unauthenticated, Some(Code::Unauthenticated)),
            (Some(Secret::random()), Code::Unauthenticated, Some(Code::Unauthenticated)),
            (Some(token), Code::PermissionDenied, Some(Code::PermissionDenied)),
            (Some(secret), Code::InvalidArgument, None),
        ] {
            let status = cluster.flight(credential.as_ref()).await;
            assert_eq!(status.code(), flight, "{status}");
            let ordered = cluster.orders(credential.as_ref()).await.stop_executor(stop_of_another()).await;
            assert_eq!(ordered.err().map(|status| status.code()), order);
        }
        cluster.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_executor_is_asked_under_the_name_that_it_has_registered_and_under_no_other() {
        let config = ExecutorConfig {
            bind_host: "127.0.0.1".to_owned(),
            external_host: Some("worker".to_owned()),
            ..ExecutorConfig::new(Config::default())
        };
        let (listener, stop) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), CancellationToken::new());
        let address = listener.local_addr().unwrap();
        let serving = serve(&config, listener, Routes::default(), &stop);
        for (name, expected) in [("worker", true), ("127.0.0.1", true), ("evil.example", false)] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET / HTTP/1.1\r\nHost: {name}:7\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(!answer.starts_with("HTTP/1.1 421"), expected, "{name}: {answer}");
        }
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_order_for_a_path_is_refused_and_removes_nothing() {
        let cluster = registered(Access::open()).await;
        assert_eq!(cluster.flight(None).await.code(), Code::InvalidArgument, "nobody is authenticated");
        let outside = tempfile::tempdir().unwrap();
        let own = cluster.registration.jobs.join("abc/1");
        std::fs::create_dir_all(&own).unwrap();
        let mut orders = cluster.orders(None).await;
        for job in
            [outside.path().display().to_string(), "..".to_owned(), "a/../..".to_owned(), String::new()]
        {
            let remove = RemoveJobDataParams { job_id: job.clone(), remove_stage_ids: Vec::new() };
            assert_eq!(
                orders.remove_job_data(remove).await.unwrap_err().code(),
                Code::InvalidArgument,
                "{job}"
            );
            let task = MultiTaskDefinition { job_id: job.clone(), ..MultiTaskDefinition::default() };
            let launch = LaunchMultiTaskParams {
                multi_tasks: vec![task],
                scheduler_endpoint: "203.0.113.7:1".to_owned(),
            };
            assert_eq!(
                orders.launch_multi_task(launch).await.unwrap_err().code(),
                Code::InvalidArgument,
                "{job}"
            );
        }
        assert!(outside.path().exists() && own.exists());
        for (stages, left) in [(vec![2], true), (vec![1], false), (vec![], false)] {
            let remove = RemoveJobDataParams { job_id: "abc".to_owned(), remove_stage_ids: stages };
            orders.remove_job_data(remove).await.unwrap();
            assert_eq!(own.exists(), left);
        }
        assert!(cluster.registration.jobs.exists());
        cluster.stop().await;
    }

    /// The plan is a scan of files that says nothing about itself.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_order_that_the_decoder_panics_at_fails_its_job() {
        let cluster = registered(Access::open()).await;
        let order =
            |job: &str, plan| MultiTaskDefinition { job_id: job.to_owned(), plan, ..Default::default() };
        let multi_tasks = vec![order("abc", vec![0x0a, 0]), order("def", vec![0x0a])];
        let launch = LaunchMultiTaskParams { multi_tasks, ..Default::default() };
        let answer = cluster.orders(None).await.launch_multi_task(launch).await.unwrap();
        assert_eq!(answer.into_inner().failed_jobs, ["abc", "def"]);
        cluster.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_executor_stops_when_it_is_told_and_not_for_another() {
        let mut cluster = registered(Access::open()).await;
        let mut orders = cluster.orders(None).await;
        orders.stop_executor(stop_of_another()).await.unwrap();
        let still = tokio::time::timeout(Duration::from_millis(200), cluster.registration.stopped()).await;
        assert!(still.is_err(), "{still:?}");
        let own = StopExecutorParams { executor_id: cluster.registration.id.clone(), ..stop_of_another() };
        orders.stop_executor(own).await.unwrap();
        assert_eq!(cluster.registration.stopped().await, "the scheduler has removed this executor");
        cluster.stop().await;
    }
}
