//! What long-running roles share: a health server beside the role, and a log line every 30 seconds with its counts.

use std::sync::Arc;
use std::time::Duration;

use firesteel_pipeline::consumer::Stats;
use firesteel_pipeline::health::{HealthSource, Server};
use tokio_util::sync::CancellationToken;

use crate::args::HealthListenArgs;
use crate::context::Outcome;

/// How often a long-running role logs its counts.
const SUMMARY_EVERY: Duration = Duration::from_secs(30);

impl HealthListenArgs {
    /// Runs a role and, where one is configured, the health server for as long as the role runs.
    pub(crate) async fn beside(
        &self,
        source: Arc<dyn HealthSource>,
        role: impl Future<Output = anyhow::Result<Outcome>>,
    ) -> anyhow::Result<Outcome> {
        let Some(listen) = self.health_listen else { return role.await };
        let server = Server::bind(listen).await?;
        tracing::info!(address = %server.address(), "health is served");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(source, stop.clone()));
        let outcome = role.await;
        stop.cancel();
        if serving.await.is_err() {
            tracing::warn!("the health server panicked");
        }
        outcome
    }
}

/// Runs a consumer until it ends and logs its counts every 30 seconds.
pub(crate) async fn consume(
    role: &'static str,
    stats: Arc<Stats>,
    consumer: impl Future<Output = firesteel_pipeline::Result<()>>,
) -> anyhow::Result<Outcome> {
    let summaries = async {
        let mut before = stats.snapshot();
        loop {
            tokio::time::sleep(SUMMARY_EVERY).await;
            let now = stats.snapshot();
            if now != before {
                let (succeeded, dead_lettered, in_flight) = (now.succeeded, now.dead_lettered, now.in_flight);
                tracing::info!(role, succeeded, dead_lettered, in_flight, "so far");
            }
            before = now;
        }
    };
    tokio::select! {
        result = consumer => result?,
        () = summaries => {}
    }
    let total = stats.snapshot();
    tracing::info!(role, succeeded = total.succeeded, dead_lettered = total.dead_lettered, "stopped");
    Ok(Outcome::Done)
}
