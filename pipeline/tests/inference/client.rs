//! The client that the image consumer uses: many tasks on one stream, and what each failure looks like.

use crate::fake::{Step, image, prompt};
use crate::server::{Running, config, run, serve, serve_scripted};
use firesteel_pipeline::inference::{Answer, Client, ClientError, ClientOptions, Config, Server};
use firesteel_proto::Encoding;
use firesteel_testkit::cifar::{self, CLASSES};
use firesteel_testkit::{SOON, wait_until};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(10);

async fn connect(server: &Running) -> Client {
    Client::connect(&server.url, TIMEOUT).await.unwrap()
}

fn label(answer: &Answer) -> &str {
    match answer {
        Answer::Classified { label, .. } => label,
        Answer::Rejected { reason } => panic!("{reason}"),
    }
}

#[tokio::test]
async fn many_tasks_share_one_stream() {
    let server = serve(config(), prompt()).await;
    let client = connect(&server).await;
    let mut tasks = JoinSet::new();
    for i in 0..1_000_usize {
        let client = client.clone();
        tasks.spawn(async move {
            let bad = i % 7 == 0;
            let data = if bad { vec![1, 2, 3] } else { image(i % 10) };
            (i, bad, client.classify(Encoding::Rgb8, data.into()).await.unwrap())
        });
    }
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (_, true, Answer::Rejected { reason }) => assert!(reason.contains("3 bytes of raw RGB")),
            (i, false, answer) => assert_eq!(label(&answer), CLASSES[i % 10]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((server.stats.images(), server.stats.rejections()), (857, 143));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_model_is_described_once_by_its_name() {
    let server = serve(config(), prompt()).await;
    let client = connect(&server).await;
    let told = client.vocabulary("fake/u8").await.unwrap().expect("told");
    assert_eq!(told.class(&cifar::label("plane")), Some((0, &cifar::label("airplane"))));
    assert_eq!(told.class(&cifar::label("truck")), Some((9, &cifar::label("truck"))));
    assert_eq!(told.class(&cifar::label("unicorn")), None);
    assert_eq!(client.vocabulary("another").await.unwrap(), None);
    server.stop().await;
    // Nobody is asked any more.
    assert_eq!(client.vocabulary("fake/u8").await.unwrap(), Some(told));
    assert_eq!(client.vocabulary("another").await.unwrap(), None);
    let error = client.vocabulary("a third").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn an_oversize_message_hurts_only_itself() {
    let server = serve(Config { max_message_bytes: 1_000, ..config() }, prompt()).await;
    let client = connect(&server).await;
    let mut tasks = JoinSet::new();
    for i in 0..100_usize {
        let client = client.clone();
        tasks.spawn(async move {
            let data = if i == 50 { vec![0; 2_000] } else { image(i % 10) };
            (i, client.classify(Encoding::Rgb8, data.into()).await.unwrap())
        });
    }
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (50, Answer::Rejected { reason }) => assert!(reason.contains("too large"), "{reason}"),
            (i, answer) => assert_eq!(label(&answer), CLASSES[i % 10]),
        }
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient_and_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let start = Instant::now();
    let error = Client::connect(&url, TIMEOUT).await.unwrap_err();
    assert!(start.elapsed() < TIMEOUT);
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("inference server {url} (inference.url) cannot be reached: ")),
        "{text}"
    );
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let error = Client::connect(&url, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn an_address_that_cannot_be_is_permanent() {
    for url in ["", "localhost:50060", "ftp://localhost", "https://localhost", "http://a b"] {
        let error = Client::connect(url, TIMEOUT).await.unwrap_err();
        assert!(matches!(error, ClientError::Url { .. }) && !error.is_transient(), "{url:?}: {error}");
    }
}

#[tokio::test]
async fn a_failing_model_fails_what_is_under_way_and_the_next_call_works() {
    let (server, mut script) = serve_scripted(config()).await;
    let client = connect(&server).await;
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let client = client.clone();
        tasks.spawn(async move { client.classify(Encoding::Rgb8, image(1).into()).await });
    }
    script.started().await;
    script.go(Step::Fail);
    drop(script);
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(answer) => assert_eq!(label(&answer), "automobile"),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    let answer = client.classify(Encoding::Rgb8, image(2).into()).await.unwrap();
    assert_eq!(label(&answer), "bird");
    assert!(server.stats.failures() >= 1);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let (server, mut script) = serve_scripted(config()).await;
    let address = server.url.trim_start_matches("http://").parse().unwrap();
    let client = connect(&server).await;
    let task = tokio::spawn({
        let client = client.clone();
        async move { client.classify(Encoding::Rgb8, image(1).into()).await }
    });
    script.started().await;
    script.go(Step::Panic);
    assert!(task.await.unwrap().unwrap_err().is_transient());
    assert!(server.ended.await.unwrap().is_err());
    let error = client.classify(Encoding::Rgb8, image(1).into()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");

    let again = Server::bind(Config { listen: address, ..config() }).await.unwrap();
    let again = again.with_models(|_| Ok(vec![prompt()]));
    let ready = again.ready();
    let again = run(again);
    assert!(ready.wait().await);
    // The failure stands for a moment: hundreds of callers that retry are one client that knocks now and then.
    let mut found = None;
    wait_until("the server is found again", SOON, async || {
        found = client.classify(Encoding::Rgb8, image(1).into()).await.ok();
        found.is_some()
    })
    .await;
    assert_eq!(label(&found.unwrap()), "automobile");
    drop(client);
    again.stop().await;
}

#[tokio::test]
async fn silence_while_images_are_under_way_is_a_stall() {
    let (server, mut script) = serve_scripted(config()).await;
    let options = ClientOptions { stall_timeout: Duration::from_millis(50), ..ClientOptions::default() };
    let client = Client::new(&server.url, options).unwrap();
    let error = client.classify(Encoding::Rgb8, image(1).into()).await.unwrap_err();
    assert!(matches!(error, ClientError::Stalled { .. }) && error.is_transient(), "{error}");
    script.started().await;
    drop(script);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn at_most_so_many_are_under_way() {
    let (server, mut script) = serve_scripted(config()).await;
    let client =
        Client::new(&server.url, ClientOptions { in_flight: 3, ..ClientOptions::default() }).unwrap();
    let mut tasks = JoinSet::new();
    for i in 0..20_usize {
        let client = client.clone();
        tasks.spawn(async move { client.classify(Encoding::Rgb8, image(i % 10).into()).await.unwrap() });
    }
    let mut answered = 0;
    while answered < 20 {
        let batch = script.answer().await;
        assert!(batch <= 3, "{batch} at once");
        answered += batch;
    }
    while let Some(done) = tasks.join_next().await {
        label(&done.unwrap());
    }
    drop(client);
    server.stop().await;
}
