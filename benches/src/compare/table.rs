//! Results as text: tables for a terminal, and the same in Markdown for a page.

use std::fmt::Write as _;

use super::results::{Comparison, Measured, Size, Source, Start, Tpch};
use super::targets::documents;
use crate::statistics::{Figures, quotient};
use crate::target;

/// What stands where there is no figure.
const NONE: &str = "–";

/// The head of the tables over one number of documents.
const HEAD: [&str; 8] =
    ["system", "start", "reads", "median", "min – max", "CPU + MongoDB's", "peak memory", "× Spark"];

/// Everything, for a terminal.
pub(super) fn text(comparison: &Comparison) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for size in &comparison.sizes {
        write!(text, "{}", size_text(size)?)?;
    }
    if let Some(tpch) = &comparison.tpch {
        write!(text, "\n{}", tpch_text(tpch)?)?;
    }
    write!(text, "{}", target::text(&comparison.targets)?)?;
    Ok(text)
}

/// One number of documents, for a terminal.
pub(super) fn size_text(size: &Size) -> Result<String, std::fmt::Error> {
    let rows: Vec<[String; 8]> = size.measured.iter().map(|one| row(size, one)).collect();
    let mut table = vec![HEAD.map(str::to_owned)];
    table.extend(rows);
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    writeln!(text, "\n{}: all counted {} wrong", documents(size.documents), size.wrong)?;
    for row in &table {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < 3 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    if size.export_bytes > 0 {
        writeln!(
            text,
            "  the export to Parquet, which no reader of it is charged for: {}, {}",
            seconds(size.export_seconds),
            bytes(size.export_bytes as f64)
        )?;
    }
    Ok(text)
}

/// The queries of TPC-H, for a terminal.
pub(super) fn tpch_text(tpch: &Tpch) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "TPC-H at scale factor {}, warm, from Parquet: the same rows of every query", tpch.scale)?;
    writeln!(text, "  {:<6}{:>8}{:>14}{:>14}{:>10}", "query", "rows", "Firesteel", "Spark", "× Spark")?;
    for query in &tpch.queries {
        let (ours, spark) = (query.firesteel.median, query.spark.median);
        writeln!(
            text,
            "  {:<6}{:>8}{:>14}{:>14}{:>10}",
            query.name,
            query.rows,
            seconds(ours),
            seconds(spark),
            times(quotient(spark, ours))
        )?;
    }
    let (ours, spark) = tpch.sums();
    writeln!(
        text,
        "  {:<14}{:>14}{:>14}{:>10}",
        "sum",
        seconds(ours),
        seconds(spark),
        times(quotient(spark, ours))
    )?;
    Ok(text)
}

/// The largest size, TPC-H and the targets, as a page has them.
pub(super) fn markdown(comparison: &Comparison) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let machine = &comparison.machine;
    writeln!(
        text,
        "Measured {} on {} cores ({}, {}, {}) with {}; commit `{}`; {} rounds after a warm-up, in turn; medians.",
        comparison.started.split('T').next().unwrap_or_default(),
        machine.cores,
        machine.processor,
        bytes(machine.memory_bytes as f64),
        machine.system,
        versions(comparison),
        comparison.versions.get("commit").map_or("unknown", String::as_str),
        comparison.rounds
    )?;
    if let Some(size) = comparison.sizes.iter().max_by_key(|size| size.documents) {
        writeln!(text, "\n**{}**\n", documents(size.documents))?;
        line(&mut text, &HEAD.map(str::to_owned))?;
        line(&mut text, &["---", "---", "---", "--:", "--:", "--:", "--:", "--:"].map(str::to_owned))?;
        for one in &size.measured {
            line(&mut text, &row(size, one))?;
        }
    }
    let sizes: Vec<&Size> = comparison.sizes.iter().collect();
    if sizes.len() > 1 {
        writeln!(text, "\n**Seconds by number of documents**\n")?;
        let head = ["system".to_owned(), "start".to_owned()];
        let head: Vec<String> =
            head.into_iter().chain(sizes.iter().map(|size| documents(size.documents))).collect();
        line(&mut text, &head)?;
        let rule: Vec<String> =
            (0..head.len()).map(|column| if column < 2 { "---" } else { "--:" }.to_owned()).collect();
        line(&mut text, &rule)?;
        for one in sizes.first().map(|size| size.measured.as_slice()).unwrap_or_default() {
            let cell = |size: &&Size| {
                let same = size.find(&one.name(), one.start);
                same.map_or_else(|| NONE.to_owned(), |same| seconds(same.wall.median))
            };
            let row: Vec<String> =
                [one.name(), one.start.name().to_owned()].into_iter().chain(sizes.iter().map(cell)).collect();
            line(&mut text, &row)?;
        }
    }
    if let Some(tpch) = &comparison.tpch {
        let (ours, spark) = tpch.sums();
        let slower = tpch.queries.iter().filter(|query| query.firesteel.median > query.spark.median);
        let slower: Vec<&str> = slower.map(|query| query.name.as_str()).collect();
        writeln!(
            text,
            "\n**TPC-H, scale factor {}**, warm, from Parquet, two slots each: {} of Firesteel against {} of Spark for \
             the {} queries ({}×); slower than Spark: {}.",
            tpch.scale,
            seconds(ours),
            seconds(spark),
            tpch.queries.len(),
            times(quotient(spark, ours)),
            if slower.is_empty() { "none".to_owned() } else { slower.join(", ") }
        )?;
    }
    if !comparison.targets.is_empty() {
        writeln!(text, "\n| goal | wanted | measured | |\n| --- | --: | --: | --- |")?;
        for target in &comparison.targets {
            let verdict = if target.met { "met" } else { "missed" };
            writeln!(text, "| {} | {} | {:.2} | {verdict} |", target.what, target.bounds(), target.measured)?;
        }
    }
    Ok(text)
}

fn versions(comparison: &Comparison) -> String {
    let named = comparison.versions.iter().filter(|(name, _)| *name != "commit" && *name != "Firesteel");
    named.map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, cells: &[String]) -> std::fmt::Result {
    writeln!(text, "| {} |", cells.join(" | "))
}

fn row(size: &Size, one: &Measured) -> [String; 8] {
    let server = match one.source {
        Source::MongoDB => format!("{:.1} + {:.1} s", one.cpu.median, one.server_cpu.median),
        Source::Parquet => format!("{:.1} s", one.cpu.median),
    };
    let reads = match one.source {
        Source::MongoDB => format!("MongoDB, {}", bytes(one.read_bytes.median)),
        Source::Parquet => "Parquet".to_owned(),
    };
    [
        one.name(),
        one.start.name().to_owned(),
        reads,
        seconds(one.wall.median),
        format!("{} – {}", seconds(one.wall.min), seconds(one.wall.max)),
        server,
        bytes(one.peak_bytes.median),
        against_spark(size, one).map_or_else(|| NONE.to_owned(), times),
    ]
}

/// How many times as fast as the Spark of the same start; of several the fastest.
fn against_spark(size: &Size, one: &Measured) -> Option<f64> {
    let spark = size.measured.iter().filter(|other| other.system == "Spark" && other.start == one.start);
    let fastest = spark.map(|other: &Measured| other.wall.median).min_by(f64::total_cmp)?;
    Some(quotient(fastest, one.wall.median))
}

/// Three digits that say something.
fn seconds(value: f64) -> String {
    match value {
        _ if value >= 99.95 => format!("{value:.0} s"),
        _ if value >= 9.995 => format!("{value:.1} s"),
        _ if value >= 0.9995 => format!("{value:.2} s"),
        _ => format!("{value:.3} s"),
    }
}

fn times(value: f64) -> String {
    if value >= 9.95 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn bytes(value: f64) -> String {
    match value {
        _ if value >= 1e9 => format!("{:.1} GB", value / 1e9),
        _ if value >= 1e6 => format!("{:.0} MB", value / 1e6),
        _ => format!("{:.0} kB", value / 1e3),
    }
}

/// What a line of progress says of a round.
pub(super) fn round(name: &str, start: Start, wall: f64) -> String {
    format!("{name}, {}: {}", start.name(), seconds(wall))
}

/// For the chart: the medians of one system over all sizes.
pub(super) fn series<'a>(
    comparison: &'a Comparison,
    one: &'a Measured,
) -> impl Iterator<Item = (u64, &'a Figures)> {
    comparison.sizes.iter().filter_map(|size| {
        let same = size.find(&one.name(), one.start);
        same.map(|same| (size.documents, &same.wall))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let told = [0.0123, 0.5, 1.234, 12.34, 123.4].map(seconds);
        assert_eq!(told, ["0.012 s", "0.500 s", "1.23 s", "12.3 s", "123 s"]);
        assert_eq!([1.23, 45.6].map(times), ["1.2", "46"]);
        assert_eq!([1.2e9, 3.4e7, 5_600.0].map(bytes), ["1.2 GB", "34 MB", "6 kB"]);
    }
}
