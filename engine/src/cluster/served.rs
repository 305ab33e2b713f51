//! What a role answers over HTTP, for whoever checks probes, dashboards and autoscalers against it (`firesteel describe`).

use prometheus::Registry;
use prometheus::proto::MetricFamily;

/// The routes and metrics of a role.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its routes.
    pub routes: Vec<&'static str>,
    /// Its metrics, by name, with Prometheus' type of each.
    pub metrics: Vec<(String, String)>,
    /// The answer of a route while nothing goes on, for its fields.
    pub answers: Vec<(&'static str, serde_json::Value)>,
}

impl Served {
    /// Describes a role that serves `routes`, `/metrics` with what is in `registry` among them.
    pub(super) fn new(routes: impl IntoIterator<Item = &'static str>, registry: &Registry) -> Self {
        let named = |family: &MetricFamily| {
            (family.name().to_owned(), format!("{:?}", family.get_field_type()).to_lowercase())
        };
        Self {
            routes: routes.into_iter().collect(),
            metrics: registry.gather().iter().map(named).collect(),
            answers: Vec::new(),
        }
    }
}
