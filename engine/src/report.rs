//! The report: wrong inferences by producer, accuracy by class, and the totals.
//!
//! One map / reduce-by-key job reads the collection once, at one snapshot, keyed by producer *and* label. The
//! pure function [`Report::fold`] turns its few rows into both tables, so that they always agree with each
//! other, whatever is being written meanwhile.
//!
//! An image is *unlabelled* where nobody says whether its prediction is right: its `correct` is null, or not there. Such images
//! are counted apart, and no rate depends on them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::dataflow::{Dataset, Reducer, Rows, Timestamp};
use crate::prelude::*;
use crate::{Result, Session};

/// What stands in the tables for a document that lacks its producer or its label.
const UNKNOWN: &str = "unknown";

/// Both tables and the totals. Rates are in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One row a producer, sorted by `producer_id`.
    pub producers: Vec<ProducerRow>,
    /// One row a class, sorted by name.
    pub classes: Vec<ClassRow>,
    /// Figures over all documents.
    pub totals: Totals,
}

/// Wrong inference counts of one producer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProducerRow {
    /// The producer.
    pub producer_id: String,
    /// Predictions that differ from the label.
    pub wrong_inference_count: u64,
    /// Predictions of the producer's labelled images.
    pub total_inferences: u64,
    /// `wrong_inference_count / total_inferences`, in percent; 0 without labelled images.
    pub error_rate: f64,
    /// Predictions of the producer's unlabelled images. Where there is none, the JSON does not have it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlabelled: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The accuracy over one true class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The true label.
    pub class: String,
    /// Labelled images of this class.
    pub total: u64,
    /// How many of them were labelled rightly.
    pub correct: u64,
    /// `correct / total`, in percent.
    pub accuracy: f64,
}

/// Figures over all documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// All predictions, of unlabelled images, too.
    pub images: u64,
    /// Right predictions of labelled images, in percent; 0 without labelled images.
    pub accuracy: f64,
    /// The mean of the error rates of the producers with labelled images, in percent; 0 without any. Every such producer weighs
    /// the same, however many images it sent.
    pub average_error_rate: f64,
    /// How many producers there are.
    pub producers: u64,
    /// `images / ingest_seconds / producers`; 0 where the time or the number of producers is 0.
    pub images_per_second_per_producer: f64,
    /// From the first image produced to the last one inferred, in seconds, by the documents' own times.
    pub ingest_seconds: f64,
    /// Wall time of the job that made this report, in seconds.
    pub job_seconds: f64,
    /// Predictions of unlabelled images. Where there is none, the JSON does not have it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlabelled: u64,
}

/// One row of the job: everything about one producer's images of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedCounts {
    /// First part of the key.
    pub producer_id: Option<String>,
    /// Second part of the key.
    pub label: Option<String>,
    /// Documents that say whether they are correct.
    pub labelled: u64,
    /// Documents that do not.
    pub unlabelled: u64,
    /// Documents that say that they are not correct.
    pub wrong: u64,
    /// The earliest `produced_at`.
    pub first_produced: Option<Timestamp>,
    /// The latest `inferred_at`.
    pub last_inferred: Option<Timestamp>,
}

impl Report {
    /// Whether no document was counted.
    pub fn is_empty(&self) -> bool {
        self.totals.images == 0
    }

    /// Folds the rows of the job into both tables and the totals.
    pub fn fold(rows: &[KeyedCounts], job: Duration) -> Self {
        let mut producers: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
        let mut classes: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
        for row in rows {
            for (table, key) in [(&mut producers, &row.producer_id), (&mut classes, &row.label)] {
                let (total, wrong, unlabelled) = table.entry(key.as_deref().unwrap_or(UNKNOWN)).or_default();
                *total += row.labelled;
                *wrong += row.wrong;
                *unlabelled += row.unlabelled;
            }
        }
        let producers: Vec<ProducerRow> = producers
            .into_iter()
            .map(|(id, (total, wrong, unlabelled))| ProducerRow {
                producer_id: id.to_owned(),
                wrong_inference_count: wrong,
                total_inferences: total,
                error_rate: percent(wrong, total),
                unlabelled,
            })
            .collect();
        let classes = classes
            .into_iter()
            .filter(|(_, (total, ..))| *total > 0)
            .map(|(class, (total, wrong, _))| ClassRow {
                class: class.to_owned(),
                total,
                correct: total.saturating_sub(wrong),
                accuracy: percent(total.saturating_sub(wrong), total),
            })
            .collect();
        let totals = Totals::fold(rows, &producers, job);
        Self { producers, classes, totals }
    }
}

impl Totals {
    fn fold(rows: &[KeyedCounts], producers: &[ProducerRow], job: Duration) -> Self {
        let labelled: u64 = rows.iter().map(|row| row.labelled).sum();
        let unlabelled: u64 = rows.iter().map(|row| row.unlabelled).sum();
        let wrong: u64 = rows.iter().map(|row| row.wrong).sum();
        let images = labelled + unlabelled;
        let first = rows.iter().filter_map(|row| row.first_produced).min();
        let last = rows.iter().filter_map(|row| row.last_inferred).max();
        let ingest_seconds = match (first, last) {
            (Some(first), Some(last)) => last.millis().saturating_sub(first.millis()).max(0) as f64 / 1000.0,
            _ => 0.0,
        };
        let count = producers.len() as f64;
        let rated: Vec<f64> =
            producers.iter().filter(|row| row.total_inferences > 0).map(|row| row.error_rate).collect();
        Self {
            images,
            accuracy: percent(labelled.saturating_sub(wrong), labelled),
            average_error_rate: quotient(rated.iter().sum(), rated.len() as f64),
            producers: producers.len() as u64,
            images_per_second_per_producer: quotient(images as f64, ingest_seconds * count),
            ingest_seconds,
            job_seconds: job.as_secs_f64(),
            unlabelled,
        }
    }
}

/// `part / whole` in percent, 0 where there is no whole.
fn percent(part: u64, whole: u64) -> f64 {
    quotient(100.0 * part as f64, whole as f64)
}

fn quotient(dividend: f64, divisor: f64) -> f64 {
    if divisor == 0.0 { 0.0 } else { dividend / divisor }
}

/// Runs the report job over the table `predictions`, for all producers or only for those named.
///
/// An empty collection gives an empty report, see [`Report::is_empty`]. A document that does not say whether it is correct
/// counts as unlabelled, and never as wrong.
pub fn run<'a>(session: &'a Session, producers: Option<&'a [String]>) -> BoxFuture<'a, Result<Report>> {
    Box::pin(async move {
        let started = Instant::now();
        let rows = job(session, producers).await?.collect().await?;
        Ok(Report::fold(&counts(&rows)?, started.elapsed()))
    })
}

/// The job behind [`run`], not yet computed: its rows are what [`counts`] reads.
pub fn job<'a>(session: &'a Session, producers: Option<&'a [String]>) -> BoxFuture<'a, Result<Dataset>> {
    Box::pin(async move {
        let mut predictions = session.table("predictions").await?;
        if let Some(ids) = producers {
            predictions =
                predictions.filter(col("producer_id").in_list(ids.iter().map(lit).collect(), false))?;
        }
        predictions
            .map(
                (col("producer_id"), col("label")),
                (
                    lit(1),
                    col("correct"),
                    col("correct").is_false().cast_to_i64(),
                    col("produced_at"),
                    col("inferred_at"),
                ),
            )
            .reduce_by_key((Reducer::Count, Reducer::Count, Reducer::Sum, Reducer::Min, Reducer::Max))
    })
}

/// The rows of [`job`], for [`Report::fold`].
pub fn counts(rows: &Rows) -> Result<Vec<KeyedCounts>> {
    type Row = (Option<String>, Option<String>, u64, u64, Option<i64>, Option<Timestamp>, Option<Timestamp>);
    let rows: Vec<Row> = rows.typed()?;
    let counts = rows
        .into_iter()
        .map(|(producer_id, label, total, labelled, wrong, first_produced, last_inferred)| KeyedCounts {
            producer_id,
            label,
            labelled,
            unlabelled: total.saturating_sub(labelled),
            wrong: wrong.and_then(|wrong| u64::try_from(wrong).ok()).unwrap_or_default(),
            first_produced,
            last_inferred,
        })
        .collect();
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(producer: &str, label: &str, total: u64, wrong: u64, times: (i64, i64)) -> KeyedCounts {
        KeyedCounts {
            producer_id: Some(producer.to_owned()),
            label: Some(label.to_owned()),
            labelled: total,
            unlabelled: 0,
            wrong,
            first_produced: Some(Timestamp::from_millis(times.0)),
            last_inferred: Some(Timestamp::from_millis(times.1)),
        }
    }

    #[test]
    fn both_tables_are_sorted_and_agree() {
        let rows = [
            row("bb", "dog", 10, 5, (2_000, 9_000)),
            row("aa", "dog", 30, 3, (1_000, 8_000)),
            row("aa", "cat", 70, 7, (1_500, 11_000)),
        ];
        let report = Report::fold(&rows, Duration::from_millis(250));
        let producers: Vec<_> = report
            .producers
            .iter()
            .map(|row| {
                (row.producer_id.as_str(), row.wrong_inference_count, row.total_inferences, row.error_rate)
            })
            .collect();
        assert_eq!(producers, [("aa", 10, 100, 10.0), ("bb", 5, 10, 50.0)]);
        let classes: Vec<_> = report
            .classes
            .iter()
            .map(|row| (row.class.as_str(), row.total, row.correct, row.accuracy))
            .collect();
        assert_eq!(classes, [("cat", 70, 63, 90.0), ("dog", 40, 32, 80.0)]);
        let totals = &report.totals;
        assert_eq!((totals.images, totals.producers), (110, 2));
        assert_eq!(totals.average_error_rate, 30.0, "every producer weighs the same");
        assert_eq!(totals.ingest_seconds, 10.0);
        assert_eq!(totals.images_per_second_per_producer, 5.5);
        assert_eq!(totals.job_seconds, 0.25);
        assert_eq!(report.classes.iter().map(|row| row.total).sum::<u64>(), totals.images);
    }

    #[test]
    fn nothing_divides_by_zero() {
        let report = Report::fold(&[], Duration::ZERO);
        assert!(report.is_empty());
        assert!(report.producers.is_empty() && report.classes.is_empty());
        assert_eq!(report.totals.accuracy, 0.0);
        assert_eq!(report.totals.images_per_second_per_producer, 0.0);

        let instant = Report::fold(&[row("aa", "cat", 1, 0, (5, 5))], Duration::ZERO);
        assert_eq!(instant.totals.images_per_second_per_producer, 0.0);
        assert_eq!(instant.totals.accuracy, 100.0);
    }

    #[test]
    fn a_document_without_its_keys_or_times_is_still_counted() {
        let anonymous = KeyedCounts {
            producer_id: None,
            label: None,
            labelled: 2,
            unlabelled: 0,
            wrong: 2,
            first_produced: None,
            last_inferred: None,
        };
        let report = Report::fold(&[anonymous], Duration::ZERO);
        assert_eq!(report.producers[0].producer_id, UNKNOWN);
        assert_eq!(report.classes[0].class, UNKNOWN);
        assert_eq!((report.totals.images, report.totals.ingest_seconds), (2, 0.0));
    }

    #[test]
    fn unlabelled_images_are_counted_apart_and_change_no_rate() {
        let labelled = [row("aa", "cat", 4, 1, (0, 2_000)), row("bb", "dog", 10, 0, (0, 2_000))];
        let unlabelled = |producer: &str, label: Option<&str>, count: u64| KeyedCounts {
            label: label.map(str::to_owned),
            labelled: 0,
            unlabelled: count,
            wrong: 0,
            ..row(producer, "", 0, 0, (500, 1_500))
        };
        let more = [
            labelled.to_vec(),
            vec![unlabelled("aa", None, 3), unlabelled("bb", Some("bird"), 2), unlabelled("cc", None, 7)],
        ]
        .concat();
        let (before, after) = (Report::fold(&labelled, Duration::ZERO), Report::fold(&more, Duration::ZERO));
        assert_eq!(after.classes, before.classes, "what is not labelled is of no class");
        let rates = |report: &Report| (report.totals.accuracy, report.totals.average_error_rate);
        assert_eq!(rates(&after), rates(&before));
        for (row, known) in after.producers.iter().zip(&before.producers) {
            assert_eq!(&ProducerRow { unlabelled: 0, ..row.clone() }, known);
        }
        let apart: Vec<_> = after
            .producers
            .iter()
            .map(|row| (row.producer_id.as_str(), row.total_inferences, row.unlabelled))
            .collect();
        assert_eq!(apart, [("aa", 4, 3), ("bb", 10, 2), ("cc", 0, 7)]);
        assert_eq!((after.totals.images, after.totals.unlabelled, after.totals.producers), (26, 12, 3));
        let json = serde_json::to_value(&after).unwrap();
        assert_eq!(json["totals"]["unlabelled"], 12);
        assert_eq!(json["producers"][2]["unlabelled"], 7);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), after);
    }

    #[test]
    fn the_json_has_the_names_of_the_contract() {
        let json = serde_json::to_value(Report::fold(&[row("aa", "cat", 4, 1, (0, 2_000))], Duration::ZERO))
            .unwrap();
        let expected = serde_json::json!({
            "producers": [{"producer_id": "aa", "wrong_inference_count": 1, "total_inferences": 4, "error_rate": 25.0}],
            "classes": [{"class": "cat", "total": 4, "correct": 3, "accuracy": 75.0}],
            "totals": {
                "images": 4, "accuracy": 75.0, "average_error_rate": 25.0, "producers": 1,
                "images_per_second_per_producer": 2.0, "ingest_seconds": 2.0, "job_seconds": 0.0
            }
        });
        assert_eq!(json, expected);
    }
}
