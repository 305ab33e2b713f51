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

/// The last column of producers and of totals, which is there where an image is unlabelled.
const UNLABELLED: &str = "unlabelled";

fn table(report: &Report) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "Wrong Inference Counts by Producer:")?;
    let apart = report.totals.unlabelled > 0;
    let mut header = vec!["producer_id", "wrong_inference_count", "total_inferences", "error_rate"];
    header.extend(apart.then_some(UNLABELLED));
    let rows = report.producers.iter().map(|row| {
        let mut cells = vec![
            row.producer_id.clone(),
            row.wrong_inference_count.to_string(),
            row.total_inferences.to_string(),
            percent(row.error_rate),
        ];
        cells.extend(apart.then(|| row.unlabelled.to_string()));
        cells
    });
    writeln!(text, "{}", grid(&header, rows)?)?;

    writeln!(text, "\nAccuracy by Class:")?;
    let rows = report.classes.iter().map(|row| {
        vec![row.class.clone(), row.total.to_string(), row.correct.to_string(), percent(row.accuracy)]
    });
    writeln!(text, "{}", grid(&["class", "total", "correct", "accuracy"], rows)?)?;

    let totals = &report.totals;
    writeln!(text, "\nTotals:")?;
    let unlabelled = apart.then(|| ("unlabelled images", totals.unlabelled.to_string()));
    let rows = [
        ("producers", totals.producers.to_string()),
        ("overall accuracy", percent(totals.accuracy)),
        ("average error rate", percent(totals.average_error_rate)),
        ("images/s per producer", format!("{:.2}", totals.images_per_second_per_producer)),
        ("wall time of the ingest", format!("{:.1} s", totals.ingest_seconds)),
        ("wall time of the job", format!("{:.3} s", totals.job_seconds)),
    ];
    let images = ("images", totals.images.to_string());
    for (name, value) in [images].into_iter().chain(unlabelled).chain(rows) {
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
    let apart = report.totals.unlabelled > 0;
    // What ends a line: one column more where an image is unlabelled.
    let end = |value: &dyn std::fmt::Display| if apart { format!(",{value}\n") } else { "\n".to_owned() };
    let mut text = String::from("producer_id,wrong_inference_count,total_inferences,error_rate");
    text.push_str(&end(&UNLABELLED));
    for row in &report.producers {
        let id = quoted(&row.producer_id);
        write!(text, "{id},{},{},{}", row.wrong_inference_count, row.total_inferences, row.error_rate)?;
        text.push_str(&end(&row.unlabelled));
    }
    text.push_str("\nclass,total,correct,accuracy\n");
    for row in &report.classes {
        writeln!(text, "{},{},{},{}", quoted(&row.class), row.total, row.correct, row.accuracy)?;
    }
    let totals = &report.totals;
    text.push_str(
        "\nimages,producers,accuracy,average_error_rate,images_per_second_per_producer,ingest_seconds,job_seconds",
    );
    text.push_str(&end(&UNLABELLED));
    write!(
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
    text.push_str(&end(&totals.unlabelled));
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
pub(crate) fn check_writable(path: &Path, setting: &str) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "cannot write {} ({setting}): it is a folder", path.display());
    temporary(path, setting).map(drop)
}

/// Writes the report as JSON. A reader finds the complete file or none.
pub(crate) fn save(report: &Report, path: &Path) -> anyhow::Result<()> {
    replace(path, "--report", &json(report)?)
}

/// Writes `text` to `path`, which `setting` names. A reader finds the complete file, or what was there before.
pub(crate) fn replace(path: &Path, setting: &str, text: &str) -> anyhow::Result<()> {
    let mut file = temporary(path, setting)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// A temporary file in the folder of `path`, with the permissions of a new file. It is removed unless it is renamed to `path`.
fn temporary(path: &Path, setting: &str) -> anyhow::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".firesteel-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("cannot write {} ({setting}): its folder refuses", path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use firesteel_engine::report::KeyedCounts;

    use super::*;

    fn report(unlabelled: u64) -> Report {
        let row = |label: Option<&str>, labelled, unlabelled, wrong| KeyedCounts {
            producer_id: Some("aa".to_owned()),
            label: label.map(str::to_owned),
            labelled,
            unlabelled,
            wrong,
            first_produced: None,
            last_inferred: None,
        };
        Report::fold(&[row(Some("cat, big"), 4, 0, 1), row(None, 0, unlabelled, 0)], Duration::ZERO)
    }

    #[test]
    fn a_report_of_labelled_images_is_what_it_always_was() {
        let table = "\
Wrong Inference Counts by Producer:
+-------------+-----------------------+------------------+------------+
| producer_id | wrong_inference_count | total_inferences | error_rate |
+-------------+-----------------------+------------------+------------+
| aa          | 1                     | 4                | 25.00 %    |
+-------------+-----------------------+------------------+------------+

Accuracy by Class:
+----------+-------+---------+----------+
| class    | total | correct | accuracy |
+----------+-------+---------+----------+
| cat, big | 4     | 3       | 75.00 %  |
+----------+-------+---------+----------+

Totals:
  images                             4
  producers                          1
  overall accuracy             75.00 %
  average error rate           25.00 %
  images/s per producer           0.00
  wall time of the ingest        0.0 s
  wall time of the job         0.000 s
";
        assert_eq!(render(&report(0), Format::Table).expect("a table"), table);
        let csv = "\
producer_id,wrong_inference_count,total_inferences,error_rate
aa,1,4,25

class,total,correct,accuracy
\"cat, big\",4,3,75

images,producers,accuracy,average_error_rate,images_per_second_per_producer,ingest_seconds,job_seconds
4,1,75,25,0,0,0
";
        assert_eq!(render(&report(0), Format::Csv).expect("text"), csv);
        assert!(!render(&report(0), Format::Json).expect("JSON").contains(UNLABELLED));
    }

    #[test]
    fn unlabelled_images_are_a_column_and_a_line_more() {
        let (before, after) = (report(0), report(3));
        let table = render(&after, Format::Table).expect("a table");
        assert!(table.contains("| error_rate | unlabelled |\n"), "{table}");
        assert!(table.contains("| 25.00 %    | 3          |\n"), "{table}");
        assert!(
            table.contains(
                "\n  images                             7\n  unlabelled images                  3\n"
            ),
            "{table}"
        );
        let csv = render(&after, Format::Csv).expect("text");
        assert!(csv.contains(",error_rate,unlabelled\naa,1,4,25,3\n"), "{csv}");
        assert!(csv.ends_with(",job_seconds,unlabelled\n7,1,75,25,0,0,0,3\n"), "{csv}");
        let json: Report =
            serde_json::from_str(&render(&after, Format::Json).expect("JSON")).expect("a report");
        assert_eq!((json.totals.unlabelled, json.classes), (3, before.classes));
    }
}
