//! Runs: one by its seed, or many in a row on the same servers, with a record of each.

use crate::ports::Ports;
use crate::record::RunRecord;
use crate::run::{RunArgs, run};
use crate::servers::Servers;
use crate::world::marker;
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Runs on the same servers, before new ones are started: their logs and data grow.
const RUNS_OF_SERVERS: u64 = 25;

/// `firesteel-chaos run`.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// Decides which faults come when, which records come twice, and which are poison
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keeps the logs of every process here, also of a run that passes
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Writes the run's record here
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

/// `firesteel-chaos many`.
#[derive(Debug, Args)]
pub(crate) struct ManyArgs {
    /// How many runs
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// The seed of the first; each further one has the next
    #[arg(long, value_name = "N", default_value_t = 1)]
    first_seed: u64,
    /// Where the records of the runs go, one file each
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// The servers of some runs, and the folder of their logs and data.
struct Bench {
    servers: Arc<Servers>,
    folder: Folder,
}

impl Bench {
    async fn start(folder: Folder) -> anyhow::Result<Self> {
        let name = format!("servers-{:08x}", rand::random::<u32>());
        let servers = Servers::start(folder.path(), &mut Ports::new(), &marker(&name)).await;
        match servers {
            Ok(servers) => Ok(Self { servers, folder }),
            Err(error) => {
                let kept = folder.keep();
                Err(error).with_context(|| {
                    format!("the servers do not start; their logs are in {}", kept.display())
                })
            }
        }
    }
}

/// A folder that goes away unless it is kept.
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        match keep {
            Some(path) => {
                std::fs::create_dir_all(path)?;
                Ok(Self::Kept(path.canonicalize()?))
            }
            None => Ok(Self::Temporary(tempfile::Builder::new().prefix("firesteel-chaos-").tempdir()?)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Temporary(folder) => folder.keep(),
            Self::Kept(path) => path,
        }
    }
}

/// One run; whether it passed.
pub(crate) async fn one(args: OneArgs) -> anyhow::Result<bool> {
    let bench = Bench::start(Folder::new(args.keep.as_deref())?).await?;
    let record = run(&args.run, args.seed, Arc::clone(&bench.servers), bench.folder.path()).await;
    let record = match record {
        Ok(record) => record,
        Err(error) => {
            let kept = bench.folder.keep();
            return Err(error)
                .with_context(|| format!("seed {}; the logs are in {}", args.seed, kept.display()));
        }
    };
    println!("{}", record.summary());
    if let Some(path) = &args.record {
        record.write(path)?;
    }
    if !record.passed {
        println!("  the logs of every process are in {}", bench.folder.keep().display());
    }
    Ok(record.passed)
}

/// Many runs; whether all passed.
pub(crate) async fn many(args: ManyArgs) -> anyhow::Result<bool> {
    std::fs::create_dir_all(&args.out)?;
    let (mut bench, mut failed) = (None, Vec::new());
    for (number, seed) in (args.first_seed..args.first_seed + args.seeds).enumerate() {
        if (number as u64).is_multiple_of(RUNS_OF_SERVERS) {
            bench = None;
        }
        let Bench { servers, .. } = match &mut bench {
            Some(bench) => bench,
            empty => empty.insert(Bench::start(Folder::new(None)?).await?),
        };
        let folder = Folder::new(None)?;
        let path = args.out.join(format!("seed-{seed}.json"));
        let made = run(&args.run, seed, Arc::clone(servers), folder.path()).await;
        let passed = match &made {
            Ok(record) => {
                println!("{}", record.summary());
                record.write(&path)?;
                record.passed
            }
            Err(error) => {
                println!("seed {seed}: the run broke off: {error:#}");
                false
            }
        };
        if !passed {
            failed.push(seed);
            let kept = folder.keep();
            println!("  the logs of every process are in {}", kept.display());
            // What the servers have become is part of what happened, and no ground for the next run.
            if let Some(bench) = bench.take() {
                drop(bench.servers);
                println!("  those of the servers are in {}", bench.folder.keep().display());
            }
        }
    }
    let passed = args.seeds - failed.len() as u64;
    println!("{passed} of {} runs passed; records in {}", args.seeds, args.out.display());
    if !failed.is_empty() {
        println!("again: firesteel-chaos run --seed N, with the same arguments, for N of {failed:?}");
    }
    Ok(failed.is_empty())
}

/// The records in this folder.
pub(crate) fn records(folder: &Path) -> anyhow::Result<Vec<RunRecord>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let is_record =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("seed-"));
        if is_record {
            let bytes = std::fs::read(&path)?;
            found.push(
                serde_json::from_slice(&bytes).with_context(|| format!("{} is no record", path.display()))?,
            );
        }
    }
    Ok(found)
}
