//! A scheduler and executors of one slot each, as processes of this binary on free ports of this machine.

use anyhow::{Context as _, bail};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::watch::Root;

/// How long a role may take to come up.
const SOON: Duration = Duration::from_secs(60);

/// A cluster that is up. Killed when dropped.
#[derive(Debug)]
pub(super) struct Cluster {
    roles: Vec<Child>,
    port: u16,
}

impl Cluster {
    /// Starts it over one database; `folder` takes what executors write.
    pub(super) async fn start(
        binary: &Path,
        uri: &str,
        database: &str,
        executors: usize,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let command = |arguments: &[&str]| {
            let mut command = Command::new(binary);
            // The address may hold a password, which an argument would show to everyone.
            command
                .args(arguments)
                .env("FIRESTEEL_MONGODB_URI", uri)
                .env("FIRESTEEL_MONGODB_DATABASE", database);
            command.env("FIRESTEEL_LOG", "info").current_dir(folder);
            command
        };
        let mut cluster = Self { roles: Vec::new(), port };
        let port = port.to_string();
        let mut scheduler = command(&["scheduler", "--bind-host", "127.0.0.1", "--bind-port", &port]);
        cluster.add(&mut scheduler, "scheduler is ready").await?;
        let work = folder.to_string_lossy().into_owned();
        for _ in 0..executors {
            let mut executor =
                command(&["executor", "--scheduler-host", "127.0.0.1", "--scheduler-port", &port]);
            executor.args(["--vcores", "1", "--work-dir", &work, "--bind-host", "127.0.0.1"]);
            executor.args(["--bind-port", "0", "--bind-grpc-port", "0", "--bind-health-port", "0"]);
            cluster.add(&mut executor, "executor is ready").await?;
        }
        Ok(cluster)
    }

    async fn add(&mut self, command: &mut Command, ready: &'static str) -> anyhow::Result<()> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut role = command.spawn().context("cannot start a process of the cluster")?;
        let Some(stderr) = role.stderr.take() else {
            bail!("a process of the cluster has no standard error")
        };
        self.roles.push(role);
        let mut lines = BufReader::new(stderr).lines();
        let wait = async {
            let mut last = String::new();
            while let Some(line) = lines.next_line().await? {
                if line.contains(ready) {
                    return Ok(());
                }
                last = line;
            }
            bail!("a process of the cluster ended before {ready:?}: {last}")
        };
        tokio::time::timeout(SOON, wait).await.with_context(|| format!("no {ready:?} within {SOON:?}"))??;
        // Somebody has to read on, or the process is held up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(())
    }

    /// Where clients connect.
    pub(super) fn url(&self) -> String {
        format!("df://127.0.0.1:{}", self.port)
    }

    /// Its processes, and the one that asks.
    pub(super) fn roots(&self) -> Vec<Root> {
        let roles = self.roles.iter().filter_map(Child::id).map(Root::Tree);
        roles.chain([Root::Alone(std::process::id())]).collect()
    }
}
