//! A cluster that asks who is there, and clients of it.

use std::net::SocketAddr;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use arrow_flight::FlightInfo;
use arrow_flight::sql::client::FlightSqlServiceClient;
use firesteel_testkit::{Answer, Cluster, ClusterSettings, SOON, http_with, wait_until};
use futures::TryStreamExt as _;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

pub(crate) type Client = FlightSqlServiceClient<Channel>;

pub(crate) const SECRET: &str = "the-secret-of-the-cluster";
/// Users by name, with their roles and tokens.
pub(crate) const ADA: &str = "token-of-ada-a-writer";
pub(crate) const BOB: &str = "token-of-bob-a-reader";
pub(crate) const EVE: &str = "token-of-eve-a-reader";
pub(crate) const ROOT: &str = "token-of-root-an-admin";

/// Settings without servers: no test here reads MongoDB or Kafka.
pub(crate) fn settings() -> ClusterSettings {
    ClusterSettings::new(env!("CARGO_BIN_EXE_firesteel"), "mongodb://127.0.0.1:1", "none")
}

/// Writes a file that only its owner can read.
pub(crate) fn private(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    path.display().to_string()
}

/// A cluster with users and a secret.
pub(crate) struct Guarded {
    pub(crate) cluster: Cluster,
    _folder: TempDir,
}

impl Guarded {
    pub(crate) async fn start(executors: usize) -> Self {
        Self::start_with(settings(), executors).await
    }

    pub(crate) async fn start_with(settings: ClusterSettings, executors: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let users = format!("ada writer {ADA}\nbob reader {BOB}\neve reader {EVE}\nroot admin {ROOT}\n");
        let users = private(folder.path(), "users", &users);
        let settings =
            settings.scheduler(&["--tokens-file", &users]).with("FIRESTEEL_CLUSTER_SECRET", SECRET);
        let mut cluster = Cluster::prepare(settings);
        cluster.start_scheduler();
        for _ in 0..executors {
            cluster.add_executor();
        }
        let guarded = Self { cluster, _folder: folder };
        wait_until("the executors are there", SOON, async || {
            let answer = guarded.get("/api/executors", ROOT).await;
            answer.status == 200 && answer.json().as_array().map(Vec::len) == Some(executors)
        })
        .await;
        guarded
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.cluster.address()
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, token).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        http_with(self.address(), method, path, &headers, &[]).await.expect("an answer")
    }

    pub(crate) async fn client(&self, token: &str) -> Client {
        let mut client = connect(self.address()).await;
        client.set_token(token.to_owned());
        client
    }
}

/// A client of Arrow Flight SQL on a connection of its own.
pub(crate) async fn connect(address: SocketAddr) -> Client {
    FlightSqlServiceClient::new(channel(address).await)
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("a connection")
}

/// What a statement returns, as text, or why not.
pub(crate) async fn run(client: &mut Client, sql: &str) -> Result<String, String> {
    let info = client.execute(sql.to_owned(), None).await.map_err(|error| error.to_string())?;
    let batches = fetch(client, info).await.map_err(|error| error.to_string())?;
    Ok(arrow::util::pretty::pretty_format_batches(&batches).expect("text").to_string())
}

pub(crate) async fn fetch(
    client: &mut Client,
    info: FlightInfo,
) -> Result<Vec<RecordBatch>, arrow_flight::error::FlightError> {
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        let stream = client.do_get(endpoint.ticket.expect("a ticket")).await?;
        batches.extend(stream.try_collect::<Vec<_>>().await?);
    }
    Ok(batches)
}
