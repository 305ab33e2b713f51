//! An open call, shared by many tasks, each of which waits for its own answer.
//!
//! Requests wait in a queue until the call has room for a message, which takes those that are there then: several to a server
//! that reads `ClassifyBatches`, else one. The queue is no longer than the tasks are many.

use super::{Answer, ClientError};
use crate::inference::batches::gather;
use firesteel_proto::inference::{Classification, ClassifyRequest, ClassifyResponse, Outcome, Rejection};
use futures::stream::{self, BoxStream, StreamExt as _};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

/// Messages of answers.
pub(super) type Answers = BoxStream<'static, Result<Vec<ClassifyResponse>, Status>>;

/// An open call. Dropping it ends the call.
pub(super) struct Stream {
    url: String,
    requests: mpsc::UnboundedSender<ClassifyRequest>,
    pending: Arc<Pending>,
    _reader: AbortOnDropHandle<()>,
}

/// The two ends of a call that is about to be opened.
pub(super) struct Ends {
    requests: mpsc::UnboundedSender<ClassifyRequest>,
    pending: Arc<Pending>,
}

impl Ends {
    /// The ends, and the messages that go into the call, each of 1 to `most` requests.
    pub(super) fn new(
        most: usize,
    ) -> (Self, impl futures::Stream<Item = Vec<ClassifyRequest>> + Send + 'static) {
        let (requests, queue) = mpsc::unbounded_channel();
        let pending = Arc::new(Pending::default());
        let outgoing = Outgoing { queue, left: None, most, pending: Arc::clone(&pending) };
        let messages = stream::unfold(outgoing, |mut outgoing| async {
            let message = outgoing.next().await?;
            Some((message, outgoing))
        });
        (Self { requests, pending }, messages)
    }

    /// The call, once it is open and `answers` come out of it.
    pub(super) fn opened(self, answers: Answers, url: String, stall: Duration) -> Stream {
        let Self { requests, pending } = self;
        let reader = tokio::spawn(read_answers(answers, Arc::clone(&pending), url.clone(), stall));
        Stream { url, requests, pending, _reader: AbortOnDropHandle::new(reader) }
    }
}

/// What waits to be sent.
struct Outgoing {
    queue: mpsc::UnboundedReceiver<ClassifyRequest>,
    /// The request that did not fit in the last message any more.
    left: Option<ClassifyRequest>,
    /// Requests of a message, at most.
    most: usize,
    pending: Arc<Pending>,
}

impl Outgoing {
    /// The next message; `None` when the call is given up.
    async fn next(&mut self) -> Option<Vec<ClassifyRequest>> {
        loop {
            let first = match self.left.take() {
                Some(request) => request,
                None => {
                    let first = self.queue.recv().await?;
                    // The tasks that were woken together with the first one ask before it is sent.
                    tokio::task::yield_now().await;
                    first
                }
            };
            let mut message;
            (message, self.left) = gather(self.most, first, || self.queue.try_recv().ok());
            self.pending.depart(&mut message);
            if !message.is_empty() {
                return Some(message);
            }
        }
    }
}

impl Stream {
    /// Whether the call can still take requests.
    pub(super) fn is_open(&self) -> bool {
        self.pending.is_open()
    }

    /// Sends one request, whose `id` nobody else uses, and waits for its answer: from when the server has room for it, until the
    /// deadline.
    pub(super) async fn ask(
        &self,
        id: u64,
        request: ClassifyRequest,
        deadline: Duration,
    ) -> Result<Answer, ClientError> {
        let mut waiting = self.pending.wait_for(id)?;
        // Refused once the call is over: then the reader, who knows why, answers.
        let _ = self.requests.send(request);
        loop {
            let left = deadline.saturating_sub(waiting.under_way());
            match tokio::time::timeout(left, &mut waiting.answer).await {
                Ok(answer) => {
                    let broken = || ClientError::Broken { url: self.url.clone() };
                    return answer.unwrap_or_else(|_| Err(broken()));
                }
                Err(_) if waiting.under_way() >= deadline => {
                    return Err(ClientError::Overdue { url: self.url.clone(), after: deadline });
                }
                // It has left later than it was asked, or not yet.
                Err(_) => {}
            }
        }
    }
}

type Reply = oneshot::Sender<Result<Answer, ClientError>>;

/// The callers that wait for answers, and once the call has ended, the reason.
#[derive(Default)]
struct Pending {
    state: Mutex<PendingState>,
    sent: tokio::sync::Notify,
}

/// A caller.
struct Caller {
    reply: Reply,
    /// When the call had room for the request.
    sent: Option<Instant>,
}

#[derive(Default)]
struct PendingState {
    waiting: HashMap<u64, Caller>,
    over: Option<ClientError>,
}

/// A place in [`Pending`], given up on drop, so that a cancelled caller leaves nothing behind.
struct Waiting<'a> {
    id: u64,
    pending: &'a Pending,
    answer: oneshot::Receiver<Result<Answer, ClientError>>,
}

impl Waiting<'_> {
    /// How long the request has been under way; nothing while it has not been sent.
    fn under_way(&self) -> Duration {
        let state = self.pending.lock();
        let sent = state.waiting.get(&self.id).and_then(|caller| caller.sent);
        sent.map_or(Duration::ZERO, |sent| sent.elapsed())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.lock().waiting.remove(&self.id);
    }
}

impl Pending {
    fn lock(&self) -> std::sync::MutexGuard<'_, PendingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        self.lock().over.is_none()
    }

    fn wait_for(&self, id: u64) -> Result<Waiting<'_>, ClientError> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if let Some(error) = &state.over {
            return Err(error.clone());
        }
        state.waiting.insert(id, Caller { reply, sent: None });
        drop(state);
        self.sent.notify_one();
        Ok(Waiting { id, pending: self, answer })
    }

    /// Takes note that requests are sent, and leaves out those that nobody waits for any more.
    fn depart(&self, message: &mut Vec<ClassifyRequest>) {
        let now = Instant::now();
        let mut state = self.lock();
        message.retain(|request| match state.waiting.get_mut(&request.id) {
            Some(caller) => {
                caller.sent = Some(now);
                true
            }
            None => false,
        });
    }

    fn is_idle(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn answer(&self, id: u64, answer: Result<Answer, ClientError>) {
        let caller = self.lock().waiting.remove(&id);
        if let Some(Caller { reply, .. }) = caller {
            let _ = reply.send(answer);
        }
    }

    fn finish(&self, error: &ClientError) {
        let waiting = {
            let mut state = self.lock();
            state.over = Some(error.clone());
            std::mem::take(&mut state.waiting)
        };
        for caller in waiting.into_values() {
            let _ = caller.reply.send(Err(error.clone()));
        }
    }
}

/// Hands every answer to its caller until the stream ends, then tells the rest why.
async fn read_answers(mut answers: Answers, pending: Arc<Pending>, url: String, stall: Duration) {
    let error = loop {
        let next = tokio::select! {
            next = answers.next() => next,
            () = silence(&pending, stall) => break ClientError::Stalled { url, after: stall },
        };
        match next {
            Some(Ok(responses)) => {
                for response in responses {
                    pending.answer(response.id, read_answer(response, &url));
                }
            }
            None => break ClientError::Broken { url },
            Some(Err(status)) => break ClientError::Status { url, status: Box::new(status) },
        }
    };
    tracing::debug!(%error, "the stream to the inference server ended");
    pending.finish(&error);
}

/// Ends when images have been under way for `stall` without one answer; it starts anew with each answer.
async fn silence(pending: &Pending, stall: Duration) {
    loop {
        while pending.is_idle() {
            pending.sent.notified().await;
        }
        tokio::time::sleep(stall).await;
        if !pending.is_idle() {
            return;
        }
    }
}

pub(super) fn read_answer(response: ClassifyResponse, url: &str) -> Result<Answer, ClientError> {
    match response.outcome {
        Some(Outcome::Classification(Classification { label, confidence, model })) => {
            Ok(Answer::Classified { label, confidence, model })
        }
        Some(Outcome::Rejection(Rejection { reason })) => Ok(Answer::Rejected { reason }),
        Some(Outcome::UnknownModel(unknown)) => {
            Err(ClientError::UnknownModel { url: url.to_owned(), problem: unknown.text() })
        }
        None => Err(ClientError::Protocol { url: url.to_owned(), problem: "an answer without an outcome" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_proto::Encoding;
    use futures::FutureExt as _;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    const LONG: Duration = Duration::from_secs(60);

    type Peer = mpsc::UnboundedSender<Result<Vec<ClassifyResponse>, Status>>;

    /// A call, the messages that a server would read, and what it would answer by.
    fn open(most: usize) -> (Arc<Stream>, BoxStream<'static, Vec<ClassifyRequest>>, Peer) {
        let (ends, messages) = Ends::new(most);
        let (peer, answers) = mpsc::unbounded_channel();
        let answers = UnboundedReceiverStream::new(answers).boxed();
        (Arc::new(ends.opened(answers, "http://test".to_owned(), LONG)), messages.boxed(), peer)
    }

    fn request(id: u64) -> ClassifyRequest {
        ClassifyRequest::of(id, Encoding::Jpeg, vec![1, 2, 3].into())
    }

    fn rejection(id: u64) -> ClassifyResponse {
        let reason = format!("number {id}");
        ClassifyResponse { id, outcome: Some(Outcome::Rejection(Rejection { reason })) }
    }

    fn ids(message: Option<Vec<ClassifyRequest>>) -> Vec<u64> {
        message.expect("a message").iter().map(|request| request.id).collect()
    }

    #[tokio::test]
    async fn who_asks_together_is_sent_together_without_those_who_have_given_up() {
        let (stream, mut messages, peer) = open(3);
        assert!(stream.ask(9, request(9), LONG).now_or_never().is_none(), "no answer yet");
        let asking: Vec<_> = (0..4)
            .map(|id| {
                let stream = Arc::clone(&stream);
                tokio::spawn(async move { stream.ask(id, request(id), LONG).await })
            })
            .collect();
        assert_eq!(ids(messages.next().await), [0, 1], "three were taken, one of whom had gone");
        assert_eq!(ids(messages.next().await), [2, 3]);
        // In any order, in any messages.
        peer.send(Ok(vec![rejection(3), rejection(0), rejection(77)])).expect("open");
        peer.send(Ok(vec![rejection(1)])).expect("open");
        peer.send(Err(Status::internal("the end"))).expect("open");
        for (id, asked) in (0_u64..).zip(asking) {
            match asked.await.expect("it ends") {
                Ok(answer) => assert_eq!(answer, Answer::Rejected { reason: format!("number {id}") }),
                Err(error) => assert!(id == 2 && error.to_string().contains("the end"), "{id}: {error}"),
            }
        }
        assert!(!stream.is_open());
        let error = stream.ask(5, request(5), LONG).await.expect_err("over");
        assert!(error.to_string().contains("the end"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_reads_one_by_one_gets_one_by_one() {
        let (stream, mut messages, _peer) = open(1);
        let mut asking: Vec<_> = (0..3).map(|id| Box::pin(stream.ask(id, request(id), LONG))).collect();
        assert!(asking.iter_mut().all(|ask| ask.now_or_never().is_none()));
        for id in 0..3 {
            assert_eq!(ids(messages.next().await), [id]);
        }
    }

    #[tokio::test]
    async fn a_deadline_begins_when_the_server_has_room() {
        let (stream, mut messages, _peer) = open(64);
        let deadline = Duration::from_millis(20);
        let mut ask = Box::pin(stream.ask(1, request(1), deadline));
        let waited = tokio::time::timeout(deadline * 4, &mut ask).await;
        assert!(waited.is_err(), "it was not sent: {waited:?}");
        assert_eq!(ids(messages.next().await), [1]);
        let error = ask.await.expect_err("nobody answers");
        assert!(matches!(error, ClientError::Overdue { after, .. } if after == deadline), "{error}");
    }
}
