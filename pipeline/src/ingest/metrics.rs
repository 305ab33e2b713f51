//! What the door counts, and what a health server reports of it.

use super::sink::Standing;
use crate::health::{HealthSource, Readiness};
use axum::http::StatusCode;
use firesteel_common::metrics::{SECONDS, counter, counters, gauge, histogram, registry};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};
use std::sync::Arc;

/// The statuses of answers to `POST /images`, so that each is there before it is given.
const STATUSES: [StatusCode; 11] = [
    StatusCode::ACCEPTED,
    StatusCode::BAD_REQUEST,
    StatusCode::FORBIDDEN,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::UNPROCESSABLE_ENTITY,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// The counters of the door.
#[derive(Debug)]
pub(super) struct Stats {
    requests: IntCounterVec,
    /// Images that Kafka has acknowledged.
    pub(super) acknowledged: IntCounter,
    /// Images of requests that were answered from memory.
    pub(super) repeated: IntCounter,
    /// Bytes of the acknowledged images.
    pub(super) bytes: IntCounter,
    /// Bytes of requests that are read or wait for Kafka.
    pub(super) held: IntGauge,
    /// From the head of a request to its answer with 202.
    pub(super) seconds: Histogram,
}

impl Default for Stats {
    fn default() -> Self {
        let requests = counters(
            "firesteel_ingest_requests_total",
            "Answers to POST /images by their status",
            &["status"],
        );
        for status in STATUSES {
            let _ = requests.with_label_values(&[status.as_str()]);
        }
        Self {
            requests,
            acknowledged: counter("firesteel_ingest_images_total", "Images that Kafka has acknowledged"),
            repeated: counter(
                "firesteel_ingest_repeated_images_total",
                "Images whose key was remembered, which were not published again",
            ),
            bytes: counter("firesteel_ingest_bytes_total", "Bytes of the images that Kafka has acknowledged"),
            held: gauge("firesteel_ingest_held_bytes", "Bytes of requests that are read or wait for Kafka"),
            seconds: histogram(
                "firesteel_ingest_seconds",
                "From the head of a request to its answer with 202",
                &SECONDS,
            ),
        }
    }
}

impl Stats {
    pub(super) fn answered(&self, status: StatusCode) {
        self.requests.with_label_values(&[status.as_str()]).inc();
    }
}

/// The health of a door, for a health server.
#[derive(Debug, Clone)]
pub struct Metrics {
    standing: Arc<Standing>,
    registry: Registry,
}

impl Metrics {
    pub(super) fn new(stats: Arc<Stats>, standing: Arc<Standing>) -> Self {
        let registry = registry(
            &[],
            vec![
                Box::new(stats.requests.clone()),
                Box::new(stats.acknowledged.clone()),
                Box::new(stats.repeated.clone()),
                Box::new(stats.bytes.clone()),
                Box::new(stats.held.clone()),
                Box::new(stats.seconds.clone()),
            ],
        );
        Self { standing, registry }
    }
}

impl HealthSource for Metrics {
    fn readiness(&self) -> Readiness {
        let reasons = self.standing.reasons();
        if reasons.is_empty() { Readiness::Ready } else { Readiness::NotReady(reasons) }
    }

    fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
