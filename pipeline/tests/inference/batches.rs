//! Several images a message, over real gRPC: each is answered as if it had come alone.

use crate::fake::{image, prompt};
use crate::server::{Running, config, serve, serve_scripted};
use firesteel_pipeline::inference::Config;
use firesteel_proto::Encoding;
use firesteel_proto::inference::{ClassifyRequest, ClassifyRequests, ClassifyResponses, Outcome};
use firesteel_testkit::cifar::CLASSES;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

fn raw(id: u64) -> ClassifyRequest {
    ClassifyRequest::of(id, Encoding::Rgb8, image(usize::try_from(id % 10).unwrap()).into())
}

async fn open(server: &Running) -> (mpsc::Sender<ClassifyRequests>, Streaming<ClassifyResponses>) {
    let (messages, outgoing) = mpsc::channel(16);
    let mut rpc = server.rpc();
    (messages, rpc.classify_batches(ReceiverStream::new(outgoing)).await.unwrap().into_inner())
}

fn message(requests: impl IntoIterator<Item = ClassifyRequest>) -> ClassifyRequests {
    ClassifyRequests::of(requests.into_iter().collect())
}

#[tokio::test]
async fn each_image_of_a_message_is_answered_once_and_bad_ones_hurt_nobody() {
    let server = serve(config(), prompt()).await;
    let (messages, mut answers) = open(&server).await;
    let sender = tokio::spawn(async move {
        messages.send(message([])).await.unwrap();
        for first in (0..300).step_by(50) {
            let requests = (first..first + 50).map(|id| match id % 3 {
                0 => ClassifyRequest::of(id, Encoding::Jpeg, b"no jpeg".as_slice().into()),
                1 => ClassifyRequest { encoding: 0, ..raw(id) },
                _ => raw(id),
            });
            messages.send(message(requests)).await.unwrap();
        }
    });
    let mut seen = [false; 300];
    while let Some(ClassifyResponses { responses }) = answers.message().await.unwrap() {
        assert!(!responses.is_empty(), "a message says something");
        for answer in responses {
            let id = usize::try_from(answer.id).unwrap();
            assert!(!std::mem::replace(&mut seen[id], true), "{id} twice");
            match (id % 3, answer.outcome.as_ref().unwrap()) {
                (0, Outcome::Rejection(why)) => assert!(why.reason.contains("not a readable JPEG")),
                (1, Outcome::Rejection(why)) => assert_eq!(why.reason, "unknown image encoding 0"),
                (2, Outcome::Classification(said)) => assert_eq!(said.label, CLASSES[id % 10]),
                other => panic!("{id}: {other:?}"),
            }
        }
    }
    sender.await.unwrap();
    assert!(seen.iter().all(|seen| *seen), "every image has its answer");
    assert_eq!((server.stats.images(), server.stats.rejections()), (100, 200));
    server.stop().await;
}

#[tokio::test]
async fn the_images_of_a_message_wait_for_places_like_any_others() {
    let (server, mut script) = serve_scripted(Config { queue: 2, ..config() }).await;
    let (messages, mut answers) = open(&server).await;
    messages.send(message((0..20).map(raw))).await.unwrap();
    drop(messages);
    let (mut answered, mut ids) = (0, Vec::new());
    while answered < 20 {
        let batch = script.answer().await;
        assert!(batch <= 2, "{batch} images are with the model, of a queue of 2");
        answered += batch;
    }
    while let Some(message) = answers.message().await.unwrap() {
        ids.extend(message.responses.iter().map(|answer| answer.id));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_call() {
    let server = serve(Config { max_message_bytes: 1_000, ..config() }, prompt()).await;
    let (messages, mut answers) = open(&server).await;
    messages.send(message((0..1_000).map(raw))).await.unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert_eq!(server.stats.images(), 0);
    drop(messages);
    server.stop().await;
}
