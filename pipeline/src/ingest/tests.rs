//! The door before a sink that is asked what it got, and before a Kafka in this process.

use super::refused::Refused;
use super::sink::{Sink, Standing};
use super::*;
use crate::inference::decode::detect;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use firesteel_common::access::{Principal, Role, Secret, Tokens};
use firesteel_proto::{Encoding, ImageRecord};
use proptest::prelude::*;
use rdkafka::mocking::MockCluster;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Mutex;
use tower::ServiceExt as _;

const JPEG: &[u8] = b"\xff\xd8\xff\xe0 a cat";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n a dog";
const WRITER: &str = "the-token-of-ada-0123";
const READER: &str = "the-token-of-bob-0123";

/// Keeps what it gets, or says why not.
#[derive(Default)]
struct Shelf {
    records: Mutex<Vec<ImageRecord>>,
    /// The next so many are not acknowledged.
    failures: Mutex<u32>,
    /// Takes nothing before it is told.
    slow: Mutex<Option<Duration>>,
}

impl Shelf {
    fn records(&self) -> Vec<ImageRecord> {
        self.records.lock().expect("a lock").clone()
    }

    fn fail(&self, times: u32) {
        *self.failures.lock().expect("a lock") = times;
    }
}

#[async_trait]
impl Sink for Shelf {
    async fn publish(&self, record: ImageRecord) -> Result<(), Refused> {
        let wait = *self.slow.lock().expect("a lock");
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        // As with Kafka: what is not acknowledged may be there.
        self.records.lock().expect("a lock").push(record);
        let mut failures = self.failures.lock().expect("a lock");
        match failures.checked_sub(1) {
            Some(left) => {
                *failures = left;
                Err(Refused::Unacknowledged(10))
            }
            None => Ok(()),
        }
    }
}

fn access() -> Access {
    let user = |name: &str, role, token| {
        (Principal { name: name.to_owned(), role }, Secret::new(token).expect("a token"))
    };
    let users = [user("ada", Role::Writer, WRITER), user("bob", Role::Reader, READER)];
    Access::open().with_tokens(Tokens::fixed(users))
}

/// A door that is open, with small limits.
fn config() -> Config {
    Config {
        max_image_bytes: 100,
        max_request_bytes: 1_000,
        max_images: 3,
        max_in_flight_bytes: 1_200,
        ..Config::default()
    }
}

fn served(shelf: &Arc<Shelf>, config: &Config) -> (Router, Arc<Stats>) {
    let (stats, standing) = (Arc::<Stats>::default(), Arc::<Standing>::default());
    standing.topics_exist();
    let sink: Arc<dyn Sink> = Arc::clone(shelf) as _;
    let door = Door::new(config, sink, Arc::clone(&stats), standing);
    (door::router(Arc::new(door)).layer(gate(Arc::new(access()), Doors::new())), stats)
}

/// Posts, as the writer unless the headers have another token: the status, the header `Retry-After` and the body.
async fn post(
    router: &Router,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (StatusCode, bool, serde_json::Value) {
    let mut request = Request::post(path);
    if headers.iter().all(|(name, _)| *name != "authorization") {
        request = request.header("authorization", format!("Bearer {WRITER}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response =
        router.clone().oneshot(request.body(body.into()).expect("a request")).await.expect("an answer");
    let (status, again) = (response.status(), response.headers().contains_key("retry-after"));
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
    let text = String::from_utf8_lossy(&body).into_owned();
    (status, again, serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
}

const IS_JPEG: (&str, &str) = ("content-type", "image/jpeg");

/// A form of files, each with a name, a content type and its bytes.
fn form(files: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, kind, data) in files {
        let head = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        body.extend([head.as_bytes(), data, b"\r\n"].concat());
    }
    body.extend(b"--XX--\r\n");
    body
}

const IS_FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=XX");

#[tokio::test]
async fn an_image_is_answered_with_its_id_once_it_is_acknowledged() {
    let shelf = Arc::<Shelf>::default();
    let (router, stats) = served(&shelf, &config());
    let (status, _, said) = post(&router, "/images?label=black%20cat", &[IS_JPEG], JPEG).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{said}");
    let (_, _, other) = post(&router, "/images", &[("content-type", "image/png")], PNG).await;
    let records = shelf.records();
    let label = |place: usize| records[place].label.as_ref().map(ToString::to_string);
    assert_eq!((label(0).as_deref(), label(1)), (Some("black cat"), None));
    assert_eq!((records[0].encoding, &*records[0].data), (Encoding::Jpeg, JPEG));
    assert_eq!((records[1].encoding, &*records[1].data), (Encoding::Png, PNG));
    let ids = [&said, &other].map(|said| said["id"].as_str().expect("an id").to_owned());
    assert_eq!(ids, [0, 1].map(|place| records[place].id.to_string()));
    assert_eq!((stats.acknowledged.get(), stats.held.get()), (2, 0));
}

#[tokio::test]
async fn a_form_has_the_ids_of_its_files_in_their_order() {
    let shelf = Arc::<Shelf>::default();
    let (router, _) = served(&shelf, &config());
    let files = [("a.jpg", "image/jpeg", JPEG), ("b", "application/octet-stream", PNG)];
    let (status, _, said) = post(&router, "/images?label=cat", &[IS_FORM], form(&files)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{said}");
    let records = shelf.records();
    let ids: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(said["ids"], serde_json::json!(ids));
    assert_eq!(records.iter().map(|record| &*record.data).collect::<Vec<_>>(), [JPEG, PNG]);
    // In whatever pieces it comes.
    let pieces: Vec<_> =
        form(&files).into_iter().map(|byte| Ok::<_, Infallible>(Bytes::from(vec![byte]))).collect();
    let trickled = Body::from_stream(futures::stream::iter(pieces));
    assert_eq!(post(&router, "/images", &[IS_FORM], trickled).await.0, StatusCode::ACCEPTED);
    assert_eq!(shelf.records()[2..].iter().map(|record| &*record.data).collect::<Vec<_>>(), [JPEG, PNG]);
    // Nothing of a form is sent where one of its files cannot be.
    let bad = [("a.jpg", "image/jpeg", JPEG), ("b.txt", "text/plain", b"text".as_slice())];
    assert_eq!(post(&router, "/images", &[IS_FORM], form(&bad)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(shelf.records().len(), 4);
    // Of a form that did not arrive as a whole the answer says what did.
    shelf.fail(1);
    let (status, again, said) = post(&router, "/images", &[IS_FORM], form(&files)).await;
    assert!(status == StatusCode::GATEWAY_TIMEOUT && again, "{status} {said}");
    assert!(said["error"].as_str().is_some_and(|error| error.contains("acknowledge")), "{said}");
    assert_eq!(said["ids"], serde_json::json!([null, shelf.records()[5].id.to_string()]));
    shelf.fail(2);
    let (_, _, said) = post(&router, "/images", &[IS_FORM], form(&files)).await;
    assert!(said["error"].is_string() && said["ids"].is_null(), "nothing is known to be there: {said}");
}

#[tokio::test]
async fn what_is_refused_says_why_and_is_not_sent() {
    let shelf = Arc::<Shelf>::default();
    let (router, _) = served(&shelf, &config());
    let large = [JPEG, &[0; 200]].concat();
    let one = |name: &str, kind: &str, data: &[u8]| form(&[(name, kind, data)]);
    let text = b"--XX\r\nContent-Disposition: form-data; name=\"label\"\r\n\r\ncat\r\n--XX--\r\n".to_vec();
    let long = "k".repeat(256);
    let (name, longer) = ("n".repeat(200), "n".repeat(256));
    let beginning = format!("{}…", "n".repeat(100));
    let webp = ("content-type", "image/webp");
    for (path, headers, body, status, part) in [
        ("/images", vec![], JPEG.to_vec(), 415, "image/webp or multipart/form-data"),
        (
            "/images",
            vec![("content-type", "application/x-www-form-urlencoded")],
            JPEG.to_vec(),
            415,
            "urlencoded",
        ),
        ("/images", vec![("content-type", "image/gif")], JPEG.to_vec(), 415, "image/gif"),
        ("/images", vec![IS_JPEG], vec![], 400, "no data"),
        ("/images", vec![IS_JPEG], b"GIF89a".to_vec(), 400, "no JPEG, PNG or WebP"),
        ("/images", vec![IS_JPEG], PNG.to_vec(), 400, "image/png"),
        ("/images", vec![webp], JPEG.to_vec(), 400, "image/jpeg"),
        ("/images", vec![IS_JPEG], large.clone(), 413, "100 bytes"),
        ("/images?label=", vec![IS_JPEG], JPEG.to_vec(), 400, "is empty"),
        ("/images?label=a%0ab", vec![IS_JPEG], JPEG.to_vec(), 400, "control character"),
        ("/images?lable=cat", vec![IS_JPEG], JPEG.to_vec(), 400, "lable"),
        ("/images", vec![IS_JPEG, ("idempotency-key", "")], JPEG.to_vec(), 400, "Idempotency-Key"),
        ("/images", vec![IS_JPEG, ("idempotency-key", &long)], JPEG.to_vec(), 400, "255"),
        ("/images", vec![IS_JPEG, ("idempotency-key", "a b")], JPEG.to_vec(), 400, "visible"),
        (
            "/images",
            vec![IS_JPEG, ("idempotency-key", "a"), ("idempotency-key", "b")],
            JPEG.to_vec(),
            400,
            "once",
        ),
        (
            "/images",
            vec![("content-type", "multipart/form-data")],
            one("a", "image/jpeg", JPEG),
            400,
            "boundary",
        ),
        ("/images", vec![IS_FORM], b"--XX--\r\n".to_vec(), 400, "no file"),
        ("/images", vec![IS_FORM], b"--XX\r\nContent-Disp".to_vec(), 400, "multipart/form-data"),
        ("/images", vec![IS_FORM], text, 400, "`?label=`"),
        ("/images", vec![IS_FORM], one("a.png", "image/png", JPEG), 400, "a.png"),
        ("/images", vec![IS_FORM], one("a", "image/jpeg", &large), 413, "a file has more than 100 bytes"),
        ("/images", vec![IS_FORM], vec![b'x'; 1_001], 413, "the request has more than 1000 bytes"),
        ("/images", vec![IS_FORM], form(&[("a", "image/jpeg", JPEG); 4]), 400, "at most 3 images"),
        ("/images", vec![IS_FORM], one(&name, "text/plain", b"text"), 400, beginning.as_str()),
        ("/images", vec![IS_FORM], one(&longer, "image/jpeg", JPEG), 400, "more than 255 bytes"),
        (
            "/images",
            vec![IS_JPEG, ("authorization", "Bearer the-token-of-bob-0123")],
            JPEG.to_vec(),
            403,
            "writer",
        ),
        ("/images", vec![IS_JPEG, ("authorization", "Bearer nobody-has-this")], JPEG.to_vec(), 401, "token"),
        ("/images", vec![IS_JPEG, ("origin", "https://evil.example")], JPEG.to_vec(), 403, "evil.example"),
        ("/images", vec![IS_JPEG, ("host", "evil.example")], JPEG.to_vec(), 421, "evil.example"),
    ] {
        let (found, again, said) = post(&router, path, &headers, body).await;
        assert!(found.as_u16() == status && said.to_string().contains(part), "{headers:?}: {found} {said}");
        assert!(!again, "to repeat it does not help: {said}");
    }
    assert_eq!(shelf.records().len(), 0);
}

#[tokio::test]
async fn a_length_that_is_too_large_is_refused_before_a_byte_is_read() {
    let (router, _) = served(&Arc::default(), &config());
    let never = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    for (kind, length) in [(IS_JPEG, "101"), (IS_FORM, "1001"), (IS_JPEG, "18446744073709551615")] {
        let (status, ..) = post(&router, "/images", &[kind, ("content-length", length)], never()).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{length}");
    }
    let mut hasty = config();
    hasty.body_timeout = Duration::from_millis(50);
    let (router, stats) = served(&Arc::default(), &hasty);
    assert_eq!(post(&router, "/images", &[IS_JPEG], never()).await.0, StatusCode::REQUEST_TIMEOUT);
    let broken = Body::from_stream(futures::stream::iter([
        Ok(Bytes::from_static(JPEG)),
        Err(std::io::Error::other("the peer has gone")),
    ]));
    assert_eq!(post(&router, "/images", &[IS_JPEG], broken).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(stats.held.get(), 0);
}

#[tokio::test]
async fn a_key_stands_for_one_image_also_after_a_restart_and_a_lost_answer() {
    let shelf = Arc::<Shelf>::default();
    let (router, stats) = served(&shelf, &config());
    let key = |key: &'static str| [IS_JPEG, ("idempotency-key", key)];
    let accepted = async |router: &Router, headers: &[(&str, &str)], body: &'static [u8]| {
        let (status, _, said) = post(router, "/images", headers, body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{said}");
        said["id"].as_str().expect("an id").to_owned()
    };
    // The first answer is lost on its way, or Kafka has the image and its acknowledgement is lost.
    shelf.fail(1);
    let (status, again, said) = post(&router, "/images", &key("a"), JPEG).await;
    assert!(status == StatusCode::GATEWAY_TIMEOUT && again, "{said}");
    let first = accepted(&router, &key("a"), JPEG).await;
    assert_eq!(accepted(&router, &key("a"), JPEG).await, first);
    assert_eq!(
        (shelf.records().len(), stats.repeated.get()),
        (2, 1),
        "the third time was answered from memory"
    );
    // Another image under the same key is a mistake.
    let (status, _, said) = post(&router, "/images", &key("a"), b"\xff\xd8\xff another".as_slice()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
    assert_eq!(post(&router, "/images?label=cat", &key("a"), JPEG).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    // A restarted process, or one beside it, gives the same id.
    let (restarted, _) = served(&shelf, &config());
    assert_eq!(accepted(&restarted, &key("a"), JPEG).await, first);
    let ids: BTreeSet<String> = shelf.records().iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids, BTreeSet::from([first.clone()]), "one document, however often it was sent");
    // Other keys, and no key, are other images; all of one user are of one producer.
    let other = accepted(&router, &key("b"), JPEG).await;
    assert!(other != first && other.split(':').next() == first.split(':').next());
    assert_ne!(accepted(&router, &[IS_JPEG], JPEG).await, accepted(&router, &[IS_JPEG], JPEG).await);
    // The files of a form have an id each, and the same again.
    let files = form(&[("a", "image/jpeg", JPEG), ("b", "image/jpeg", JPEG)]);
    let keyed = [IS_FORM, ("idempotency-key", "form")];
    let (_, _, one) = post(&router, "/images", &keyed, files.clone()).await;
    let (_, _, two) = post(&restarted, "/images", &keyed, files).await;
    assert_eq!(one, two);
    assert_ne!(one["ids"][0], one["ids"][1]);
}

#[tokio::test]
async fn whoever_comes_when_the_memory_is_full_is_told_to_come_again() {
    let shelf = Arc::<Shelf>::default();
    *shelf.slow.lock().expect("a lock") = Some(Duration::from_millis(300));
    let small = Config { max_image_bytes: 40, max_request_bytes: 40, max_in_flight_bytes: 0, ..config() };
    let (router, stats) = served(&shelf, &small);
    let (first, second) =
        tokio::join!(post(&router, "/images", &[IS_JPEG], [JPEG, &[0; 20]].concat()), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let unsaid = post(&router, "/images", &[IS_JPEG], [JPEG, &[0; 20]].concat()).await;
            let said = post(&router, "/images", &[IS_JPEG, ("content-length", "30")], JPEG).await;
            [unsaid, said]
        });
    assert_eq!(first.0, StatusCode::ACCEPTED, "{}", first.2);
    for (status, again, said) in second {
        assert!(status == StatusCode::TOO_MANY_REQUESTS && again, "{status} {said}");
    }
    assert_eq!(stats.held.get(), 0);
    assert_eq!(post(&router, "/images", &[IS_JPEG], JPEG).await.0, StatusCode::ACCEPTED);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A form that is cut, or has other bytes in it, is an answer. Only what has a delimiter on both sides of a file is taken for a
    /// form, what is taken is images, and of what is refused nothing is sent.
    #[test]
    fn any_body_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..64), at in 0_usize..300, cut in 0_usize..400) {
        let mut body = form(&[("a.jpg", "image/jpeg", JPEG), ("b.png", "image/png", PNG)]);
        let at = at.min(body.len());
        body.splice(at..at, bytes);
        body.truncate(cut.max(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let shelf = Arc::<Shelf>::default();
        let (router, stats) = served(&shelf, &config());
        for kind in [IS_FORM, IS_JPEG] {
            let (status, _, said) = runtime.block_on(post(&router, "/images", &[kind], body.clone()));
            prop_assert!(matches!(status.as_u16(), 202 | 400 | 413), "{status} {said}");
            let sent = shelf.records();
            shelf.records.lock().expect("a lock").clear();
            let delimiters = body.windows(4).filter(|bytes| *bytes == b"--XX").count();
            prop_assert!(status != StatusCode::ACCEPTED || kind != IS_FORM || delimiters >= 2, "{said}");
            prop_assert_eq!(sent.is_empty(), status != StatusCode::ACCEPTED, "{} {}", status, said);
            prop_assert!(sent.iter().all(|record| detect(&record.data) == Some(record.encoding)));
        }
        prop_assert_eq!(stats.held.get(), 0);
    }
}

/// Sends a request over a connection of its own: the status, or none where the server has closed it.
async fn over_tcp(address: SocketAddr, head: &str, body: &[u8]) -> Option<u16> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let request = format!("{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn before_kafka_an_outage_is_told_and_passes_and_a_shutdown_ends_it() {
    let cluster = MockCluster::new(1).expect("a cluster");
    for topic in ["images", "images.dead-letter"] {
        cluster.create_topic(topic, 2, 1).expect("a topic");
    }
    let kafka = KafkaConfig::new(cluster.bootstrap_servers());
    let config = Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        kafka: kafka.clone(),
        ack_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    let server = Server::bind(config).await.expect("a port");
    let (address, stop) = (server.address(), CancellationToken::new());
    let metrics = server.metrics();
    let running = tokio::spawn(server.run(stop.clone()));
    let soon = Duration::from_secs(30);
    let ready = async || over_tcp(address, "GET /readyz HTTP/1.1", b"").await == Some(200);
    firesteel_testkit::wait_until("it is ready", soon, ready).await;
    let head = format!("POST /images HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: {}", JPEG.len());
    assert_eq!(over_tcp(address, &head, JPEG).await, Some(202));
    let chunked = "POST /images HTTP/1.1\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked";
    let body = [format!("{:x}\r\n", JPEG.len()).as_bytes(), JPEG, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(over_tcp(address, chunked, &body).await, Some(202));
    // Nothing of the body is sent, and the answer comes.
    let large = "POST /images HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: 99999999";
    assert_eq!(over_tcp(address, large, b"").await, Some(413));

    cluster.broker_down(1).expect("down");
    assert_eq!(over_tcp(address, &head, JPEG).await, Some(504));
    assert_eq!(over_tcp(address, &head, JPEG).await, Some(503));
    assert_eq!(over_tcp(address, "GET /readyz HTTP/1.1", b"").await, Some(503));
    cluster.broker_up(1).expect("up");
    firesteel_testkit::wait_until("it is ready again", soon, ready).await;
    assert_eq!(over_tcp(address, &head, JPEG).await, Some(202));
    // The first two are in different partitions; the one that was not acknowledged may be there.
    let ends = crate::kafka::watermarks(&kafka, "images").await.expect("the topic");
    assert!(ends.len() == 2 && ends.values().all(|(_, end)| *end >= 1), "{ends:?}");
    let text =
        firesteel_common::http::metrics_text(crate::health::HealthSource::families(&metrics)).expect("text");
    for line in [
        "firesteel_ingest_images_total 3",
        "firesteel_ingest_requests_total{status=\"202\"} 3",
        "firesteel_ingest_requests_total{status=\"504\"} 1",
        "firesteel_ingest_held_bytes 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    stop.cancel();
    tokio::time::timeout(soon, running).await.expect("in time").expect("no panic").expect("no error");
}
