//! The systems that take part: by whom, in which variant, and whether the start is part of the time.

use super::results::{Source, Start};

/// One system in one variant. All do the work of `firesteel report`, but for Spark's RDD job, which counts by producer
/// alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum System {
    /// `spark-submit`, from the shell to its end.
    SparkCold,
    /// A DataFrame aggregation in a session that is open.
    SparkWarm,
    /// `map` and `reduceByKey` in Python, in the same session.
    SparkRdd,
    /// `firesteel report`, from the shell to its end.
    FiresteelCold,
    /// The same, reading rows instead of letting MongoDB compute the aggregate.
    FiresteelColdRows,
    /// On a scheduler and two executors of one slot each that are up.
    ClusterPushdown,
    /// The same, reading rows.
    ClusterRows,
    /// MongoDB's own aggregation through its driver.
    MongoGroup,
    /// A peer over the Parquet export, from the shell to its end.
    PeerCold(Peer),
    /// A peer in a process that is up.
    PeerWarm(Peer),
}

/// What a user would pick over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    DuckDb,
    Polars,
    DataFusion,
}

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::DuckDb, Self::Polars, Self::DataFusion];

    /// As `benches/peers/report.py --engine` has it.
    pub(super) fn engine(self) -> &'static str {
        match self {
            Self::DuckDb => "duckdb",
            Self::Polars => "polars",
            Self::DataFusion => "datafusion",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DuckDb => "DuckDB",
            Self::Polars => "Polars",
            Self::DataFusion => "DataFusion",
        }
    }
}

impl System {
    /// Those that can take part, in the order of tables.
    pub(super) fn all(spark: bool, peers: bool) -> Vec<Self> {
        let mut all = Vec::new();
        if spark {
            all.extend([Self::SparkCold, Self::SparkWarm, Self::SparkRdd]);
        }
        all.extend([Self::FiresteelCold, Self::FiresteelColdRows, Self::ClusterPushdown, Self::ClusterRows]);
        all.push(Self::MongoGroup);
        if peers {
            all.extend(Peer::ALL.map(Self::PeerCold));
            all.extend(Peer::ALL.map(Self::PeerWarm));
        }
        all
    }

    pub(super) fn family(self) -> &'static str {
        match self {
            Self::SparkCold | Self::SparkWarm | Self::SparkRdd => "Spark",
            Self::FiresteelCold | Self::FiresteelColdRows | Self::ClusterPushdown | Self::ClusterRows => {
                "Firesteel"
            }
            Self::MongoGroup => "MongoDB",
            Self::PeerCold(peer) | Self::PeerWarm(peer) => peer.name(),
        }
    }

    pub(super) fn variant(self) -> &'static str {
        match self {
            Self::SparkCold => "spark-submit",
            Self::SparkWarm => "open session, DataFrame",
            Self::SparkRdd => "open session, reduceByKey",
            Self::FiresteelCold => "one process",
            Self::FiresteelColdRows => "one process, no pushdown",
            Self::ClusterPushdown => "2 executors",
            Self::ClusterRows => "2 executors, no pushdown",
            Self::MongoGroup => "one $group",
            Self::PeerCold(_) => "one process",
            Self::PeerWarm(_) => "open process",
        }
    }

    pub(super) fn name(self) -> String {
        format!("{}, {}", self.family(), self.variant())
    }

    pub(super) fn start(self) -> Start {
        match self {
            Self::SparkCold | Self::FiresteelCold | Self::FiresteelColdRows | Self::PeerCold(_) => {
                Start::Cold
            }
            _ => Start::Warm,
        }
    }

    pub(super) fn source(self) -> Source {
        match self {
            Self::PeerCold(_) | Self::PeerWarm(_) => Source::Parquet,
            _ => Source::MongoDB,
        }
    }
}

/// The systems of a round: in turn, and every other round backwards, so that a slow spell of the machine, or what one
/// leaves in its caches, does not always meet the same.
pub(super) fn order(all: &[System], round: usize) -> Vec<System> {
    let mut order = all.to_vec();
    if !round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_are_called_alike() {
        let all = System::all(true, true);
        let names: BTreeSet<(String, &str)> =
            all.iter().map(|one| (one.name(), one.start().name())).collect();
        assert_eq!(names.len(), all.len());
        assert!(System::all(false, false).iter().all(|one| one.family() != "Spark"));
    }

    #[test]
    fn every_other_round_runs_backwards() {
        let all = System::all(false, false);
        assert_eq!(order(&all, 0), all);
        assert_eq!(order(&all, 1).first(), all.last());
        assert_eq!(order(&all, 2), all);
    }
}
