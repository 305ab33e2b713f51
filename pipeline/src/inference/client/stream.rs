//! An open `ClassifyStream` call, shared by many tasks, each of which waits for its own answer.

use super::{Answer, ClientError};
use firesteel_proto::inference::{Classification, ClassifyRequest, ClassifyResponse, Outcome, Rejection};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;

/// An open call. Dropping it ends the call.
pub(super) struct Stream {
    url: String,
    requests: mpsc::Sender<ClassifyRequest>,
    pending: Arc<Pending>,
    _reader: AbortOnDropHandle<()>,
}

impl Stream {
    /// Takes over an open call: `requests` goes into it, `answers` comes out.
    pub(super) fn new(
        requests: mpsc::Sender<ClassifyRequest>,
        answers: Streaming<ClassifyResponse>,
        url: String,
        stall: Duration,
    ) -> Self {
        let pending = Arc::new(Pending::default());
        let reader = tokio::spawn(read_answers(answers, Arc::clone(&pending), url.clone(), stall));
        Self { url, requests, pending, _reader: AbortOnDropHandle::new(reader) }
    }

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
        let broken = || ClientError::Broken { url: self.url.clone() };
        // The reader knows better than a failed send why the stream is over, so either way it is asked.
        tokio::select! {
            answer = &mut waiting.answer => return answer.unwrap_or_else(|_| Err(broken())),
            _ = self.requests.send(request) => {}
        }
        match tokio::time::timeout(deadline, &mut waiting.answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(broken())),
            Err(_) => Err(ClientError::Overdue { url: self.url.clone(), after: deadline }),
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

#[derive(Default)]
struct PendingState {
    waiting: HashMap<u64, Reply>,
    over: Option<ClientError>,
}

/// A place in [`Pending`], given up on drop, so that a cancelled caller leaves nothing behind.
struct Waiting<'a> {
    id: u64,
    pending: &'a Pending,
    answer: oneshot::Receiver<Result<Answer, ClientError>>,
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
        state.waiting.insert(id, reply);
        drop(state);
        self.sent.notify_one();
        Ok(Waiting { id, pending: self, answer })
    }

    fn is_idle(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn answer(&self, id: u64, answer: Result<Answer, ClientError>) {
        let reply = self.lock().waiting.remove(&id);
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    fn finish(&self, error: &ClientError) {
        let waiting = {
            let mut state = self.lock();
            state.over = Some(error.clone());
            std::mem::take(&mut state.waiting)
        };
        for reply in waiting.into_values() {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// Hands every answer to its caller until the stream ends, then tells the rest why.
async fn read_answers(
    mut answers: Streaming<ClassifyResponse>,
    pending: Arc<Pending>,
    url: String,
    stall: Duration,
) {
    let error = loop {
        let next = tokio::select! {
            next = answers.message() => next,
            () = silence(&pending, stall) => break ClientError::Stalled { url, after: stall },
        };
        match next {
            Ok(Some(response)) => pending.answer(response.id, read_answer(response, &url)),
            Ok(None) => break ClientError::Broken { url },
            Err(status) => break ClientError::Status { url, status: Box::new(status) },
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
