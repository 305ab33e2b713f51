//! What a comparison found, as it stands in its JSON file. Tables, chart and targets are made of this alone.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::statistics::Figures;
use crate::target::Target;

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
    #[serde(rename = "goals")]
    pub(super) targets: Vec<Target>,
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
    /// The system of that name and start, where it took part.
    pub(super) fn find(&self, name: &str, start: Start) -> Option<&Measured> {
        self.measured.iter().find(|one| one.start == start && one.name() == name)
    }
}

/// One system in one variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) system: String,
    #[serde(rename = "way")]
    pub(super) variant: String,
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
        format!("{}, {}", self.system, self.variant)
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
