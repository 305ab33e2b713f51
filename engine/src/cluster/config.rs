//! What a scheduler and an executor need to know: plain data, filled in by the caller.

use std::path::PathBuf;
use std::time::Duration;

use crate::Config;

/// The port of a scheduler, as Ballista has it.
pub const DEFAULT_SCHEDULER_PORT: u16 = 50050;

/// What a scheduler needs to know. Port 0 means any free one.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// The connections that its planning uses, and how tables are read.
    pub engine: Config,
    /// Where to listen: gRPC, REST, Flight SQL, health and metrics share one port.
    pub bind_host: String,
    /// The port of all of them.
    pub bind_port: u16,
    /// The host name under which executors report back. `None`: `bind_host`, or `localhost` where that is a wildcard.
    pub external_host: Option<String>,
    /// How long an executor may be silent before it counts as lost.
    pub executor_timeout: Duration,
    /// How often silent executors are looked for.
    pub expire_interval: Duration,
    /// How long a job may wait on a cluster without a single executor before it fails.
    pub no_executors_grace: Duration,
    /// How many executors have to be there before the scheduler says that it is ready.
    pub min_ready_executors: usize,
    /// Whether Arrow Flight SQL is served.
    pub flight_sql: bool,
    /// Whether clients fetch results through the scheduler instead of from the executors.
    pub flight_proxy: bool,
    /// Where clients are told to fetch results instead, such as a load balancer's `host:port`.
    pub advertise_flight_endpoint: Option<String>,
    /// The folder of the event log, which makes finished jobs outlive the scheduler. `None`: no log.
    pub event_log_dir: Option<PathBuf>,
    /// How long executors keep the results of a finished job. Zero: until their own limit.
    pub job_data_clean_up: Duration,
    /// How long the scheduler remembers a finished job. Zero: forever.
    pub job_state_clean_up: Duration,
    /// Web origins that may use the REST API from a browser, with commas in between. Empty: none but its own.
    pub cors_allowed_origins: String,
    /// How long running jobs may take to end after a request to stop.
    pub grace: Duration,
}

impl SchedulerConfig {
    /// A scheduler that reads with `engine`; every other field has its default.
    pub fn new(engine: Config) -> Self {
        Self {
            engine,
            bind_host: "127.0.0.1".to_owned(),
            bind_port: DEFAULT_SCHEDULER_PORT,
            external_host: None,
            executor_timeout: Duration::from_secs(10),
            expire_interval: Duration::from_secs(1),
            no_executors_grace: Duration::from_secs(60),
            min_ready_executors: 1,
            flight_sql: true,
            flight_proxy: false,
            advertise_flight_endpoint: None,
            event_log_dir: None,
            job_data_clean_up: Duration::from_secs(300),
            job_state_clean_up: Duration::from_secs(3600),
            cors_allowed_origins: String::new(),
            grace: Duration::from_secs(10),
        }
    }
}

/// How much memory the tasks of an executor may use together, as far as DataFusion accounts for it: sorts, joins,
/// aggregations and shuffles, which spill to disk beyond that, and not what a scan has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// 70 % of what the container, or else the machine, has.
    Detect,
    /// No limit, and no spilling.
    Unlimited,
    /// So many bytes.
    Bytes(usize),
}

/// What an executor needs to know. Port 0 means any free one.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// The connections that its tasks use, and how many tasks it runs at once (`vcores`).
    pub engine: Config,
    /// Its name in the cluster. `None`: a random one.
    pub id: Option<String>,
    /// The scheduler's host.
    pub scheduler_host: String,
    /// The scheduler's port.
    pub scheduler_port: u16,
    /// Where to listen.
    pub bind_host: String,
    /// The port of Arrow Flight, from which other executors and clients fetch.
    pub bind_port: u16,
    /// The port for the scheduler's orders.
    pub bind_grpc_port: u16,
    /// The port of health and metrics, over HTTP.
    pub bind_health_port: u16,
    /// The host name under which others reach it. `None`: the address that the scheduler sees.
    pub external_host: Option<String>,
    /// Where shuffle files and spills go, in a folder of their own that is removed at the end. `None`: the system's
    /// folder for temporary files.
    pub work_dir: Option<PathBuf>,
    /// How much memory its tasks may use.
    pub memory: MemoryLimit,
    /// How often it reports to the scheduler.
    pub heartbeat_interval: Duration,
    /// How long what is under way may take after a request to stop.
    pub grace: Duration,
    /// How long the files of a job stay after their last change.
    pub job_data_ttl: Duration,
    /// How often such files are looked for. Zero: never.
    pub job_data_clean_up_interval: Duration,
}

impl ExecutorConfig {
    /// An executor that reads with `engine`; every other field has its default.
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
            heartbeat_interval: Duration::from_secs(2),
            grace: Duration::from_secs(30),
            job_data_ttl: Duration::from_secs(24 * 3600),
            job_data_clean_up_interval: Duration::from_secs(600),
        }
    }
}
