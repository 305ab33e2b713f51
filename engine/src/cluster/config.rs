//! The configurations of scheduler and executor: plain data, which the caller fills in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firesteel_common::access::Access;
use firesteel_common::net::Dialer;
use firesteel_common::tls::ServerTls;

use crate::Config;

/// The default port of a scheduler, the same as Ballista's.
pub const DEFAULT_SCHEDULER_PORT: u16 = 50050;

/// The configuration of a scheduler. Port 0 means any free port.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// The connections that planning uses, and how tables are read.
    pub engine: Config,
    /// The host to bind. gRPC, REST, Flight SQL, health and metrics share one port.
    pub bind_host: String,
    /// The port of all services.
    pub bind_port: u16,
    /// A second port for health, metrics and the overview of the cluster alone, for probes and monitoring that should not
    /// reach SQL. `None`: none.
    pub bind_health_port: Option<u16>,
    /// The host name under which executors report back. `None`: `bind_host`, or `localhost` where that is a wildcard.
    pub external_host: Option<String>,
    /// How long an executor may be silent before it counts as lost.
    pub executor_timeout: Duration,
    /// The interval of the check for silent executors.
    pub expire_interval: Duration,
    /// How long a job may wait on a cluster without a single executor before it fails.
    pub no_executors_grace: Duration,
    /// The number of executors that have to be registered before the scheduler reports that it is ready.
    pub min_ready_executors: usize,
    /// Whether Arrow Flight SQL is served.
    pub flight_sql: bool,
    /// Whether clients fetch results through the scheduler instead of from the executors.
    pub flight_proxy: bool,
    /// The `host:port` from which clients fetch results instead, such as that of a load balancer.
    pub advertise_flight_endpoint: Option<String>,
    /// What becomes of an executor that may give other answers than this scheduler expects.
    pub mismatched_executors: Mismatch,
    /// The folder of the event log, from which finished jobs can be read after the scheduler has ended. `None`: no log.
    pub event_log_dir: Option<PathBuf>,
    /// How many bytes the files of the event log may have together; the oldest are removed.
    pub event_log_bytes: u64,
    /// How old a file of the event log may become. Zero: no limit.
    pub event_log_age: Duration,
    /// How long executors keep the results of a finished job. Zero: until their own limit, `job_data_ttl`.
    pub job_data_clean_up: Duration,
    /// How long the scheduler remembers a finished job. Zero: until there are too many.
    pub job_state_clean_up: Duration,
    /// How many finished jobs the scheduler remembers. One with many tasks counts as several.
    pub finished_jobs: usize,
    /// The web origins, separated by commas, that may use the REST API from a browser. Empty: only its own.
    pub cors_allowed_origins: String,
    /// How long running jobs may take to end after shutdown was requested.
    pub grace: Duration,
    /// Who may ask: users by their tokens, members of the cluster by its secret.
    pub access: Arc<Access>,
    /// The certificate of the port. `None`: no TLS.
    pub tls: Option<ServerTls>,
    /// How executors are reached, and the secret of the cluster.
    pub dialer: Dialer,
    /// Whether the port may be open to other machines without authentication.
    pub insecure: bool,
    /// Whether `/metrics` on the main port is for everybody. `None`: where only this machine reaches the port.
    pub open_metrics: Option<bool>,
    /// The most bytes of a request. A plan with long lists of values is a large one.
    pub max_request_bytes: usize,
}

impl SchedulerConfig {
    /// Creates the configuration of a scheduler that reads with `engine`. Every other field has its default.
    pub fn new(engine: Config) -> Self {
        Self {
            engine,
            bind_host: "127.0.0.1".to_owned(),
            bind_port: DEFAULT_SCHEDULER_PORT,
            bind_health_port: None,
            external_host: None,
            executor_timeout: Duration::from_secs(10),
            expire_interval: Duration::from_secs(1),
            no_executors_grace: Duration::from_secs(60),
            min_ready_executors: 1,
            flight_sql: true,
            flight_proxy: false,
            advertise_flight_endpoint: None,
            mismatched_executors: Mismatch::Warn,
            event_log_dir: None,
            event_log_bytes: 128 << 20,
            event_log_age: Duration::from_secs(7 * 24 * 3600),
            job_data_clean_up: Duration::from_secs(300),
            job_state_clean_up: Duration::from_secs(3600),
            finished_jobs: 1000,
            cors_allowed_origins: String::new(),
            grace: Duration::from_secs(10),
            access: Arc::new(Access::open()),
            tls: None,
            dialer: Dialer::default(),
            insecure: false,
            open_metrics: None,
            max_request_bytes: 16 << 20,
        }
    }
}

/// What becomes of an executor whose functions, MongoDB or Kafka are not those of the scheduler, so that it may give other
/// answers. One of another version is always refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mismatch {
    /// The scheduler warns, and the executor gets tasks.
    #[default]
    Warn,
    /// The executor is refused.
    Refuse,
}

/// How much memory the tasks of an executor may use together, as far as DataFusion accounts for it. It accounts for
/// sorts, joins, aggregations and shuffles, which spill to disk beyond the limit, and not for the batches that a scan
/// has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// 70 % of the memory of the container or the machine, whichever is smaller.
    Detect,
    /// No limit, and no spilling.
    Unlimited,
    /// A limit in bytes.
    Bytes(usize),
}

/// The configuration of an executor. Port 0 means any free port.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The connections that tasks use, and how many tasks run at once (`vcores`).
    pub engine: Config,
    /// The id of the executor in the cluster. `None`: a random id.
    pub id: Option<String>,
    /// The scheduler's host.
    pub scheduler_host: String,
    /// The scheduler's port.
    pub scheduler_port: u16,
    /// The host to bind.
    pub bind_host: String,
    /// The port of Arrow Flight, from which other executors and clients fetch.
    pub bind_port: u16,
    /// The port of the gRPC service that the scheduler calls.
    pub bind_grpc_port: u16,
    /// The port of health and metrics, over HTTP.
    pub bind_health_port: u16,
    /// The host name under which others reach the executor. `None`: the address that the scheduler sees.
    pub external_host: Option<String>,
    /// The parent of the folder of shuffle files and spills, which is removed at the end. `None`: the system's
    /// temporary folder.
    pub work_dir: Option<PathBuf>,
    /// How much memory the tasks may use.
    pub memory: MemoryLimit,
    /// How many bytes of spills and shuffle files there may be. `None`: no limit, but for DataFusion's of 100 GB of spills.
    pub scratch: Option<u64>,
    /// The interval of the heartbeats to the scheduler.
    pub heartbeat_interval: Duration,
    /// How long draining may take after shutdown was requested.
    pub grace: Duration,
    /// How long the files of a job stay after their last change.
    pub job_data_ttl: Duration,
    /// The interval of the check for such files. Zero: never.
    pub job_data_clean_up_interval: Duration,
    /// Who may fetch shuffle files and order tasks: members of the cluster, where it has a secret.
    pub access: Arc<Access>,
    /// The certificate of Arrow Flight and of the gRPC service. `None`: no TLS.
    pub tls: Option<ServerTls>,
    /// How the scheduler and other executors are reached, and the secret of the cluster.
    pub dialer: Dialer,
    /// Whether the ports may be open to other machines without authentication.
    pub insecure: bool,
}

impl ExecutorConfig {
    /// Creates the configuration of an executor that reads with `engine`. Every other field has its default.
    pub fn new(engine: Config) -> Self {
        Self {
            engine,
            id: None,
            scheduler_host: "localhost".to_owned(),
            scheduler_port: DEFAULT_SCHEDULER_PORT,
            bind_host: "127.0.0.1".to_owned(),
            bind_port: 50051,
            bind_grpc_port: 50052,
            bind_health_port: 50053,
            external_host: None,
            work_dir: None,
            memory: MemoryLimit::Detect,
            scratch: None,
            heartbeat_interval: Duration::from_secs(2),
            grace: Duration::from_secs(30),
            job_data_ttl: Duration::from_secs(24 * 3600),
            job_data_clean_up_interval: Duration::from_secs(600),
            access: Arc::new(Access::open()),
            tls: None,
            dialer: Dialer::default(),
            insecure: false,
        }
    }
}
