//! Every role with tokens, a secret and TLS, started with the arguments of the manifests where one has it.
//!
//! ```text
//!  k8s/base/*.yaml ── arguments ──▶ with ports, files and names of this machine ──▶ processes ──▶ their ports
//! ```
//!
//! What a manifest says stays, but for what names something of a pod: its folders, its neighbours, its ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use firesteel_testkit::certificates::Authority;
use firesteel_testkit::{Role, SOON, binary, ports, wait_until};
use tempfile::TempDir;

use super::wire::Peer;
use crate::doors::support::{BOB, ROOT, SECRET, private};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/base");

/// A port of a role, by the setting that opens it.
pub(super) struct Door {
    /// The role and what the port is for.
    pub(super) name: &'static str,
    /// Which of the roles it belongs to.
    pub(super) role: usize,
    pub(super) address: SocketAddr,
    pub(super) tls: bool,
}

/// The roles that run until the end of the test.
pub(super) struct Fortress {
    pub(super) roles: Vec<(&'static str, Role)>,
    pub(super) doors: Vec<Door>,
    pub(super) authority: PathBuf,
    scheduler: u16,
    pub(super) folder: TempDir,
}

impl Fortress {
    /// Starts all of them and waits until each of their ports answers.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path(), "cluster");
        let files = authority.sign(folder.path());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let users = private(folder.path(), "users", &format!("bob reader {BOB}\nroot admin {ROOT}\n"));
        let secret = private(folder.path(), "secret", SECRET);
        let token = private(folder.path(), "token", BOB);
        for name in ["events", "work"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let ca = ("tls-ca", authority.file.display().to_string());
        let served = [
            ("tls-cert", files.certificate.display().to_string()),
            ("tls-key", files.key.display().to_string()),
            ca.clone(),
            ("cluster-secret-file", secret),
        ];
        let free = free_ports::<11>();
        let [
            scheduler,
            watched,
            flight,
            orders,
            executor,
            inference,
            server,
            images,
            predictions,
            ingest,
            taken,
        ] = free;
        let port = |name, port: u16| (name, port.to_string());
        let everywhere = |name, port: u16| (name, format!("0.0.0.0:{port}"));
        let scheduler_arguments = [
            port("bind-port", scheduler),
            port("bind-health-port", watched),
            ("tokens-file", users.clone()),
            ("external-host", "localhost".to_owned()),
            ("allow-hosts", "scheduler".to_owned()),
            ("event-log-dir", path("events")),
        ];
        let executor_arguments = [
            port("bind-port", flight),
            port("bind-grpc-port", orders),
            port("bind-health-port", executor),
            ("scheduler", format!("dfs://127.0.0.1:{scheduler}")),
            ("external-host", "127.0.0.1".to_owned()),
            ("work-dir", path("work")),
        ];
        let inference_arguments = [
            everywhere("listen", inference),
            everywhere("health-listen", server),
            ("tokens-file", users.clone()),
            ("allow-hosts", "inference".to_owned()),
        ];
        let images_arguments = [
            everywhere("health-listen", images),
            ("inference-url", format!("https://127.0.0.1:{inference}")),
            ("token-file", token),
            ca,
        ];
        let predictions_arguments = [everywhere("health-listen", predictions)];
        let ingest_arguments = [
            everywhere("listen", ingest),
            everywhere("health-listen", taken),
            ("tokens-file", users),
            ("allow-hosts", "ingest".to_owned()),
        ];
        let with_files = |own: &[(&'static str, String)]| [own, &served].concat();
        let started = [
            ("scheduler.yaml", "scheduler", with_files(&scheduler_arguments)),
            ("executor.yaml", "executor", with_files(&executor_arguments)),
            ("inference.yaml", "inference-server", with_files(&inference_arguments)),
            ("consumers.yaml", "consume-images", images_arguments.to_vec()),
            ("consumers.yaml", "consume-predictions", predictions_arguments.to_vec()),
        ];
        let roles = started.into_iter().map(|(manifest, command, own)| {
            let arguments = arguments(&Path::new(MANIFESTS).join(manifest), command, &own);
            (command, start(folder.path(), &arguments))
        });
        let mut roles: Vec<_> = roles.collect();
        // No manifest has it: what it is started with is what docs/producing.md says.
        let door = with_files(&ingest_arguments).into_iter().map(|(name, value)| format!("--{name}={value}"));
        let door: Vec<String> = std::iter::once("ingest".to_owned()).chain(door).collect();
        roles.push(("ingest", start(folder.path(), &door)));
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let door = |name, role, port, tls| Door { name, role, address: address(port), tls };
        let doors = vec![
            door("scheduler", 0, scheduler, true),
            door("scheduler, health", 0, watched, false),
            door("executor, Flight", 1, flight, true),
            door("executor, orders", 1, orders, true),
            door("executor, health", 1, executor, false),
            door("inference server", 2, inference, true),
            door("inference server, health", 2, server, false),
            door("consume-images, health", 3, images, false),
            door("consume-predictions, health", 4, predictions, false),
            door("ingest", 5, ingest, true),
            door("ingest, health", 5, taken, false),
        ];
        let fortress = Self { roles, doors, authority: authority.file, scheduler, folder };
        fortress.wait().await;
        fortress
    }

    async fn wait(&self) {
        for door in &self.doors {
            wait_until(door.name, SOON, async || tokio::net::TcpStream::connect(door.address).await.is_ok())
                .await;
        }
        wait_until("the executor is registered", SOON, async || {
            let executors = self.peer(&self.doors[0]).get("/api/executors", Some(ROOT)).await;
            executors.is_some_and(|(status, body)| status == 200 && body.contains("\"host\""))
        })
        .await;
        wait_until("the model is loaded", SOON, async || {
            self.peer(&self.doors[6]).get("/readyz", None).await.is_some_and(|(status, _)| status == 200)
        })
        .await;
    }

    /// Somebody at a door, by TLS where it has TLS.
    pub(super) fn peer(&self, door: &Door) -> Peer {
        Peer::new(door.address, door.tls.then_some(self.authority.as_path()))
    }

    /// The shell, with a token and the authority.
    pub(super) fn sql(&self, token: &str, sql: &str) -> Result<String, String> {
        let url = format!("dfs://127.0.0.1:{}", self.scheduler);
        let authority = self.authority.to_string_lossy();
        let arguments = ["sql", "--scheduler", &url, "--tls-ca", &authority, "--format", "csv", "-c", sql];
        let mut command = binary(env!("CARGO_BIN_EXE_firesteel").as_ref(), &arguments);
        let ended = command.env("FIRESTEEL_TOKEN", token).current_dir(self.folder.path()).output();
        let ended = ended.expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if ended.status.success() { Ok(text(&ended.stdout)) } else { Err(text(&ended.stderr)) }
    }

    /// Checks that every process listens on its doors and on nothing else.
    pub(super) fn assert_that_every_port_is_known(&self) {
        for (number, (name, role)) in self.roles.iter().enumerate() {
            let mut found: Vec<u16> = ports::listening(role.id()).iter().map(SocketAddr::port).collect();
            let doors = self.doors.iter().filter(|door| door.role == number);
            let mut known: Vec<u16> = doors.map(|door| door.address.port()).collect();
            found.sort_unstable();
            known.sort_unstable();
            assert_eq!(found, known, "the ports that {name} listens on");
        }
    }
}

/// Starts a role without servers of Kafka and MongoDB: its doors open all the same.
pub(super) fn start(folder: &Path, arguments: &[String]) -> Role {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = binary(env!("CARGO_BIN_EXE_firesteel").as_ref(), &arguments);
    command
        .env("FIRESTEEL_LOG_FORMAT", "json")
        .env("FIRESTEEL_MONGODB_URI", "mongodb://127.0.0.1:1")
        .env("FIRESTEEL_KAFKA_BOOTSTRAP", "127.0.0.1:1")
        .current_dir(folder);
    Role::start(command)
}

/// The arguments of `command` in a manifest, with `own` in place of those of the same name.
fn arguments(manifest: &Path, command: &str, own: &[(&str, String)]) -> Vec<String> {
    let text = std::fs::read_to_string(manifest).expect("a manifest");
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != format!("- {command}"));
    let first = lines.next();
    assert!(first.is_some(), "{} starts no {command}", manifest.display());
    let listed = lines.filter(|line| !line.starts_with('#')).map_while(|line| line.strip_prefix("- --"));
    let mut found = vec![command.to_owned()];
    for argument in listed {
        let name = argument.split('=').next().unwrap_or_default();
        if !own.iter().any(|(own, _)| *own == name) {
            found.push(format!("--{argument}"));
        }
    }
    found.extend(own.iter().map(|(name, value)| format!("--{name}={value}")));
    found
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}
