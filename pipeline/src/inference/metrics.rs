//! The inference server's metrics and its readiness, read from its [`Stats`].

use super::server::{Ready, Server};
use super::stats::Stats;
use crate::health::{Readiness, Watched, counter, gauge, histogram, labels};
use prometheus::proto::MetricFamily;
use std::sync::Arc;

/// What a health server tells of one inference server.
#[derive(Debug, Clone)]
pub struct Metrics {
    stats: Arc<Stats>,
    ready: Ready,
}

impl Metrics {
    /// Of `server`.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        Self { stats: server.stats(), ready: server.ready() }
    }
}

impl Watched for Metrics {
    fn readiness(&self) -> Readiness {
        if self.ready.is_ready() {
            return Readiness::Ready;
        }
        Readiness::NotReady(vec!["the model is not loaded yet, or the server is stopping".to_owned()])
    }

    fn families(&self) -> Vec<MetricFamily> {
        let stats = &self.stats;
        let images = |outcome, count| (labels([("outcome", outcome)]), count);
        vec![
            counter(
                "firesteel_inference_images_total",
                "Images that the model has named, that no model can name, that the model failed on, and unary calls \
                 that found the queue full",
                [
                    images("classified", stats.images()),
                    images("rejected", stats.rejections()),
                    images("failed", stats.failures()),
                    images("refused", stats.refused()),
                ],
            ),
            gauge(
                "firesteel_inference_queue_images",
                "Images accepted and not yet with the model",
                [(labels([]), stats.queued())],
            ),
            histogram(
                "firesteel_inference_batch_images",
                "Images of a batch that the model has answered",
                &stats.batch_images,
            ),
            histogram(
                "firesteel_inference_seconds",
                "The model's time for a batch that it has answered",
                &stats.batch_time,
            ),
        ]
    }
}
