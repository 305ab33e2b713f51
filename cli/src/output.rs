//! Prints a report: as tables for people, as JSON and CSV for programs, and as a file that appears complete or not at all.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use firesteel_engine::report::Report;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Table,
    /// One JSON object
    Json,
    /// Comma-separated values with a header
    Csv,
}

/// The report in `format`, with a line break at its end.
pub(crate) fn render(report: &Report, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Table => table(report),
        Format::Json => json(report),
        Format::Csv => csv(report),
    }
}

fn json(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report).context("cannot write the report as JSON")? + "\n")
}

fn table(report: &Report) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "Wrong Inference Counts by Producer:")?;
    let rows = report.producers.iter().map(|row| {
        vec![
            row.producer_id.clone(),
            row.wrong_inference_count.to_string(),
            row.total_inferences.to_string(),
            percent(row.error_rate),
        ]
    });
    writeln!(
        text,
        "{}",
        grid(&["producer_id", "wrong_inference_count", "total_inferences", "error_rate"], rows)?
    )?;

    writeln!(text, "\nAccuracy by Class:")?;
    let rows = report.classes.iter().map(|row| {
        vec![row.class.clone(), row.total.to_string(), row.correct.to_string(), percent(row.accuracy)]
    });
    writeln!(text, "{}", grid(&["class", "total", "correct", "accuracy"], rows)?)?;

    let totals = &report.totals;
    writeln!(text, "\nTotals:")?;
    let rows = [
        ("images", totals.images.to_string()),
        ("producers", totals.producers.to_string()),
        ("overall accuracy", percent(totals.accuracy)),
        ("average error rate", percent(totals.average_error_rate)),
        ("images/s per producer", format!("{:.2}", totals.images_per_second_per_producer)),
        ("wall time of the ingest", format!("{:.1} s", totals.ingest_seconds)),
        ("wall time of the job", format!("{:.3} s", totals.job_seconds)),
    ];
    for (name, value) in rows {
        writeln!(text, "  {name:<24}{value:>12}")?;
    }
    Ok(text)
}

pub(crate) fn percent(value: f64) -> String {
    format!("{value:.2} %")
}

/// A table as `psql` and Spark's `show` draw it.
pub(crate) fn grid(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> anyhow::Result<String> {
    let mut columns = vec![Vec::new(); header.len()];
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let columns = columns.into_iter().map(|cells| Arc::new(StringArray::from(cells)) as ArrayRef);
    let batch = RecordBatch::try_from_iter(header.iter().copied().zip(columns))?;
    Ok(pretty_format_batches(&[batch])?.to_string())
}

/// Three blocks, each with a header, separated by empty lines. Text with a comma, a quote or a line break is quoted as RFC 4180
/// says; ids and the classes of the shipped model need none.
fn csv(report: &Report) -> anyhow::Result<String> {
    let mut text = String::from("producer_id,wrong_inference_count,total_inferences,error_rate\n");
    for row in &report.producers {
        let id = quoted(&row.producer_id);
        writeln!(text, "{id},{},{},{}", row.wrong_inference_count, row.total_inferences, row.error_rate)?;
    }
    text.push_str("\nclass,total,correct,accuracy\n");
    for row in &report.classes {
        writeln!(text, "{},{},{},{}", quoted(&row.class), row.total, row.correct, row.accuracy)?;
    }
    let totals = &report.totals;
    text.push_str(
        "\nimages,producers,accuracy,average_error_rate,images_per_second_per_producer,ingest_seconds,job_seconds\n",
    );
    writeln!(
        text,
        "{},{},{},{},{},{},{}",
        totals.images,
        totals.producers,
        totals.accuracy,
        totals.average_error_rate,
        totals.images_per_second_per_producer,
        totals.ingest_seconds,
        totals.job_seconds
    )?;
    Ok(text)
}

pub(crate) fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Writes `text` to standard output. A reader that has gone away (`| head`) is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Fails where `path` cannot be written, before the time of a long run is lost.
pub(crate) fn check_writable(path: &Path) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "cannot write {} (--report): it is a folder", path.display());
    temporary(path).map(drop)
}

/// Writes the report as JSON. A reader finds the complete file or none.
pub(crate) fn save(report: &Report, path: &Path) -> anyhow::Result<()> {
    let mut file = temporary(path)?;
    file.write_all(json(report)?.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// A temporary file in the folder of `path`, with the permissions of a new file. It is removed unless it is renamed to `path`.
fn temporary(path: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".firesteel-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write {} (--report): its folder refuses", path.display()))
}
