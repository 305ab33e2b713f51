//! Broken requests, made from a seed: the same seed makes the same bytes.
//!
//! Half of them are built broken, half are good requests with some of their bytes changed, so that they get further in.

use bytes::Bytes;
use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};
use datafusion_proto::bytes::logical_plan_to_bytes;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore as _};

use ballista_core::serde::protobuf::ExecuteQueryParams;
use ballista_core::serde::protobuf::execute_query_params::Query;

/// What a connection of HTTP/2 begins with, and settings without a word.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// How deep the deepest message is.
const DEPTH: usize = 20_000;

/// The methods that are called with broken messages. Those that would end an executor with any message are not among them.
pub(super) const METHODS: [&str; 19] = [
    "/ballista.protobuf.SchedulerGrpc/ExecuteQuery",
    "/ballista.protobuf.SchedulerGrpc/ExecuteQueryPush",
    "/ballista.protobuf.SchedulerGrpc/CreateUpdateSession",
    "/ballista.protobuf.SchedulerGrpc/GetJobStatus",
    "/ballista.protobuf.SchedulerGrpc/RegisterExecutor",
    "/ballista.protobuf.SchedulerGrpc/UpdateTaskStatus",
    "/ballista.protobuf.ExecutorGrpc/LaunchTask",
    "/ballista.protobuf.ExecutorGrpc/LaunchMultiTask",
    "/ballista.protobuf.ExecutorGrpc/RemoveJobData",
    "/arrow.flight.protocol.FlightService/Handshake",
    "/arrow.flight.protocol.FlightService/GetFlightInfo",
    "/arrow.flight.protocol.FlightService/DoGet",
    "/arrow.flight.protocol.FlightService/DoPut",
    "/arrow.flight.protocol.FlightService/DoAction",
    "/firesteel.v1.Inference/Classify",
    "/firesteel.v1.Inference/ClassifyStream",
    "/firesteel.v1.Inference/ClassifyBatches",
    "/firesteel.v1.Inference/Describe",
    "/no.such.Service/Method",
];

/// A broken request.
pub(super) enum Broken {
    /// Bytes on the socket, before any TLS.
    Raw(Vec<u8>),
    /// Bytes where a request of HTTP/1.1 should be, by TLS where the port has it.
    Http(Vec<u8>),
    /// Bytes where frames of HTTP/2 should be.
    Frames(Vec<u8>),
    /// A whole call of gRPC with a broken body.
    Call(&'static str, Bytes),
    /// A beginning, after which nothing comes and the connection goes.
    Half(Vec<u8>),
}

/// The next broken request, by somebody with a token or without one.
pub(super) fn broken(random: &mut StdRng, token: Option<&str>) -> Broken {
    match random.random_range(0..12) {
        0 => Broken::Raw(noise(random, 4096)),
        1 => Broken::Http(noise(random, 4096)),
        2 => {
            let mut bytes = request(random, token).into_bytes();
            mutate(random, &mut bytes);
            Broken::Http(bytes)
        }
        3 => Broken::Http(giant(random, token)),
        4 => Broken::Http(odd_path(random, token).into_bytes()),
        5 => Broken::Http(wrong_length(random, token)),
        6 => Broken::Frames(frames(random)),
        7 => Broken::Half(request(random, token).into_bytes()),
        8 => Broken::Half([PREFACE, &noise(random, 64)].concat()),
        _ => Broken::Call(METHODS.choose(random).copied().unwrap_or(METHODS[0]), body(random)),
    }
}

pub(super) fn noise(random: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(1..most)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Changes, drops, repeats and adds bytes.
pub(super) fn mutate(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..8) {
        let Some(last) = bytes.len().checked_sub(1) else { return };
        let place = random.random_range(0..=last);
        match random.random_range(0..5) {
            0 => bytes[place] = random.random(),
            1 => bytes[place] ^= 1 << random.random_range(0..8),
            2 => bytes.truncate(place),
            3 => bytes.insert(place, random.random()),
            _ => {
                let part = bytes[place..].iter().take(32).copied().collect::<Vec<_>>();
                bytes.splice(place..place, part);
            }
        }
    }
}

fn request(random: &mut StdRng, token: Option<&str>) -> String {
    let paths =
        ["/", "/api/jobs", "/api/job/0", "/api/executors", "/metrics", "/history/api/jobs", "/readyz"];
    let path = paths.choose(random).copied().unwrap_or("/");
    let method = ["GET", "PATCH", "POST", "HEAD", "OPTIONS"].choose(random).copied().unwrap_or("GET");
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: 0\r\n\r\n", bearer(token))
}

fn bearer(token: Option<&str>) -> String {
    token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
}

/// Headers of up to a MiB: one that is long, or many.
fn giant(random: &mut StdRng, token: Option<&str>) -> Vec<u8> {
    let size = random.random_range(10_000..1 << 20);
    let headers = match random.random() {
        true => format!("X-Long: {}\r\n", "a".repeat(size)),
        false => (0..size / 16).map(|number| format!("X-{number}: b\r\n")).collect(),
    };
    format!("GET /api/jobs HTTP/1.1\r\nHost: localhost\r\n{}{headers}\r\n", bearer(token)).into_bytes()
}

fn odd_path(random: &mut StdRng, token: Option<&str>) -> String {
    let odd = [
        "%00",
        "..",
        "%2e%2e",
        "/",
        "%2f",
        "\\",
        "é",
        "%ff",
        "%",
        "%zz",
        "?",
        "#",
        ";",
        "'",
        "\"",
        "<",
        "{job}",
        " ",
        "\t",
        "%0d%0aSet-Cookie:x",
        "%25%32%66",
        "a",
        "0",
        "-1",
        "18446744073709551616",
    ];
    let base = ["/api/job/", "/api/", "/history/api/job/", "/", "/api/firesteel/activity?name="];
    let base = base.choose(random).copied().unwrap_or("/");
    let path: String = (0..random.random_range(1..40)).filter_map(|_| odd.choose(random).copied()).collect();
    let method = ["GET", "PATCH"].choose(random).copied().unwrap_or("GET");
    format!("{method} {base}{path} HTTP/1.1\r\nHost: localhost\r\n{}Connection: close\r\n\r\n", bearer(token))
}

/// A body of another length than is said.
fn wrong_length(random: &mut StdRng, token: Option<&str>) -> Vec<u8> {
    let said = [
        "Content-Length: 18446744073709551615",
        "Content-Length: -1",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 100\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Content-Length: 10",
    ];
    let said = said.choose(random).copied().unwrap_or(said[0]);
    let path = METHODS.choose(random).copied().unwrap_or(METHODS[0]);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{}Content-Type: application/grpc\r\n{said}\r\n\r\n",
        bearer(token)
    );
    let chunk: &[u8] = if random.random() { b"ffffffffffffffff\r\n" } else { b"" };
    [head.as_bytes(), chunk, &noise(random, 512)].concat()
}

/// Frames of HTTP/2 of any kind, with lengths that are right or not.
fn frames(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    for _ in 0..random.random_range(1..64) {
        let payload = noise(random, 64);
        let length = match random.random_range(0..4) {
            0 => random.random_range(0..1 << 24),
            _ => u32::try_from(payload.len()).unwrap_or_default(),
        };
        bytes.extend_from_slice(&length.to_be_bytes()[1..]);
        bytes.extend([random.random_range(0..12), random.random()]);
        bytes.extend_from_slice(&random.random_range(0_u32..8).to_be_bytes());
        bytes.extend_from_slice(&payload);
    }
    bytes
}

/// A message in a frame of gRPC: the message, the frame, or both are broken.
fn body(random: &mut StdRng) -> Bytes {
    let mut message = match random.random_range(0..6) {
        0 => noise(random, 2048),
        1 => deep(random.random_range(1..DEPTH)),
        2 => statement(random),
        // A field that says that it has 2 GiB.
        3 => [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x07], noise(random, 32).as_slice()].concat(),
        4 => session(),
        _ => plan(),
    };
    if random.random_ratio(3, 4) {
        mutate(random, &mut message);
    }
    let length = match random.random_range(0..6) {
        0 => random.random(),
        _ => u32::try_from(message.len()).unwrap_or(u32::MAX),
    };
    let compressed = u8::from(random.random_ratio(1, 8));
    [[compressed].as_slice(), &length.to_be_bytes(), &message].concat().into()
}

/// A field of protobuf that holds bytes.
pub(super) fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    [out.as_slice(), bytes].concat()
}

/// A message in a message in a message, each in the first field.
pub(super) fn deep(levels: usize) -> Vec<u8> {
    // From the inside out, the heads of all levels, which are then put in order.
    let (mut heads, mut length) = (Vec::with_capacity(levels), 0_usize);
    for _ in 0..levels {
        let mut head = vec![0x0a];
        prost::encoding::encode_varint(length as u64, &mut head);
        length += head.len();
        heads.push(head);
    }
    heads.into_iter().rev().flatten().collect()
}

/// A statement of Flight SQL that is too deep, too long, or no statement.
fn statement(random: &mut StdRng) -> Vec<u8> {
    let levels = random.random_range(1..3_000);
    let sql = match random.random_range(0..5) {
        0 => format!("SELECT {}1{}", "(".repeat(levels), ")".repeat(levels)),
        1 => format!("SELECT {}1", "- ".repeat(levels)),
        2 => format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(levels / 10)),
        3 => String::from_utf8_lossy(&noise(random, 512)).into_owned(),
        _ => "SELECT 40 + 2 AS n".to_owned(),
    };
    let kind = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery";
    let command = [field(1, kind), field(2, &field(1, sql.as_bytes()))].concat();
    [vec![8, 2], field(2, &command)].concat()
}

fn session() -> Vec<u8> {
    let setting = [field(1, b"datafusion.execution.target_partitions"), field(2, b"1000000000")].concat();
    field(1, &setting)
}

/// A good query over Ballista's protocol.
fn plan() -> Vec<u8> {
    let plan = LogicalPlanBuilder::values(vec![vec![lit(1_i64), lit("a")], vec![lit(2_i64), lit("b")]])
        .and_then(|values| values.filter(col("column1").gt(lit(1_i64))))
        .and_then(LogicalPlanBuilder::build)
        .and_then(|plan| logical_plan_to_bytes(&plan))
        .expect("a plan");
    ExecuteQueryParams { query: Some(Query::LogicalPlan(plan.to_vec())), ..Default::default() }
        .encode_to_vec()
}
