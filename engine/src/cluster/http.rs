//! What scheduler and executors have in common over HTTP: serving a router, health, metrics as text.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt as _;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long answers under way may take once a server is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Serves `router` until `shutdown`. Handlers may ask for the peer's address.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch Nagle's algorithm off");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service)
        .with_graceful_shutdown(shutdown.clone().cancelled_owned())
        .into_future();
    // Connections that are kept open for later would never end by themselves.
    let last = async {
        shutdown.cancelled().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = server => served,
        () = last => Ok(()),
    }
}

/// `GET /healthz`: the process is there and answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// An answer to `GET /readyz`.
pub(super) fn readiness(ready: bool, why: String) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, why).into_response()
}

/// What a role answers over HTTP: for whoever checks probes, dashboards and autoscalers against it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its routes.
    pub routes: Vec<&'static str>,
    /// Its metrics, by name, with Prometheus' type of each.
    pub metrics: Vec<(String, String)>,
    /// A route's answer while nothing goes on, for its fields.
    pub answers: Vec<(&'static str, serde_json::Value)>,
}

/// The name and the type of each metric in `registry`.
pub(super) fn names(registry: &Registry) -> Vec<(String, String)> {
    let named = |family: &MetricFamily| {
        (family.name().to_owned(), format!("{:?}", family.get_field_type()).to_lowercase())
    };
    registry.gather().iter().map(named).collect()
}

/// An answer to `GET /metrics`, in Prometheus' text format.
pub(super) fn metrics(registry: &Registry) -> Response {
    match encode(registry) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The metrics of a registry in Prometheus' text format.
pub(super) fn encode(registry: &Registry) -> Result<Vec<u8>, prometheus::Error> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}
