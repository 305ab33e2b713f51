//! The servers of a run: three brokers of Kafka and a replica set of three, as processes of the harness, from what
//! `dev/services` fetches. Clients find them behind proxies; the harness itself has ways of its own that no fault touches.

pub(crate) mod kafka;
pub(crate) mod mongodb;

use crate::ports::Ports;
use anyhow::{Context as _, bail, ensure};
use kafka::Kafka;
use mongodb::Mongodb;
use serde::Deserialize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Brokers, and members of the replica set.
pub(crate) const MEMBERS: usize = 3;
/// How long the servers may take to come up, on a busy machine.
pub(crate) const UP_WITHIN: Duration = Duration::from_secs(180);
/// What `dev/services paths` says where this machine cannot run servers of its own.
const CANNOT: i32 = 3;

/// The command lines of the servers, without what is particular to one.
#[derive(Debug, Deserialize)]
pub(crate) struct Paths {
    kafka: Vec<String>,
    mongod: Vec<String>,
}

impl Paths {
    /// Asks `dev/services`, which fetches what is missing. `None`, with the reason on standard error, where this machine
    /// cannot run servers.
    pub(crate) fn ask() -> anyhow::Result<Option<Self>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let program = root.join("dev/services");
        let ran = Command::new(&program).arg("paths").stdin(Stdio::null()).output();
        let ran = ran.with_context(|| format!("cannot run {}", program.display()))?;
        let (told, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        if ran.status.code() == Some(CANNOT) {
            eprintln!("{}", said.trim());
            return Ok(None);
        }
        ensure!(ran.status.success(), "dev/services paths: {}", said.trim());
        // What it says of its downloads comes before.
        let line = told.lines().last().unwrap_or_default();
        serde_json::from_str(line).map(Some).with_context(|| format!("dev/services paths said {line:?}"))
    }
}

/// All servers. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) kafka: Kafka,
    pub(crate) mongodb: Mongodb,
}

impl Servers {
    /// Starts all, with their data and logs in `folder`, and waits until they serve. `marker` is in the environment of each.
    pub(crate) async fn start(
        folder: &Path,
        ports: &mut Ports,
        marker: &(String, String),
    ) -> anyhow::Result<Arc<Self>> {
        let Some(paths) = Paths::ask()? else {
            bail!("this machine cannot run three brokers and a replica set of its own")
        };
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs)?;
        let mut kafka = Kafka::new(&paths.kafka, folder, ports, marker).await?;
        let mut mongodb = Mongodb::new(&paths.mongod, folder, ports, marker).await?;
        // MongoDB is ready first.
        mongodb.up().await?;
        kafka.up().await?;
        Ok(Arc::new(Self { kafka, mongodb }))
    }
}
