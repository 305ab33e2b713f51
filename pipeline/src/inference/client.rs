//! The client of the inference server: many tasks, one `ClassifyStream`.
//!
//! A [`Client`] is cheap to clone; every clone shares one connection and one bidirectional call. [`Client::classify`]
//! gives its image a number, sends it, and waits for the answer that bears this number, so any number of tasks
//! overlap on the one call. The server's back-pressure reaches the caller: while the server reads nothing, the
//! send waits, and so does the task. At most [`ClientOptions::in_flight`] images are under way at once.
//!
//! When the call breaks, everything under way on it fails as *transient* and the next `classify` opens a new one;
//! whether and when to try again is the caller's decision. A message that is too large for the server ends a
//! whole stream, so what was under way is then asked again one by one, and only the guilty image is
//! [`Answer::Rejected`].

use bytes::Bytes;
use firesteel_proto::Encoding;
use firesteel_proto::inference::{
    Classification, ClassifyRequest, ClassifyResponse, InferenceClient, Outcome, Rejection,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// What the server said of one image.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The model named it.
    Classified {
        /// The most probable class.
        label: String,
        /// Its softmax probability, 0 to 1.
        confidence: f32,
        /// Which model said so, e.g. "resnet18-cifar10/f32".
        model: String,
    },
    /// These bytes can never be classified: a dead letter.
    Rejected {
        /// Why, in words.
        reason: String,
    },
}

/// Why there is no answer. Never the image's fault: that would be [`Answer::Rejected`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address cannot be used at all.
    #[error("inference server address {url:?} (FIRESTEEL_INFERENCE_URL) is not usable: {reason}")]
    Url {
        /// The address as it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection within the time allowed.
    #[error("inference server {url} (FIRESTEEL_INFERENCE_URL) cannot be reached: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the transport says.
        reason: String,
    },
    /// The server answered nothing for too long while images were under way.
    #[error("inference server {url} gave no answer for {} s", after.as_secs_f32())]
    Stalled {
        /// The address.
        url: String,
        /// How long it was silent.
        after: Duration,
    },
    /// The stream ended while this image was under way.
    #[error("the stream to inference server {url} ended before the answer came")]
    Broken {
        /// The address.
        url: String,
    },
    /// The server ended the call with a status.
    #[error("inference server {url}: {:?}: {}", status.code(), status.message())]
    Status {
        /// The address.
        url: String,
        /// What it said.
        status: Box<Status>,
    },
    /// The peer does not speak this protocol.
    #[error("inference server {url} broke the protocol: {problem}")]
    Protocol {
        /// The address.
        url: String,
        /// What it did.
        problem: &'static str,
    },
}

impl ClientError {
    /// Whether the same request may succeed later with nothing changed: the server is starting, full, gone or
    /// restarting. The rest (a wrong address, a peer that is no inference server) needs a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Broken { .. } => true,
            Self::Status { status, .. } => matches!(
                status.code(),
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Aborted
                    | Code::Cancelled
                    | Code::Internal
                    | Code::Unknown
            ),
            Self::Url { .. } | Self::Protocol { .. } => false,
        }
    }
}

/// How a client behaves. Every value is valid.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientOptions {
    /// How long opening a connection or a stream may take. 10 s.
    pub connect_timeout: Duration,
    /// How long the server may say nothing while images are under way. 60 s: a batch on a slow machine takes a while.
    pub stall_timeout: Duration,
    /// Images under way at once; further callers wait. 256, the default queue of the server.
    pub in_flight: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            in_flight: 256,
        }
    }
}

/// A connection to an inference server. Clones share it.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.shared.url).finish_non_exhaustive()
    }
}

struct Shared {
    url: String,
    options: ClientOptions,
    rpc: InferenceClient<Channel>,
    room: Semaphore,
    next_id: AtomicU64,
    current: tokio::sync::Mutex<Current>,
    /// Counts the attempts to open a stream, so that callers who waited for one that failed share its failure
    /// instead of each waiting for a time-out of their own.
    attempts: AtomicU64,
}

#[derive(Default)]
struct Current {
    stream: Option<Arc<Stream>>,
    failure: Option<ClientError>,
}

impl Client {
    /// Prepares a client for `url` (`http://host:port`) without talking to it; the first `classify` connects.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn new(url: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let bad = |reason: String| ClientError::Url { url: url.to_owned(), reason };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|e| bad(e.to_string()))?;
        if endpoint.uri().scheme_str() != Some("http") || endpoint.uri().host().is_none() {
            return Err(bad("expected http://HOST:PORT".to_owned()));
        }
        let channel = endpoint
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .connect_lazy();
        Ok(Self {
            shared: Arc::new(Shared {
                url: url.to_owned(),
                room: Semaphore::new(options.in_flight.clamp(1, Semaphore::MAX_PERMITS)),
                options,
                rpc: InferenceClient::new(channel),
                next_id: AtomicU64::new(0),
                current: tokio::sync::Mutex::default(),
                attempts: AtomicU64::new(0),
            }),
        })
    }

    /// Connects to `url` (`http://host:port`) and opens the stream; fails if that takes longer than `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Url`] for an address that cannot be, a transient error while the server is not there.
    pub async fn connect(url: &str, timeout: Duration) -> Result<Self, ClientError> {
        let client = Self::new(url, ClientOptions { connect_timeout: timeout, ..ClientOptions::default() })?;
        client.shared.stream().await?;
        Ok(client)
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Classifies one image. Call it from as many tasks as you like: the calls overlap. A call that is dropped
    /// forgets its answer.
    ///
    /// # Errors
    /// A [`ClientError`], transient or not; never because of the image itself.
    pub async fn classify(&self, encoding: Encoding, data: Bytes) -> Result<Answer, ClientError> {
        let shared = &self.shared;
        // The semaphore is never closed; were it, going on without a permit would only lose the bound.
        let _room = shared.room.acquire().await.ok();
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let request = ClassifyRequest::of(id, encoding, data);
        match shared.over_stream(id, request.clone()).await {
            // Some message, perhaps not ours, was larger than the server reads, and it ended the call of all.
            Err(ClientError::Status { status, .. }) if status.code() == Code::OutOfRange => {
                shared.alone(request).await
            }
            answer => answer,
        }
    }
}

impl Shared {
    /// The open stream, or a new one.
    async fn stream(&self) -> Result<Arc<Stream>, ClientError> {
        let seen = self.attempts.load(Ordering::Acquire);
        let mut current = self.current.lock().await;
        if let Some(stream) = current.stream.as_ref().filter(|s| s.pending.is_open()) {
            return Ok(Arc::clone(stream));
        }
        if let (Some(failure), true) = (&current.failure, self.attempts.load(Ordering::Acquire) != seen) {
            return Err(failure.clone());
        }
        current.stream = None;
        let opened = self.open().await.map(Arc::new);
        self.attempts.fetch_add(1, Ordering::Release);
        current.failure = opened.as_ref().err().cloned();
        current.stream = opened.as_ref().ok().cloned();
        opened
    }

    async fn open(&self) -> Result<Stream, ClientError> {
        let (requests, outgoing) = mpsc::channel(1);
        let mut rpc = self.rpc.clone();
        let timeout = self.options.connect_timeout;
        let call = rpc.classify_stream(ReceiverStream::new(outgoing));
        let answers = match tokio::time::timeout(timeout, call).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) if status.code() == Code::Unavailable && is_transport(&status) => {
                return Err(ClientError::Unreachable { url: self.url.clone(), reason: root_cause(&status) });
            }
            Ok(Err(status)) => return Err(self.status(status)),
            Err(_) => {
                let reason = format!("no answer within {} s", timeout.as_secs_f32());
                return Err(ClientError::Unreachable { url: self.url.clone(), reason });
            }
        };
        let pending = Arc::new(Pending::default());
        let reader = tokio::spawn(read_answers(
            answers,
            Arc::clone(&pending),
            self.url.clone(),
            self.options.stall_timeout,
        ));
        Ok(Stream { requests, pending, _reader: AbortOnDropHandle::new(reader) })
    }

    async fn over_stream(&self, id: u64, request: ClassifyRequest) -> Result<Answer, ClientError> {
        let stream = self.stream().await?;
        let mut waiting = stream.pending.wait_for(id)?;
        let broken = || ClientError::Broken { url: self.url.clone() };
        // The reader knows better than a failed send why the stream is over: so on both sides, ask it.
        tokio::select! {
            answer = &mut waiting.answer => return answer.unwrap_or_else(|_| Err(broken())),
            _ = stream.requests.send(request) => {}
        }
        (&mut waiting.answer).await.unwrap_or_else(|_| Err(broken()))
    }

    /// One image by a unary call, where a refusal can only mean this image.
    async fn alone(&self, request: ClassifyRequest) -> Result<Answer, ClientError> {
        let mut rpc = self.rpc.clone();
        let after = self.options.stall_timeout;
        match tokio::time::timeout(after, rpc.classify(request)).await {
            Ok(Ok(response)) => read_answer(response.into_inner(), &self.url),
            Ok(Err(status)) if matches!(status.code(), Code::InvalidArgument | Code::OutOfRange) => {
                Ok(Answer::Rejected { reason: status.message().to_owned() })
            }
            Ok(Err(status)) => Err(self.status(status)),
            Err(_) => Err(ClientError::Stalled { url: self.url.clone(), after }),
        }
    }

    fn status(&self, status: Status) -> ClientError {
        ClientError::Status { url: self.url.clone(), status: Box::new(status) }
    }
}

/// One open call. Dropping it ends the call.
struct Stream {
    requests: mpsc::Sender<ClassifyRequest>,
    pending: Arc<Pending>,
    _reader: AbortOnDropHandle<()>,
}

type Reply = oneshot::Sender<Result<Answer, ClientError>>;

/// Who waits for which answer; once over, why.
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

fn read_answer(response: ClassifyResponse, url: &str) -> Result<Answer, ClientError> {
    match response.outcome {
        Some(Outcome::Classification(Classification { label, confidence, model })) => {
            Ok(Answer::Classified { label, confidence, model })
        }
        Some(Outcome::Rejection(Rejection { reason })) => Ok(Answer::Rejected { reason }),
        None => Err(ClientError::Protocol { url: url.to_owned(), problem: "an answer without an outcome" }),
    }
}

/// Whether this status was made here because the connection failed, not sent by the server.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// The innermost cause: "connection refused" rather than "transport error".
fn root_cause(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
