//! The counters of a consumer, which progress bars and its [`Metrics`](super::Metrics) read while it runs.
//!
//! A counter is raised where the fact becomes true, which for a result is after its acknowledgement.

use super::health_state::HealthState;
use firesteel_common::metrics::{SECONDS, counter, counters, gauge, histogram};
use firesteel_proto::{Label, PredictionRecord};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of one consumer. Those that are exported are instruments of Prometheus.
#[derive(Debug)]
pub struct Stats {
    /// Records received from Kafka, redeliveries included.
    pub consumed: AtomicU64,
    /// Records whose result is durable.
    pub succeeded: IntCounter,
    /// Records whose dead letter is durable.
    pub dead_lettered: IntCounter,
    /// Predictions of images for which the store has a newer one.
    pub superseded: IntCounter,
    /// Records that were removed from Kafka before this consumer had read them.
    pub lost: IntCounter,
    /// Attempts that failed for a passing reason.
    pub retries: IntCounter,
    /// Records whose offsets the broker has confirmed as committed.
    pub committed: AtomicU64,
    /// Records received and not yet complete.
    pub in_flight: IntGauge,
    /// `succeeded`, `dead_lettered` and `superseded`, told apart by their outcome.
    pub(crate) records: IntCounterVec,
    /// From the poll that brought an image to the acknowledgement of its prediction.
    pub(crate) image_time: Histogram,
    /// Images whose true label is no class of the model that has classified them.
    pub unknown_labels: IntCounter,
    /// Predictions that are durable in the store.
    pub(crate) predictions: Predictions,
    pub(crate) health: HealthState,
}

impl Default for Stats {
    fn default() -> Self {
        let records = counters(
            "firesteel_records_total",
            "Records whose result, dead letter or newer result is durable",
            &["outcome"],
        );
        Self {
            consumed: AtomicU64::new(0),
            succeeded: records.with_label_values(&["succeeded"]),
            dead_lettered: records.with_label_values(&["dead_lettered"]),
            superseded: records.with_label_values(&["superseded"]),
            lost: counter(
                "firesteel_records_lost_total",
                "Records that were removed from Kafka, by retention or by hand, before they were read",
            ),
            retries: counter(
                "firesteel_retries_total",
                "Tries at a dependency that failed for a passing reason",
            ),
            committed: AtomicU64::new(0),
            in_flight: gauge(
                "firesteel_records_in_flight",
                "Records received from Kafka and not yet complete",
            ),
            records,
            image_time: histogram(
                "firesteel_image_seconds",
                "From the poll that brought an image to the acknowledgement of its prediction",
                &SECONDS,
            ),
            unknown_labels: counter(
                "firesteel_unknown_labels_total",
                "Classified images whose true label is no class of the model; they count as wrong",
            ),
            predictions: Predictions::default(),
            health: HealthState::default(),
        }
    }
}

/// Labels that have samples of their own. What a producer calls a label is its own affair, and a metric has to have an end.
const LABELS: usize = 1_000;
/// All labels beyond these together.
const OTHERS: &str = "(others)";

/// How many images of each class were named rightly, and how many wrongly; those without a true class apart.
#[derive(Debug)]
pub(crate) struct Predictions {
    pub(crate) counts: IntCounterVec,
    pub(crate) unlabelled: IntCounter,
    labels: Mutex<BTreeSet<Label>>,
}

impl Default for Predictions {
    fn default() -> Self {
        Self {
            counts: counters(
                "firesteel_predictions_total",
                "Predictions that are durable in MongoDB, by the true class; one that comes twice counts twice",
                &["label", "correct"],
            ),
            unlabelled: counter(
                "firesteel_unlabelled_predictions_total",
                "Predictions that are durable in MongoDB, of images without a true class; one that comes twice counts twice",
            ),
            labels: Mutex::default(),
        }
    }
}

impl Predictions {
    pub(crate) fn count(&self, prediction: &PredictionRecord) {
        let (Some(label), Some(correct)) = (&prediction.label, prediction.correct()) else {
            self.unlabelled.inc();
            return;
        };
        let name = self.name(label);
        self.counts.with_label_values(&[name, if correct { "true" } else { "false" }]).inc();
    }

    /// The name of a label among the samples. A class that comes for the first time is reported as right and as wrong from then
    /// on.
    fn name<'a>(&self, label: &'a Label) -> &'a str {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if labels.contains(label) {
            return label.as_str();
        }
        if labels.len() >= LABELS {
            return OTHERS;
        }
        labels.insert(label.clone());
        for correct in ["false", "true"] {
            self.counts.with_label_values(&[label.as_str(), correct]);
        }
        label.as_str()
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// See [`Stats::consumed`].
    pub consumed: u64,
    /// See [`Stats::succeeded`].
    pub succeeded: u64,
    /// See [`Stats::dead_lettered`].
    pub dead_lettered: u64,
    /// See [`Stats::superseded`].
    pub superseded: u64,
    /// See [`Stats::lost`].
    pub lost: u64,
    /// See [`Stats::retries`].
    pub retries: u64,
    /// See [`Stats::committed`].
    pub committed: u64,
    /// See [`Stats::in_flight`].
    pub in_flight: u64,
}

impl Stats {
    /// Reads every counter.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            consumed: self.consumed.load(Ordering::Relaxed),
            succeeded: self.succeeded.get(),
            dead_lettered: self.dead_lettered.get(),
            superseded: self.superseded.get(),
            lost: self.lost.get(),
            retries: self.retries.get(),
            committed: self.committed.load(Ordering::Relaxed),
            in_flight: u64::try_from(self.in_flight.get()).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::conformance::prediction;

    #[test]
    fn there_is_an_end_to_the_labels_that_are_told_apart() {
        let predictions = Predictions::default();
        for number in 0..LABELS + 500 {
            let label = Label::parse("label", &format!("label {number}")).expect("a label");
            let record =
                PredictionRecord { label: Some(label.clone()), predicted: label, ..prediction(1, 1, 1) };
            predictions.count(&record);
        }
        predictions.count(&PredictionRecord { label: None, ..prediction(1, 1, 1) });
        let told = |label: &str, correct: &str| predictions.counts.with_label_values(&[label, correct]).get();
        assert_eq!((told("label 0", "true"), told("label 0", "false")), (1, 0));
        assert_eq!(told(OTHERS, "true"), 500);
        assert_eq!(predictions.unlabelled.get(), 1);
    }
}
