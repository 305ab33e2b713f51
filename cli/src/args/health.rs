//! Where a long-running role tells of its health.

use clap::Args;

/// The health server of a role.
#[derive(Debug, Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthListenArgs {
    /// Where to serve /healthz, /readyz and /metrics (Prometheus) over HTTP [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT", env = "FIRESTEEL_HEALTH_LISTEN")]
    pub(crate) health_listen: Option<std::net::SocketAddr>,
}
