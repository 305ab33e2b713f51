//! The roles of a run as processes of the real binary: two inference servers, two of each consumer, a scheduler, two executors,
//! and producers.
//!
//! Each consumer of images asks an inference server of its own, by way of a proxy that goes to the other one where its own does
//! not answer. Executors and queries reach the scheduler by way of a proxy too.

use crate::clock::{Clock, Library};
use crate::fault::Target;
use crate::meddle::MAX_IMAGE_SIZE;
use crate::ports::Ports;
use crate::process::{Process, Spec};
use crate::proxy::Proxy;
use crate::servers::Servers;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Partitions of the topics: more than consumers, so that every member has some.
pub(crate) const PARTITIONS: i32 = 6;
/// Of each consumer, of the inference servers, of the executors.
const EACH: usize = 2;

/// The names of a run's own things in servers that other runs use too.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) images: String,
    pub(crate) predictions: String,
    pub(crate) images_group: String,
    pub(crate) predictions_group: String,
    pub(crate) database: String,
}

impl Names {
    pub(crate) fn new(run: &str) -> Self {
        Self {
            images: format!("images-{run}"),
            predictions: format!("predictions-{run}"),
            images_group: format!("images-group-{run}"),
            predictions_group: format!("predictions-group-{run}"),
            database: format!("chaos-{run}"),
        }
    }
}

/// What is produced.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) producers: u32,
    /// Images of each producer.
    pub(crate) images: u64,
    /// Images per second of each; 0 is as fast as Kafka takes them.
    pub(crate) rate: f64,
    /// The producers' ids come from it.
    pub(crate) seed: u64,
}

impl Load {
    pub(crate) fn total(&self) -> u64 {
        u64::from(self.producers) * self.images
    }
}

/// All roles of a run.
#[derive(Debug)]
pub(crate) struct Fleet {
    roles: BTreeMap<Target, Vec<Arc<Process>>>,
    /// In front of the inference servers, one for each consumer of images.
    pub(crate) inference: Vec<Proxy>,
    pub(crate) scheduler: Proxy,
    /// Where the inference servers listen themselves.
    pub(crate) models: Vec<SocketAddr>,
    clocks: BTreeMap<String, Clock>,
    /// Whether a producer that is started again goes on where it was.
    pub(crate) producers_resume: bool,
    pub(crate) ledgers: Vec<PathBuf>,
    setup: Setup,
}

/// What every role is made with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) firesteel: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) names: Names,
    pub(crate) marker: (String, String),
    pub(crate) clock: Option<Library>,
    /// Where shuffle files and cached tables are.
    pub(crate) disk: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
}

impl Setup {
    pub(crate) fn environment(servers: &Servers, names: &Names) -> Vec<(String, String)> {
        [
            ("FIRESTEEL_KAFKA_BOOTSTRAP", servers.kafka.bootstrap.as_str()),
            ("FIRESTEEL_KAFKA_PARTITIONS", &PARTITIONS.to_string()),
            ("FIRESTEEL_KAFKA_REPLICATION", "3"),
            ("FIRESTEEL_IMAGES_TOPIC", &names.images),
            ("FIRESTEEL_PREDICTIONS_TOPIC", &names.predictions),
            ("FIRESTEEL_IMAGES_GROUP", &names.images_group),
            ("FIRESTEEL_PREDICTIONS_GROUP", &names.predictions_group),
            ("FIRESTEEL_MONGODB_URI", &servers.mongodb.uri),
            ("FIRESTEEL_MONGODB_DATABASE", &names.database),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// The binary with the run's settings, for a command that ends by itself.
    pub(crate) fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = crate::launch::command(&self.firesteel)?;
        command.args(arguments).current_dir(&self.folder);
        command.envs(self.environment.iter().chain([&self.marker]).map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// A process of the binary, and its clock.
    pub(crate) fn process(
        &self,
        name: &str,
        arguments: &[String],
        health: Option<SocketAddr>,
    ) -> anyhow::Result<(Process, Option<Clock>)> {
        let mut environment = self.environment.clone();
        environment.push(self.marker.clone());
        let clock = match &self.clock {
            None => None,
            Some(library) => {
                let (clock, more) = library.clock(self.folder.join(format!("{name}.clock")))?;
                environment.extend(more);
                Some(clock)
            }
        };
        let spec = Spec {
            name: name.to_owned(),
            program: self.firesteel.clone(),
            arguments: arguments.to_vec(),
            environment,
            folder: self.folder.clone(),
            log: self.folder.join(format!("logs/{name}.log")),
            health,
        };
        Ok((Process::new(spec), clock))
    }
}

impl Fleet {
    /// Makes all roles; nothing runs yet.
    pub(crate) async fn new(setup: Setup, ports: &mut Ports, load: &Load) -> anyhow::Result<Self> {
        let mut models = Vec::new();
        for _ in 0..EACH {
            models.push(ports.free()?);
        }
        let mut inference = Vec::new();
        for number in 0..EACH {
            let mut order = models.clone();
            order.rotate_left(number);
            inference.push(Proxy::start(ports.free()?, order).await?);
        }
        let scheduler_port = ports.free()?;
        let scheduler = Proxy::start(ports.free()?, vec![scheduler_port]).await?;
        let producers_resume = resumes(&setup.firesteel)?;
        let ledgers = if producers_resume {
            (0..load.producers).map(|number| setup.folder.join(format!("ledger-{number}"))).collect()
        } else {
            vec![setup.folder.join("ledger")]
        };
        let mut fleet = Self {
            roles: BTreeMap::new(),
            inference,
            scheduler,
            models,
            clocks: BTreeMap::new(),
            producers_resume,
            ledgers,
            setup,
        };
        for number in 0..EACH {
            for target in
                [Target::Inference, Target::ImageConsumer, Target::PredictionConsumer, Target::Executor]
            {
                fleet.add(target, number, ports)?;
            }
        }
        let health = ports.free()?;
        let arguments = words(&[
            "scheduler",
            "--bind-port",
            &scheduler_port.port().to_string(),
            "--bind-health-port",
            &health.port().to_string(),
            "--executor-timeout-seconds",
            "6",
        ]);
        fleet.insert(Target::Scheduler, "scheduler", &arguments, Some(health))?;
        for (number, ledger) in fleet.ledgers.clone().iter().enumerate() {
            let arguments = fleet.producer(number, load, ledger);
            fleet.insert(Target::Producer, &format!("producer-{}", number + 1), &arguments, None)?;
        }
        Ok(fleet)
    }

    /// Makes one more of a role; it is the last of [`Fleet::of`] and not started.
    pub(crate) fn add(&mut self, target: Target, number: usize, ports: &mut Ports) -> anyhow::Result<()> {
        let (name, arguments, health) = self.role(target, number, ports)?;
        self.insert(target, &name, &arguments, Some(health))
    }

    /// A process of a role that is in no list, for one that joins and leaves.
    pub(crate) fn guest(&self, target: Target, number: usize, ports: &mut Ports) -> anyhow::Result<Process> {
        let (name, arguments, health) = self.role(target, number, ports)?;
        Ok(self.setup.process(&name, &arguments, Some(health))?.0)
    }

    fn role(
        &self,
        target: Target,
        number: usize,
        ports: &mut Ports,
    ) -> anyhow::Result<(String, Vec<String>, SocketAddr)> {
        let (health, disk) = (ports.free()?, self.setup.disk.to_string_lossy().into_owned());
        let listen = health.to_string();
        let name = format!("{target}-{}", number + 1);
        let arguments = match target {
            Target::Inference => {
                let own = self.models.get(number).context("an inference server")?.to_string();
                // Each would choose a precision by itself, while the others are at work, and the oracle knows one answer an image.
                words(&[
                    "inference-server",
                    "--precision",
                    "f32",
                    "--listen",
                    &own,
                    "--health-listen",
                    &listen,
                ])
            }
            Target::ImageConsumer => {
                let proxy = self.inference.get(number % EACH).context("a proxy")?.address;
                words(&[
                    "consume-images",
                    "--inference-url",
                    &format!("http://{proxy}"),
                    "--max-image-size",
                    MAX_IMAGE_SIZE,
                    "--health-listen",
                    &listen,
                ])
            }
            Target::PredictionConsumer => {
                words(&["consume-predictions", "--max-batch", "100", "--health-listen", &listen])
            }
            _ => words(&[
                "executor",
                "--scheduler-host",
                "127.0.0.1",
                "--scheduler-port",
                &self.scheduler.address.port().to_string(),
                "--bind-port",
                &ports.free()?.port().to_string(),
                "--bind-grpc-port",
                &ports.free()?.port().to_string(),
                "--bind-health-port",
                &health.port().to_string(),
                "--vcores",
                "2",
                "--work-dir",
                &disk,
                "--cache-dir",
                &format!("{disk}/cache"),
                "--cache-memory",
                "0",
                "--memory-pool-size",
                "256MiB",
                "--executor-heartbeat-interval-seconds",
                "1",
            ]),
        };
        Ok((name, arguments, health))
    }

    fn producer(&self, number: usize, load: &Load, ledger: &Path) -> Vec<String> {
        let (images, rate) = (load.images.to_string(), load.rate.to_string());
        let mut arguments =
            words(&["produce", "--images", &images, "--rate", &rate, "--ledger", &ledger.to_string_lossy()]);
        let who = if self.producers_resume {
            // Each is a process of its own, which is the same producer when it starts again.
            let id = (load.seed as u32).wrapping_mul(0x9e37_79b9).wrapping_add(number as u32);
            ["--producer-id".to_owned(), format!("{id:08x}")]
        } else {
            ["--producers".to_owned(), load.producers.to_string()]
        };
        arguments.extend(who);
        arguments
    }

    fn insert(
        &mut self,
        target: Target,
        name: &str,
        arguments: &[String],
        health: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let (process, clock) = self.setup.process(name, arguments, health)?;
        self.clocks.extend(clock.map(|clock| (name.to_owned(), clock)));
        self.roles.entry(target).or_default().push(Arc::new(process));
        Ok(())
    }

    /// The processes of a role.
    pub(crate) fn of(&self, target: Target) -> &[Arc<Process>] {
        self.roles.get(&target).map_or(&[], Vec::as_slice)
    }

    /// All processes that serve, not those that produce.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.roles
            .iter()
            .filter(|(target, _)| **target != Target::Producer)
            .flat_map(|(_, processes)| processes)
    }

    /// All processes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.roles.values().flatten()
    }

    /// The clock of a process, where clocks can be stepped.
    pub(crate) fn clock(&self, name: &str) -> Option<&Clock> {
        self.clocks.get(name)
    }

    /// What every role is made with.
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The address of the scheduler as clients have it.
    pub(crate) fn scheduler_url(&self) -> String {
        format!("df://{}", self.scheduler.address)
    }
}

/// The acknowledged ids of a ledger. Its other lines are those in which a producer keeps what it is.
pub(crate) fn acknowledged(ledger: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(ledger).with_context(|| format!("reading {}", ledger.display()))?;
    Ok(text.lines().filter(|line| !line.contains(' ')).map(str::to_owned).collect())
}

/// Whether `firesteel produce` can go on where a killed one stopped.
fn resumes(firesteel: &Path) -> anyhow::Result<bool> {
    let help = Command::new(firesteel).args(["produce", "--help"]).output();
    let help = help.with_context(|| format!("cannot run {}", firesteel.display()))?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--producer-id"))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
