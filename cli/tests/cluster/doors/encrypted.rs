//! A cluster with everything on: tokens, a secret, and TLS on every port.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_flight::sql::client::FlightSqlServiceClient;
use firesteel_common::access::Secret;
use firesteel_common::tls::ClientTls;
use firesteel_engine::{Config, Dialer, Session};
use firesteel_testkit::certificates::Authority;
use firesteel_testkit::{Cluster, SOON, http, wait_until};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::support::{ADA, SECRET, private, run, settings};

/// How long queries run while certificates are replaced.
const UNDER_LOAD: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn queries_go_on_while_certificates_are_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "cluster");
    let files = authority.sign(folder.path());
    let users = private(folder.path(), "users", &format!("ada writer {ADA}\n"));
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let settings = settings()
        .scheduler(&["--tokens-file", &users, "--bind-health-port", &free.port().to_string()])
        .with("FIRESTEEL_CLUSTER_SECRET", SECRET)
        .with("FIRESTEEL_TLS_CERT", &files.certificate.to_string_lossy())
        .with("FIRESTEEL_TLS_KEY", &files.key.to_string_lossy())
        .with("FIRESTEEL_TLS_CA", &authority.file.to_string_lossy());
    let mut cluster = Cluster::prepare(settings);
    cluster.start_scheduler();
    for _ in 0..2 {
        cluster.add_executor();
    }
    let health = SocketAddr::from(([127, 0, 0, 1], free.port()));
    wait_until("both executors are there", SOON, async || {
        let answer = http(health, "GET", "/api/firesteel/cluster").await.expect("an answer").json();
        answer["executors"].as_array().map(Vec::len) == Some(2)
    })
    .await;
    assert!(http(cluster.address(), "GET", "/healthz").await.is_err(), "nothing is told without TLS");

    // A session of ours, over and over, with connections of its own for each query.
    let tls = ClientTls::open(&authority.file).expect("an authority");
    let token = Secret::new(ADA).expect("usable");
    let dialer = Dialer::default().with_tls(Some(tls)).with_credential(Some(token));
    let config = Config { dialer, partitions: Some(4), ..Config::default() };
    let url = format!("dfs://{}", cluster.address());
    let session = Session::connect(&url, config).await.expect("a session");
    let stop = Arc::new(AtomicBool::new(false));
    let queries = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let sql = "SELECT count(*) AS n FROM (VALUES (1), (2), (3)) GROUP BY column1";
                let rows: Vec<(i64,)> = session.sql(sql).await.unwrap().collect_as().await.unwrap();
                assert_eq!(rows, [(1,), (1,), (1,)]);
                answered += 1;
            }
            answered
        }
    });
    for _ in 0..4 {
        tokio::time::sleep(UNDER_LOAD / 4).await;
        let _ = authority.sign(folder.path());
    }
    stop.store(true, Ordering::Relaxed);
    let answered = queries.await.expect("no query failed");
    assert!(answered > 0);

    // Arrow Flight SQL, as ADBC speaks it, and the shell.
    let ca = Certificate::from_pem(std::fs::read(&authority.file).expect("the authority"));
    let endpoint = Endpoint::from_shared(format!("https://{}", cluster.address())).expect("an address");
    let endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca)).expect("TLS");
    let mut client = FlightSqlServiceClient::new(endpoint.connect().await.expect("a connection"));
    client.handshake("ada", ADA).await.expect("signed in");
    assert!(run(&mut client, "SELECT 40 + 2 AS n").await.expect("rows").contains("42"));
    let mut shell = cluster.firesteel(&["sql", "-c", "SELECT 40 + 2 AS n"]);
    let ended = shell.env("FIRESTEEL_TOKEN", ADA).output().expect("the binary starts");
    assert!(
        ended.status.success() && String::from_utf8_lossy(&ended.stdout).contains("42"),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    // Without the token, and without an authority to trust, the settings are named.
    let ended = cluster.firesteel(&["sql", "-c", "SELECT 1"]).output().expect("the binary starts");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(
        !ended.status.success() && told.contains("FIRESTEEL_TOKEN") && told.contains("--token-file"),
        "{told}"
    );
    let mut shell = cluster.firesteel(&["sql", "--scheduler", &url, "-c", "SELECT 1"]);
    let ended = shell.env_remove("FIRESTEEL_TLS_CA").env("FIRESTEEL_TOKEN", ADA).output().expect("it starts");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && told.contains("--tls-ca"), "{told}");
}
