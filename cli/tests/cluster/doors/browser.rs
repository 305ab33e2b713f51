//! A web page in the browser of somebody who runs a scheduler.

use firesteel_testkit::{Cluster, http_with};

use super::support::{connect, run, settings};

const FLIGHT: &str = "/arrow.flight.protocol.FlightService/GetFlightInfo";
const EVIL: (&str, &str) = ("Origin", "https://evil.example");

/// A field of protobuf that holds bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut out = vec![tag << 3 | 2];
    while length > 127 {
        out.push(u8::try_from(length & 127).expect("7 bits") | 128);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("7 bits"));
    [out, bytes.to_vec()].concat()
}

/// A call of `GetFlightInfo` with a statement, in a frame of gRPC, as a page can send it.
fn statement(sql: &str) -> Vec<u8> {
    let kind = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery";
    let command = [field(1, kind), field(2, &field(1, sql.as_bytes()))].concat();
    let message = [vec![8, 2], field(2, &command)].concat();
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    [&[0], length.as_slice(), &message].concat()
}

/// Posts by HTTP/1.1, as `fetch` with `mode: "no-cors"` does, and reads by a name that the page has pointed here.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_web_gets_in_nowhere() {
    let mut cluster = Cluster::prepare(settings());
    cluster.start_scheduler();
    let address = cluster.address();
    let ask = async |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        http_with(address, method, path, headers, body).await.expect("an answer").status
    };
    let body = statement("CREATE VIEW pwned AS SELECT 1 AS n");
    let plain = ("Content-Type", "text/plain");
    assert_eq!(ask("POST", FLIGHT, &[plain, EVIL], &body).await, 403);
    // An old browser, or a form, which send no origin.
    assert_eq!(ask("POST", FLIGHT, &[plain], &body).await, 415);
    for method in ["RegisterExecutor", "UpdateTaskStatus", "ExecutorStopped", "CancelJob", "CleanJobData"] {
        let path = format!("/ballista.protobuf.SchedulerGrpc/{method}");
        assert_eq!(ask("POST", &path, &[plain], &[0; 5]).await, 415, "{method}");
        assert_eq!(ask("POST", &path, &[plain, EVIL], &[0; 5]).await, 403, "{method}");
    }
    // The name of the page points to this machine.
    let rebound = ("Host", "evil.example");
    for (method, path) in [("GET", "/api/jobs"), ("GET", "/"), ("GET", "/metrics"), ("PATCH", "/api/job/x")] {
        assert_eq!(ask(method, path, &[rebound], &[]).await, 421, "{method} {path}");
    }
    let grpc = ("Content-Type", "application/grpc");
    assert_eq!(ask("POST", FLIGHT, &[grpc, rebound], &body).await, 421);
    assert_eq!(ask("PATCH", "/api/job/x", &[EVIL], &[]).await, 403);

    // The page has made nothing, and the scheduler goes on.
    let mut client = connect(address).await;
    let told = run(&mut client, "SELECT * FROM pwned").await.expect_err("no such table");
    assert!(told.contains("pwned"), "{told}");
    assert_eq!(ask("GET", "/api/jobs", &[], &[]).await, 200);
    // A page that is allowed asks whether it may, and then does.
    let listed =
        Cluster::start(settings().scheduler(&["--cors-allowed-origins", "https://console.example"]), 0).await;
    let console = ("Origin", "https://console.example");
    let asks = [console, ("Access-Control-Request-Method", "PATCH")];
    for (method, headers) in [("OPTIONS", asks.as_slice()), ("GET", &[console])] {
        let answer = http_with(listed.address(), method, "/api/jobs", headers, &[]).await.expect("an answer");
        assert_eq!(answer.status, 200, "{method}");
    }
    let own = format!("http://{address}");
    assert_eq!(ask("GET", "/api/jobs", &[("Origin", &own)], &[]).await, 200);
}
