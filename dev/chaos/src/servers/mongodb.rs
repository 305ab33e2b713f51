//! A replica set of three. Its configuration has the addresses of proxies, so faults of the network reach the clients and the
//! members alike. The harness talks to each member by its own port.

use super::{MEMBERS, UP_WITHIN};
use crate::ports::Ports;
use crate::process::{Process, Spec};
use crate::proxy::Proxy;
use anyhow::{Context as _, anyhow, bail, ensure};
use bson::{Bson, Document, doc};
use mongodb::Client;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SET: &str = "chaos";
/// How long a member may take to answer the harness.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The running set.
#[derive(Debug)]
pub(crate) struct Mongodb {
    pub(crate) members: Vec<Process>,
    /// In front of the members, in their order.
    pub(crate) proxies: Vec<Proxy>,
    /// What the roles are told.
    pub(crate) uri: String,
    direct: Vec<Client>,
}

impl Mongodb {
    /// Makes folders and proxies; nothing runs yet.
    pub(super) async fn new(
        mongod: &[String],
        folder: &Path,
        ports: &mut Ports,
        marker: &(String, String),
    ) -> anyhow::Result<Self> {
        let [program, arguments @ ..] = mongod else { bail!("dev/services paths names no mongod") };
        let (mut members, mut proxies, mut direct) = (Vec::new(), Vec::new(), Vec::new());
        for index in 1..=MEMBERS {
            let name = format!("mongod-{index}");
            let data = folder.join("data").join(&name);
            std::fs::create_dir_all(&data)?;
            let address = ports.free()?;
            let own = [
                format!("--dbpath={}", data.display()),
                format!("--port={}", address.port()),
                format!("--replSet={SET}"),
                "--wiredTigerCacheSizeGB=0.25".to_owned(),
                "--oplogSize=256".to_owned(),
            ];
            members.push(Process::new(Spec {
                folder: folder.to_owned(),
                log: folder.join(format!("logs/{name}.log")),
                name,
                program: PathBuf::from(program),
                arguments: [arguments, &own].concat(),
                environment: vec![marker.clone()],
                health: None,
            }));
            proxies.push(Proxy::start(ports.free()?, vec![address]).await?);
            let limit = ANSWER_WITHIN.as_millis();
            let uri = format!(
                "mongodb://{address}/?directConnection=true&serverSelectionTimeoutMS={limit}&connectTimeoutMS={limit}"
            );
            direct.push(Client::with_uri_str(uri).await?);
        }
        let hosts: Vec<String> = proxies.iter().map(|proxy| proxy.address.to_string()).collect();
        let uri = format!("mongodb://{}/?replicaSet={SET}", hosts.join(","));
        Ok(Self { members, proxies, uri, direct })
    }

    /// Starts the members, makes a set of them, and waits for a primary with two secondaries.
    pub(super) async fn up(&mut self) -> anyhow::Result<()> {
        for member in &self.members {
            member.start()?;
        }
        let hosts = self.proxies.iter().enumerate();
        let hosts: Vec<Bson> = hosts
            .map(|(id, proxy)| {
                doc! { "_id": i32::try_from(id).unwrap_or(0), "host": proxy.address.to_string() }.into()
            })
            .collect();
        let config = doc! { "_id": SET, "members": hosts, "settings": { "electionTimeoutMillis": 5_000 } };
        let deadline = Instant::now() + UP_WITHIN;
        let mut last = String::new();
        let mut initiated = false;
        loop {
            if !initiated {
                let first = self.direct.first().context("a member")?.database("admin");
                match first.run_command(doc! { "replSetInitiate": config.clone() }).await {
                    Ok(_) => initiated = true,
                    // A second member may not be up yet.
                    Err(error) => last = error.to_string(),
                }
            } else if self.states().await == (1, MEMBERS - 1) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "MongoDB does not serve after {UP_WITHIN:?}: {last}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// How many members say that they are primary, and how many secondary.
    pub(crate) async fn states(&self) -> (usize, usize) {
        let mut found = (0, 0);
        for hello in futures::future::join_all(self.direct.iter().map(hello)).await.into_iter().flatten() {
            found.0 += usize::from(hello.get_bool("isWritablePrimary").unwrap_or(false));
            found.1 += usize::from(hello.get_bool("secondary").unwrap_or(false));
        }
        found
    }

    /// The primary at the moment: its number, and a client of it alone.
    pub(crate) async fn primary(&self) -> Option<(usize, &Client)> {
        let answers = futures::future::join_all(self.direct.iter().map(hello)).await;
        // After a partition two may think that they are; the one of the later election is.
        let mut found: Vec<(usize, Bson)> = Vec::new();
        for (number, hello) in answers.into_iter().enumerate() {
            let Some(hello) = hello else { continue };
            if hello.get_bool("isWritablePrimary").unwrap_or(false) {
                found.push((number, hello.get("electionId").cloned().unwrap_or(Bson::Null)));
            }
        }
        let latest = found.into_iter().max_by_key(|(_, election)| election.to_string())?;
        Some((latest.0, self.direct.get(latest.0)?))
    }

    /// A client of the primary, as soon as there is one.
    pub(crate) async fn wait_for_primary(&self, within: Duration) -> anyhow::Result<&Client> {
        let deadline = Instant::now() + within;
        loop {
            if let Some((_, client)) = self.primary().await {
                return Ok(client);
            }
            ensure!(Instant::now() < deadline, "the replica set has no primary after {within:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Has the primary step down for `seconds`.
    pub(crate) async fn step_down(&self, seconds: i32) -> anyhow::Result<()> {
        let (_, client) = self.primary().await.ok_or_else(|| anyhow!("there is no primary"))?;
        let command = doc! { "replSetStepDown": seconds, "secondaryCatchUpPeriodSecs": 5 };
        client.database("admin").run_command(command).await?;
        Ok(())
    }
}

async fn hello(client: &Client) -> Option<Document> {
    let ask = client.database("admin");
    let ask = ask.run_command(doc! { "hello": 1 });
    tokio::time::timeout(ANSWER_WITHIN, ask).await.ok()?.ok()
}
