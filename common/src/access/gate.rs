//! The gate: the layer in front of every router.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures::future::{Either, Ready, ready};
use tower::{Layer, Service};

use super::Access;

/// What the content type of a gRPC call begins with.
const GRPC: &str = "application/grpc";

/// The paths that are always open, under any name: whoever asks for them watches the process.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The question of gRPC's health service that probes ask. `Watch`, which goes on for ever, is for those with a credential:
/// every call of it keeps one of the server's connections.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Which paths ask for no credential, beside those of health. Whoever sends one is known there, too.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    free: Vec<String>,
    members: bool,
}

impl Doors {
    /// Every path but those of health asks for a credential.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody ask for `path`; one that ends in `/` stands for all below it.
    #[must_use]
    pub fn free(mut self, path: impl Into<String>) -> Self {
        self.free.push(path.into());
        self
    }

    /// Lets nobody but members of the cluster in, where its members are known.
    #[must_use]
    pub fn members_only(mut self) -> Self {
        self.members = true;
        self
    }

    pub(super) fn is_members_only(&self) -> bool {
        self.members
    }

    pub(super) fn is_health(path: &str) -> bool {
        HEALTH.contains(&path)
    }

    pub(super) fn is_free(&self, path: &str) -> bool {
        path == GRPC_HEALTH
            || self.free.iter().any(|free| path == free || free.ends_with('/') && path.starts_with(free))
    }
}

/// Whether `path` is that of a method of gRPC: `/package.Service/Method`.
pub(super) fn is_grpc_path(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(service), Some(method), None) => service.contains('.') && !method.is_empty(),
        _ => false,
    }
}

/// Whether a request says that it is a call of gRPC. A web page cannot without asking first.
pub(crate) fn is_grpc_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

/// Makes the layer that turns away whoever `access` does not accept.
#[must_use]
pub fn gate(access: Arc<Access>, doors: Doors) -> Gate {
    Gate { access, doors: Arc::new(doors) }
}

/// The layer of [`gate`].
#[derive(Debug, Clone)]
pub struct Gate {
    access: Arc<Access>,
    doors: Arc<Doors>,
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// A service behind a [`Gate`].
#[derive(Debug, Clone)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request> for Gated<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.gate.access.admit(&mut parts, &self.gate.doors) {
            Ok(()) => Either::Left(self.inner.call(Request::from_parts(parts, body))),
            Err(refusal) => {
                tracing::debug!(%refusal, path = parts.uri.path(), "a request is turned away");
                let response = match is_grpc_path(parts.uri.path()) && is_grpc_call(&parts.headers) {
                    true => refusal.into_grpc(),
                    false => refusal.into_response(),
                };
                Either::Right(ready(Ok(response)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Method, StatusCode};
    use axum::routing::any;
    use tower::ServiceExt as _;

    use super::*;
    use crate::access::{Caller, Principal, Role, Secret, Tokens};

    const TOKEN: &str = "the-token-of-ada-0123";
    const FLIGHT: &str = "/arrow.flight.protocol.FlightService/GetFlightInfo";

    fn with_tokens() -> Access {
        let ada = Principal { name: "ada".to_owned(), role: Role::Reader };
        Access::open().with_tokens(Tokens::fixed([(ada, Secret::new(TOKEN).expect("usable"))]))
    }

    /// A router that says who asks.
    fn router(access: Access) -> Router {
        let who = |request: Request| async move {
            let agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok());
            assert!(!agent.unwrap_or_default().contains(TOKEN), "the credential stays at the gate");
            match Caller::of(request.extensions()) {
                Ok(caller) => format!("{caller:?}"),
                Err(_) => "nobody".to_owned(),
            }
        };
        let doors = Doors::new().free("/metrics").free("/public/");
        Router::new().fallback(any(who)).layer(gate(Arc::new(access), doors))
    }

    async fn ask(
        access: Access,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, Response) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = router(access).oneshot(request).await.expect("infallible");
        (response.status(), response)
    }

    async fn text(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_page_of_the_web_is_turned_away_though_nobody_is_authenticated() {
        let local = ("host", "127.0.0.1:50050");
        let (evil, own) = (("origin", "https://evil.example"), ("origin", "http://127.0.0.1:50050"));
        let grpc = ("content-type", "application/grpc");
        for (method, path, headers, expected) in [
            (Method::GET, "/api/jobs", vec![local], StatusCode::OK),
            (Method::GET, "/api/jobs", vec![("host", "evil.example")], StatusCode::MISDIRECTED_REQUEST),
            (Method::GET, "http://evil.example/api/jobs", vec![], StatusCode::MISDIRECTED_REQUEST),
            (Method::GET, "/api/jobs", vec![local, evil], StatusCode::FORBIDDEN),
            (Method::PATCH, "/api/job/x", vec![local, evil], StatusCode::FORBIDDEN),
            (Method::PATCH, "/api/job/x", vec![local, own], StatusCode::OK),
            (Method::GET, "/api/jobs", vec![local, ("origin", "null")], StatusCode::FORBIDDEN),
            (
                Method::POST,
                FLIGHT,
                vec![local, ("content-type", "text/plain")],
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            (Method::POST, FLIGHT, vec![local], StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (Method::GET, FLIGHT, vec![local], StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (Method::POST, FLIGHT, vec![local, grpc, evil], StatusCode::FORBIDDEN),
            (Method::POST, FLIGHT, vec![local, grpc], StatusCode::OK),
            (Method::POST, FLIGHT, vec![local, ("content-type", "application/grpc+proto")], StatusCode::OK),
            (Method::GET, "/healthz", vec![("host", "any.example")], StatusCode::OK),
            (Method::GET, "/metrics", vec![("host", "evil.example")], StatusCode::MISDIRECTED_REQUEST),
        ] {
            let (status, _) = ask(Access::open(), method.clone(), path, &headers).await;
            assert_eq!(status, expected, "{method} {path} {headers:?}");
        }
    }

    #[tokio::test]
    async fn an_origin_that_is_listed_may_ask_if_it_says_who_it_is() {
        let page = ("origin", "https://console.example");
        let access = || with_tokens().with_origins(["https://console.example"]);
        for (access, method, headers, expected) in [
            (access(), Method::GET, &[page][..], StatusCode::UNAUTHORIZED),
            (with_tokens(), Method::GET, &[page], StatusCode::FORBIDDEN),
            // What a browser asks first is answered before it comes here.
            (access(), Method::OPTIONS, &[page], StatusCode::UNAUTHORIZED),
            (with_tokens(), Method::OPTIONS, &[page], StatusCode::FORBIDDEN),
            // Without a page nobody needs to ask whether it may ask.
            (access(), Method::OPTIONS, &[], StatusCode::UNAUTHORIZED),
        ] {
            let (status, _) = ask(access, method.clone(), "/api/jobs", headers).await;
            assert_eq!(status, expected, "{method} {headers:?}");
        }
    }

    #[tokio::test]
    async fn who_does_not_say_who_they_are_gets_the_name_of_the_setting() {
        let bearer = format!("Bearer {TOKEN}");
        let (status, response) = ask(with_tokens(), Method::GET, "/api/jobs", &[]).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert!(text(response).await.contains("access.token"));

        let (status, response) =
            ask(with_tokens(), Method::GET, "/api/jobs", &[("authorization", &bearer)]).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text(response).await.contains("ada"));

        let agent = format!("firesteel/1 credential/{TOKEN} tonic/1");
        let (status, response) =
            ask(with_tokens(), Method::GET, "/api/jobs", &[("user-agent", &agent)]).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text(response).await.contains("ada"));

        for (headers, words) in [
            (vec![], "authorization"),
            (vec![("authorization", "Bearer not-the-token-of-ada")], "does not know"),
        ] {
            let headers = [headers, vec![("content-type", "application/grpc")]].concat();
            let (status, response) = ask(with_tokens(), Method::POST, FLIGHT, &headers).await;
            assert_eq!(status, StatusCode::OK, "gRPC has a status of its own");
            let status = tonic::Status::from_header_map(response.headers()).expect("a status");
            assert_eq!(status.code(), tonic::Code::Unauthenticated);
            assert!(
                status.message().contains(words) && status.message().contains("access.token"),
                "{status}"
            );
            assert!(!status.message().contains("not-the-token"), "{status}");
        }
    }

    #[tokio::test]
    async fn a_door_of_members_lets_no_user_in() {
        let secret = Secret::random();
        let access = with_tokens().with_cluster_secret(secret.clone());
        let who = || async { "in" };
        let router = |access: Access| {
            let doors = Doors::new().members_only();
            Router::new().fallback(any(who)).layer(gate(Arc::new(access), doors))
        };
        for (token, status) in [
            (Some(TOKEN), StatusCode::FORBIDDEN),
            (Some(secret.expose()), StatusCode::OK),
            (None, StatusCode::UNAUTHORIZED),
        ] {
            let mut request = Request::builder().uri("/");
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let request = request.body(Body::empty()).expect("a request");
            let response = router(access.clone()).oneshot(request).await.expect("infallible");
            assert_eq!(response.status(), status);
        }
        let request = Request::builder().uri("/").body(Body::empty()).expect("a request");
        let response = router(Access::open()).oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::OK, "nobody is authenticated");
    }

    #[tokio::test]
    async fn what_is_free_is_free_and_nothing_else() {
        let wrong = ("authorization", "Bearer not-the-token-of-ada");
        for (path, free) in [
            ("/healthz", true),
            ("/readyz", true),
            ("/metrics", true),
            ("/public/a", true),
            ("/healthz/", false),
            ("/metrics/x", false),
            ("/publicity", false),
            ("//healthz", false),
            ("/", false),
            ("/history/api/jobs", false),
        ] {
            for headers in [vec![], vec![wrong]] {
                let (status, response) = ask(with_tokens(), Method::GET, path, &headers).await;
                assert_eq!(status == StatusCode::OK, free, "{path}");
                if free {
                    assert_eq!(text(response).await, "nobody", "{path}");
                }
            }
        }
        let (status, _) = ask(
            with_tokens(),
            Method::POST,
            "/grpc.health.v1.Health/Check",
            &[("content-type", "application/grpc")],
        )
        .await;
        assert_eq!(status, StatusCode::OK);
        // Who holds as many calls as there are connections would keep everybody out.
        let (_, response) = ask(
            with_tokens(),
            Method::POST,
            "/grpc.health.v1.Health/Watch",
            &[("content-type", "application/grpc")],
        )
        .await;
        let status = tonic::Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }
}
