//! A real cluster: one `firesteel scheduler` and any number of `firesteel executor` processes on free ports.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::http::{Answer, http};
use crate::role::{Role, binary};
use crate::{SOON, wait_until};

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The binary: `env!("CARGO_BIN_EXE_firesteel")`.
    pub binary: PathBuf,
    /// Slots of each executor.
    pub vcores: usize,
    /// Environment of every process: the settings of MongoDB and Kafka.
    pub environment: Vec<(String, String)>,
    /// Further arguments of the scheduler.
    pub scheduler: Vec<String>,
    /// Further arguments of each executor.
    pub executor: Vec<String>,
}

impl ClusterSettings {
    /// Executors with two slots each, over the `database` of the server at `mongodb_uri`.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, mongodb_uri: &str, database: &str) -> Self {
        let environment = [("FIRESTEEL_MONGODB_URI", mongodb_uri), ("FIRESTEEL_MONGODB_DATABASE", database)];
        Self {
            binary: binary.into(),
            vcores: 2,
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            scheduler: Vec::new(),
            executor: Vec::new(),
        }
    }

    /// With a further setting in the environment of every process.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With further arguments of the scheduler.
    #[must_use]
    pub fn scheduler(mut self, arguments: &[&str]) -> Self {
        self.scheduler.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// With further arguments of each executor.
    #[must_use]
    pub fn executor(mut self, arguments: &[&str]) -> Self {
        self.executor.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }
}

/// A running cluster. Everything of it is killed and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    address: SocketAddr,
    scheduler: Option<Role>,
    executors: BTreeMap<usize, Executor>,
    started: usize,
    folder: TempDir,
}

/// How many executors take tasks, as the scheduler says; `None` where it says nothing.
pub(crate) async fn active_executors(scheduler: SocketAddr) -> Option<usize> {
    let answer = http(scheduler, "GET", "/api/firesteel/cluster").await.ok()?;
    let json = answer.json();
    let executors = json["executors"].as_array()?;
    Some(executors.iter().filter(|executor| executor["status"] == "active").count())
}

#[derive(Debug)]
struct Executor {
    role: Role,
    /// Known once it has said so.
    health: Option<SocketAddr>,
    id: Option<String>,
}

impl Cluster {
    /// Starts a scheduler and `executors` executors, and waits until all of them are registered.
    ///
    /// # Panics
    /// When they do not come up soon.
    pub async fn start(settings: ClusterSettings, executors: usize) -> Self {
        let mut cluster = Self::prepare(settings);
        cluster.start_scheduler();
        for _ in 0..executors {
            cluster.add_executor();
        }
        cluster.wait_for_executors(executors).await;
        cluster
    }

    /// A cluster of which nothing runs yet.
    ///
    /// # Panics
    /// When no port or folder can be had.
    #[must_use]
    pub fn prepare(settings: ClusterSettings) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let folder = tempfile::Builder::new().prefix("test-cluster-").tempdir().expect("a folder");
        let mut settings = settings;
        // SQL of a test may have the cluster's own folder, unless the test says which.
        for name in ["FIRESTEEL_ALLOW_READ", "FIRESTEEL_ALLOW_WRITE"] {
            if settings.environment.iter().all(|(known, _)| known != name) {
                settings = settings.with(name, &folder.path().to_string_lossy());
            }
        }
        Self { settings, address, scheduler: None, executors: BTreeMap::new(), started: 0, folder }
    }

    /// Starts the scheduler, at the same address each time, and waits until it listens.
    ///
    /// # Panics
    /// When it does not soon.
    pub fn start_scheduler(&mut self) {
        let port = self.address.port().to_string();
        let mut command = self.firesteel(&["scheduler", "--bind-port", &port]);
        command.args(&self.settings.scheduler).env("FIRESTEEL_LOG_FORMAT", "json");
        let mut role = Role::start(command);
        role.wait_for_fields("scheduler is ready");
        self.scheduler = Some(role);
    }

    /// Kills the scheduler.
    pub fn kill_scheduler(&mut self) {
        self.scheduler = None;
    }

    /// Sends the scheduler a signal and waits for its end.
    ///
    /// # Panics
    /// When there is none, or it does not end within `within`.
    pub fn end_scheduler(&mut self, signal: i32, within: Duration) -> ExitStatus {
        let mut role = self.scheduler.take().expect("a scheduler");
        role.signal(signal);
        role.wait(within)
    }

    /// Starts an executor and does not wait for it; its number, from 0.
    pub fn add_executor(&mut self) -> usize {
        let vcores = self.settings.vcores.to_string();
        let port = self.address.port().to_string();
        let work = self.folder.path().to_string_lossy().into_owned();
        let mut command = self.firesteel(&["executor", "--scheduler-host", "127.0.0.1"]);
        command
            .args(["--scheduler-port", &port, "--vcores", &vcores, "--work-dir", &work])
            .args(["--bind-port", "0", "--bind-grpc-port", "0", "--bind-health-port", "0"])
            .args(["--executor-heartbeat-interval-seconds", "1"])
            .args(&self.settings.executor)
            .env("FIRESTEEL_LOG_FORMAT", "json");
        let number = self.started;
        self.started += 1;
        self.executors.insert(number, Executor { role: Role::start(command), health: None, id: None });
        number
    }

    /// Waits until exactly `count` executors take tasks.
    ///
    /// # Panics
    /// When that does not come soon.
    pub async fn wait_for_executors(&self, count: usize) {
        wait_until(&format!("{count} executors are there"), SOON, async || {
            active_executors(self.address).await == Some(count)
        })
        .await;
    }

    /// The process ids of the scheduler and of all executors that run.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        let executors = self.executors.values().map(|executor| &executor.role);
        self.scheduler.iter().chain(executors).map(Role::id).collect()
    }

    /// The numbers of the executors that were started and not ended.
    #[must_use]
    pub fn executors(&self) -> Vec<usize> {
        self.executors.keys().copied().collect()
    }

    /// The id of executor `number` in the cluster; waits until it is registered.
    ///
    /// # Panics
    /// When there is none, or it does not register soon.
    pub fn executor_id(&mut self, number: usize) -> String {
        self.health_address(number);
        let executor = self.executors.get_mut(&number).expect("an executor");
        let role = &mut executor.role;
        let id = executor.id.get_or_insert_with(|| {
            let fields = role.wait_for_fields("executor is ready");
            fields["id"].as_str().expect("an id").to_owned()
        });
        id.clone()
    }

    /// Where executor `number` answers `/readyz` and `/metrics`.
    ///
    /// # Panics
    /// When there is none, or it does not start soon.
    pub fn health_address(&mut self, number: usize) -> SocketAddr {
        let executor = self.executors.get_mut(&number).expect("an executor");
        let role = &mut executor.role;
        *executor.health.get_or_insert_with(|| {
            let fields = role.wait_for_fields("executor starts");
            fields["health_address"].as_str().and_then(|text| text.parse().ok()).expect("an address")
        })
    }

    /// All that executor `number` has logged.
    ///
    /// # Panics
    /// When there is none.
    pub fn executor_said(&mut self, number: usize) -> String {
        self.executors.get_mut(&number).expect("an executor").role.said()
    }

    /// All that the scheduler has logged.
    pub fn scheduler_said(&mut self) -> String {
        self.scheduler.as_mut().map(Role::said).unwrap_or_default()
    }

    /// Kills executor `number` (SIGKILL) and waits for its end.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill(&mut self, number: usize) {
        // Dropped, it is killed.
        self.executors.remove(&number).expect("an executor");
    }

    /// Sends a signal to executor `number`.
    ///
    /// # Panics
    /// When there is none.
    pub fn signal(&self, number: usize, signal: i32) {
        self.executors.get(&number).expect("an executor").role.signal(signal);
    }

    /// Waits for the end of executor `number`; its exit status and what it has logged.
    ///
    /// # Panics
    /// When there is none, or it does not end within `within`.
    pub fn wait_for_end(&mut self, number: usize, within: Duration) -> (ExitStatus, String) {
        let mut executor = self.executors.remove(&number).expect("an executor");
        let status = executor.role.wait(within);
        (status, executor.role.said())
    }

    /// The address for clients, as `FIRESTEEL_SCHEDULER` has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("df://{}", self.address)
    }

    /// Where the scheduler listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A folder that is removed with the cluster, and that all processes can read.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks the scheduler.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        http(self.address, "GET", path).await
    }

    /// The binary with this cluster's settings, `FIRESTEEL_SCHEDULER` among them.
    #[must_use]
    pub fn firesteel(&self, arguments: &[&str]) -> Command {
        let mut command = binary(&self.settings.binary, arguments);
        for (name, value) in &self.settings.environment {
            command.env(name, value);
        }
        command.env("FIRESTEEL_SCHEDULER", self.url()).current_dir(self.folder.path());
        command
    }
}
