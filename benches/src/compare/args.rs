//! The arguments of `firesteel-benches compare`.

use crate::seeded::ServerArgs;
use clap::Args;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Before it prints a figure it has compared all answers, to the last digit. Systems take turns, every other round
backwards; round 0 warms up and does not count. Memory is that of all processes of a system together (PSS), without
MongoDB's; the predictions stay in databases firesteel_bench_clustered_N for the next run.

Examples:
  make compare                            everything, with what it needs fetched
  firesteel-benches compare --docs 4000 --no-spark --no-peers
                                          a quick look without Spark, DuckDB, Polars and DataFusion
  firesteel-benches compare --render FILE.json
                                          the tables and the chart of an earlier run";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompareArgs {
    /// Numbers of documents, ascending
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "4000,100000,1000000",
          value_parser = clap::value_parser!(u64).range(1..), help_heading = "Comparison")]
    pub(super) docs: Vec<u64>,
    /// Rounds that count, after one that warms up
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100),
          help_heading = "Comparison")]
    pub(super) runs: u16,
    /// Also compares the 22 queries of TPC-H at this scale factor with Spark; 0 = not
    #[arg(long, value_name = "SF", default_value_t = 0.0, value_parser = scale, help_heading = "Comparison")]
    pub(super) tpch: f64,
    /// Writes everything as JSON, and beside it a chart (.svg) and a page (.md)
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    pub(super) report: Option<PathBuf>,
    /// Measures nothing: makes the tables, the chart and the page of a JSON file of --report again
    #[arg(long, value_name = "FILE", conflicts_with = "report", help_heading = "Comparison")]
    pub(super) render: Option<PathBuf>,
    /// Spark's folder [default: SPARK_HOME]
    #[arg(long, value_name = "FOLDER", help_heading = "Others")]
    pub(super) spark_home: Option<PathBuf>,
    /// Size of a partition of Spark's scan of MongoDB, in MB
    #[arg(long, value_name = "MB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000),
          help_heading = "Others")]
    pub(super) spark_partition_mb: u32,
    /// Goes without Spark
    #[arg(long, conflicts_with = "spark_home", help_heading = "Others")]
    pub(super) no_spark: bool,
    /// Goes without DuckDB, Polars and DataFusion over Parquet
    #[arg(long, help_heading = "Others")]
    pub(super) no_peers: bool,
    /// The folder of the scripts for other systems and of the queries of TPC-H
    #[arg(long, value_name = "FOLDER", default_value = "benches", help_heading = "Others")]
    pub(super) scripts: PathBuf,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && (0.0..=1000.0).contains(&scale) => Ok(scale),
        _ => Err("expected a scale factor from 0 to 1000, such as 1".to_owned()),
    }
}
