//! MongoDB's side of the work: what it sent, and its processor time, by its own counters.

use anyhow::Context as _;
use bson::{Bson, Document, doc};
use mongodb::Client;

/// A server's counters; they only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counters {
    pub(super) sent_bytes: f64,
    pub(super) cpu_seconds: f64,
}

impl Counters {
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes - before.sent_bytes,
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
        }
    }
}

/// Connects, and says so where nobody answers.
pub(super) async fn connect(uri: &str) -> anyhow::Result<Client> {
    let client = Client::with_uri_str(uri).await.context("FIRESTEEL_MONGODB_URI")?;
    client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .await
        .context("MongoDB does not answer (FIRESTEEL_MONGODB_URI); `make services` starts one here")?;
    Ok(client)
}

/// The counters now.
pub(super) async fn counters(client: &Client) -> anyhow::Result<Counters> {
    let status = client.database("admin").run_command(doc! { "serverStatus": 1 }).await;
    let status = status.context("MongoDB's serverStatus, which the role clusterMonitor allows")?;
    let microseconds =
        number(&status, "extra_info", "user_time_us") + number(&status, "extra_info", "system_time_us");
    Ok(Counters { sent_bytes: number(&status, "network", "bytesOut"), cpu_seconds: microseconds / 1e6 })
}

/// The server's version.
pub(super) async fn version(client: &Client) -> anyhow::Result<String> {
    let info = client.database("admin").run_command(doc! { "buildInfo": 1 }).await?;
    Ok(info.get_str("version").unwrap_or("unknown").to_owned())
}

fn number(status: &Document, section: &str, name: &str) -> f64 {
    match status.get_document(section).ok().and_then(|section| section.get(name)) {
        Some(Bson::Int32(value)) => f64::from(*value),
        Some(Bson::Int64(value)) => *value as f64,
        Some(Bson::Double(value)) => *value,
        _ => 0.0,
    }
}
