//! What a run leaves behind: one JSON file, from which the table of the documentation is made.

use crate::oracle::Finding;
use crate::oracle::answers::Query;
use crate::oracle::books::Counts;
use crate::oracle::growth::Growth;
use crate::schedule::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) seed: u64,
    pub(crate) images: u64,
    /// The processor's name and how many cores there are.
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// The SHA-256 of the binary.
    pub(crate) firesteel: String,
    /// What could not be done on this machine, such as a full disk.
    pub(crate) without: Vec<String>,
    pub(crate) faults: Vec<Performed>,
    pub(crate) restarts: Vec<Restart>,
    pub(crate) counts: Counts,
    pub(crate) offsets_sampled: usize,
    /// Whether a replay of dead letters was killed before its end.
    #[serde(default)]
    pub(crate) replay_killed: bool,
    pub(crate) queries: QueryCounts,
    pub(crate) growth: Vec<Growth>,
    pub(crate) seconds: BTreeMap<String, f64>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) passed: bool,
}

/// A fault that was due, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Performed {
    #[serde(flatten)]
    pub(crate) fault: Fault,
    /// The process or the connection that it hit; none where there was nothing to hit.
    pub(crate) hit: Option<String>,
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: u64,
    /// Why it hit nothing, or how the process ended.
    pub(crate) note: String,
}

/// A process that was started again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Restart {
    pub(crate) process: String,
    /// From its start until it said that it is ready; none where it did not while its fault was watched.
    pub(crate) seconds: Option<f64>,
    /// Whether no other fault was at work from a while before its end until it was ready: its dependencies were up.
    pub(crate) alone: bool,
}

/// The queries of a run in numbers, and those that failed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct QueryCounts {
    pub(crate) answered: usize,
    pub(crate) failed: usize,
    pub(crate) slowest_ms: u64,
    pub(crate) failures: Vec<Query>,
}

impl RunRecord {
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }

    /// A few lines for people.
    pub(crate) fn summary(&self) -> String {
        let Self { seed, counts, queries, .. } = self;
        let hit = self.faults.iter().filter(|fault| fault.hit.is_some()).count();
        let slowest = self.restarts.iter().filter_map(|restart| restart.seconds).fold(0.0, f64::max);
        let mut lines = vec![format!(
            "seed {seed}: {} images acknowledged (+{} whose outcome their producer could not know), {} documents, {} poison, {} dead \
             letters, {hit} faults, {} queries answered and {} failed with a reason, slowest restart {slowest:.1} s, {:.0} s: {}",
            counts.acknowledged,
            counts.unknown_outcome,
            counts.documents,
            counts.poison,
            counts.dead_letters,
            queries.answered,
            queries.failed,
            self.seconds.values().sum::<f64>(),
            if self.passed { "passed" } else { "FAILED" },
        )];
        for finding in &self.findings {
            lines.push(format!("  not kept, {} times: {}", finding.count, finding.statement));
            lines.extend(finding.examples.iter().map(|example| format!("    {example}")));
        }
        lines.join("\n")
    }
}

/// The processor's name, as the kernel tells it.
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
