//! The HTTP server of health checks and metrics, for Kubernetes and for Prometheus.
//!
//! * `/healthz`: the process is there and answers.
//! * `/readyz`: 200 while the role can do its work, else 503 and the reasons, one a line.
//! * `/metrics`: Prometheus' text format.
//!
//! A [`HealthServer`] serves these three routes from a [`HealthSource`]. A role with routes of its own builds its router
//! from the handlers here. Every router is served by a [`Server`], which holds the limits of all doors.

mod messages;
mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Doors, Gate, gate};

pub use server::{Connection, Limits, Server};

/// Whether a role can do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The role can work.
    Ready,
    /// The role cannot work now, for these reasons.
    NotReady(Vec<String>),
}

/// What a [`HealthServer`] reports. It is asked a few times a minute, so it may look things up.
pub trait HealthSource: Send + Sync + 'static {
    /// Whether the role can do its work at this moment.
    fn readiness(&self) -> Readiness;

    /// The metrics of the role at this moment.
    fn families(&self) -> Vec<MetricFamily>;
}

/// The routes of a [`HealthServer`].
pub const ROUTES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// A health server that has its address and does not answer yet.
#[derive(Debug)]
pub struct HealthServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl HealthServer {
    /// Binds an address; port 0 is any free one.
    ///
    /// # Errors
    /// When the address is taken or not one of this machine.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reports on `source` until `shutdown`.
    pub async fn run(self, source: Arc<dyn HealthSource>, shutdown: CancellationToken) {
        let [health, ready, numbers] = ROUTES;
        let router = Router::new()
            .route(health, get(healthz))
            .route(ready, get(readyz_of))
            .route(numbers, get(metrics_of))
            .with_state(source)
            .layer(monitoring(self.address));
        serve(self.listener, router, shutdown).await;
    }
}

async fn readyz_of(State(source): State<Arc<dyn HealthSource>>) -> Response {
    match source.readiness() {
        Readiness::Ready => readiness(true, "ready\n".to_owned()),
        Readiness::NotReady(reasons) => readiness(false, format!("{}\n", reasons.join("\n"))),
    }
}

async fn metrics_of(State(source): State<Arc<dyn HealthSource>>) -> Response {
    metrics(source.families())
}

/// Makes the gate of a port that asks nobody who they are, because it only tells how the process does. No page of the web reads it:
/// one on the loopback is asked by address or as `localhost`. What other machines reach has the names that they give it.
#[must_use]
pub fn monitoring(address: SocketAddr) -> Gate {
    let access = if address.ip().is_loopback() { Access::open() } else { Access::open().with_any_host() };
    gate(Arc::new(access), Doors::new())
}

/// Serves `router` without TLS until `shutdown`. Handlers may ask for the peer's address.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    Server::new(listener, router).run(shutdown).await;
}

/// The handler of `GET /healthz`.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The answer to `GET /readyz`: 200 or 503, with an explanation for people.
#[must_use]
pub fn readiness(ready: bool, explanation: String) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, explanation).into_response()
}

/// The answer to `GET /metrics`.
#[must_use]
pub fn metrics(families: Vec<MetricFamily>) -> Response {
    match metrics_text(families) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Metrics in Prometheus' text format.
///
/// # Errors
/// A family that breaks the format.
pub fn metrics_text(mut families: Vec<MetricFamily>) -> Result<String, prometheus::Error> {
    // One without a sample, such as the lag of no partitions, is an error to the encoder.
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&families)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use firesteel_testkit::http;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::metrics::{gauge, registry};

    #[derive(Default)]
    struct Lamp(AtomicBool);

    impl HealthSource for Lamp {
        fn readiness(&self) -> Readiness {
            match self.0.load(Ordering::SeqCst) {
                true => Readiness::Ready,
                false => Readiness::NotReady(vec!["no oil".to_owned(), "no match".to_owned()]),
            }
        }

        fn families(&self) -> Vec<MetricFamily> {
            let lit = gauge("lamp", "Whether it is lit");
            lit.set(i64::from(self.0.load(Ordering::SeqCst)));
            registry(&[], vec![Box::new(lit)]).gather()
        }
    }

    #[tokio::test]
    async fn the_routes_report_on_their_source_until_the_shutdown() {
        let server = HealthServer::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let (address, lamp, shutdown) =
            (server.address(), Arc::new(Lamp::default()), CancellationToken::new());
        let source: Arc<dyn HealthSource> = Arc::<Lamp>::clone(&lamp);
        let running = tokio::spawn(server.run(source, shutdown.clone()));
        let ask = async |path| {
            let answer = http(address, "GET", path).await.expect("an answer");
            (answer.status, answer.body)
        };

        assert_eq!(ask("/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(ask("/readyz").await, (503, "no oil\nno match\n".to_owned()));
        lamp.0.store(true, Ordering::SeqCst);
        assert_eq!(ask("/readyz").await, (200, "ready\n".to_owned()));
        let text = "# HELP lamp Whether it is lit\n# TYPE lamp gauge\nlamp 1\n".to_owned();
        assert_eq!(ask("/metrics").await, (200, text));
        assert_eq!(ask("/elsewhere").await.0, 404);
        // A page of the web that has made its name point here, and one that does not hide where it is from.
        for header in ["Host: evil.example", "Host: localhost\r\nOrigin: http://evil.example"] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            let request = format!("GET /metrics HTTP/1.1\r\n{header}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 4") && !answer.contains("lamp"), "{answer}");
        }

        assert!(HealthServer::bind(address).await.is_err(), "a port is one's own");
        shutdown.cancel();
        running.await.expect("no panic");
        assert!(http(address, "GET", "/healthz").await.is_err());
    }
}
