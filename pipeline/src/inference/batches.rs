//! Several images a message: what `ClassifyBatches` has beside `ClassifyStream`.
//!
//! A message costs its frame, its wake-ups and its system calls however much is in it, and images of some hundred bytes are
//! worth less than that. Here messages are taken apart and put together; what becomes of an image is decided where it
//! is with one image a message. There is no timer: together goes what is there together.

use firesteel_proto::inference::{ClassifyRequest, ClassifyRequests, ClassifyResponse, ClassifyResponses};
use futures::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Images in a message, at most, and answers in one.
pub(super) const TOGETHER: usize = 64;
/// Bytes of the images in a message, at most, unless it is one image: a message that is too large ends a call, so it is only
/// ever too large by the image in it.
pub(super) const TOGETHER_BYTES: usize = 128 << 10;

/// `first` and those that `next` has, at most `most`, for one message; and the one that would have made it too large.
pub(super) fn gather(
    most: usize,
    first: ClassifyRequest,
    mut next: impl FnMut() -> Option<ClassifyRequest>,
) -> (Vec<ClassifyRequest>, Option<ClassifyRequest>) {
    let mut bytes = first.data.len();
    let mut batch = vec![first];
    while batch.len() < most {
        let Some(request) = next() else { break };
        bytes = bytes.saturating_add(request.data.len());
        if bytes > TOGETHER_BYTES {
            return (batch, Some(request));
        }
        batch.push(request);
    }
    (batch, None)
}

/// The images of messages, one by one. A message of too many ends the call.
pub(super) fn apart(
    messages: impl Stream<Item = Result<ClassifyRequests, Status>> + Send + 'static,
) -> BoxStream<'static, Result<ClassifyRequest, Status>> {
    let batches = messages.map(|message| message.and_then(few));
    batches.map_ok(|requests| stream::iter(requests.into_iter().map(Ok))).try_flatten().boxed()
}

/// The images of a message, unless they are more than it may hold.
fn few(message: ClassifyRequests) -> Result<Vec<ClassifyRequest>, Status> {
    let ClassifyRequests { requests, beyond } = message;
    match beyond {
        0 => Ok(requests),
        _ => Err(Status::invalid_argument(format!(
            "a message has {} requests, {} are allowed",
            requests.len().saturating_add(beyond),
            ClassifyRequests::MOST
        ))),
    }
}

/// Messages of the answers, each with those that are there when the client has room for it.
pub(super) fn together(
    answers: mpsc::Receiver<Result<ClassifyResponse, Status>>,
) -> BoxStream<'static, Result<ClassifyResponses, Status>> {
    ReceiverStream::new(answers).ready_chunks(TOGETHER).map(messages).flat_map(stream::iter).boxed()
}

/// The answers as messages. A call ends by its first status, which comes behind the answers before it.
fn messages(answers: Vec<Result<ClassifyResponse, Status>>) -> Vec<Result<ClassifyResponses, Status>> {
    let (mut responses, mut end) = (Vec::with_capacity(answers.len()), None);
    for answer in answers {
        match answer {
            Ok(response) => responses.push(response),
            Err(status) => {
                end = Some(Err(status));
                break;
            }
        }
    }
    let message = (!responses.is_empty()).then_some(Ok(ClassifyResponses { responses }));
    message.into_iter().chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_proto::Encoding;
    use proptest::prelude::*;

    fn request(id: u64, bytes: usize) -> ClassifyRequest {
        ClassifyRequest::of(id, Encoding::Jpeg, vec![0; bytes].into())
    }

    fn response(id: u64) -> Result<ClassifyResponse, Status> {
        Ok(ClassifyResponse { id, outcome: None })
    }

    proptest! {
        #[test]
        fn messages_hold_all_images_in_order_and_none_is_too_large(
            sizes in proptest::collection::vec(prop_oneof![9 => 0_usize..3_000, 1 => 0_usize..300_000], 1..300),
            most in 1_usize..100,
        ) {
            let mut queue = sizes.iter().enumerate().map(|(id, bytes)| request(id as u64, *bytes));
            let (mut left, mut ids) = (queue.next(), Vec::new());
            while let Some(first) = left.take() {
                let (batch, beyond) = gather(most, first, || queue.next());
                let bytes: usize = batch.iter().map(|request| request.data.len()).sum();
                prop_assert!(batch.len() == 1 || bytes <= TOGETHER_BYTES);
                prop_assert!((1..=most).contains(&batch.len()));
                ids.extend(batch.into_iter().map(|request| request.id));
                left = beyond.or_else(|| queue.next());
            }
            prop_assert_eq!(ids, (0..sizes.len() as u64).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn images_are_taken_out_of_their_messages_until_the_call_breaks() {
        let message = |ids: &[u64]| Ok(ClassifyRequests::of(ids.iter().map(|id| request(*id, 1)).collect()));
        let messages = [message(&[1, 2]), message(&[]), message(&[3]), Err(Status::cancelled("gone"))];
        let images: Vec<_> = apart(stream::iter(messages)).collect().await;
        let ids: Vec<_> = images.iter().map(|image| image.as_ref().map(|image| image.id).ok()).collect();
        assert_eq!(ids, [Some(1), Some(2), Some(3), None]);
    }

    #[tokio::test]
    async fn a_message_of_too_many_images_ends_the_call() {
        let message = ClassifyRequests { beyond: 1, ..ClassifyRequests::of(vec![request(1, 1)]) };
        let images: Vec<_> = apart(stream::iter([Ok(message)])).collect().await;
        let codes: Vec<_> = images.iter().map(|image| image.as_ref().err().map(Status::code)).collect();
        assert_eq!(codes, [Some(tonic::Code::InvalidArgument)]);
    }

    #[tokio::test]
    async fn answers_that_are_there_together_go_together_and_a_status_comes_last() {
        let (send, answers) = mpsc::channel(8);
        for answer in [response(1), response(2), Err(Status::internal("the model")), response(3)] {
            send.send(answer).await.expect("room");
        }
        drop(send);
        let messages: Vec<_> = together(answers).collect().await;
        let ids: Vec<Option<Vec<u64>>> = messages
            .iter()
            .map(|message| {
                Some(message.as_ref().ok()?.responses.iter().map(|response| response.id).collect())
            })
            .collect();
        assert_eq!(ids, [Some(vec![1, 2]), None]);
    }
}
