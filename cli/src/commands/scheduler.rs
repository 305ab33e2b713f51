//! `firesteel scheduler`: the head of a cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use firesteel_engine::cluster::{Mismatch, Scheduler, SchedulerConfig};

use crate::args::fields::Settings;
use crate::args::{EngineArgs, ServerSecurityArgs, UsersArgs, size};
use crate::context::{Context, Outcome};

/// The examples at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
    # a cluster on this machine: one scheduler, two executors, a report
    firesteel scheduler
    firesteel executor
    firesteel executor --bind-port 0 --bind-grpc-port 0 --bind-health-port 0
    firesteel report --scheduler df://localhost:50050

    # reachable from other machines, where it is known as `head`, for users and executors that say who they are
    firesteel scheduler --bind-host 0.0.0.0 --external-host head --tokens-file users --cluster-secret-file secret \
        --tls-cert head/tls.crt --tls-key head/tls.key --tls-ca head/ca.crt

    # what it is doing
    curl localhost:50050/
    curl localhost:50050/api/firesteel/cluster

Without tokens and a secret, whoever reaches the port can do everything, so only this machine can. docs/security.md says
more.";

/// What becomes of an executor that may give other answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum MismatchedExecutors {
    /// It gets tasks, and the log says how it differs
    Warn,
    /// It gets none
    Refuse,
}

impl From<MismatchedExecutors> for Mismatch {
    fn from(action: MismatchedExecutors) -> Self {
        match action {
            MismatchedExecutors::Warn => Self::Warn,
            MismatchedExecutors::Refuse => Self::Refuse,
        }
    }
}

/// The arguments are named as those of Ballista's own scheduler.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct SchedulerArgs {
    /// Where to listen; 0.0.0.0 for other machines too
    #[arg(
        long,
        value_name = "HOST",
        env = "FIRESTEEL_SCHEDULER_BIND_HOST",
        default_value = "127.0.0.1",
        help_heading = "Network"
    )]
    bind_host: String,
    /// The port of everything: gRPC, Flight SQL, REST, health and metrics; 0 = any free one
    #[arg(
        long,
        short = 'p',
        value_name = "PORT",
        env = "FIRESTEEL_SCHEDULER_BIND_PORT",
        default_value_t = 50050,
        help_heading = "Network"
    )]
    bind_port: u16,
    /// A port for /healthz, /readyz, /metrics and /api/firesteel/cluster alone, for probes and monitoring that should not
    /// reach the rest; 0 = any free one [default: none]
    #[arg(long, value_name = "PORT", env = "FIRESTEEL_SCHEDULER_BIND_HEALTH_PORT", help_heading = "Network")]
    bind_health_port: Option<u16>,
    /// Whether /metrics on --bind-port is for everybody, not for those with a token alone [default: where only this machine
    /// reaches the port]
    #[arg(
        long,
        value_name = "BOOL",
        env = "FIRESTEEL_SCHEDULER_OPEN_METRICS",
        num_args = 0..=1,
        default_missing_value = "true",
        help_heading = "Network"
    )]
    open_metrics: Option<bool>,
    /// The largest request, such as a plan with long lists of values
    #[arg(
        long,
        value_name = "SIZE",
        env = "FIRESTEEL_SCHEDULER_MAX_REQUEST_SIZE",
        default_value = "16MiB",
        value_parser = size,
        help_heading = "Network"
    )]
    max_request_size: usize,
    /// The name under which executors reach this scheduler [default: --bind-host, or localhost for 0.0.0.0]
    #[arg(long, value_name = "HOST", env = "FIRESTEEL_SCHEDULER_EXTERNAL_HOST", help_heading = "Network")]
    external_host: Option<String>,
    /// Web origins that may use the REST API from a browser, with commas in between [default: its own]
    #[arg(
        long,
        value_name = "ORIGINS",
        env = "FIRESTEEL_SCHEDULER_CORS_ALLOWED_ORIGINS",
        default_value = "",
        hide_default_value = true,
        help_heading = "Network"
    )]
    cors_allowed_origins: String,
    /// Whether to serve Arrow Flight SQL, for ADBC and JDBC clients
    #[arg(
        long,
        value_name = "BOOL",
        env = "FIRESTEEL_SCHEDULER_FLIGHT_SQL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        help_heading = "Clients"
    )]
    flight_sql: bool,
    /// Clients fetch results through this scheduler, not from the executors: for those that cannot reach them
    #[arg(long, env = "FIRESTEEL_SCHEDULER_ENABLE_EMBEDDED_FLIGHT_PROXY", help_heading = "Clients")]
    enable_embedded_flight_proxy: bool,
    /// Clients fetch results from there, such as a load balancer in front of the executors; with tokens one in front of the
    /// scheduler, because executors let no user in
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "FIRESTEEL_SCHEDULER_ADVERTISE_FLIGHT_ENDPOINT",
        help_heading = "Clients"
    )]
    advertise_flight_endpoint: Option<String>,
    /// How long an executor may be silent before its tasks are run elsewhere. One whose process died is noticed at once
    #[arg(long, value_name = "S", env = "FIRESTEEL_SCHEDULER_EXECUTOR_TIMEOUT_SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(3..=86_400), help_heading = "Executors")]
    executor_timeout_seconds: u64,
    /// How often silent executors are looked for
    #[arg(long, value_name = "S", env = "FIRESTEEL_SCHEDULER_EXPIRE_DEAD_EXECUTOR_INTERVAL_SECONDS",
          default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = "Executors")]
    expire_dead_executor_interval_seconds: u64,
    /// How long a job may wait on a cluster without any executor before it fails
    #[arg(
        long,
        value_name = "S",
        env = "FIRESTEEL_SCHEDULER_NO_EXECUTORS_GRACE_PERIOD_SECONDS",
        default_value_t = 60,
        help_heading = "Executors"
    )]
    no_executors_grace_period_seconds: u64,
    /// How many executors have to be there before /readyz says so
    #[arg(
        long,
        value_name = "N",
        env = "FIRESTEEL_SCHEDULER_MIN_READY_EXECUTORS",
        default_value_t = 1,
        help_heading = "Executors"
    )]
    min_ready_executors: usize,
    /// What becomes of an executor whose model, MongoDB or Kafka are not those of this scheduler
    #[arg(
        long,
        value_name = "ACTION",
        env = "FIRESTEEL_SCHEDULER_MISMATCHED_EXECUTORS",
        default_value = "warn",
        help_heading = "Executors"
    )]
    mismatched_executors: MismatchedExecutors,
    /// Keeps finished jobs in this folder, also for the schedulers to come: /history/api/jobs
    #[arg(long, value_name = "FOLDER", env = "FIRESTEEL_SCHEDULER_EVENT_LOG_DIR", help_heading = "Jobs")]
    event_log_dir: Option<PathBuf>,
    /// How large this folder may become: the oldest jobs are removed
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_SCHEDULER_EVENT_LOG_SIZE", default_value = "128MiB",
          value_parser = size, help_heading = "Jobs")]
    event_log_size: usize,
    /// How long jobs stay in this folder; 0 = until there are too many
    #[arg(
        long,
        value_name = "S",
        env = "FIRESTEEL_SCHEDULER_EVENT_LOG_AGE_SECONDS",
        default_value_t = 604_800,
        help_heading = "Jobs"
    )]
    event_log_age_seconds: u64,
    /// How many finished jobs this scheduler remembers; one with many tasks counts as several
    #[arg(long, value_name = "N", env = "FIRESTEEL_SCHEDULER_FINISHED_JOBS", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(10..=1_000_000), help_heading = "Jobs")]
    finished_jobs: u32,
    /// How long executors keep the result of a finished job; 0 = until their own limit
    #[arg(
        long,
        value_name = "S",
        env = "FIRESTEEL_SCHEDULER_FINISHED_JOB_DATA_CLEAN_UP_INTERVAL_SECONDS",
        default_value_t = 300,
        help_heading = "Jobs"
    )]
    finished_job_data_clean_up_interval_seconds: u64,
    /// How long this scheduler remembers a finished job; 0 = until there are too many
    #[arg(
        long,
        value_name = "S",
        env = "FIRESTEEL_SCHEDULER_FINISHED_JOB_STATE_CLEAN_UP_INTERVAL_SECONDS",
        default_value_t = 3600,
        help_heading = "Jobs"
    )]
    finished_job_state_clean_up_interval_seconds: u64,
    /// How long running jobs may take to end after SIGTERM; a second signal ends at once
    #[arg(
        long,
        value_name = "S",
        env = "FIRESTEEL_SCHEDULER_GRACE_SECONDS",
        default_value_t = 10,
        help_heading = "Jobs"
    )]
    grace_seconds: u64,
    #[command(flatten)]
    users: UsersArgs,
    #[command(flatten)]
    security: ServerSecurityArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

impl SchedulerArgs {
    fn config(self, settings: &Arc<Settings>) -> anyhow::Result<SchedulerConfig> {
        self.engine.model.check_same_everywhere(settings)?;
        let security = self.security.read(&self.users)?;
        Ok(SchedulerConfig {
            access: security.access,
            tls: security.tls,
            dialer: security.dialer,
            insecure: security.insecure,
            bind_host: self.bind_host,
            bind_port: self.bind_port,
            bind_health_port: self.bind_health_port,
            open_metrics: self.open_metrics,
            max_request_bytes: self.max_request_size,
            external_host: self.external_host,
            executor_timeout: Duration::from_secs(self.executor_timeout_seconds),
            expire_interval: Duration::from_secs(self.expire_dead_executor_interval_seconds),
            no_executors_grace: Duration::from_secs(self.no_executors_grace_period_seconds),
            min_ready_executors: self.min_ready_executors,
            flight_sql: self.flight_sql,
            flight_proxy: self.enable_embedded_flight_proxy,
            advertise_flight_endpoint: self.advertise_flight_endpoint,
            mismatched_executors: self.mismatched_executors.into(),
            event_log_dir: self.event_log_dir,
            event_log_bytes: self.event_log_size as u64,
            event_log_age: Duration::from_secs(self.event_log_age_seconds),
            finished_jobs: self.finished_jobs as usize,
            job_data_clean_up: Duration::from_secs(self.finished_job_data_clean_up_interval_seconds),
            job_state_clean_up: Duration::from_secs(self.finished_job_state_clean_up_interval_seconds),
            cors_allowed_origins: self.cors_allowed_origins,
            grace: Duration::from_secs(self.grace_seconds),
            ..SchedulerConfig::new(self.engine.config(settings)?)
        })
    }
}

pub(crate) async fn run(args: SchedulerArgs, context: Context) -> anyhow::Result<Outcome> {
    let scheduler = Scheduler::bind(args.config(&context.settings)?).await?;
    let address = scheduler.address();
    scheduler.run(context.signals.shutdown.clone()).await?;
    tracing::info!(%address, "stopped");
    Ok(Outcome::Done)
}
