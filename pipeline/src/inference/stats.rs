//! What the server counts. Plain atomics: a metrics endpoint, a progress bar or a test reads them when it likes.

use crate::health::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of batch sizes.
const BATCH_IMAGES: [u64; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

/// Counters since the start, and gauges of this moment. Each value is exact, but they are not read at one instant.
#[derive(Debug)]
pub struct Stats {
    pub(super) images: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) rejections: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) queued: AtomicU64,
    pub(super) ready: AtomicU64,
    pub(super) busy_nanos: AtomicU64,
    /// Of the batches that the model has answered.
    pub(super) batch_images: Histogram,
    /// The model's time for each of them.
    pub(super) batch_time: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            images: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            rejections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
            batch_images: Histogram::numbers(&BATCH_IMAGES),
            batch_time: Histogram::times(),
        }
    }
}

impl Stats {
    /// Images that the model has answered.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.images.load(Ordering::Relaxed)
    }

    /// Batches that the model has answered.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Images that can never be classified.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.rejections.load(Ordering::Relaxed)
    }

    /// Unary calls that found the queue full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Images that the model failed on, through no fault of theirs.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Images accepted and not yet with the model.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Of those, images already decoded: many mean that the model is the bottleneck, none that decoding is.
    #[must_use]
    pub fn ready(&self) -> u64 {
        self.ready.load(Ordering::Relaxed)
    }

    /// Time that the model threads have spent computing, summed over them.
    #[must_use]
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_nanos.load(Ordering::Relaxed))
    }

    /// Images per batch, 0 before the first.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    pub fn mean_batch(&self) -> f64 {
        match self.batches() {
            0 => 0.0,
            batches => self.images() as f64 / batches as f64,
        }
    }

    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn subtract(gauge: &AtomicU64, count: usize) {
        gauge.fetch_sub(count as u64, Ordering::Relaxed);
    }
}
