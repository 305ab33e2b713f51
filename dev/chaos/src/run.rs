//! One run: everything up, faults from a seed while images are produced, the dust settles, the oracle looks.

use crate::expected::{digest, expected};
use crate::fault::{Kind, Target};
use crate::fleet::{Load, PARTITIONS};
use crate::oracle::Finding;
use crate::oracle::answers::{Answered, agree, judge as judge_queries, of_group, of_report, recount};
use crate::oracle::books::{Evidence, balance};
use crate::oracle::growth::{Growth, judge as judge_growth};
use crate::record::{QueryCounts, RunRecord, cores, processor};
use crate::resources::{Resources, with_environment};
use crate::schedule::{Limits, plan};
use crate::servers::{MEMBERS, Servers};
use crate::topic::committed;
use crate::world::{World, marker};
use crate::{cure, inject, queries, watch};
use anyhow::Context as _;
use bson::{Document, doc};
use clap::Args;
use firesteel_pipeline::kafka::watermarks;
use futures::TryStreamExt as _;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long the roles may take to come up before anything is done to them.
const UP_WITHIN: Duration = Duration::from_secs(120);
/// Nothing stands still longer than this after the last fault.
const STANDSTILL: Duration = Duration::from_secs(120);
/// And all is done within this, however slow the machine is.
const SETTLE_WITHIN: Duration = Duration::from_secs(1_200);
/// How long consumers are watched that have nothing to do.
const IDLE: Duration = Duration::from_secs(10);
/// How long a role may take to end in order.
const END_WITHIN: Duration = Duration::from_secs(60);
/// Failed queries that a record keeps.
const FAILURES: usize = 20;

/// What a run is made of.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Images of all producers together
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) images: u64,
    /// Producers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) producers: u32,
    /// Faults; 0 for a run without any
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) faults: usize,
    /// Over how long images are produced and faults begin, in seconds
    #[arg(long, value_name = "S", default_value_t = 45, value_parser = clap::value_parser!(u64).range(1..=7_200))]
    pub(crate) seconds: u64,
    /// How long anything stands still or is away, in seconds, at most
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) longest: u64,
    /// Within how many seconds a restarted consumer has to be ready, when its dependencies are up
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub(crate) ready_within: f64,
    /// Kinds of faults that are not wanted, with commas in between
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) without: Vec<Kind>,
    /// The only kinds of faults that are wanted, with commas in between
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) only: Vec<Kind>,
    /// Nothing is sent twice, and no poison
    #[arg(long)]
    pub(crate) no_meddling: bool,
    /// The binary under test [default: the one beside this program]
    #[arg(long, value_name = "PATH", env = "CHAOS_BINARY")]
    pub(crate) firesteel: Option<PathBuf>,
}

impl RunArgs {
    fn load(&self, seed: u64) -> Load {
        let images = self.images.div_ceil(u64::from(self.producers));
        let rate = images as f64 / self.seconds as f64;
        Load { producers: self.producers, images, rate, seed }
    }

    fn limits(&self, cannot: &[(Kind, Option<Target>)]) -> Limits {
        let unwanted =
            |kind: &Kind| self.without.contains(kind) || !(self.only.is_empty() || self.only.contains(kind));
        let kinds = crate::fault::CHOICES.iter().map(|(kind, _, _)| *kind).filter(unwanted);
        let mut without: Vec<_> = kinds.map(|kind| (kind, None)).collect();
        without.extend_from_slice(cannot);
        Limits {
            faults: self.faults,
            window: Duration::from_secs(self.seconds),
            longest: Duration::from_secs(self.longest),
            without,
        }
    }
}

/// The binary under test: the one that is named, or the one beside this program.
pub(crate) fn binary(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("firesteel"),
    };
    path.canonicalize()
        .with_context(|| format!("{} is not there; name the binary with --firesteel", path.display()))
}

/// Runs `seed` in `folder`, on servers that may have served other runs, and judges it.
pub(crate) async fn run(
    args: &RunArgs,
    seed: u64,
    servers: Arc<Servers>,
    folder: &Path,
) -> anyhow::Result<RunRecord> {
    let name = format!("{seed}-{:08x}", rand::random::<u32>());
    let firesteel = binary(args.firesteel.as_deref())?;
    let digest = digest(&firesteel)?;
    let load = args.load(seed);
    let mut seconds = BTreeMap::new();
    let mut clock = Instant::now();
    let mut lap = |what: &str| {
        seconds.insert(what.to_owned(), clock.elapsed().as_secs_f64());
        clock = Instant::now();
    };
    let world = World::new(servers, firesteel, folder, &name, &load, !args.no_meddling).await?;
    let images = usize::try_from(load.total()).unwrap_or(usize::MAX);
    let expected = start(&world, images, &digest).await?;
    lap("up");

    let cannot = world.cannot();
    let faults = plan(seed, &args.limits(&cannot));
    let (stop_watching, stop_asking) = (CancellationToken::new(), CancellationToken::new());
    let story = async {
        for producer in world.fleet.of(Target::Producer) {
            producer.start()?;
        }
        inject::all(&world, &faults).await;
        lap("faults");
        settle(&world).await?;
        lap("settled");
        stop_asking.cancel();
        inject::restart_consumers(&world).await?;
        lap("restarted");
        let killed = cure::mend(&world).await?;
        world.notes().replay_killed = killed;
        settle(&world).await?;
        lap("replayed");
        anyhow::Ok(())
    };
    let ((), (), story, ()) = tokio::join!(
        watch::ends(&world, &stop_watching),
        watch::offsets(&world, &stop_asking),
        async {
            let ended = story.await;
            stop_asking.cancel();
            stop_watching.cancel();
            ended
        },
        queries::ask_on(&world, &stop_asking),
    );
    story?;
    world.stop_meddling();

    let evidence = gather(&world, expected).await?;
    let (counts, mut findings) = balance(&evidence);
    findings.extend(last_answers(&world, &evidence.documents).await);
    let growth = growth(&world).await;
    findings.extend(judge_growth(&growth));
    findings.extend(end(&world, &name).await);
    findings.extend(judge_restarts(&world, args.ready_within));
    let images_sent = counts.documents.max(counts.acknowledged + counts.unknown_outcome) as u64;
    let mut notes = std::mem::take(&mut *world.notes());
    findings.extend(judge_queries(&notes.queries, images_sent));
    notes.findings.extend(findings);
    if let Err(error) = world.remove().await {
        tracing::warn!(%error, "topics and database of the run are left in the servers");
    }
    lap("judged");
    Ok(RunRecord {
        seed,
        images: load.total(),
        processor: processor(),
        cores: cores(),
        firesteel: digest,
        without: cannot
            .iter()
            .map(|(kind, target)| target.map_or_else(|| kind.name(), |of| format!("{kind} {of}")))
            .collect(),
        faults: notes.performed,
        restarts: notes.restarts,
        counts,
        offsets_sampled: notes.offsets_sampled,
        replay_killed: notes.replay_killed,
        queries: count(&notes.queries),
        growth,
        seconds,
        passed: notes.findings.is_empty(),
        findings: notes.findings,
    })
}

/// Starts all that serves, and asks a model what it says of the images while nothing is done to it.
async fn start(
    world: &World,
    images: usize,
    digest: &str,
) -> anyhow::Result<BTreeMap<Vec<u8>, crate::oracle::books::Expected>> {
    cure::spoil(world).await?;
    for process in world.fleet.serving() {
        process.start()?;
    }
    for process in world.fleet.serving() {
        process.ready(UP_WITHIN).await?;
        world.note_first(process);
    }
    let model = *world.fleet.models.first().context("an inference server")?;
    expected(model, images, digest).await
}

/// Waits until all is produced, read, stored and committed, or notes what is not.
///
/// A machine that is slow is not one that hangs: what counts is the time in which nothing comes nearer to its end.
async fn settle(world: &World) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut moved, mut what) = (Instant::now(), String::new());
    while moved.elapsed() < STANDSTILL && started.elapsed() < SETTLE_WITHIN {
        let now = match unsettled(world).await {
            Ok(None) => return Ok(()),
            Ok(Some(left)) => {
                if left != what {
                    moved = Instant::now();
                }
                left
            }
            Err(error) => format!("{error:#}"),
        };
        what = now;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.found("nothing hangs past 120 s after the last fault", what);
    Ok(())
}

/// What there is still to wait for.
async fn unsettled(world: &World) -> anyhow::Result<Option<String>> {
    let producers = world.fleet.of(Target::Producer);
    let finished = world.notes().finished.len();
    if finished < producers.len() {
        return Ok(Some(format!("{finished} of {} producers have sent all", producers.len())));
    }
    let (states, brokers) = (world.servers.mongodb.states().await, world.servers.kafka.members().await);
    if states != (1, MEMBERS - 1) || brokers != MEMBERS {
        return Ok(Some(format!("{brokers} brokers, {} primary, {} secondaries", states.0, states.1)));
    }
    let (names, harness) = (world.names(), &world.servers.kafka.harness);
    for (group, topic) in
        [(&names.images_group, &names.images), (&names.predictions_group, &names.predictions)]
    {
        let ends = watermarks(harness, topic).await?;
        let committed = committed(harness, group, topic, PARTITIONS).await?;
        let behind = ends
            .iter()
            .filter(|(partition, (_, end))| committed.get(*partition).copied().unwrap_or(0) < *end);
        let behind: Vec<String> = behind
            .map(|(partition, (_, end))| format!("{partition}: {:?} of {end}", committed.get(partition)))
            .collect();
        if !behind.is_empty() {
            return Ok(Some(format!("{group} has not committed {topic} {}", behind.join(", "))));
        }
    }
    // A record of the harness may have come since, so both ends have to be what was read.
    world.tails.catch_up(Duration::from_secs(20)).await?;
    for process in world.fleet.serving() {
        process.ready(Duration::ZERO).await?;
    }
    Ok(None)
}

/// Reads everything that the oracle compares.
async fn gather(
    world: &World,
    expected: BTreeMap<Vec<u8>, crate::oracle::books::Expected>,
) -> anyhow::Result<Evidence> {
    world.tails.catch_up(Duration::from_secs(60)).await?;
    let collection = world.collection(Duration::from_secs(30)).await?;
    let documents: Vec<Document> = collection.find(doc! {}).await?.try_collect().await?;
    let mut acknowledged = Vec::new();
    for ledger in &world.fleet.ledgers {
        acknowledged.extend(crate::fleet::acknowledged(ledger)?);
    }
    let tails = &world.tails;
    Ok(Evidence {
        images: tails.images.records().clone(),
        image_letters: tails.image_letters.records().clone(),
        predictions: tails.predictions.records().clone(),
        prediction_letters: tails.prediction_letters.records().clone(),
        acknowledged,
        documents,
        expected,
        topics: [world.names().images.clone(), world.names().predictions.clone()],
    })
}

/// The report against MongoDB's own `$group` and a plain recount.
async fn last_answers(world: &World, documents: &[Document]) -> Option<Finding> {
    let grouped = async {
        // Null, and what is not there, orders below both truth values.
        let labelled = || doc! { "$gt": ["$correct", null] };
        let stage = doc! { "$group": doc! {
            "_id": "$producer_id",
            "wrong": { "$sum": { "$cond": [{ "$eq": ["$correct", false] }, 1, 0] } },
            "total": { "$sum": { "$cond": [labelled(), 1, 0] } },
            "unlabelled": { "$sum": { "$cond": [labelled(), 0, 1] } },
        } };
        let cursor = world.collection(Duration::from_secs(30)).await?.aggregate([stage]).await?;
        anyhow::Ok(cursor.try_collect::<Vec<Document>>().await?)
    };
    let grouped = match grouped.await {
        Ok(grouped) => grouped,
        Err(error) => {
            return Some(Finding::one("report = MongoDB's $group = a plain recount", format!("{error:#}")));
        }
    };
    let report = match queries::report(world).await {
        Ok(report) => report,
        Err(error) => return Some(Finding::one("report = MongoDB's $group = a plain recount", error)),
    };
    agree(of_report(&report).as_ref(), &of_group(&grouped), &recount(documents))
}

/// What every process has now against what it had when it was ready, and what it does without work.
async fn growth(world: &World) -> Vec<Growth> {
    let now = || -> BTreeMap<String, Resources> {
        let processes = world.fleet.serving();
        processes
            .filter_map(|process| Some((process.spec.name.clone(), Resources::of(process.id()?)?)))
            .collect()
    };
    let before = now();
    let started = Instant::now();
    tokio::time::sleep(IDLE).await;
    let (after, seconds) = (now(), started.elapsed().as_secs_f64());
    let first = world.notes().first.clone();
    let of = |(process, last): (String, Resources)| {
        let used = last.cpu_seconds - before.get(&process)?.cpu_seconds;
        let first = *first.get(&process)?;
        let consumer = process.contains("consumer");
        Some(Growth { first, last, idle_cpu: used / seconds, consumer, process })
    };
    after.into_iter().filter_map(of).collect()
}

/// Ends all roles in order, and looks for what is left.
async fn end(world: &World, run: &str) -> Vec<Finding> {
    let mut disorderly = Vec::new();
    let ends = world.fleet.all().map(|process| async move {
        let ended = process.end(Signal::TERM, END_WITHIN).await;
        (process, ended)
    });
    for (process, ended) in futures::future::join_all(ends).await {
        let name = &process.spec.name;
        match ended {
            Ok(Some(ended)) if !ended.in_time => {
                disorderly.push(format!("{name}: killed after {END_WITHIN:?}"))
            }
            Ok(Some(ended)) if !ended.status.success() => {
                disorderly.push(format!("{name}: {}", ended.status))
            }
            Ok(_) => {}
            Err(error) => disorderly.push(format!("{name}: {error:#}")),
        }
    }
    let (name, value) = marker(run);
    let left = with_environment(&name, &value).into_iter().map(|pid| format!("process {pid}"));
    let findings = [
        Finding::all("SIGTERM ends a process in order", disorderly),
        Finding::all("no process is left", left),
    ];
    findings.into_iter().flatten().collect()
}

/// Restarted consumers that took too long although nothing else was at work.
fn judge_restarts(world: &World, within: f64) -> Option<Finding> {
    let notes = world.notes();
    let late = notes.restarts.iter().filter(|restart| restart.alone && restart.process.contains("consumer"));
    let late = late.filter(|restart| restart.seconds.is_none_or(|seconds| seconds > within));
    let late = late.map(|restart| format!("{}: {:?} s", restart.process, restart.seconds));
    Finding::all(&format!("a restarted consumer works again within {within} s"), late)
}

fn count(queries: &[crate::oracle::answers::Query]) -> QueryCounts {
    let failed = queries.iter().filter(|query| !matches!(query.answer, Answered::Count(_)));
    QueryCounts {
        answered: queries.iter().filter(|query| matches!(query.answer, Answered::Count(_))).count(),
        failed: failed.clone().count(),
        slowest_ms: queries.iter().map(|query| query.ended_ms - query.began_ms).max().unwrap_or(0),
        failures: failed.take(FAILURES).cloned().collect(),
    }
}
