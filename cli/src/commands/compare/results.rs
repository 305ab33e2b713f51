//! What a comparison found, as it stands in its JSON file. Tables, chart and goals are made of this alone.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Comparison {
    /// When it began, in UTC.
    pub(super) started: String,
    /// How long it took, with everything.
    pub(super) seconds: f64,
    pub(super) machine: Machine,
    /// Name to version, of everything that took part.
    pub(super) versions: BTreeMap<String, String>,
    /// Rounds that count, after one that warms up.
    pub(super) rounds: usize,
    /// Settings that were chosen for a system.
    pub(super) tuning: BTreeMap<String, String>,
    pub(super) sizes: Vec<Size>,
    pub(super) tpch: Option<Tpch>,
    pub(super) goals: Vec<Goal>,
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) system: String,
}

/// Everything over one number of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Size {
    pub(super) documents: u64,
    pub(super) wrong: u64,
    /// How long the export to Parquet took, which no figure of a reader of Parquet includes; and its bytes.
    pub(super) export_seconds: f64,
    pub(super) export_bytes: u64,
    pub(super) measured: Vec<Measured>,
}

impl Size {
    /// The contender of that name and start, where it took part.
    pub(super) fn find(&self, name: &str, start: Start) -> Option<&Measured> {
        self.measured.iter().find(|one| one.start == start && one.name() == name)
    }
}

/// One contender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) system: String,
    pub(super) way: String,
    pub(super) start: Start,
    pub(super) source: Source,
    /// From the order to the answer, in seconds.
    pub(super) wall: Figures,
    /// Processor time of its processes, in seconds.
    pub(super) cpu: Figures,
    /// Processor time of MongoDB meanwhile, in seconds.
    pub(super) server_cpu: Figures,
    /// The most memory of all its processes together, in bytes.
    pub(super) peak_bytes: Figures,
    /// What MongoDB sent, in bytes.
    pub(super) read_bytes: Figures,
}

impl Measured {
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.system, self.way)
    }
}

/// Whether the start of the processes is part of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Start {
    Cold,
    Warm,
}

impl Start {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Source {
    MongoDB,
    Parquet,
}

/// A figure of each round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) rounds: Vec<f64>,
}

impl Figures {
    /// The median of an even number is the mean of the two in the middle.
    pub(super) fn of(rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
        let last = sorted.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(sorted.len() / 2)), min: at(0), max: at(last), rounds }
    }
}

/// The queries of TPC-H.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tpch {
    pub(super) scale: f64,
    pub(super) queries: Vec<TpchQuery>,
}

/// One query on both, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TpchQuery {
    pub(super) name: String,
    pub(super) rows: usize,
    pub(super) firesteel: Figures,
    pub(super) spark: Figures,
}

impl Tpch {
    /// The sums of the medians: ours, and Spark's.
    pub(super) fn sums(&self) -> (f64, f64) {
        let sum = |of: fn(&TpchQuery) -> f64| self.queries.iter().map(of).sum();
        (sum(|query| query.firesteel.median), sum(|query| query.spark.median))
    }
}

/// Something that was to be reached, and what was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Goal {
    pub(super) what: String,
    pub(super) at_least: Option<f64>,
    pub(super) at_most: Option<f64>,
    pub(super) measured: f64,
    pub(super) met: bool,
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn medians() {
        let median = |rounds: &[f64]| Figures::of(rounds.to_vec()).median;
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!((median(&[]), median(&[7.0])), (0.0, 7.0));
        let figures = Figures::of(vec![3.0, 1.0]);
        assert_eq!((figures.min, figures.max, figures.rounds), (1.0, 3.0, vec![3.0, 1.0]));
    }
}
