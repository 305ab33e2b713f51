//! The counters of the inference server, which metrics, progress bars and tests read at any time. Those that are exported
//! are instruments of Prometheus, with a label `model`: each model has [`Stats`] of its own, and [`ServerStats`] has them all.

use firesteel_common::metrics::{SECONDS, counter, counters, gauges, histograms};
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets of batch sizes.
const BATCH_IMAGES: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// The model of a server that has not loaded any yet, so that its metrics are there.
const NOT_LOADED: &str = "";

/// What is counted, of all models.
#[derive(Debug)]
struct Instruments {
    outcomes: IntCounterVec,
    queued: IntGaugeVec,
    batch_images: HistogramVec,
    batch_time: HistogramVec,
}

impl Default for Instruments {
    fn default() -> Self {
        Self {
            outcomes: counters(
                "firesteel_inference_images_total",
                "Images that the model has named, that no model can name, that the model failed on, and unary calls that \
                 found the queue full",
                &["model", "outcome"],
            ),
            queued: gauges(
                "firesteel_inference_queue_images",
                "Images accepted and not yet with the model",
                &["model"],
            ),
            batch_images: histograms(
                "firesteel_inference_batch_images",
                "Images of a batch that the model has answered",
                &BATCH_IMAGES,
                &["model"],
            ),
            batch_time: histograms(
                "firesteel_inference_seconds",
                "The model's time for a batch that it has answered",
                &SECONDS,
                &["model"],
            ),
        }
    }
}

/// The counters of one model since the start, and gauges of this moment. Each value is exact, but they are not read at one instant.
#[derive(Debug)]
pub struct Stats {
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
    /// Counters that nobody exports.
    fn default() -> Self {
        Self::of(&Instruments::default(), NOT_LOADED)
    }
}

impl Stats {
    fn of(instruments: &Instruments, model: &str) -> Self {
        let outcome = |outcome| instruments.outcomes.with_label_values(&[model, outcome]);
        Self {
            classified: outcome("classified"),
            rejected: outcome("rejected"),
            refused: outcome("refused"),
            failed: outcome("failed"),
            queued: instruments.queued.with_label_values(&[model]),
            ready: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
            batch_images: instruments.batch_images.with_label_values(&[model]),
            batch_time: instruments.batch_time.with_label_values(&[model]),
        }
    }

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

/// The counters of all models of a server, and their sums.
#[derive(Debug)]
pub struct ServerStats {
    instruments: Instruments,
    /// Requests for a model that there is not.
    pub(super) unknown_models: IntCounter,
    models: Mutex<Vec<(String, Arc<Stats>)>>,
}

impl Default for ServerStats {
    fn default() -> Self {
        let instruments = Instruments::default();
        let nothing = Arc::new(Stats::of(&instruments, NOT_LOADED));
        Self {
            instruments,
            unknown_models: counter(
                "firesteel_inference_unknown_models_total",
                "Requests that asked for a model that this server does not have",
            ),
            models: Mutex::new(vec![(NOT_LOADED.to_owned(), nothing)]),
        }
    }
}

impl ServerStats {
    /// The counters of `model`, by its whole name; `None` where there is no such model, or not yet.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Arc<Stats>> {
        self.lock().iter().find(|(name, _)| name == model).map(|(_, stats)| Arc::clone(stats))
    }

    /// Begins to count for the models of these names, in place of those before.
    pub(super) fn begin<'a>(&self, models: impl IntoIterator<Item = &'a str>) -> Vec<Arc<Stats>> {
        let Instruments { outcomes, queued, batch_images, batch_time } = &self.instruments;
        outcomes.reset();
        queued.reset();
        batch_images.reset();
        batch_time.reset();
        let begun =
            models.into_iter().map(|name| (name.to_owned(), Arc::new(Stats::of(&self.instruments, name))));
        let mut models = self.lock();
        *models = begun.collect();
        models.iter().map(|(_, stats)| Arc::clone(stats)).collect()
    }

    /// Images that the models have answered.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.sum(Stats::images)
    }

    /// Images that can never be classified.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.sum(Stats::rejections)
    }

    /// Images that a model failed on, through no fault of theirs.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.sum(Stats::failures)
    }

    /// Images accepted and not yet with a model.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.sum(Stats::queued)
    }

    /// Requests that asked for a model that the server does not have.
    #[must_use]
    pub fn unknown_models(&self) -> u64 {
        self.unknown_models.get()
    }

    /// What is exported.
    pub(super) fn instruments(&self) -> Vec<Box<dyn Collector>> {
        let Instruments { outcomes, queued, batch_images, batch_time } = &self.instruments;
        vec![
            Box::new(outcomes.clone()),
            Box::new(queued.clone()),
            Box::new(batch_images.clone()),
            Box::new(batch_time.clone()),
            Box::new(self.unknown_models.clone()),
        ]
    }

    fn sum(&self, of: impl Fn(&Stats) -> u64) -> u64 {
        self.lock().iter().map(|(_, stats)| of(stats)).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Arc<Stats>)>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::http::metrics_text;
    use firesteel_common::metrics::registry;

    #[test]
    fn models_are_counted_apart_and_together() {
        let stats = ServerStats::default();
        let text = || metrics_text(registry(&[], stats.instruments()).gather()).expect("text");
        for name in
            ["images_total", "queue_images", "batch_images_count", "seconds_count", "unknown_models_total"]
        {
            assert!(
                text().contains(&format!("firesteel_inference_{name}")),
                "{name} is there before any model"
            );
        }
        let models = stats.begin(["a/f32", "b/int8"]);
        models[0].answered(3, Duration::from_millis(2));
        models[1].answered(4, Duration::from_millis(2));
        models[1].rejected.inc();
        models[1].queued.add(2);
        assert_eq!((stats.images(), stats.rejections(), stats.queued(), stats.failures()), (7, 1, 2, 0));
        assert_eq!(stats.of("b/int8").map(|one| one.images()), Some(4));
        assert!(stats.of("c").is_none());
        let text = text();
        for line in [
            "firesteel_inference_images_total{model=\"a/f32\",outcome=\"classified\"} 3\n",
            "firesteel_inference_images_total{model=\"b/int8\",outcome=\"rejected\"} 1\n",
            "firesteel_inference_queue_images{model=\"b/int8\"} 2\n",
            "firesteel_inference_batch_images_sum{model=\"b/int8\"} 4\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("model=\"\""), "nothing is left of the time before: {text}");
    }
}
