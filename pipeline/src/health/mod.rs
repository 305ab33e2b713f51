//! What a role tells of itself over HTTP, for Kubernetes and for Prometheus.
//!
//! A component counts in plain atomics where the facts come true (its `Stats`); its `Metrics` reads them when somebody
//! asks and is [`Watched`] by a [`Server`], which the binary runs beside the component. There is no global registry:
//! what is watched is passed.
//!
//! * `/healthz`: the process is there and answers.
//! * `/readyz`: 200 while the role can do its work, else 503 and, a line each, why it cannot.
//! * `/metrics`: Prometheus' text format.

mod families;
mod histogram;
mod server;

pub(crate) use families::{counter, gauge, histogram, labels};
pub(crate) use histogram::Histogram;
pub use server::{ROUTES, Server};

use prometheus::proto::MetricFamily;

/// Whether a role can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, or not yet; why, in words.
    NotReady(Vec<String>),
}

/// What a [`Server`] tells of. Asked a few times a minute, so it may look things up.
pub trait Watched: Send + Sync + 'static {
    /// Whether the role can do its work at this moment.
    fn readiness(&self) -> Readiness;

    /// What the role counts.
    fn families(&self) -> Vec<MetricFamily>;
}
