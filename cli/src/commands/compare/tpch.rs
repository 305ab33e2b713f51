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
use super::cluster::Cluster;
use super::lab::Lab;
use super::results::{Figures, Tpch, TpchQuery};
use super::served::Served;

const TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

macro_rules! queries {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../../benches/tpch/", $name, ".sql")))),*]
    };
}

const QUERIES: [(&str, &str); 22] = queries!(
    "q01", "q02", "q03", "q04", "q05", "q06", "q07", "q08", "q09", "q10", "q11", "q12", "q13", "q14", "q15",
    "q16", "q17", "q18", "q19", "q20", "q21", "q22"
);

/// Two systems divide decimals to different numbers of digits, and one rounds the sixth where the other cuts after it.
const TOLERANCE: f64 = 2e-6;

/// Makes the tables and runs every query in turn on both, `rounds` times after a warm-up.
pub(super) async fn run(lab: &Lab, scale: f64, rounds: usize, bar: &Bar) -> anyhow::Result<Tpch> {
    let spark = lab.spark.as_ref().context("there is no Spark")?;
    let python = lab.python.as_deref().context("there is no Python for the generator of the tables")?;
    let tables = lab.folder.path().join("tpch");
    bar.say(format!("TPC-H at scale factor {scale}: making the tables"));
    generate(python, scale, &tables).await?;
    let texts = lab.folder.path().join("queries");
    std::fs::create_dir_all(&texts)?;
    for (name, text) in QUERIES {
        std::fs::write(texts.join(name).with_extension("sql"), text)?;
    }

    let mut served = Served::start("Spark", spark.tpch(&lab.scripts.tpch, &tables, &texts)).await?;
    let cluster = Cluster::start(&lab.binary, &lab.uri, "firesteel_bench_tpch", 2, lab.folder.path()).await?;
    let session = Session::connect(&cluster.url(), Config::new(&lab.uri, "firesteel_bench_tpch")).await?;
    for name in TABLES {
        let path = table(&tables, name);
        let sql = format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}'", path.display());
        if let Outcome::Rows(rows) = Box::pin(session.execute(&sql)).await? {
            rows.collect().await?;
        }
    }
    let mut queries = Vec::new();
    for (name, text) in QUERIES {
        let (mut ours, mut theirs, mut count) = (Vec::new(), Vec::new(), 0);
        bar.say(format!("TPC-H at scale factor {scale}: {name}"));
        for round in 0..=rounds {
            let began = Instant::now();
            let batches = session.sql(text).await?.collect().await.with_context(|| name.to_owned())?;
            let our_seconds = began.elapsed().as_secs_f64();
            let began = Instant::now();
            let answer = served.ask(name).await?;
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
        let (firesteel, spark) = (Figures::of(ours), Figures::of(theirs));
        queries.push(TpchQuery { name: name.to_owned(), rows: count, firesteel, spark });
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
