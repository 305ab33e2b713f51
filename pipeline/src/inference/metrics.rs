//! The inference server's metrics and its readiness, read from its [`ServerStats`](super::ServerStats).

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
        Self { registry: registry(&[], server.stats().instruments()), ready: server.ready() }
    }
}

impl HealthSource for Metrics {
    fn readiness(&self) -> Readiness {
        if self.ready.is_ready() {
            return Readiness::Ready;
        }
        Readiness::NotReady(vec!["the models are not all loaded yet, or the server is stopping".to_owned()])
    }

    fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
