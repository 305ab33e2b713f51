//! The table of the documentation: fault, target, in how many runs, how often, and whether the runs passed.

use crate::fault::{Kind, Target};
use crate::ledger::{Line, read, write};
use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// `firesteel-chaos table`.
#[derive(Debug, Args)]
pub(crate) struct TableArgs {
    /// Folders with records of runs, and files with a line a run
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Writes all these runs into a file too, a line each, which can be given as PATH the next time
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
}

/// Prints it.
pub(crate) fn print(args: &TableArgs) -> anyhow::Result<()> {
    let runs = read(&args.paths)?;
    if let Some(file) = &args.keep {
        write(file, &runs)?;
    }
    println!("{}", table(&runs));
    Ok(())
}

/// One row of the table.
#[derive(Debug, Default)]
struct Row {
    times: usize,
    runs: usize,
    passed: usize,
}

fn table(runs: &[Line]) -> String {
    let mut rows: BTreeMap<(Target, Kind), Row> = BTreeMap::new();
    for run in runs {
        for hits in &run.faults {
            let row = rows.entry((hits.target, hits.kind)).or_default();
            row.times += hits.times;
            row.runs += 1;
            row.passed += usize::from(run.passed);
        }
    }
    let sum = |of: fn(&Line) -> usize| runs.iter().map(of).sum::<usize>();
    let passed = runs.iter().filter(|run| run.passed).count();
    let mut text =
        String::from("| target | fault | times | runs | of which passed |\n|---|---|---:|---:|---:|\n");
    for ((target, kind), row) in &rows {
        let Row { times, runs, passed } = row;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {target} | {} | {times} | {runs} | {passed} |", kind.what());
    }
    let _ = write!(
        text,
        "\n{} runs, {passed} passed: {} images acknowledged (and {} whose outcome their producer could not know), {} images sent \
         twice, {} poison, {} dead letters; **{} lost, {} double, {} wrong, {} stale**; {} looks at committed offsets, {} queries answered \
         while faults were at work, {} failed with a reason.",
        runs.len(),
        sum(|run| run.counts.acknowledged),
        sum(|run| run.counts.unknown_outcome),
        sum(|run| run.counts.duplicate_images),
        sum(|run| run.counts.poison),
        sum(|run| run.counts.dead_letters),
        sum(|run| run.counts.lost),
        sum(|run| run.counts.double),
        sum(|run| run.counts.wrong),
        sum(|run| run.counts.stale),
        sum(|run| run.offsets_sampled),
        sum(|run| run.answered),
        sum(|run| run.failed),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Hits, tests::line};

    #[test]
    fn faults_are_counted_by_target_and_kind() {
        let kills = |times| vec![Hits { target: Target::Broker, kind: Kind::Kill, times }];
        let text = table(&[line(1, true, kills(1)), line(2, false, kills(2)), line(3, true, Vec::new())]);
        assert!(text.contains("| broker | SIGKILL, started again | 3 | 2 | 1 |"), "{text}");
        assert!(text.contains("3 runs, 2 passed: 15 images acknowledged"), "{text}");
    }
}
