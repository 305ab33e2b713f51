//! The queries of TPC-H on Spark and on our cluster, over the same Parquet files.

use anyhow::{Context as _, ensure};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use firesteel_engine::{Config, Outcome, Session};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::process::Command;

use super::Bar;
use super::results::{Tpch, TpchQuery};
use super::runner::Runner;
use crate::server_process::ServerProcess;
use crate::statistics::Figures;

const TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// The cluster's database, in which there is nothing.
const DATABASE: &str = "firesteel_bench_tpch";

/// The queries are `q01.sql` to this one.
const QUERIES: u32 = 22;

/// Two systems divide decimals to different numbers of digits, and one rounds the sixth where the other cuts after it.
const TOLERANCE: f64 = 2e-6;

/// Makes the tables and runs every query in turn on both, `rounds` times after a warm-up.
pub(super) async fn run(runner: &Runner, scale: f64, rounds: usize, bar: &Bar) -> anyhow::Result<Tpch> {
    let spark = runner.spark.as_ref().context("there is no Spark")?;
    let python = runner.python.as_deref().context("there is no Python for the generator of the tables")?;
    let tables = runner.folder.path().join("tpch");
    bar.say(format!("TPC-H at scale factor {scale}: making the tables"));
    generate(python, scale, &tables).await?;
    let queries_folder = &runner.scripts.queries;
    let command = spark.tpch(&runner.scripts.tpch, &tables, queries_folder);
    let mut spark = ServerProcess::start("Spark", command).await?;
    let cluster = runner.cluster(DATABASE).await;
    let session = Session::connect(&cluster.url(), Config::new(runner.uri(), DATABASE)).await?;
    for name in TABLES {
        let path = table(&tables, name);
        let sql = format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}'", path.display());
        if let Outcome::Rows(rows) = Box::pin(session.execute(&sql)).await? {
            rows.collect().await?;
        }
    }
    let mut queries = Vec::new();
    for number in 1..=QUERIES {
        let name = format!("q{number:02}");
        let path = queries_folder.join(&name).with_extension("sql");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let (mut ours, mut theirs, mut count) = (Vec::new(), Vec::new(), 0);
        bar.say(format!("TPC-H at scale factor {scale}: {name}"));
        for round in 0..=rounds {
            let began = Instant::now();
            let batches = session.sql(&text).await?.collect().await.with_context(|| name.clone())?;
            let our_seconds = began.elapsed().as_secs_f64();
            let began = Instant::now();
            let answer = spark.ask(&name).await?;
            let their_seconds = began.elapsed().as_secs_f64();
            let rows = rows(batches.batches())?;
            agree(&rows, answer.get("rows")).with_context(|| format!("{name}: Spark answers otherwise"))?;
            count = rows.len();
            // Round 0 is the warm-up.
            if round > 0 {
                ours.push(our_seconds);
                theirs.push(their_seconds);
            }
        }
        queries.push(TpchQuery {
            name,
            rows: count,
            firesteel: Figures::of(ours),
            spark: Figures::of(theirs),
        });
    }
    session.shutdown().await;
    Ok(Tpch { scale, queries })
}

/// The tables by `tpchgen-cli`, which stands beside the peers' Python.
async fn generate(python: &Path, scale: f64, folder: &Path) -> anyhow::Result<()> {
    let program = python.with_file_name("tpchgen-cli");
    let mut command = Command::new(&program);
    command.args(["parquet", "--scale-factor", &scale.to_string(), "--output-dir"]).arg(folder);
    let output = command.kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}", program.display(), said.trim());
    Ok(())
}

fn table(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.parquet"))
}

/// The rows as text.
fn rows(batches: &[RecordBatch]) -> anyhow::Result<Vec<Vec<String>>> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Result<Vec<_>, _> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect();
        let columns = columns?;
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>()),
        );
    }
    Ok(rows)
}

/// Whether Spark's rows are ours: in the order of the query, numbers within [`TOLERANCE`] of each other.
fn agree(ours: &[Vec<String>], theirs: Option<&Value>) -> anyhow::Result<()> {
    let theirs = theirs.and_then(Value::as_array).context("no rows")?;
    ensure!(ours.len() == theirs.len(), "{} rows here and {} there", ours.len(), theirs.len());
    for (number, (our, their)) in ours.iter().zip(theirs).enumerate() {
        let their = their.as_array().context("a row is no list")?;
        let same = our.len() == their.len() && our.iter().zip(their).all(|(our, their)| same(our, their));
        ensure!(same, "row {number} is {our:?} here and {} there", Value::from(their.clone()));
    }
    Ok(())
}

fn same(ours: &str, theirs: &Value) -> bool {
    let theirs = match theirs {
        Value::String(text) => text.clone(),
        Value::Null => return ours.is_empty(),
        other => other.to_string(),
    };
    if ours == theirs || ours.trim_end() == theirs.trim_end() {
        return true;
    }
    match (ours.parse::<f64>(), theirs.parse::<f64>()) {
        (Ok(one), Ok(other)) => (one - other).abs() <= TOLERANCE * one.abs().max(other.abs()).max(1.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_agree_but_for_the_digits_of_a_division() {
        let ours = vec![vec!["A".to_owned(), "25.522006".to_owned(), String::new()]];
        assert!(agree(&ours, Some(&json!([["A", "25.5220058532", null]]))).is_ok());
        assert!(agree(&ours, Some(&json!([["A", 25.6, null]]))).is_err());
        assert!(agree(&ours, Some(&json!([["B", "25.522006", null]]))).is_err());
        assert!(agree(&ours, Some(&json!([]))).is_err());
        assert!(agree(&ours, None).is_err());
    }
}
