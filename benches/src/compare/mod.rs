//! `firesteel-benches compare`: the same job here, on Spark and on what a user would pick instead, on the same data.
//!
//! `runner` starts and measures what `systems` lists → every answer has to agree with the first → `results` (the JSON) →
//! `targets`, `table` and `chart`, which know nothing else. Nothing is printed about a number of documents before all of
//! its rounds agreed.

mod args;
mod chart;
mod counters;
mod machine;
mod results;
mod runner;
mod sampler;
mod systems;
mod table;
mod targets;
mod tools;
mod tpch;

pub(crate) use args::CompareArgs;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use self::results::{Comparison, Measured, Size};
use self::runner::{Round, Runner};
use self::systems::{System, order};
use self::tools::{Scripts, Spark};
use crate::answer::Answer;
use crate::seeded::{self, Layout};
use crate::statistics::Figures;
use crate::target;

/// What is dropped here takes its processes and its folder with it.
pub(crate) async fn run(args: CompareArgs) -> anyhow::Result<()> {
    if let Some(path) = &args.render {
        return render(path);
    }
    ensure!(args.docs.is_sorted_by(|one, next| one < next), "--docs: expected ascending numbers");
    let (began, started) = (Instant::now(), machine::now());
    // What is missing is said before anything is made.
    let spark = match args.no_spark {
        true => None,
        false => Some(Spark::find(args.spark_home.clone(), machine::cores(), args.spark_partition_mb)?),
    };
    let python = if args.no_peers { None } else { Some(tools::peers_python()?) };
    if args.tpch > 0.0 && (spark.is_none() || python.is_none()) {
        bail!(
            "--tpch compares with Spark, over tables that the peers' tools make: not with --no-spark or --no-peers"
        );
    }
    let scripts = Scripts::find(&args.scripts)?;
    let client = counters::connect(&args.server.mongodb_uri).await?;
    let mut runner = Runner::new(args.server.clone(), client, scripts, spark, python)?;
    let bar = Bar::start();

    let mut names = Vec::new();
    for &docs in &args.docs {
        bar.say(format!("{}: seeding, unless they are there", targets::documents(docs)));
        names.push(seeded::ensure(&args.server, docs, Layout::Clustered).await?);
    }
    bar.say("starting what stays open".to_owned());
    let mut versions = runner.open(names.first().context("--docs is empty")?).await?;
    versions.insert("Firesteel".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    versions.insert("commit".to_owned(), machine::commit());
    let all = System::all(runner.spark.is_some(), runner.python.is_some());
    let mut sizes = Vec::new();
    for (&docs, name) in args.docs.iter().zip(&names) {
        let size = Box::pin(size(&mut runner, docs, name, &all, usize::from(args.runs), &bar)).await?;
        bar.pause(|| print(&table::size_text(&size)?))?;
        sizes.push(size);
    }
    let tuning = BTreeMap::from([(
        "Spark".to_owned(),
        format!(
            "local[{}], partitions of {} MB, as many shuffle partitions as cores, no UI; the rest as it comes",
            machine::cores(),
            args.spark_partition_mb
        ),
    )]);
    let targets = targets::targets(&sizes);
    let mut comparison = Comparison {
        started,
        seconds: began.elapsed().as_secs_f64(),
        machine: machine::machine(),
        versions,
        rounds: usize::from(args.runs),
        tuning,
        sizes,
        tpch: None,
        targets,
    };
    // What is measured by now stays, whatever becomes of the rest.
    keep(args.report.as_deref(), &comparison)?;
    if args.tpch > 0.0 {
        let tpch = Box::pin(tpch::run(&runner, args.tpch, usize::from(args.runs), &bar)).await?;
        bar.pause(|| print(&format!("\n{}", table::tpch_text(&tpch)?)))?;
        comparison.tpch = Some(tpch);
        comparison.seconds = began.elapsed().as_secs_f64();
        keep(args.report.as_deref(), &comparison)?;
    }
    drop(bar);
    print(&target::text(&comparison.targets)?)
}

/// Writes the JSON, the page and the chart, where they are asked for.
fn keep(path: Option<&Path>, comparison: &Comparison) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    write(path, &(serde_json::to_string_pretty(comparison)? + "\n"))?;
    pictures(path, comparison)
}

/// Everything over one number of documents.
async fn size(
    runner: &mut Runner,
    docs: u64,
    database: &str,
    all: &[System],
    rounds: usize,
    bar: &Bar,
) -> anyhow::Result<Size> {
    bar.say(format!("{}: exporting to Parquet, starting a cluster", targets::documents(docs)));
    let (prepared, export_seconds) = runner.prepare(database).await?;
    let mut measured: BTreeMap<System, Vec<Round>> = BTreeMap::new();
    let mut first: Option<(String, Answer)> = None;
    for round in 0..=rounds {
        for system in order(all, round) {
            let name = system.name();
            bar.say(format!("{}, round {round} of {rounds}: {name}", targets::documents(docs)));
            let ran = Box::pin(runner.round(system, &prepared)).await.with_context(|| name.clone())?;
            match &first {
                Some((other, expected)) => ensure!(
                    ran.answer.agrees(expected),
                    "{name} and {other} disagree: of {:?} and {:?} documents and wrong ones; is someone writing to \
                     {database}?",
                    ran.answer.counts(),
                    expected.counts()
                ),
                None => first = Some((name.clone(), ran.answer.clone())),
            }
            tracing::debug!("{}", table::round(&name, system.start(), ran.seconds));
            // Round 0 is the warm-up.
            if round > 0 {
                measured.entry(system).or_default().push(ran);
            }
        }
    }
    let export_bytes = prepared.export_bytes();
    prepared.close().await;
    let (counted, wrong) = first.context("nobody took part")?.1.counts();
    ensure!(counted == docs, "{counted} documents were counted, and there are {docs}");
    let measured = measured.into_iter().map(|(system, rounds)| summary(system, &rounds)).collect();
    Ok(Size { documents: docs, wrong, export_seconds, export_bytes, measured })
}

fn summary(system: System, rounds: &[Round]) -> Measured {
    let figures = |of: fn(&Round) -> f64| Figures::of(rounds.iter().map(of).collect());
    Measured {
        system: system.family().to_owned(),
        variant: system.variant().to_owned(),
        start: system.start(),
        source: system.source(),
        wall: figures(|round| round.seconds),
        cpu: figures(|round| round.cost.cpu_seconds),
        server_cpu: figures(|round| round.server.cpu_seconds),
        peak_bytes: figures(|round| round.cost.peak_bytes as f64),
        read_bytes: figures(|round| round.server.sent_bytes),
    }
}

/// The tables and pictures of an earlier run.
fn render(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {} (--render)", path.display()))?;
    let comparison: Comparison = serde_json::from_str(&text)
        .with_context(|| format!("{} is no JSON of `firesteel-benches compare --report`", path.display()))?;
    pictures(path, &comparison)?;
    print(&table::text(&comparison)?)
}

/// The chart and the page beside a JSON file.
fn pictures(path: &Path, comparison: &Comparison) -> anyhow::Result<()> {
    write(&path.with_extension("md"), &table::markdown(comparison)?)?;
    match chart::svg(comparison)? {
        Some(svg) => write(&path.with_extension("svg"), &svg),
        None => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {} (--report)", path.display()))
}

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// What is being done: a spinner at a terminal, a line each elsewhere. Gone when dropped.
struct Bar {
    bar: ProgressBar,
    terminal: bool,
}

impl Bar {
    fn start() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, terminal }
    }

    fn say(&self, what: String) {
        if !self.terminal {
            eprintln!("{what}");
        }
        self.bar.set_message(what);
    }

    /// Prints past the spinner.
    fn pause<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page and the chart in the repository are those of the figures in the repository, and the README shows them.
    #[test]
    fn the_committed_page_is_that_of_the_committed_figures() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |name: &str| std::fs::read_to_string(root.join(name)).expect(name);
        let comparison: Comparison =
            serde_json::from_str(&read("benches/results/compare.json")).expect("the JSON of a run");
        // What is read from JSON may be off by its last bit.
        let rounded = |targets: &[target::Target]| -> Vec<String> {
            targets.iter().map(|one| format!("{} {:.6} {}", one.what, one.measured, one.met)).collect()
        };
        assert_eq!(rounded(&comparison.targets), rounded(&targets::targets(&comparison.sizes)));
        let page = table::markdown(&comparison).expect("a page");
        assert_eq!(page, read("benches/results/compare.md"));
        assert_eq!(chart::svg(&comparison).expect("a chart"), Some(read("benches/results/compare.svg")));
        assert!(read("README.md").contains(page.trim()), "README.md shows another run than benches/results/");
    }
}
