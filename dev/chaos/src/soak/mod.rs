//! `make soak`: the highest rate that holds, held for long, and then a multiple of it.
//!
//! Nothing is killed here. What has to hold: memory is flat, lag is bounded, an overload is held back by Kafka and not kept in
//! memory, and every acknowledged image is stored. The time from produced to stored is that between the producer's stamp and
//! MongoDB's own, which a change stream tells.

mod plot;
mod search;
mod series;

use crate::expected::digest;
use crate::fault::Target;
use crate::fleet::{Fleet, Load, Names, PARTITIONS, Setup};
use crate::oracle::Finding;
use crate::ports::Ports;
use crate::process::Process;
use crate::record::{cores, processor};
use crate::resources::Resources;
use crate::servers::Servers;
use crate::world::{marker, topics};
use anyhow::{bail, ensure};
use bson::{Document, doc};
use clap::Args;
use firesteel_pipeline::kafka::{TopicSpec, ensure_topics, watermarks};
use firesteel_proto::ImageId;
use futures::{StreamExt as _, TryStreamExt as _};
use mongodb::Collection;
use rustix::process::Signal;
use search::Search;
use serde::{Deserialize, Serialize};
use series::{Latency, Phase, Sample, judge};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
const READY_WITHIN: Duration = Duration::from_secs(120);
const END_WITHIN: Duration = Duration::from_secs(60);
/// For the sustainable rate: so many images at first, and so long the last ones have to take.
const FIRST_IMAGES: f64 = 1_000.0;
const MEASURED: Duration = Duration::from_secs(20);
/// For how long a rate is tried, and how many seconds of production may be under way at its end.
const TRIED: Duration = Duration::from_secs(60);
const TRIED_BACKLOG: f64 = 3.0;
/// For one second of overload, what is left is worked off within this many.
const DRAIN_FACTOR: u64 = 30;
const PRODUCERS: u32 = 4;

/// Images a second of all producers together.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rate {
    /// What the machine can sustain, measured first.
    Auto,
    Fixed(f64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Self::Fixed(rate)),
            _ => Err("expected images a second, or auto".to_owned()),
        }
    }
}

/// `firesteel-chaos soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// How long the rate is held
    #[arg(long, value_name = "M", default_value_t = 30.0)]
    minutes: f64,
    /// Images a second of all producers together; auto = what this machine sustains
    #[arg(long, value_name = "R", default_value = "auto")]
    rate: Rate,
    /// How many times the rate the overload is; 0 for none
    #[arg(long, value_name = "X", default_value_t = 10.0)]
    overload: f64,
    /// How long the overload lasts, in seconds
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    overload_seconds: u64,
    /// Where soak.json, soak.svg and the logs go
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The binary under test [default: the one beside this program]
    #[arg(long, value_name = "PATH", env = "CHAOS_BINARY")]
    firesteel: Option<PathBuf>,
}

/// What a soak leaves behind.
#[derive(Debug, Serialize, Deserialize)]
struct SoakRecord {
    processor: String,
    cores: usize,
    firesteel: String,
    /// Images a second, of all producers.
    rate: f64,
    minutes: f64,
    overload: f64,
    overload_seconds: u64,
    acknowledged: usize,
    stored: usize,
    steady: Latency,
    overloaded: Latency,
    findings: Vec<Finding>,
    samples: Vec<Sample>,
}

/// The time from produced to stored of each image, with the phase in which it was stored.
type Times = Arc<Mutex<Vec<(Phase, u32)>>>;

struct Soak {
    servers: Arc<Servers>,
    fleet: Fleet,
    names: Names,
    collection: Collection<Document>,
    phase: Arc<Mutex<Phase>>,
    ledger: PathBuf,
}

/// Runs it; whether all held.
pub(crate) async fn run(args: SoakArgs) -> anyhow::Result<bool> {
    ensure!(args.minutes.is_finite() && args.minutes > 0.0, "--minutes: expected more than 0");
    std::fs::create_dir_all(args.out.join("logs"))?;
    let out = args.out.canonicalize()?;
    let firesteel = crate::run::binary(args.firesteel.as_deref())?;
    let name = format!("soak-{:08x}", rand::random::<u32>());
    let data = tempfile::Builder::new().prefix("firesteel-soak-").tempdir()?;
    let servers = Servers::start(data.path(), &mut Ports::new(), &marker(&name)).await?;
    let digest = digest(&firesteel)?;
    let soak = Soak::start(servers, firesteel, &out, &name).await?;
    let rate = match args.rate {
        Rate::Fixed(rate) => rate,
        Rate::Auto => soak.sustainable().await?,
    };
    println!(
        "{rate:.0} images a second for {} minutes, then {} times that for {} s",
        args.minutes, args.overload, args.overload_seconds
    );
    let times: Times = Arc::default();
    let follower = soak.follow(Arc::clone(&times)).await?;
    let samples = soak.phases(&args, rate).await?;
    follower.abort();
    let (acknowledged, stored, mut findings) = soak.books().await?;
    findings.extend(judge(&samples, rate));
    findings.extend(soak.end().await?);
    let of = |phase: Phase| {
        let times = times.lock().unwrap_or_else(PoisonError::into_inner);
        Latency::of(times.iter().filter(|(at, _)| *at == phase).map(|(_, time)| *time).collect())
    };
    let title = format!(
        "{rate:.0} images a second, then {} times that ({} cores, {})",
        args.overload,
        cores(),
        processor()
    );
    std::fs::write(out.join("soak.svg"), plot::svg(&samples, &title)?)?;
    let record = SoakRecord {
        processor: processor(),
        cores: cores(),
        firesteel: digest,
        rate,
        minutes: args.minutes,
        overload: args.overload,
        overload_seconds: args.overload_seconds,
        acknowledged,
        stored,
        steady: of(Phase::Steady),
        overloaded: of(Phase::Overload),
        findings,
        samples,
    };
    std::fs::write(out.join("soak.json"), serde_json::to_string_pretty(&record)? + "\n")?;
    let Latency { p50_ms, p99_ms, p99_9_ms, .. } = record.steady;
    println!(
        "{acknowledged} images acknowledged, {stored} stored; from produced to stored p50 {p50_ms} ms, p99 {p99_ms} ms, p99.9 \
         {p99_9_ms} ms; {}",
        if record.findings.is_empty() { "all held" } else { "NOT all held" }
    );
    for finding in &record.findings {
        println!("  not kept: {}: {}", finding.statement, finding.examples.join("; "));
    }
    println!("  {}", out.join("soak.svg").display());
    Ok(record.findings.is_empty())
}

impl Soak {
    async fn start(
        servers: Arc<Servers>,
        firesteel: PathBuf,
        out: &std::path::Path,
        run: &str,
    ) -> anyhow::Result<Self> {
        let names = Names::new(run);
        let specs =
            topics(&names).map(|name| TopicSpec::new(name).with_partitions(PARTITIONS).with_replication(3));
        ensure_topics(&servers.kafka.harness, "chaos", &specs).await?;
        let setup = Setup {
            firesteel,
            folder: out.to_owned(),
            marker: marker(run),
            clock: None,
            disk: out.join("work"),
            environment: Setup::environment(&servers, &names),
            names: names.clone(),
        };
        let load = Load { producers: PRODUCERS, images: 1, rate: 0.0, seed: 0 };
        std::fs::create_dir_all(&setup.disk)?;
        let fleet = Fleet::new(setup, &mut Ports::new(), &load).await?;
        for process in fleet.serving() {
            process.start()?;
        }
        for process in fleet.serving() {
            process.ready(READY_WITHIN).await?;
        }
        let client = servers.mongodb.wait_for_primary(READY_WITHIN).await?;
        let collection = client.database(&names.database).collection("predictions");
        let (phase, ledger) = (Arc::new(Mutex::new(Phase::Steady)), out.join("ledger"));
        if ledger.exists() {
            bail!("{} is there already: choose another --out", ledger.display());
        }
        Ok(Self { servers, fleet, names, collection, phase, ledger })
    }

    /// Producers of so many images together, `rate` a second; 0 is as fast as Kafka takes them.
    fn producers(&self, name: &str, rate: f64, images: f64) -> anyhow::Result<Process> {
        let [each, images] = [rate, images].map(|all| all / f64::from(PRODUCERS));
        let images = images.ceil();
        let arguments = [
            "produce",
            "--producers",
            &PRODUCERS.to_string(),
            "--images",
            &format!("{images:.0}"),
            "--rate",
            &each.to_string(),
            "--ledger",
            &self.ledger.to_string_lossy(),
        ];
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let process = self.fleet.setup().process(name, &arguments, None)?.0;
        process.start()?;
        Ok(process)
    }

    /// The highest rate of those tried at which little is under way after a while. What producers should have sent by then and
    /// have not is under way, too: a machine that is too slow for them holds the rate no more than one that is for the others.
    async fn sustainable(&self) -> anyhow::Result<f64> {
        let mut search = Search::from(self.full_speed().await?);
        while let Some(rate) = search.next() {
            let before = self.stored().await? as f64;
            let images = rate * TRIED.as_secs_f64();
            let producers = self.producers("producers-tried", rate, images)?;
            tokio::time::sleep(TRIED).await;
            let behind = (before + images - self.stored().await? as f64).max(0.0) / rate;
            println!("{rate:.0} images a second: {behind:.1} s of them are under way after {TRIED:?}");
            producers.end(Signal::TERM, END_WITHIN).await?;
            self.drained(self.produced().await?, TRIED * 4).await?;
            search.tried(rate, behind <= TRIED_BACKLOG);
        }
        search.found()
    }

    /// Images a second at full speed: ever more are sent at once, until they take long enough for a figure.
    async fn full_speed(&self) -> anyhow::Result<f64> {
        let mut images = FIRST_IMAGES;
        loop {
            let (before, started) = (self.stored().await?, Instant::now());
            let producers = self.producers("producers-full", 0.0, images)?;
            self.drained(before + images as u64, MEASURED * 20).await?;
            let seconds = started.elapsed().as_secs_f64();
            producers.end(Signal::TERM, END_WITHIN).await?;
            if seconds >= MEASURED.as_secs_f64() {
                println!("{:.0} images a second at full speed", images / seconds);
                return Ok(images / seconds);
            }
            images *= 2.0;
        }
    }

    async fn stored(&self) -> anyhow::Result<u64> {
        Ok(self.collection.estimated_document_count().await?)
    }

    async fn produced(&self) -> anyhow::Result<u64> {
        let ends = watermarks(&self.servers.kafka.harness, &self.names.images).await?;
        Ok(ends.values().map(|(_, end)| end.unsigned_abs()).sum())
    }

    async fn drained(&self, images: u64, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while self.stored().await? < images {
            ensure!(Instant::now() < deadline, "{images} images are not stored after {within:?}");
            tokio::time::sleep(LOOK / 4).await;
        }
        Ok(())
    }

    /// Notes the time of each image that is stored.
    async fn follow(&self, times: Times) -> anyhow::Result<tokio::task::JoinHandle<()>> {
        let mut changes = self.collection.watch().batch_size(1_000).await?;
        let phase = Arc::clone(&self.phase);
        Ok(tokio::spawn(async move {
            while let Some(Ok(change)) = changes.next().await {
                let produced = change
                    .full_document
                    .as_ref()
                    .and_then(|document| document.get_datetime("produced_at").ok());
                let (Some(stored), Some(produced)) = (change.wall_time, produced) else { continue };
                let time = stored.timestamp_millis() - produced.timestamp_millis();
                let phase = *phase.lock().unwrap_or_else(PoisonError::into_inner);
                let time = u32::try_from(time.max(0)).unwrap_or(u32::MAX);
                times.lock().unwrap_or_else(PoisonError::into_inner).push((phase, time));
            }
        }))
    }

    /// Steady, overload, drain; a sample a second.
    async fn phases(&self, args: &SoakArgs, rate: f64) -> anyhow::Result<Vec<Sample>> {
        let (base_produced, base_stored) = (self.produced().await?, self.stored().await?);
        let began = Instant::now();
        let mut samples = Vec::new();
        let steady = args.minutes * 60.0;
        let overload = args.overload_seconds as f64;
        let mut plans =
            vec![(Phase::Steady, Some(self.producers("producers-steady", rate, rate * steady)?), steady)];
        if args.overload > 0.0 {
            plans.push((Phase::Overload, None, overload));
        }
        plans.push((Phase::Drain, None, 0.0));
        for (phase, mut producers, seconds) in plans {
            *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
            if phase == Phase::Overload {
                producers = Some(self.producers(
                    "producers-overload",
                    rate * args.overload,
                    rate * args.overload * overload,
                )?);
            }
            let started = Instant::now();
            let last = Duration::from_secs_f64(seconds + 60.0 + overload * DRAIN_FACTOR as f64);
            loop {
                let (produced, stored) =
                    (self.produced().await? - base_produced, self.stored().await? - base_stored);
                let memory = self.fleet.serving().filter_map(|process| {
                    Some((process.spec.name.clone(), Resources::of(process.id()?)?.resident_bytes))
                });
                samples.push(Sample {
                    at: began.elapsed().as_secs_f64(),
                    phase,
                    produced,
                    stored,
                    memory: memory.collect(),
                });
                let over = match &producers {
                    // It has sent all that it was to send.
                    Some(producers) => match producers.unexpected_end() {
                        Some(status) if status.success() => true,
                        Some(status) => {
                            bail!("{}: {status}; {}", producers.spec.name, producers.spec.log.display())
                        }
                        None => false,
                    },
                    None => stored >= produced,
                };
                if over {
                    break;
                }
                for process in self.fleet.serving() {
                    if let Some(status) = process.unexpected_end() {
                        bail!("{} ended: {status}; {}", process.spec.name, process.spec.log.display());
                    }
                }
                ensure!(started.elapsed() < last, "{phase:?} does not end");
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(samples)
    }

    /// Acknowledged and stored images, and whether they are the same.
    async fn books(&self) -> anyhow::Result<(usize, usize, Vec<Finding>)> {
        let acknowledged = crate::fleet::acknowledged(&self.ledger)?;
        let acknowledged =
            acknowledged.iter().map(|id| id.parse()).collect::<Result<BTreeSet<ImageId>, _>>()?;
        let mut cursor =
            self.collection.find(doc! {}).projection(doc! { "_id": 1 }).batch_size(10_000).await?;
        let mut stored = BTreeSet::new();
        while let Some(document) = cursor.try_next().await? {
            stored.insert(document.get_str("_id")?.parse::<ImageId>()?);
        }
        let letters =
            watermarks(&self.servers.kafka.harness, &format!("{}.dead-letter", self.names.images)).await?;
        let letters: i64 = letters.values().map(|(_, end)| end).sum();
        let lost = acknowledged.difference(&stored).map(ToString::to_string);
        let findings = [
            Finding::all("every acknowledged image is stored", lost),
            Finding::all("there is no dead letter", (letters > 0).then(|| format!("{letters}"))),
        ];
        Ok((acknowledged.len(), stored.len(), findings.into_iter().flatten().collect()))
    }

    /// Ends all roles in order.
    async fn end(&self) -> anyhow::Result<Option<Finding>> {
        let mut disorderly = Vec::new();
        for process in self.fleet.serving() {
            if let Some(ended) = process.end(Signal::TERM, END_WITHIN).await?
                && !(ended.in_time && ended.status.success())
            {
                disorderly.push(format!("{}: {}", process.spec.name, ended.status));
            }
        }
        let idle = self.fleet.of(Target::Producer).iter().all(|producer| producer.id().is_none());
        ensure!(idle, "a producer of no phase runs");
        Ok(Finding::all("SIGTERM ends a process in order", disorderly))
    }
}
