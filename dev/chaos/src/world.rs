//! A run's things: servers, topics, a database, roles, and the notes that faults, watchers and queries make.

use crate::clock::Library;
use crate::disk::Disk;
use crate::fault::{Kind, Target};
use crate::fleet::{Fleet, Load, Names, PARTITIONS, Setup};
use crate::meddle::{Meddled, Sent, meddle};
use crate::oracle::Finding;
use crate::oracle::answers::Query;
use crate::ports::Ports;
use crate::process::Process;
use crate::record::{Performed, Restart};
use crate::resources::Resources;
use crate::servers::Servers;
use crate::topic::Tail;
use anyhow::Context as _;
use bson::Document;
use firesteel_pipeline::kafka::letters::marks_topic;
use firesteel_pipeline::kafka::{Publisher, TopicSpec, dead_letter_topic, delete_topics, ensure_topics};
use mongodb::Collection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;

/// How long the harness' own records may take.
pub(crate) const DELIVER_WITHIN: Duration = Duration::from_secs(100);

/// Follows all topics.
#[derive(Debug)]
pub(crate) struct Tails {
    pub(crate) images: Tail,
    pub(crate) image_letters: Tail,
    pub(crate) predictions: Tail,
    pub(crate) prediction_letters: Tail,
}

impl Tails {
    pub(crate) async fn catch_up(&self, within: Duration) -> anyhow::Result<()> {
        for tail in [&self.images, &self.image_letters, &self.predictions, &self.prediction_letters] {
            tail.catch_up(within).await?;
        }
        Ok(())
    }
}

/// What is noted on the way.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) findings: Vec<Finding>,
    pub(crate) performed: Vec<Performed>,
    pub(crate) restarts: Vec<Restart>,
    pub(crate) queries: Vec<Query>,
    /// Moments at which committed offsets were held against durable work.
    pub(crate) offsets_sampled: usize,
    /// Whether a replay of dead letters was killed before its end.
    pub(crate) replay_killed: bool,
    /// What each process had when it was ready.
    pub(crate) first: BTreeMap<String, Resources>,
    /// Producers that have sent all.
    pub(crate) finished: Vec<String>,
    /// Faults at work, and how many began so far.
    pub(crate) at_work: usize,
    pub(crate) begun: usize,
    /// When the last fault ended.
    pub(crate) quiet_since: Option<Instant>,
}

/// A run's things.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) servers: Arc<Servers>,
    pub(crate) fleet: Fleet,
    pub(crate) tails: Tails,
    pub(crate) disk: Option<Disk>,
    pub(crate) began: Instant,
    pub(crate) ports: Mutex<Ports>,
    notes: Mutex<Notes>,
    meddlers: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl World {
    /// Makes topics, tails and roles; no role runs yet.
    pub(crate) async fn new(
        servers: Arc<Servers>,
        firesteel: PathBuf,
        folder: &Path,
        run: &str,
        load: &Load,
        meddling: bool,
    ) -> anyhow::Result<Self> {
        let mut ports = Ports::new();
        std::fs::create_dir_all(folder.join("logs"))?;
        let names = Names::new(run);
        let harness = &servers.kafka.harness;
        let topics =
            topics(&names).map(|name| TopicSpec::new(name).with_partitions(PARTITIONS).with_replication(3));
        ensure_topics(harness, "chaos", &topics).await.context("making the topics")?;
        let sent: Arc<Sent> = Arc::default();
        let (of_images, images_news) = unbounded_channel();
        let (of_predictions, predictions_news) = unbounded_channel();
        let tail = |topic: &str, news| Tail::start(harness, topic, PARTITIONS, news);
        let (images, predictions) = (&names.images, &names.predictions);
        let tails = Tails {
            images: tail(images, meddling.then_some(of_images))?,
            image_letters: tail(&dead_letter_topic(images), None)?,
            predictions: tail(predictions, meddling.then_some(of_predictions))?,
            prediction_letters: tail(&dead_letter_topic(predictions), None)?,
        };
        let publisher = Publisher::new(harness, "chaos", DELIVER_WITHIN)?;
        let meddled =
            [(Meddled::Images, images, images_news), (Meddled::Predictions, predictions, predictions_news)];
        let meddlers = meddled.into_iter().map(|(what, topic, news)| {
            let (topic, publisher, sent) = (topic.clone(), publisher.clone(), Arc::clone(&sent));
            tokio::spawn(meddle(load.seed, what, topic, publisher, news, sent))
        });
        let meddlers = meddlers.collect();
        let disk = Disk::mount(folder.join("disk"))?;
        let setup = Setup {
            firesteel,
            folder: folder.to_owned(),
            marker: marker(run),
            clock: Library::compile(folder)?,
            disk: folder.join("disk"),
            environment: Setup::environment(&servers, &names),
            names,
        };
        let fleet = Fleet::new(setup, &mut ports, load).await?;
        let (began, ports) = (Instant::now(), Mutex::new(ports));
        Ok(Self { servers, fleet, tails, disk, began, ports, notes: Mutex::default(), meddlers })
    }

    /// The kinds of faults, perhaps of one target alone, that cannot be done here.
    pub(crate) fn cannot(&self) -> Vec<(Kind, Option<Target>)> {
        let mut cannot = Vec::new();
        if self.disk.is_none() {
            cannot.push((Kind::FullDisk, None));
        }
        if self.fleet.setup().clock.is_none() {
            cannot.push((Kind::ClockStep, None));
        }
        if !self.fleet.producers_resume {
            cannot.extend([Kind::Kill, Kind::Terminate].map(|kind| (kind, Some(Target::Producer))));
        }
        cannot
    }

    pub(crate) fn names(&self) -> &Names {
        &self.fleet.setup().names
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes a promise that was not kept.
    pub(crate) fn found(&self, statement: &str, example: impl Into<String>) {
        let example = example.into();
        tracing::warn!(statement, example, "not kept");
        self.notes().findings.push(Finding::one(statement, example));
    }

    /// Notes what a process has now that it is ready.
    pub(crate) fn note_first(&self, process: &Process) {
        if let Some(resources) = process.id().and_then(Resources::of) {
            self.notes().first.insert(process.spec.name.clone(), resources);
        }
    }

    /// The processes that a fault of a process can hit.
    pub(crate) fn processes(&self, target: Target) -> Vec<&Process> {
        match target {
            Target::Broker => self.servers.kafka.brokers.iter().collect(),
            Target::Primary | Target::Member => self.servers.mongodb.members.iter().collect(),
            _ => self.fleet.of(target).iter().map(AsRef::as_ref).collect(),
        }
    }

    /// The collection of predictions in the present primary.
    pub(crate) async fn collection(&self, within: Duration) -> anyhow::Result<Collection<Document>> {
        let client = self.servers.mongodb.wait_for_primary(within).await?;
        Ok(client.database(&self.names().database).collection("predictions"))
    }

    /// Ends meddling; what was under way is sent first.
    pub(crate) fn stop_meddling(&self) {
        self.meddlers.iter().for_each(JoinHandle::abort);
    }

    /// Removes topics and database from servers that other runs go on with.
    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        let topics = topics(self.names());
        // Where producers with lasting ids claim them; it is not there where none has one.
        let claims = format!("{}.producers", self.names().images);
        let marks = marks_topic(&dead_letter_topic(&self.names().predictions));
        let names: Vec<&str> = topics.iter().chain([&claims, &marks]).map(String::as_str).collect();
        delete_topics(&self.servers.kafka.harness, &names).await?;
        let client = self.servers.mongodb.wait_for_primary(Duration::from_secs(30)).await?;
        client.database(&self.names().database).drop().await?;
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_meddling();
    }
}

/// What is in the environment of every process of a run.
pub(crate) fn marker(run: &str) -> (String, String) {
    ("CHAOS_RUN".to_owned(), run.to_owned())
}

/// The four topics of a run.
pub(crate) fn topics(names: &Names) -> [String; 4] {
    let (images, predictions) = (&names.images, &names.predictions);
    [images.clone(), dead_letter_topic(images), predictions.clone(), dead_letter_topic(predictions)]
}
