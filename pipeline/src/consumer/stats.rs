//! What a consumer counts: read by progress bars and metrics while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one consumer. Every counter only grows, except `in_flight`.
#[derive(Debug, Default)]
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
