//! The scan: every port of every role, with everything on, asked for everything by everybody.
//!
//! What nobody in particular may have is asserted here; who gets what in detail is the table of THREATS.md.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use firesteel_testkit::{SOON, binary, ports, wait_until};
use futures::{StreamExt as _, stream};

use super::fortress::{Fortress, start};
use super::table::{Table, Target};
use super::wire::{Called, Manner, Peer};
use crate::doors::support::{BOB, ROOT, SECRET};

/// How many ask at a time.
const AT_A_TIME: usize = 24;

/// The services of all doors. Each is asked for at each door.
const SERVICES: [(&str, &str, &[&str]); 6] = [
    (
        "Ballista's scheduler",
        "ballista.protobuf.SchedulerGrpc",
        &[
            "PollWork",
            "RegisterExecutor",
            "HeartBeatFromExecutor",
            "UpdateTaskStatus",
            "ExecutorStopped",
            "CreateUpdateSession",
            "RemoveSession",
            "ExecuteQuery",
            "ExecuteQueryPush",
            "GetJobStatus",
            "GetJobMetrics",
            "CancelJob",
            "CleanJobData",
        ],
    ),
    (
        "orders of executors",
        "ballista.protobuf.ExecutorGrpc",
        &["LaunchTask", "LaunchMultiTask", "StopExecutor", "CancelTasks", "RemoveJobData"],
    ),
    (
        "Arrow Flight",
        "arrow.flight.protocol.FlightService",
        &[
            "Handshake",
            "ListFlights",
            "GetFlightInfo",
            "PollFlightInfo",
            "GetSchema",
            "DoGet",
            "DoPut",
            "DoExchange",
            "DoAction",
            "ListActions",
        ],
    ),
    ("inference", "firesteel.v1.Inference", &["Classify", "ClassifyBatches", "ClassifyStream", "Describe"]),
    ("health of gRPC", "grpc.health.v1.Health", &["Check", "Watch"]),
    ("reflection", "grpc.reflection.v1.ServerReflection", &["ServerReflectionInfo"]),
];

const HEALTH: &str = "health";
const MONITORING: &str = "monitoring";
const ROUTES: &str = "routes";

/// One who knocks: what the table calls them, whether by TLS where the door has it, and how.
type Who = (&'static str, bool, Manner<'static>);

/// Those who are nobody, and those whom a web page or a false name comes with.
fn strangers() -> Vec<Who> {
    let as_member = Manner { token: Some(SECRET), ..Manner::default() };
    vec![
        ("without TLS, with the secret of the cluster", false, as_member),
        ("without a token", true, Manner::default()),
        ("with a wrong token", true, Manner { token: Some("nobody-has-this-token"), ..Manner::default() }),
        ("a web page, with the secret", true, Manner { origin: Some("https://evil.example"), ..as_member }),
        (
            "under the name evil.example, with the secret",
            true,
            Manner { host: Some("evil.example"), ..as_member },
        ),
    ]
}

fn users() -> Vec<Who> {
    [("a reader", BOB), ("an admin", ROOT)]
        .map(|(who, token)| (who, true, Manner { token: Some(token), ..Manner::default() }))
        .to_vec()
}

/// Everything that can be asked for: what `firesteel describe` lists, what the OpenAPI document lists, and all methods of
/// gRPC.
async fn targets(scheduler: &Peer) -> Vec<Target> {
    let mut command = binary(env!("CARGO_BIN_EXE_firesteel").as_ref(), &["describe", "--format", "json"]);
    let described = command.output().expect("the binary starts").stdout;
    let described: serde_json::Value = serde_json::from_slice(&described).expect("JSON");
    let ports = described["roles"].as_array().into_iter().flatten().flat_map(|role| role["ports"].as_array());
    let mut asked: BTreeSet<(String, String)> = BTreeSet::new();
    for port in ports.flatten() {
        for (method, key) in [("GET", "routes"), ("POST", "posts")] {
            let routes = port[key].as_array().into_iter().flatten().filter_map(|route| route.as_str());
            asked.extend(routes.map(|route| (method.to_owned(), route.to_owned())));
        }
    }
    assert!(asked.contains(&("POST".to_owned(), "/images".to_owned())), "{asked:?}");
    assert!(asked.contains(&("GET".to_owned(), "/metrics".to_owned())), "{asked:?}");
    let (status, document) = scheduler.get("/api/openapi.json", Some(ROOT)).await.expect("an answer");
    assert_eq!(status, 200, "{document}");
    let document =
        document.get(document.find('{').unwrap_or_default()..=document.rfind('}').unwrap_or_default());
    let document: serde_json::Value = serde_json::from_str(document.unwrap_or_default()).expect("JSON");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            asked.insert((method.to_uppercase(), without_holes(path)));
        }
    }
    for path in ["/api/openapi.json", "/history/api/jobs", "/no-such-route"] {
        asked.insert(("GET".to_owned(), path.to_owned()));
    }
    let kind = |path: &str| match path {
        "/healthz" | "/readyz" => HEALTH,
        "/metrics" | "/api/firesteel/cluster" => MONITORING,
        _ => ROUTES,
    };
    let mut found: Vec<Target> =
        asked.into_iter().map(|(method, path)| Target { kind: kind(&path), method, path }).collect();
    found.sort_by_key(|target| match target.kind {
        HEALTH => 0,
        MONITORING => 1,
        _ => 2,
    });
    for (kind, service, methods) in SERVICES {
        let method =
            |name: &&str| Target { kind, method: "gRPC".to_owned(), path: format!("/{service}/{name}") };
        found.extend(methods.iter().map(method));
    }
    found
}

/// A path of the document with something in place of its parameters.
fn without_holes(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "0".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// What is answered, in a few words. Of whoever is let in only that: what becomes of an empty request is no matter here.
async fn answer(peer: &Peer, target: &Target, manner: Manner<'_>) -> String {
    let called = match target.method.as_str() {
        // A message without fields.
        "gRPC" => peer.call(&target.path, Bytes::from_static(&[0; 5]), manner).await,
        method => peer.http(method, &target.path, manner).await.map(|(status, _)| Called::Http(status)),
    };
    match called {
        None => "no answer".to_owned(),
        Some(Called::Grpc(16)) => "UNAUTHENTICATED".to_owned(),
        Some(Called::Grpc(7)) => "PERMISSION_DENIED".to_owned(),
        Some(Called::Grpc(12)) | Some(Called::Http(404 | 405)) => "there is none".to_owned(),
        Some(Called::Http(status @ (401 | 403 | 415 | 421))) => status.to_string(),
        Some(Called::Http(400)) => "400".to_owned(),
        Some(_) => "is let in".to_owned(),
    }
}

/// Asks for everything and adds it to the table; the answers.
async fn knock(peer: &Peer, targets: &[Target], (_, _, manner): Who) -> Vec<(Target, String)> {
    let asked = targets.iter().map(|target| async move {
        let found = answer(peer, target, manner).await;
        (target.clone(), found)
    });
    stream::iter(asked.collect::<Vec<_>>()).buffered(AT_A_TIME).collect().await
}

/// Whether a stranger may be let in here: health is for everybody, and what is watched at its own port for all but a page of the web.
fn is_free(door: &str, who: &Who, target: &Target) -> bool {
    match target.kind {
        HEALTH => true,
        "health of gRPC" => target.path.ends_with("/Check"),
        MONITORING => door.ends_with(", health") && who.2.origin.is_none(),
        _ => false,
    }
}

fn assert_refused(door: &str, who: &Who, answers: &[(Target, String)]) {
    for (target, answer) in answers {
        let none = answer == "there is none" && door.ends_with(", health");
        let refused = matches!(
            answer.as_str(),
            "no answer" | "400" | "401" | "403" | "415" | "421" | "UNAUTHENTICATED" | "PERMISSION_DENIED"
        );
        assert!(refused || none || is_free(door, who, target), "{} at {door}: {target:?}: {answer}", who.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_every_port_finds_nothing_open() {
    let fortress = Fortress::start().await;
    fortress.assert_that_every_port_is_known();
    let targets = targets(&fortress.peer(&fortress.doors[0])).await;
    let mut table = Table::default();
    for door in &fortress.doors {
        for who in strangers() {
            let peer = match (who.1, door.tls) {
                (true, _) => fortress.peer(door),
                (false, true) => Peer::new(door.address, None),
                // Nobody comes otherwise there.
                (false, false) => continue,
            };
            let answers = knock(&peer, &targets, who).await;
            assert_refused(door.name, &who, &answers);
            table.add(door.name, who.0, &answers);
        }
        for who in users().into_iter().filter(|_| door.tls) {
            let answers = knock(&fortress.peer(door), &targets, who).await;
            table.add(door.name, who.0, &answers);
        }
    }
    fortress.assert_that_every_port_is_known();
    embedded(fortress.folder.path(), &targets, &mut table).await;
    println!("{}", table.text(&targets));
    table.check(&targets);
}

/// The engine of `firesteel sql`, whose ports have no numbers that anybody is told.
async fn embedded(folder: &Path, targets: &[Target], table: &mut Table) {
    // Without end, as far as this test is concerned.
    let values: Vec<String> = (1..=40).map(|number| format!("({number})")).collect();
    let busy = format!(
        "WITH v AS (SELECT column1 AS n FROM (VALUES {})) SELECT count(*) FROM v a, v b, v c, v d, v e, v f, v g \
         WHERE (a.n + b.n + c.n + d.n + e.n + f.n + g.n) % 7 = 3",
        values.join(", ")
    );
    let role = start(folder, &["sql", "-c", &busy].map(str::to_owned));
    let mut found = Vec::new();
    wait_until("the engine listens", SOON, async || {
        let before = std::mem::replace(&mut found, ports::listening(role.id()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        !found.is_empty() && before == found
    })
    .await;
    assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    // The scheduler is the one that tells of its health.
    let (mut scheduler, mut executor) = (Vec::new(), Vec::new());
    for address in found {
        let peer = Peer::new(ports::reached(address), None);
        // A door of gRPC answers 200 to everything, and what it thinks of it in a header.
        let health = peer.get("/healthz", None).await;
        let healthy = health.is_some_and(|(status, text)| status == 200 && text.starts_with("ok"));
        if healthy { scheduler.push(peer) } else { executor.push(peer) }
    }
    for (door, peers) in [
        ("`firesteel sql` with an engine of its own, scheduler", scheduler),
        ("`firesteel sql` with an engine of its own, executor", executor),
    ] {
        assert!(!peers.is_empty(), "{door}");
        for who in strangers().into_iter().chain(users()).filter(|(_, native, _)| *native) {
            // None of these tokens is one here: the secret of this process is random.
            let mut told: Option<Vec<(Target, String)>> = None;
            for peer in &peers {
                let answers = knock(peer, targets, who).await;
                assert_refused(door, &who, &answers);
                for ((target, one), (_, other)) in told.iter().flatten().zip(&answers) {
                    assert_eq!(one, other, "{door}, {}: {target:?}", who.0);
                }
                told = Some(answers);
            }
            table.add(door, who.0, &told.unwrap_or_default());
        }
    }
}
