//! Results as text, one line a row, for comparing two engines whose rows come in different orders.

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The rows, sorted. Numbers keep all their digits; types are not compared, since a scan may read a text as a view.
pub(crate) fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("a type with a text form"))
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join(" | "));
        }
    }
    rows.sort_unstable();
    rows
}

/// What differs between two results, in a few lines; `None` where nothing does.
pub(crate) fn difference(found: &[String], expected: &[String]) -> Option<String> {
    if found == expected {
        return None;
    }
    let only = |these: &[String], those: &[String]| {
        let extra: Vec<&str> =
            these.iter().filter(|row| !those.contains(row)).map(String::as_str).take(3).collect();
        extra.join("\n    ")
    };
    Some(format!(
        "{} rows instead of {}\n  only here:\n    {}\n  missing:\n    {}",
        found.len(),
        expected.len(),
        only(found, expected),
        only(expected, found)
    ))
}
