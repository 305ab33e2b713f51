//! The inference server's metrics and its readiness, read from its [`Stats`](super::Stats).

use super::server::{Ready, Server};
use crate::health::{HealthSource, Readiness};
use firesteel_common::metrics::registry;
use prometheus::Registry;
use prometheus::proto::MetricFamily;

/// The health of one inference server, for a health server.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    ready: Ready,
}

impl Metrics {
    /// The metrics of `server`.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        let stats = server.stats();
        let registry = registry(
            &[],
            vec![
                Box::new(stats.outcomes.clone()),
                Box::new(stats.queued.clone()),
                Box::new(stats.batch_images.clone()),
                Box::new(stats.batch_time.clone()),
            ],
        );
        Self { registry, ready: server.ready() }
    }
}

impl HealthSource for Metrics {
    fn readiness(&self) -> Readiness {
        if self.ready.is_ready() {
            return Readiness::Ready;
        }
        Readiness::NotReady(vec!["the model is not loaded yet, or the server is stopping".to_owned()])
    }

    fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
