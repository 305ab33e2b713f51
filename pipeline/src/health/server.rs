//! The HTTP server: three routes on an address of their own.

use super::{Readiness, Watched, families};
use crate::error::{Error, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long answers under way may take once the server is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What a health server serves.
pub const ROUTES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// A health server that has its address and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes an address; port 0 is a free one.
    ///
    /// # Errors
    /// [`Error::Health`], which names it.
    pub async fn bind(listen: SocketAddr) -> Result<Self> {
        let failed = |source| Error::Health { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells of `watched` until `shutdown`.
    ///
    /// # Errors
    /// [`Error::Health`] when the socket fails.
    pub async fn run(self, watched: Arc<dyn Watched>, shutdown: CancellationToken) -> Result<()> {
        let Self { listener, address } = self;
        let server = axum::serve(listener, router(watched))
            .with_graceful_shutdown(shutdown.clone().cancelled_owned())
            .into_future();
        // Prometheus keeps its connection open for the next time, which would never end by itself.
        let last = async {
            shutdown.cancelled().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            served = server => served.map_err(|source| Error::Health { address, source }),
            () = last => Ok(()),
        }
    }
}

fn router(watched: Arc<dyn Watched>) -> Router {
    let [health, ready, numbers] = ROUTES;
    Router::new()
        .route(health, get(healthz))
        .route(ready, get(readyz))
        .route(numbers, get(metrics))
        .with_state(watched)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(watched): State<Arc<dyn Watched>>) -> Response {
    match watched.readiness() {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::NotReady(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", why.join("\n"))).into_response()
        }
    }
}

async fn metrics(State(watched): State<Arc<dyn Watched>>) -> Response {
    match families::text(watched.families()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{gauge, labels};
    use firesteel_testkit::http;
    use prometheus::proto::MetricFamily;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct Lamp(AtomicBool);

    impl Watched for Lamp {
        fn readiness(&self) -> Readiness {
            match self.0.load(Ordering::SeqCst) {
                true => Readiness::Ready,
                false => Readiness::NotReady(vec!["no oil".to_owned(), "no match".to_owned()]),
            }
        }

        fn families(&self) -> Vec<MetricFamily> {
            vec![gauge("lamp", "Whether it is lit", [(labels([]), u64::from(self.0.load(Ordering::SeqCst)))])]
        }
    }

    #[tokio::test]
    async fn the_routes_tell_of_what_is_watched_until_the_shutdown() {
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let (address, lamp, shutdown) =
            (server.address(), Arc::new(Lamp::default()), CancellationToken::new());
        let watched: Arc<dyn Watched> = Arc::<Lamp>::clone(&lamp);
        let running = tokio::spawn(server.run(watched, shutdown.clone()));
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

        let taken = Server::bind(address).await.expect_err("a port is one's own").to_string();
        assert!(taken.contains(&address.to_string()) && taken.contains("FIRESTEEL_HEALTH_LISTEN"), "{taken}");
        shutdown.cancel();
        running.await.expect("no panic").expect("no error");
        assert!(http(address, "GET", "/healthz").await.is_err());
    }
}
