//! The routes of the scheduler's port: Ballista's gRPC service and REST API, Arrow Flight SQL, and Firesteel's own routes.
//! Behind them are the doors, which decide what a caller may do. A second port, if there is one, has the routes for
//! whoever watches the scheduler, and nothing else.
//!
//! | route | answers |
//! |---|---|
//! | `/` | the list of routes |
//! | `/healthz`, `/readyz`, `/metrics` | whether the event loop works; whether enough executors are registered; Prometheus |
//! | `/api/…` | Ballista's REST API: `/api/jobs`, `/api/job/{id}` (`PATCH` cancels), `/api/executors`, … |
//! | `/api/firesteel/version` | the versions of Firesteel, Ballista and DataFusion |
//! | `/api/firesteel/cluster` | the current slots, tasks, jobs and executors |
//! | `/api/firesteel/activity` | the running jobs with the progress of their tasks |
//! | `/history/api/…` | finished jobs from the event log, also those of earlier schedulers |

use std::sync::Arc;
use std::time::Instant;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_scheduler::api::get_routes;
use ballista_scheduler::history::{HistoryStore, history_router};
use firesteel_common::http;
use serde::Serialize;
use tonic::Status;
use tonic::service::RoutesBuilder;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Server;
use super::door::{Door, Owners, guard};
use super::metrics::SchedulerMetrics;
use super::overview::Overview;
use super::pulse::Pulse;
use super::state::Executors;
use crate::Result;
use crate::cluster::{SchedulerConfig, Served};
use crate::error::readable;
use crate::jobs::ACTIVITY_PATH;
use crate::wire::MAX_MESSAGE;

/// The method by which a client of Arrow Flight tells its token.
pub(super) const HANDSHAKE: &str = "/arrow.flight.protocol.FlightService/Handshake";

/// The route of the metrics.
pub(super) const METRICS: &str = "/metrics";

/// How the paths of Arrow Flight's methods begin.
const FLIGHT: &str = "/arrow.flight.protocol.FlightService/";

/// The state of the HTTP handlers.
#[derive(Clone)]
pub(super) struct AppState {
    pub(super) server: Arc<Server>,
    pub(super) executors: Arc<Executors>,
    pub(super) metrics: Arc<SchedulerMetrics>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) min_ready_executors: usize,
}

/// Builds the router of everything on the scheduler's port.
pub(super) fn router(
    config: &SchedulerConfig,
    state: AppState,
    door: &Arc<Door>,
    owners: Arc<Owners>,
    history: Option<Arc<HistoryStore>>,
) -> Router {
    let server = Arc::clone(&state.server);
    let mut jobs = get_routes(Arc::clone(&server)).merge(crate::jobs::routes(server));
    if let Some(history) = history {
        let refreshed =
            history_router(Arc::clone(&history)).layer(middleware::from_fn_with_state(history, refresh));
        jobs = jobs.nest("/history", refreshed);
    }
    jobs.layer(middleware::from_fn_with_state(owners, guard))
        .merge(grpc(config, door))
        .merge(firesteel_routes(state))
}

/// Builds the router of the port for health and metrics.
pub(super) fn health(state: AppState) -> Router {
    let [_, health, ready, numbers, _, overview] = ROUTES;
    Router::new()
        .route(health, get(healthz))
        .route(ready, get(readyz))
        .route(numbers, get(metrics))
        .route(overview, get(cluster))
        .with_state(state)
}

/// Allows pages of the listed origins to read what they may ask for, with a token. It stands in front of the gate, so that they
/// can read a refusal, too. Without a list no answer allows anything.
pub(super) fn cors(origins: &str) -> CorsLayer {
    let listed = origins.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    let listed: Vec<HeaderValue> = listed.filter_map(|origin| origin.parse().ok()).collect();
    let origins = match listed.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(listed),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::PATCH])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
}

/// Builds the gRPC services. What is sent to the scheduler has a limit; batches of results, which it sends, are larger.
fn grpc(config: &SchedulerConfig, door: &Arc<Door>) -> Router {
    let mut services = RoutesBuilder::default();
    let scheduler = SchedulerGrpcServer::new(door.grpc())
        .max_decoding_message_size(config.max_request_bytes)
        .max_encoding_message_size(MAX_MESSAGE);
    services.add_service(scheduler);
    if config.flight_sql || config.flight_proxy {
        let service = FlightServiceServer::new(door.flight(config.flight_sql))
            .max_decoding_message_size(config.max_request_bytes)
            .max_encoding_message_size(MAX_MESSAGE);
        services.add_service(service);
    }
    let unknown = || async { (StatusCode::NOT_FOUND, "no such route; GET / lists them\n") };
    services.routes().into_axum_router().layer(middleware::from_fn(tell_in_words)).fallback(unknown)
}

/// Takes the data out of the errors of Flight SQL, whose clients show a message as it is. The scheduler's own service
/// leaves it in: our client reads it.
async fn tell_in_words(request: Request, next: Next) -> Response {
    let foreign = request.uri().path().starts_with(FLIGHT);
    let mut response = next.run(request).await;
    if foreign && let Some(status) = Status::from_header_map(response.headers()) {
        let words = readable(status.message());
        if words != status.message()
            && let Err(error) = Status::new(status.code(), words).add_header(response.headers_mut())
        {
            tracing::debug!(%error, "an error keeps its data");
        }
    }
    response
}

/// Firesteel's own routes, beside [`ACTIVITY_PATH`].
const ROUTES: [&str; 6] =
    ["/", "/healthz", "/readyz", METRICS, "/api/firesteel/version", "/api/firesteel/cluster"];

impl super::Scheduler {
    /// Returns what every scheduler answers over HTTP, beside Ballista's own routes.
    ///
    /// # Errors
    /// An overview that cannot be written as JSON.
    pub fn served() -> Result<Served> {
        let metrics = SchedulerMetrics::new();
        let idle = serde_json::to_value(Overview::default()).map_err(super::failed)?;
        let [.., overview] = ROUTES;
        let served = Served::new(ROUTES.into_iter().chain([ACTIVITY_PATH]), &metrics.registry);
        Ok(Served { answers: vec![(overview, idle)], ..served })
    }

    /// Returns what every scheduler answers on its port for health and metrics.
    ///
    /// # Errors
    /// An overview that cannot be written as JSON.
    pub fn health_served() -> Result<Served> {
        let [_, health, ready, numbers, _, overview] = ROUTES;
        Ok(Served { routes: vec![health, ready, numbers, overview], ..Self::served()? })
    }
}

fn firesteel_routes(state: AppState) -> Router {
    let [root, health, ready, numbers, versions, overview] = ROUTES;
    Router::new()
        .route(root, get(index))
        .route(health, get(healthz))
        .route(ready, get(readyz))
        .route(numbers, get(metrics))
        .route(versions, get(version))
        .route(overview, get(cluster))
        .with_state(state)
}

async fn index() -> &'static str {
    "firesteel scheduler\n\n\
     GET   /healthz                  the event loop answers\n\
     GET   /readyz                   enough executors are there\n\
     GET   /metrics                  for Prometheus\n\
     GET   /api/firesteel/version    versions\n\
     GET   /api/firesteel/cluster    slots, tasks, jobs and executors\n\
     GET   /api/firesteel/activity   running jobs and how far their tasks are (?name=PREFIX)\n\
     GET   /api/executors            executors and their memory\n\
     GET   /api/jobs                 jobs\n\
     GET   /api/job/{id}             a job: plans and progress\n\
     PATCH /api/job/{id}             cancels it\n\
     GET   /api/job/{id}/stages      its stages and tasks\n\
     GET   /api/openapi.json         all of /api\n\
     GET   /history/api/jobs         finished jobs, with an event log\n\n\
     gRPC on this port: Ballista (df://HOST:PORT) and Arrow Flight SQL\n"
}

async fn healthz(State(state): State<AppState>) -> Response {
    match state.pulse.stalled(Instant::now()) {
        None => http::healthz().await.into_response(),
        Some(time) => {
            let reason = format!("the event loop has not answered for {} s\n", time.as_secs());
            http::readiness(false, reason)
        }
    }
}

async fn readyz(State(state): State<AppState>) -> Response {
    let active = state.executors.alive().await.iter().filter(|executor| !executor.draining).count();
    let needed = state.min_ready_executors;
    http::readiness(active >= needed, format!("{active} of at least {needed} executors are there\n"))
}

async fn metrics(State(state): State<AppState>) -> Response {
    let overview = Overview::take(&state.server, &state.executors).await;
    let gauges = &state.metrics.gauges;
    for (gauge, value) in [
        (&gauges.executors, overview.active_executors() as u64),
        (&gauges.draining, (overview.executors.len() - overview.active_executors()) as u64),
        (&gauges.slots, overview.slots.total),
        (&gauges.free_slots, overview.slots.free),
        (&gauges.running_jobs, overview.jobs.running),
        (&gauges.queued_jobs, overview.jobs.queued),
        (&gauges.running_tasks, overview.tasks.running),
        (&gauges.pending_tasks, overview.tasks.pending),
    ] {
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    }
    http::metrics(state.metrics.registry.gather())
}

#[derive(Serialize)]
struct Version {
    firesteel: &'static str,
    ballista: &'static str,
    datafusion: &'static str,
    ballista_protocol: u32,
}

async fn version() -> Json<Version> {
    Json(Version {
        firesteel: env!("CARGO_PKG_VERSION"),
        ballista: ballista_core::BALLISTA_VERSION,
        datafusion: datafusion::DATAFUSION_VERSION,
        ballista_protocol: ballista_core::BALLISTA_PROTOCOL_VERSION,
    })
}

async fn cluster(State(state): State<AppState>) -> Json<Overview> {
    Json(Overview::take(&state.server, &state.executors).await)
}

/// Reads the jobs that have ended since the last request from the event log. Files that did not change are not read
/// again.
async fn refresh(State(history): State<Arc<HistoryStore>>, request: Request, next: Next) -> Response {
    let refreshed = tokio::task::spawn_blocking(move || history.refresh()).await;
    if let Ok(Err(error)) = refreshed {
        tracing::warn!(%error, "cannot read the event log");
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;
    use crate::Error;
    use crate::error::encode;

    #[tokio::test]
    async fn a_page_of_a_listed_origin_may_send_a_token_and_read_a_refusal() {
        let (listed, other) = ("https://console.example", "https://evil.example");
        for (origins, origin, allowed) in [
            (listed, listed, Some(listed)),
            ("https://a.example, https://console.example", listed, Some(listed)),
            (listed, other, None),
            ("", other, None),
            ("*", other, Some("*")),
        ] {
            let refused = || async { StatusCode::UNAUTHORIZED };
            let router = Router::new().route("/history/api/jobs", get(refused)).layer(cors(origins));
            for (method, status) in [("OPTIONS", StatusCode::OK), ("GET", StatusCode::UNAUTHORIZED)] {
                let request =
                    Request::builder().method(method).uri("/history/api/jobs").header("origin", origin);
                let request = request.header("access-control-request-method", "GET");
                let request = request.header("access-control-request-headers", "authorization");
                let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
                assert_eq!(response.status(), status, "{origins} {method}");
                let says = response.headers().get("access-control-allow-origin");
                assert_eq!(says.and_then(|value| value.to_str().ok()), allowed, "{origins} {method}");
                if method == "OPTIONS" && allowed.is_some() {
                    let headers = &response.headers()["access-control-allow-headers"];
                    assert!(headers.to_str().unwrap().contains("authorization"), "{headers:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn an_error_of_flight_sql_is_a_sentence_and_one_for_our_client_has_data() {
        let failed =
            || async { Status::internal(encode(&Error::NoExecutors { seconds: 5 })).into_http::<Body>() };
        let flight = format!("{FLIGHT}GetFlightInfo");
        let router = Router::new()
            .route(&flight, get(failed))
            .route("/ballista/ExecuteQuery", get(failed))
            .layer(middleware::from_fn(tell_in_words));
        for (path, has_data) in [(flight.as_str(), false), ("/ballista/ExecuteQuery", true)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let status = Status::from_header_map(response.headers()).unwrap();
            assert_eq!(status.code(), tonic::Code::Internal, "{path}");
            assert!(status.message().contains("had no executor for 5 s"), "{status:?}");
            assert_eq!(status.message().contains("firesteel-error"), has_data, "{status:?}");
        }
    }
}
