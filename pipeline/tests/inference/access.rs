//! Who may ask the inference server, and how: tokens, TLS, names, limits.

use crate::fake::{image, prompt};
use crate::server::{config, run};
use firesteel_common::access::{Access, Principal, Role, Secret, Tokens};
use firesteel_common::net::Dialer;
use firesteel_common::tls::{ClientTls, ServerTls};
use firesteel_pipeline::inference::{Answer, Client, ClientError, ClientOptions, Config, Server};
use firesteel_proto::Encoding;
use firesteel_proto::inference::InferenceClient;
use firesteel_testkit::certificates::Authority;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

async fn classified(url: &str, dialer: Dialer) -> Result<Answer, ClientError> {
    let options = ClientOptions { dialer, ..ClientOptions::default() };
    Client::new(url, options)?.classify(Encoding::Rgb8, image(3).into()).await
}

#[tokio::test]
async fn with_tokens_and_tls_only_who_holds_one_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "a");
    let files = authority.sign(folder.path());
    let tls = ServerTls::open(&files.certificate, &files.key).unwrap();
    let token = Secret::random();
    let reader = Principal { name: "consumer".to_owned(), role: Role::Reader };
    let access = Access::open().with_tokens(Tokens::fixed([(reader, token.clone())]));
    let server = Server::bind(config()).await.unwrap().with_models(|_| Ok(vec![prompt()]));
    let server = server.with_access(Arc::new(access), Some(tls));
    let (ready, running) = (server.ready(), run(server));
    assert!(ready.wait().await);

    let trusting = Dialer::default().with_tls(Some(ClientTls::open(&authority.file).unwrap()));
    let known = trusting.clone().with_credential(Some(token));
    let answer = classified(&running.url, known.clone()).await.unwrap();
    assert!(matches!(answer, Answer::Classified { .. }), "{answer:?}");
    for credential in [None, Some(Secret::random())] {
        let stranger = trusting.clone().with_credential(credential);
        let error = classified(&running.url, stranger).await.unwrap_err();
        let ClientError::Status { status, .. } = &error else { panic!("{error}") };
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(error.to_string().contains("access.token") && !error.is_transient(), "{error}");
        assert_eq!(error.field(), Some(firesteel_common::ConfigField::AccessToken));
    }
    let error = classified(&running.url, Dialer::default()).await.unwrap_err();
    assert!(error.is_transient(), "without TLS nobody is there: {error}");

    // Health is open, and what the server can do is not told to everybody.
    let endpoint = trusting.endpoint(&running.url).unwrap();
    let channel = trusting.connect(&endpoint).await.unwrap();
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    let question = tokio_stream::iter([ServerReflectionRequest::default()]);
    let refused = ServerReflectionClient::new(channel).server_reflection_info(question).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    running.stop().await;
}

#[tokio::test]
async fn a_page_of_the_web_gets_no_answer() {
    let server = Server::bind(config()).await.unwrap().with_models(|_| Ok(vec![prompt()]));
    let address = server.address();
    let (ready, running) = (server.ready(), run(server));
    assert!(ready.wait().await);
    for (headers, status) in [
        ("Host: evil.example\r\nContent-Type: application/grpc\r\n", "421"),
        ("Host: 127.0.0.1\r\nContent-Type: text/plain\r\n", "415"),
        ("Host: 127.0.0.1\r\nContent-Type: application/grpc\r\nOrigin: https://evil.example\r\n", "403"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /firesteel.v1.Inference/Classify HTTP/1.1\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    running.stop().await;
}

#[test]
fn nobody_else_is_let_in_by_default() {
    assert!(Config::default().listen.ip().is_loopback());
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused() {
    let config = Config { max_message_bytes: 10_000, ..config() };
    let server = Server::bind(config).await.unwrap().with_models(|_| Ok(vec![prompt()]));
    let (ready, running) = (server.ready(), run(server));
    assert!(ready.wait().await);
    let channel = Channel::from_shared(running.url.clone()).unwrap().connect_lazy();
    let request = firesteel_proto::inference::ClassifyRequest::of(1, Encoding::Rgb8, vec![0; 20_000].into());
    let status = InferenceClient::new(channel).classify(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    running.stop().await;
}
