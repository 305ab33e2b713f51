//! The table of the documentation: fault, target, in how many runs, how often, and whether the runs passed.

use crate::fault::{Kind, Target};
use crate::many::records;
use crate::record::RunRecord;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

/// `firesteel-chaos table`.
#[derive(Debug, Args)]
pub(crate) struct TableArgs {
    /// Folders with records of runs
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
}

/// Prints it.
pub(crate) fn print(args: &TableArgs) -> anyhow::Result<()> {
    println!("{}", table(&records(&args.folders)?));
    Ok(())
}

/// One row of the table.
#[derive(Debug, Default)]
struct Row {
    times: usize,
    runs: BTreeSet<u64>,
    failed: BTreeSet<u64>,
}

fn table(records: &[RunRecord]) -> String {
    let mut rows: BTreeMap<(Target, Kind), Row> = BTreeMap::new();
    for record in records {
        for fault in record.faults.iter().filter(|fault| fault.hit.is_some()) {
            let row = rows.entry((fault.fault.target, fault.fault.kind)).or_default();
            row.times += 1;
            row.runs.insert(record.seed);
            if !record.passed {
                row.failed.insert(record.seed);
            }
        }
    }
    let sum = |of: fn(&RunRecord) -> usize| records.iter().map(of).sum::<usize>();
    let passed = records.iter().filter(|record| record.passed).count();
    let mut text =
        String::from("| target | fault | times | runs | of which passed |\n|---|---|---:|---:|---:|\n");
    for ((target, kind), row) in &rows {
        let (runs, good) = (row.runs.len(), row.runs.len() - row.failed.len());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {target} | {} | {} | {runs} | {good} |", kind.what(), row.times);
    }
    let _ = write!(
        text,
        "\n{} runs, {passed} passed: {} images acknowledged (and {} whose outcome their producer could not know), {} images sent \
         twice, {} poison, {} dead letters; **{} lost, {} double, {} wrong, {} stale**; {} looks at committed offsets, {} queries answered \
         while faults were at work, {} failed with a reason.",
        records.len(),
        sum(|record| record.counts.acknowledged),
        sum(|record| record.counts.unknown_outcome),
        sum(|record| record.counts.duplicate_images),
        sum(|record| record.counts.poison),
        sum(|record| record.counts.dead_letters),
        sum(|record| record.counts.lost),
        sum(|record| record.counts.double),
        sum(|record| record.counts.wrong),
        sum(|record| record.counts.stale),
        sum(|record| record.offsets_sampled),
        sum(|record| record.queries.answered),
        sum(|record| record.queries.failed),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Performed;
    use crate::schedule::{Limits, plan};
    use std::time::Duration;

    #[test]
    fn faults_are_counted_by_target_and_kind() {
        let record = |seed, passed, hit: bool| {
            let (window, longest) = (Duration::from_secs(1), Duration::from_secs(1));
            let only = |kind: &Kind| *kind != Kind::Kill;
            let kinds = crate::fault::CHOICES.iter().map(|(kind, _, _)| *kind).filter(only);
            let without = kinds.map(|kind| (kind, None)).collect();
            let fault = plan(1, &Limits { faults: 1, window, longest, without }).remove(0);
            let fault = crate::schedule::Fault { target: Target::Broker, ..fault };
            let hit = hit.then(|| "x".to_owned());
            RunRecord {
                seed,
                passed,
                faults: vec![Performed { fault, hit, began_ms: 0, ended_ms: 1, note: String::new() }],
                images: 0,
                processor: String::new(),
                cores: 1,
                firesteel: String::new(),
                without: Vec::new(),
                restarts: Vec::new(),
                counts: crate::oracle::books::Counts { acknowledged: 5, ..Default::default() },
                offsets_sampled: 0,
                replay_killed: true,
                queries: Default::default(),
                growth: Vec::new(),
                seconds: BTreeMap::new(),
                findings: Vec::new(),
            }
        };
        let text = table(&[record(1, true, true), record(2, false, true), record(3, true, false)]);
        assert!(text.contains("| broker | SIGKILL, started again | 2 | 2 | 1 |"), "{text}");
        assert!(text.contains("3 runs, 2 passed: 15 images acknowledged"), "{text}");
    }
}
