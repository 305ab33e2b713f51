//! What a consumer counts: read by progress bars and metrics while it runs.

use super::standing::Standing;
use crate::health::Histogram;
use firesteel_proto::Label;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one consumer. Every counter only grows, except `in_flight`.
#[derive(Debug)]
pub struct Stats {
    /// Records received from Kafka, redeliveries included.
    pub consumed: AtomicU64,
    /// Records whose result is durable.
    pub succeeded: AtomicU64,
    /// Records whose dead letter is durable.
    pub dead_lettered: AtomicU64,
    /// Tries that failed for a passing reason.
    pub retries: AtomicU64,
    /// Records whose offsets the broker has confirmed as committed.
    pub committed: AtomicU64,
    /// Records received and not yet complete.
    pub in_flight: AtomicU64,
    /// From the poll that brought an image to the acknowledgement of its prediction.
    pub(crate) image_time: Histogram,
    /// Predictions that are durable in the store.
    pub(crate) predictions: Predictions,
    pub(crate) standing: Standing,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            consumed: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            image_time: Histogram::times(),
            predictions: Predictions::default(),
            standing: Standing::default(),
        }
    }
}

/// How many images of each class were named wrongly, and how many rightly.
#[derive(Debug, Default)]
pub(crate) struct Predictions {
    counts: [[AtomicU64; 2]; Label::ALL.len()],
}

impl Predictions {
    pub(crate) fn count(&self, label: Label, correct: bool) {
        add(&self.counts[label as usize][usize::from(correct)], 1);
    }

    /// Every class with both counts.
    pub(crate) fn told(&self) -> impl Iterator<Item = (Label, bool, u64)> {
        Label::ALL.into_iter().zip(&self.counts).flat_map(|(label, counts)| {
            [false, true]
                .into_iter()
                .zip(counts)
                .map(move |(correct, count)| (label, correct, count.load(Ordering::Relaxed)))
        })
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
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            consumed: read(&self.consumed),
            succeeded: read(&self.succeeded),
            dead_lettered: read(&self.dead_lettered),
            retries: read(&self.retries),
            committed: read(&self.committed),
            in_flight: read(&self.in_flight),
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
