//! `firesteel executor`: a worker of a cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use firesteel_engine::cluster::{DEFAULT_SCHEDULER_PORT, Executor, ExecutorConfig, MemoryLimit};
use firesteel_engine::{asks_for_tls, scheduler_address};

use crate::args::fields::Settings;
use crate::args::{CacheArgs, EngineArgs, ServerSecurityArgs, UsersArgs, size};
use crate::context::{Context, Outcome};

/// The examples at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
    # a second executor on this machine, on any free ports, with two slots and 4 GiB for sorts and joins
    firesteel executor --bind-port 0 --bind-grpc-port 0 --bind-health-port 0 --vcores 2 --memory-pool-size 4GiB

    # on another machine, for the scheduler on `head`
    firesteel executor --scheduler-host head --bind-host 0.0.0.0 --cluster-secret-file secret \
        --tls-cert worker/tls.crt --tls-key worker/tls.key --tls-ca worker/ca.crt

    # is it ready?
    curl localhost:50053/readyz

Scheduler and executors may start in any order. SIGTERM drains: no new tasks, those that run end, and shuffle files
stay until the jobs that need them are over or --grace-seconds have passed.";

/// The arguments are named as those of Ballista's own executor.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ExecutorArgs {
    /// The scheduler, as one address
    #[arg(
        long,
        value_name = "URL",
        env = "FIRESTEEL_SCHEDULER",
        default_value = "df://localhost:50050",
        help_heading = "Scheduler"
    )]
    scheduler: String,
    /// The scheduler's host, instead of that in --scheduler
    #[arg(long, value_name = "HOST", help_heading = "Scheduler")]
    scheduler_host: Option<String>,
    /// The scheduler's port, instead of that in --scheduler
    #[arg(long, value_name = "PORT", help_heading = "Scheduler")]
    scheduler_port: Option<u16>,
    /// How often to report to the scheduler, well below its --executor-timeout-seconds
    #[arg(long, value_name = "S", env = "FIRESTEEL_EXECUTOR_HEARTBEAT_INTERVAL_SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = "Scheduler")]
    executor_heartbeat_interval_seconds: u64,
    /// Where to listen; 0.0.0.0 for other machines too
    #[arg(
        long,
        value_name = "HOST",
        env = "FIRESTEEL_EXECUTOR_BIND_HOST",
        default_value = "127.0.0.1",
        help_heading = "Network"
    )]
    bind_host: String,
    /// The port of Arrow Flight, for shuffle files and results; 0 = any free one
    #[arg(
        long,
        short = 'p',
        value_name = "PORT",
        env = "FIRESTEEL_EXECUTOR_BIND_PORT",
        default_value_t = 50051,
        help_heading = "Network"
    )]
    bind_port: u16,
    /// The port for the scheduler's orders; 0 = any free one
    #[arg(
        long,
        value_name = "PORT",
        env = "FIRESTEEL_EXECUTOR_BIND_GRPC_PORT",
        default_value_t = 50052,
        help_heading = "Network"
    )]
    bind_grpc_port: u16,
    /// The port of /healthz, /readyz and /metrics; 0 = any free one
    #[arg(
        long,
        value_name = "PORT",
        env = "FIRESTEEL_EXECUTOR_BIND_HEALTH_PORT",
        default_value_t = 50053,
        help_heading = "Network"
    )]
    bind_health_port: u16,
    /// The name under which others reach this executor [default: the address that the scheduler sees]
    #[arg(long, value_name = "HOST", env = "FIRESTEEL_EXECUTOR_EXTERNAL_HOST", help_heading = "Network")]
    external_host: Option<String>,
    /// Its name in the cluster [default: a random one]
    #[arg(long, value_name = "ID", env = "FIRESTEEL_EXECUTOR_ID", help_heading = "Network")]
    id: Option<String>,
    /// How many tasks run at once; 0 = one a processor
    #[arg(
        long,
        short = 'c',
        value_name = "N",
        env = "FIRESTEEL_EXECUTOR_VCORES",
        default_value_t = 0,
        help_heading = "Resources"
    )]
    vcores: usize,
    /// What sorts, joins and aggregations may use before they spill to disk, such as 4GiB; 0 = no limit [default: 70 % of
    /// the container's or the machine's memory]
    #[arg(
        long,
        visible_alias = "memory-limit",
        value_name = "SIZE",
        env = "FIRESTEEL_EXECUTOR_MEMORY_POOL_SIZE",
        value_parser = size,
        help_heading = "Resources"
    )]
    memory_pool_size: Option<usize>,
    /// Where shuffle files and spills go, in a folder of their own that is removed at the end [default: the system's folder for
    /// temporary files]
    #[arg(long, value_name = "FOLDER", env = "FIRESTEEL_EXECUTOR_WORK_DIR", help_heading = "Resources")]
    work_dir: Option<PathBuf>,
    /// How many bytes of shuffle files and spills there may be, such as 30GiB: beyond it the query with the most fails. They are
    /// counted twice a second, so leave some room on the disk [default: no limit]
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_EXECUTOR_SCRATCH_SIZE", value_parser = size, help_heading = "Resources")]
    scratch_size: Option<usize>,
    /// How long the files of a job stay after their last change
    #[arg(
        long,
        value_name = "S",
        env = "FIRESTEEL_EXECUTOR_JOB_DATA_TTL_SECONDS",
        default_value_t = 86_400,
        help_heading = "Resources"
    )]
    job_data_ttl_seconds: u64,
    /// How often such files are looked for; 0 = never
    #[arg(
        long,
        value_name = "S",
        env = "FIRESTEEL_EXECUTOR_JOB_DATA_CLEAN_UP_INTERVAL_SECONDS",
        default_value_t = 600,
        help_heading = "Resources"
    )]
    job_data_clean_up_interval_seconds: u64,
    /// How long what is under way may take after SIGTERM; a second signal ends at once
    #[arg(
        long,
        value_name = "S",
        env = "FIRESTEEL_EXECUTOR_GRACE_SECONDS",
        default_value_t = 30,
        help_heading = "Resources"
    )]
    grace_seconds: u64,
    #[command(flatten)]
    security: ServerSecurityArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

impl ExecutorArgs {
    fn config(self, settings: &Arc<Settings>) -> anyhow::Result<ExecutorConfig> {
        let (mut host, mut port) = match (self.scheduler_host, self.scheduler_port) {
            (Some(host), port) => (host, port.unwrap_or(DEFAULT_SCHEDULER_PORT)),
            (None, _) => scheduler_address(&self.scheduler)?,
        };
        if let Some(named) = self.scheduler_port {
            port = named;
        }
        if host.contains("://") {
            bail!("--scheduler-host is a host name; an address such as df://{host} goes into --scheduler");
        }
        host = host.trim_matches(['[', ']']).to_owned();
        if asks_for_tls(&self.scheduler) && !self.security.trusts() {
            bail!(
                "--scheduler {} asks for TLS: name the authority of its certificate with --tls-ca",
                self.scheduler
            );
        }
        // Executors serve members of the cluster alone.
        let security = self.security.read(&UsersArgs::default())?;
        self.engine.model.check_same_everywhere(settings)?;
        let mut config = self.engine.config(settings)?;
        config.vcores = (self.vcores > 0).then_some(self.vcores);
        config.cache = self.cache.config();
        Ok(ExecutorConfig {
            access: security.access,
            tls: security.tls,
            dialer: security.dialer,
            insecure: security.insecure,
            id: self.id,
            scheduler_host: host,
            scheduler_port: port,
            bind_host: self.bind_host,
            bind_port: self.bind_port,
            bind_grpc_port: self.bind_grpc_port,
            bind_health_port: self.bind_health_port,
            external_host: self.external_host,
            work_dir: self.work_dir,
            memory: match self.memory_pool_size {
                None => MemoryLimit::Detect,
                Some(0) => MemoryLimit::Unlimited,
                Some(bytes) => MemoryLimit::Bytes(bytes),
            },
            scratch: self.scratch_size.filter(|bytes| *bytes > 0).map(|bytes| bytes as u64),
            heartbeat_interval: Duration::from_secs(self.executor_heartbeat_interval_seconds),
            grace: Duration::from_secs(self.grace_seconds),
            job_data_ttl: Duration::from_secs(self.job_data_ttl_seconds),
            job_data_clean_up_interval: Duration::from_secs(self.job_data_clean_up_interval_seconds),
            ..ExecutorConfig::new(config)
        })
    }
}

pub(crate) async fn run(args: ExecutorArgs, context: Context) -> anyhow::Result<Outcome> {
    let executor = Executor::bind(args.config(&context.settings).context("executor cannot start")?).await?;
    executor.run(context.signals.shutdown.clone()).await?;
    tracing::info!("stopped");
    Ok(Outcome::Done)
}
