//! The HTTP server against peers that are slow, many, or of another time, with and without TLS.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{any, get};
use firesteel_common::access::{Access, Doors, Secret, gate};
use firesteel_common::http::{Limits, Server};
use firesteel_common::net::{Dialer, Endpoints};
use firesteel_common::tls::{ClientTls, ServerTls};
use firesteel_testkit::certificates::Authority;
use firesteel_testkit::http;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// Longer than a file of certificates is believed unseen.
const SEEN_AFTER: Duration = Duration::from_millis(700);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.expect("no panic");
    }
}

async fn run(router: Router, change: impl FnOnce(Server) -> Server) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(change(Server::new(listener, router)).run(shutdown.clone()));
    Running { address, shutdown, server }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

fn short() -> Limits {
    Limits { header_timeout: Duration::from_millis(400), ..Limits::default() }
}

/// Sends the beginning of something, and waits until the server has had enough.
async fn until_closed(address: SocketAddr, beginning: &[u8]) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(beginning).await.expect("sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    // A reset counts as closed.
    let _ = read.expect("the server waits for ever");
    began.elapsed()
}

#[tokio::test]
async fn whoever_begins_and_does_not_go_on_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = Authority::new(folder.path(), "a").sign(folder.path());
    let tls = ServerTls::open(&files.certificate, &files.key).expect("a certificate");
    let plain = run(hello(), |server| server.with_limits(short())).await;
    let secure = run(hello(), |server| server.with_limits(short()).with_tls(Some(tls))).await;
    let beginnings: [(SocketAddr, &[u8]); 8] = [
        (plain.address, b""),
        (plain.address, b"GET / HT"),
        (plain.address, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "),
        (plain.address, b"PRI * HTTP/2.0\r\n"),
        (secure.address, b""),
        (secure.address, b"\x16\x03\x01"),
        (secure.address, b"GET / HTTP/1.1\r\n\r\n"),
        (secure.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ];
    for (address, beginning) in beginnings {
        let after = until_closed(address, beginning).await;
        assert!(after < Duration::from_secs(5), "{after:?} {beginning:?}");
    }
    assert_eq!(http(plain.address, "GET", "/").await.expect("an answer").body, "hello");
    plain.stop().await;
    secure.stop().await;
}

#[tokio::test]
async fn slow_peers_take_no_more_places_than_there_are_and_give_them_back() {
    let limits = Limits { connections: 4, ..short() };
    let running = run(hello(), |server| server.with_limits(limits)).await;
    let mut slow = Vec::new();
    for _ in 0..12 {
        let mut stream = TcpStream::connect(running.address).await.expect("connected");
        stream.write_all(b"GET / HT").await.expect("sent");
        slow.push(stream);
    }
    // The places are taken, so this one waits for its turn, and gets it.
    let answer = http(running.address, "GET", "/").await.expect("an answer");
    assert_eq!(answer.body, "hello");
    drop(slow);
    running.stop().await;
}

#[tokio::test]
async fn idle_connections_make_place_for_whoever_waits() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let router = tonic::service::Routes::default().into_axum_router().merge(hello());
    let running = run(router, |server| server.with_limits(limits)).await;
    // Each has asked once, and keeps its connection open for the next time.
    let mut idle = Vec::new();
    for _ in 0..3 {
        let channel = connect(&Dialer::default(), running.address).await.expect("connected");
        assert_eq!(call(&channel).await.expect("an answer"), tonic::Code::Unimplemented);
        idle.push(channel);
    }
    let began = Instant::now();
    assert_eq!(http(running.address, "GET", "/").await.expect("an answer").body, "hello");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // They come back by themselves.
    assert_eq!(call(&idle[0]).await.expect("an answer"), tonic::Code::Unimplemented);
    drop(idle);
    running.stop().await;
}

/// Asks again and again without a credential, and takes no notice of the refusals.
async fn knock(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let mut answer = [0; 4096];
    loop {
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        if asked.is_err() || matches!(stream.read(&mut answer).await, Ok(0) | Err(_)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn whoever_is_refused_again_and_again_makes_place_and_who_was_let_in_does_not() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gone) = (Arc::clone(&asked), Arc::clone(&go));
    let slow = move || async move {
        inside.notify_one();
        gone.notified().await;
        "late"
    };
    let secret = Secret::random();
    let access = Access::open().with_cluster_secret(secret.clone());
    let router = Router::new().route("/slow", get(slow)).layer(gate(Arc::new(access), Doors::new()));
    let running = run(router, |server| server.with_limits(limits)).await;
    let address = running.address;
    // One is let in, and waits for its answer for longer than idle connections have.
    let mut admitted = TcpStream::connect(address).await.expect("connected");
    let request = format!(
        "GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        secret.expose()
    );
    admitted.write_all(request.as_bytes()).await.expect("sent");
    asked.notified().await;
    let knocking: Vec<_> = (0..2).map(|_| tokio::spawn(knock(address))).collect();
    let began = Instant::now();
    for _ in 0..3 {
        // It has no such route; what counts is that there is an answer.
        assert_eq!(http(address, "GET", "/healthz").await.expect("an answer").status, 404);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    go.notify_one();
    let mut answer = String::new();
    admitted.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("late"), "{answer}");
    for knocking in knocking {
        knocking.abort();
    }
    running.stop().await;
}

#[tokio::test]
async fn a_slow_peer_does_not_keep_others_out() {
    let limits = Limits { header_timeout: Duration::from_secs(60), ..Limits::default() };
    let running = run(hello(), |server| server.with_limits(limits)).await;
    let mut slow = TcpStream::connect(running.address).await.expect("connected");
    slow.write_all(b"GET / HT").await.expect("sent");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(http(running.address, "GET", "/").await.expect("an answer").body, "hello");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // It is let finish: its time is not over.
    slow.write_all(b"TP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("hello"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn an_answer_under_way_is_given_at_the_end_and_not_waited_for_too_long() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = || {
        let (asked, go) = (Arc::clone(&asked), Arc::clone(&go));
        let slow = move || async move {
            asked.notify_one();
            go.notified().await;
            "late"
        };
        Router::new().route("/", get(slow))
    };
    let running = run(router(), |server| server).await;
    let address = running.address;
    let asking = tokio::spawn(async move { http(address, "GET", "/").await });
    asked.notified().await;
    running.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(address).await.is_err(), "no connection is taken any more");
    go.notify_one();
    assert_eq!(asking.await.expect("no panic").expect("an answer").body, "late");
    running.stop().await;

    let limits = Limits { last_answers: Duration::from_millis(300), ..Limits::default() };
    let running = run(router(), |server| server.with_limits(limits)).await;
    let address = running.address;
    let asking = tokio::spawn(async move { http(address, "GET", "/").await });
    asked.notified().await;
    let began = Instant::now();
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    asking.await.expect("no panic").expect_err("it is cut");
}

#[tokio::test]
async fn a_handler_knows_its_peer() {
    let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
    let running = run(Router::new().route("/", any(who)), |server| server).await;
    assert_eq!(http(running.address, "GET", "/").await.expect("an answer").body, "127.0.0.1");
    running.stop().await;
}

/// Asks gRPC's way for a method that nobody has, and returns the code of the answer.
async fn call(channel: &Channel) -> Result<tonic::Code, tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| tonic::Status::unknown(error.to_string()))?;
    let path = "/test.Echo/Say".parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    match grpc.unary(tonic::Request::new(()), path, codec).await {
        Ok(_) => Ok(tonic::Code::Ok),
        Err(status) if std::error::Error::source(&status).is_some() => Err(status),
        Err(status) => Ok(status.code()),
    }
}

async fn connect(dialer: &Dialer, address: SocketAddr) -> Result<Channel, String> {
    let endpoint = dialer.endpoint(&dialer.url(&address.to_string())).map_err(|error| error.to_string())?;
    dialer.connect(&endpoint).await.map_err(|error| firesteel_common::error::root_cause(&error))
}

#[tokio::test]
async fn a_client_reaches_a_server_by_tls_with_a_credential_and_no_other_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (Authority::new(folder.path(), "own"), Authority::new(folder.path(), "other"));
    let files = own.sign(folder.path());
    let tls = ServerTls::open(&files.certificate, &files.key).expect("a certificate");
    let secret = Secret::random();
    let access = Access::open().with_cluster_secret(secret.clone());
    let router = tonic::service::Routes::default().into_axum_router();
    let router = router.layer(gate(Arc::new(access), Doors::new()));
    let running = run(router, |server| server.with_tls(Some(tls))).await;

    let trusting = |authority: &Authority| {
        Dialer::default().with_tls(Some(ClientTls::open(&authority.file).expect("an authority")))
    };
    let member = trusting(&own).with_credential(Some(secret.clone()));
    let channel = connect(&member, running.address).await.expect("connected");
    assert_eq!(call(&channel).await.expect("an answer"), tonic::Code::Unimplemented);
    let channel = connect(&trusting(&own), running.address).await.expect("connected");
    assert_eq!(call(&channel).await.expect("an answer"), tonic::Code::Unauthenticated);
    let error = connect(&trusting(&other), running.address).await.expect_err("not trusted");
    assert!(error.contains("certificate"), "{error}");
    // Plain gRPC gets no answer at all.
    if let Ok(channel) = connect(&Dialer::default(), running.address).await {
        call(&channel).await.expect_err("no answer");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_is_replaced_under_a_running_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (Authority::new(folder.path(), "old"), Authority::new(folder.path(), "new"));
    let files = old.sign(folder.path());
    let tls = ServerTls::open(&files.certificate, &files.key).expect("a certificate");
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gone) = (Arc::clone(&asked), Arc::clone(&go));
    let slow = move || async move {
        inside.notify_one();
        gone.notified().await;
        (axum::http::StatusCode::OK, [("grpc-status", "12"), ("content-type", "application/grpc")], "")
    };
    let router = Router::new().route("/test.Echo/Say", any(slow));
    let running = run(router, |server| server.with_tls(Some(tls))).await;

    // A client that trusts whoever its file names, now the old authority.
    let trusted = folder.path().join("trusted.pem");
    std::fs::copy(&old.file, &trusted).expect("copied");
    let dialer = Dialer::default().with_tls(Some(ClientTls::open(&trusted).expect("an authority")));
    let channel = connect(&dialer, running.address).await.expect("connected");
    let under_way = tokio::spawn(async move { call(&channel).await });
    asked.notified().await;

    // A key that is not the certificate's changes nothing.
    std::fs::write(&files.certificate, std::fs::read(&new.file).expect("read")).expect("written");
    tokio::time::sleep(SEEN_AFTER).await;
    connect(&dialer, running.address).await.expect("the last good certificate stays");

    let _ = new.sign(folder.path());
    tokio::time::sleep(SEEN_AFTER).await;
    let error = connect(&dialer, running.address).await.expect_err("the certificate is new");
    assert!(error.contains("certificate"), "{error}");
    // The file of the authorities is read again, too.
    std::fs::copy(&new.file, &trusted).expect("copied");
    tokio::time::sleep(SEEN_AFTER).await;
    connect(&dialer, running.address).await.expect("trusted now");

    go.notify_one();
    assert_eq!(under_way.await.expect("no panic").expect("an answer"), tonic::Code::Unimplemented);
    running.stop().await;
}

/// Serves gRPC that knows no method, and tells how each connection has begun.
async fn tell_handshakes(tls: ServerTls) -> (String, mpsc::UnboundedReceiver<HandshakeKind>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let (kinds, begun) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let Ok(stream) = tls.acceptor().accept(stream).await else { continue };
            kinds.send(stream.get_ref().1.handshake_kind().expect("a handshake")).expect("read");
            let unknown = || async {
                (
                    axum::http::StatusCode::OK,
                    [("grpc-status", "12"), ("content-type", "application/grpc")],
                    "",
                )
            };
            let router = Router::new().fallback(any(unknown));
            tokio::spawn(async move {
                let service = TowerToHyperService::new(router);
                Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    (url, begun)
}

/// Connects and has an answer, behind which the server's tickets have come.
async fn ask(endpoint: &Endpoint) {
    let channel = endpoint.connect().await.expect("a connection");
    assert_eq!(call(&channel).await.expect("an answer"), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn a_session_is_resumed_until_the_client_trusts_other_authorities() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "a");
    let files = authority.sign(folder.path());
    let tls = ServerTls::open(&files.certificate, &files.key).expect("a certificate");
    let (url, mut begun) = tell_handshakes(tls).await;
    let dialer = Dialer::default().with_tls(Some(ClientTls::open(&authority.file).expect("an authority")));
    let endpoints = Endpoints::new(dialer.clone(), |endpoint| endpoint);
    let made = || Endpoint::from_shared(url.clone()).expect("an address");

    for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        ask(&endpoints.instead_of(made()).expect("an endpoint")).await;
        assert_eq!(begun.recv().await, Some(expected));
    }
    // A dialer alone makes each endpoint anew.
    for _ in 0..2 {
        ask(&dialer.endpoint(&url).expect("an endpoint")).await;
        assert_eq!(begun.recv().await, Some(HandshakeKind::Full));
    }

    // The same authority in a file that was written again: nothing is taken for granted of what was opened before.
    let mut file = std::fs::read(&authority.file).expect("read");
    file.push(b'\n');
    std::fs::write(&authority.file, file).expect("written");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        ask(&endpoints.instead_of(made()).expect("an endpoint")).await;
        if begun.recv().await == Some(HandshakeKind::Full) {
            break;
        }
        assert!(Instant::now() < deadline, "the change is not seen");
    }
}

#[test]
fn a_file_that_is_no_certificate_is_named_with_its_setting() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "a");
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    std::fs::create_dir_all(&one).expect("made");
    std::fs::create_dir_all(&two).expect("made");
    let (one, two) = (authority.sign(&one), authority.sign(&two));
    let missing = folder.path().join("missing.pem");
    for (certificate, key, words) in [
        (&missing, &one.key, ["tls.cert", "missing.pem"]),
        (&one.key, &one.key, ["tls.cert", "no certificate"]),
        (&one.certificate, &missing, ["tls.key", "missing.pem"]),
        (&one.certificate, &one.certificate, ["tls.key", "no private key"]),
        (&one.certificate, &two.key, ["tls.key", "not the key of"]),
    ] {
        let error = ServerTls::open(certificate, key).expect_err("refused").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let error = ClientTls::open(&one.key).expect_err("refused").to_string();
    assert!(error.contains("tls.ca"), "{error}");
    #[cfg(unix)]
    {
        std::fs::set_permissions(&one.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("set");
        let error = ServerTls::open(&one.certificate, &one.key).expect_err("refused").to_string();
        assert!(error.contains("tls.key") && error.contains("chmod"), "{error}");
    }
}
