//! The counters of the inference server, which metrics, progress bars and tests read at any time. Those that are exported
//! are instruments of Prometheus.

use firesteel_common::metrics::{SECONDS, counters, gauge, histogram};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of batch sizes.
const BATCH_IMAGES: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// Counters since the start, and gauges of this moment. Each value is exact, but they are not read at one instant.
#[derive(Debug)]
pub struct Stats {
    /// The four counters of images, told apart by their outcome.
    pub(super) outcomes: IntCounterVec,
    pub(super) classified: IntCounter,
    pub(super) rejected: IntCounter,
    pub(super) refused: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) queued: IntGauge,
    pub(super) ready: AtomicU64,
    pub(super) busy_nanos: AtomicU64,
    /// The sizes of the batches that the model has answered.
    pub(super) batch_images: Histogram,
    /// The model's time for each of these batches.
    pub(super) batch_time: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        let outcomes = counters(
            "firesteel_inference_images_total",
            "Images that the model has named, that no model can name, that the model failed on, and unary calls that \
             found the queue full",
            &["outcome"],
        );
        Self {
            classified: outcomes.with_label_values(&["classified"]),
            rejected: outcomes.with_label_values(&["rejected"]),
            refused: outcomes.with_label_values(&["refused"]),
            failed: outcomes.with_label_values(&["failed"]),
            outcomes,
            queued: gauge("firesteel_inference_queue_images", "Images accepted and not yet with the model"),
            ready: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
            batch_images: histogram(
                "firesteel_inference_batch_images",
                "Images of a batch that the model has answered",
                &BATCH_IMAGES,
            ),
            batch_time: histogram(
                "firesteel_inference_seconds",
                "The model's time for a batch that it has answered",
                &SECONDS,
            ),
        }
    }
}

impl Stats {
    /// Images that the model has answered.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.classified.get()
    }

    /// Batches that the model has answered.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batch_images.get_sample_count()
    }

    /// Images that can never be classified.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.rejected.get()
    }

    /// Unary calls that found the queue full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Images that the model failed on, through no fault of theirs.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.get()
    }

    /// Images accepted and not yet with the model.
    #[must_use]
    pub fn queued(&self) -> u64 {
        u64::try_from(self.queued.get()).unwrap_or(0)
    }

    /// Images accepted and already decoded. Many mean that the model is the bottleneck, none that decoding is.
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

    /// Counts a batch of `images` that the model has answered in `time`.
    #[expect(clippy::cast_precision_loss, reason = "a batch is far smaller than 2^53")]
    pub(super) fn answered(&self, images: usize, time: Duration) {
        self.classified.inc_by(images as u64);
        self.batch_images.observe(images as f64);
        self.batch_time.observe(time.as_secs_f64());
    }

    /// Takes a batch of `images` out of the queue.
    pub(super) fn taken(&self, images: usize) {
        self.ready.fetch_sub(images as u64, Ordering::Relaxed);
        self.queued.sub(i64::try_from(images).unwrap_or(i64::MAX));
    }

    /// Counts time that a model thread has spent computing.
    pub(super) fn computed(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.busy_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}
