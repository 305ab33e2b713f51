//! The arguments of whoever asks questions: which engine answers them, and how it reads MongoDB.

use std::time::Duration;

use clap::Args;
use firesteel_engine::{Config, Session};

use super::security::ClientSecurityArgs;

/// Which engine answers, and how it reads MongoDB.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct SessionArgs {
    /// The engine: unset, one inside this process; df://HOST:PORT, that cluster; dfs://HOST:PORT, by TLS
    #[arg(long, value_name = "URL", env = "FIRESTEEL_SCHEDULER")]
    pub(crate) scheduler: Option<String>,
    /// How long a query that only reads waits for a scheduler that went away while it ran, before it fails
    #[arg(long, value_name = "S", env = "FIRESTEEL_RECONNECT_SECONDS", default_value_t = 30)]
    pub(crate) reconnect_seconds: u64,
    /// Partitions of a scan of MongoDB [default: one a core, fewer for a small collection]
    #[arg(long, value_name = "N", env = "FIRESTEEL_SCAN_PARTITIONS",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) scan_partitions: Option<u32>,
    /// Whether MongoDB itself computes aggregates where that gives what the engine would
    #[arg(long, value_name = "SWITCH", env = "FIRESTEEL_AGGREGATE_PUSHDOWN", default_value = "on")]
    pub(crate) aggregate_pushdown: Switch,
    #[command(flatten)]
    pub(crate) security: ClientSecurityArgs,
}

impl SessionArgs {
    /// The engine that answers: one in this process, or the cluster.
    pub(crate) async fn connect(&self, mut config: Config) -> firesteel_engine::Result<Session> {
        config.reconnect = Duration::from_secs(self.reconnect_seconds);
        config.scan.max_partitions = self.scan_partitions.map(|n| n as usize);
        config.scan.aggregate_pushdown = self.aggregate_pushdown == Switch::On;
        match self.scheduler.as_deref() {
            Some(url) => {
                config.dialer = self.security.dialer()?;
                Session::connect(url, config).await
            }
            None => Session::embedded(config).await,
        }
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    /// It is done
    On,
    /// It is not done
    Off,
}
