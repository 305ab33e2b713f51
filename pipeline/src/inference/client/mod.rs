//! The client of the inference server: many tasks, one call.
//!
//! A [`Client`] is cheap to clone; every clone shares one connection and one bidirectional call. [`Client::ask`]
//! gives its image a number, sends it, and waits for the answer that bears this number, so any number of tasks
//! overlap on the one call. It is `ClassifyBatches`, where images that wait together travel together, or `ClassifyStream` to a
//! server from before that. The server's back-pressure reaches the caller: while the server reads nothing,
//! nothing is sent, and the task waits. At most [`ClientOptions::in_flight`] images are under way at once.
//!
//! When the call breaks, everything under way on it fails as *transient* and the next `classify` opens a new one;
//! whether and when to try again is the caller's decision. A message that is too large for the server ends a
//! whole stream, so what was under way is then asked again one by one, and only the guilty image is
//! [`Answer::Rejected`]. An answer has a deadline, from the moment at which the server has read the request. Whether a failure is
//! that of the server or of an image is found out by a call of its own ([`Client::ask_alone`]): if it fails and the same
//! call for an image that was answered before does not, it is [`ClientError::Image`].

mod describe;
mod error;
mod stream;

use crate::inference::Vocabulary;
use crate::inference::batches::TOGETHER;
use crate::inference::spec::answers_to;
use bytes::Bytes;
use describe::Described;
pub use error::ClientError;
use firesteel_common::error::root_cause;
use firesteel_common::net::{self, Dialer};
use firesteel_proto::Encoding;
use firesteel_proto::inference::{ClassifyRequest, ClassifyRequests, InferenceClient, UnknownModel};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use stream::{Ends, Stream, read_answer};
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

/// How long the failure to open a stream stands for further callers: hundreds of images that retry on their own
/// are still one client that knocks a few times a second.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);

/// The server's answer for one image.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The model named it.
    Classified {
        /// The most probable class.
        label: String,
        /// Its softmax probability, 0 to 1.
        confidence: f32,
        /// The name of the model, e.g. "resnet18-cifar10/f32".
        model: String,
    },
    /// These bytes can never be classified: a dead letter.
    Rejected {
        /// The reason, for people.
        reason: String,
    },
}

/// An image to classify, and by which model.
#[derive(Debug, Clone)]
pub struct Question {
    /// The encoding of the image.
    pub encoding: Encoding,
    /// The image as a file.
    pub data: Bytes,
    /// The model that is to answer: NAME, NAME@VERSION, NAME/PRECISION or NAME@VERSION/PRECISION; empty: the server chooses.
    pub model: String,
    /// What the image is known by, which decides between models that share the images; empty: its bytes do.
    pub key: Bytes,
}

impl Question {
    /// Asks for no model.
    #[must_use]
    pub fn of(encoding: Encoding, data: Bytes) -> Self {
        Self { encoding, data, model: String::new(), key: Bytes::new() }
    }

    fn request(self, id: u64) -> ClassifyRequest {
        let Self { encoding, data, model, key } = self;
        ClassifyRequest { model, key, ..ClassifyRequest::of(id, encoding, data) }
    }
}

/// The options of a client. Every value is valid.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How long opening a connection or a stream may take. 10 s.
    pub connect_timeout: Duration,
    /// How long the server may say nothing while images are under way. 60 s: a batch on a slow machine takes a while.
    pub stall_timeout: Duration,
    /// How long the answer for one image may take, from when the server has read it. 60 s.
    pub deadline: Duration,
    /// Images under way at once; further callers wait. 256, the default queue of the server.
    pub in_flight: usize,
    /// How the server is reached: by TLS or not, and with which token. Without both.
    pub dialer: Dialer,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            deadline: Duration::from_secs(60),
            in_flight: 256,
            dialer: Dialer::default(),
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
    permits: Semaphore,
    next_id: AtomicU64,
    current: tokio::sync::Mutex<Current>,
    /// Counts the attempts to open a stream, so that callers who waited for one that failed share its failure
    /// instead of each waiting for a time-out of their own.
    attempts: AtomicU64,
    /// What the server has told of its models.
    described: Described,
    /// An image that was classified, the last one: if the server does not answer for it any more, the server is at fault.
    known: Mutex<Option<ClassifyRequest>>,
}

#[derive(Default)]
struct Current {
    stream: Option<Arc<Stream>>,
    failure: Option<(ClientError, Instant)>,
}

impl Client {
    /// Prepares a client for `url` (`http://host:port`, `https` by TLS) without talking to it; the first `classify` connects.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn new(url: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let bad = |reason: String| ClientError::Url { url: url.to_owned(), reason };
        let parsed = Endpoint::from_shared(url.to_owned()).map_err(|e| bad(e.to_string()))?;
        if !matches!(parsed.uri().scheme_str(), Some("http" | "https")) || parsed.uri().host().is_none() {
            return Err(bad("expected http://HOST:PORT".to_owned()));
        }
        let endpoint = options.dialer.endpoint(url).map_err(|e| bad(e.to_string()))?;
        let channel = endpoint
            .connect_timeout(options.connect_timeout)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .connect_with_connector_lazy(tower::service_fn(net::dial));
        Ok(Self {
            shared: Arc::new(Shared {
                url: url.to_owned(),
                permits: Semaphore::new(options.in_flight.clamp(1, Semaphore::MAX_PERMITS)),
                options,
                rpc: InferenceClient::new(channel),
                next_id: AtomicU64::new(0),
                current: tokio::sync::Mutex::default(),
                attempts: AtomicU64::new(0),
                described: Described::default(),
                known: Mutex::default(),
            }),
        })
    }

    /// Connects to `url` (`http://host:port`) and opens the stream; fails if that takes longer than `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Url`] for an address that cannot be, a transient error while the server is not there.
    pub async fn connect(url: &str, timeout: Duration) -> Result<Self, ClientError> {
        Self::connect_with(url, ClientOptions { connect_timeout: timeout, ..ClientOptions::default() }).await
    }

    /// Connects to `url` and opens the stream; fails if that takes longer than the options allow.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let client = Self::new(url, options)?;
        client.shared.stream().await?;
        Ok(client)
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Classifies one image by the model that the server chooses: see [`ask`](Self::ask).
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn classify(&self, encoding: Encoding, data: Bytes) -> Result<Answer, ClientError> {
        self.ask(Question::of(encoding, data)).await
    }

    /// Classifies one image. Call it from as many tasks as you like: the calls overlap. A call that is dropped
    /// forgets its answer.
    ///
    /// # Errors
    /// A [`ClientError`], transient or not; never because of the image itself.
    pub async fn ask(&self, question: Question) -> Result<Answer, ClientError> {
        let shared = &self.shared;
        // The semaphore is never closed; were it, going on without a permit would only lose the bound.
        let _permit = shared.permits.acquire().await.ok();
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let request = question.request(id);
        let answer = match shared.over_stream(id, request.clone()).await {
            // Some message, perhaps not ours, was larger than the server reads, and it ended the call of all.
            Err(ClientError::Status { status, .. }) if status.code() == Code::OutOfRange => {
                shared.alone(request.clone()).await
            }
            answer => answer,
        };
        let answer = shared.by_whom_was_asked(&request.model, answer);
        if let Ok(Answer::Classified { .. }) = &answer {
            shared.keep(request);
        }
        answer
    }

    /// The classes of the model that an answer names, and the other names that true labels may bear; `None` where the server
    /// does not tell, as servers from before this question do. Each model is asked about once.
    ///
    /// # Errors
    /// A [`ClientError`], transient or not.
    pub async fn vocabulary(&self, model: &str) -> Result<Option<Arc<Vocabulary>>, ClientError> {
        self.shared.vocabulary(model).await
    }

    /// The whole names of the server's models, the default first; none where the server does not tell, as servers from before this
    /// question do.
    ///
    /// # Errors
    /// A [`ClientError`], transient or not.
    pub async fn models(&self) -> Result<Vec<String>, ClientError> {
        Ok(self.shared.describe().await?.into_iter().map(|model| model.name).collect())
    }

    /// Classifies one image by a call of its own.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and [`ClientError::Image`] if the server fails at it and then answers for another image, one
    /// that was answered before.
    pub async fn ask_alone(&self, question: Question) -> Result<Answer, ClientError> {
        let shared = &self.shared;
        let _permit = shared.permits.acquire().await.ok();
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let request = question.request(id);
        let answer = shared.alone(request.clone()).await;
        let error = match shared.by_whom_was_asked(&request.model, answer) {
            Err(error) if error.may_be_an_image() => error,
            answer => return answer,
        };
        let Some(known) = shared.known() else { return Err(error) };
        // By the model that has failed: another one proves nothing.
        let ClassifyRequest { model, key, data, .. } = request;
        let key = if key.is_empty() && model.is_empty() { data } else { key };
        let known = ClassifyRequest { model, key, ..known };
        match shared.alone(known).await {
            Ok(Answer::Classified { .. }) => {
                Err(ClientError::Image { url: shared.url.clone(), reason: error.to_string() })
            }
            // The server fails at what it was right about before.
            _ => Err(error),
        }
    }
}

impl Shared {
    /// The open stream, or a new one.
    async fn stream(&self) -> Result<Arc<Stream>, ClientError> {
        let seen = self.attempts.load(Ordering::Acquire);
        let mut current = self.current.lock().await;
        if let Some(stream) = current.stream.as_ref().filter(|s| s.is_open()) {
            return Ok(Arc::clone(stream));
        }
        if let Some((failure, at)) = &current.failure {
            let waited_for_it = self.attempts.load(Ordering::Acquire) != seen;
            if waited_for_it || at.elapsed() < RECONNECT_AFTER {
                return Err(failure.clone());
            }
        }
        current.stream = None;
        let opened = self.open().await.map(Arc::new);
        self.attempts.fetch_add(1, Ordering::Release);
        current.failure = opened.as_ref().err().map(|failure| (failure.clone(), Instant::now()));
        current.stream = opened.as_ref().ok().cloned();
        opened
    }

    async fn open(&self) -> Result<Stream, ClientError> {
        let (ends, messages) = Ends::new(TOGETHER);
        let messages = messages.map(ClassifyRequests::of);
        let mut rpc = self.rpc.clone();
        let answers = match self.opened(rpc.classify_batches(messages)).await {
            Ok(answers) => answers.map_ok(|message| message.responses).boxed(),
            Err(ClientError::Status { status, .. }) if status.code() == Code::Unimplemented => {
                return self.open_one_by_one().await;
            }
            Err(error) => return Err(error),
        };
        Ok(ends.opened(answers, self.url.clone(), self.options.stall_timeout))
    }

    /// Opens a call to a server that reads one image a message.
    async fn open_one_by_one(&self) -> Result<Stream, ClientError> {
        let (ends, messages) = Ends::new(1);
        let messages = messages.flat_map(futures::stream::iter);
        let mut rpc = self.rpc.clone();
        let answers = self.opened(rpc.classify_stream(messages)).await?;
        let answers = answers.map_ok(|response| vec![response]).boxed();
        Ok(ends.opened(answers, self.url.clone(), self.options.stall_timeout))
    }

    /// The answers of a call, once the server has taken it.
    async fn opened<T>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Streaming<T>, ClientError> {
        let timeout = self.options.connect_timeout;
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) if status.code() == Code::Unavailable && is_transport(&status) => {
                Err(ClientError::Unreachable { url: self.url.clone(), reason: root_cause(&status) })
            }
            Ok(Err(status)) => Err(self.status(status)),
            Err(_) => {
                let reason = format!("no answer within {} s", timeout.as_secs_f32());
                Err(ClientError::Unreachable { url: self.url.clone(), reason })
            }
        }
    }

    async fn over_stream(&self, id: u64, request: ClassifyRequest) -> Result<Answer, ClientError> {
        self.stream().await?.ask(id, request, self.options.deadline).await
    }

    /// Keeps an image that was classified.
    fn keep(&self, request: ClassifyRequest) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
    }

    fn known(&self) -> Option<ClassifyRequest> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Classifies one image by a unary call, where a refusal can only mean this image.
    async fn alone(&self, request: ClassifyRequest) -> Result<Answer, ClientError> {
        let mut rpc = self.rpc.clone();
        let after = self.options.deadline;
        match tokio::time::timeout(after, rpc.classify(request)).await {
            Ok(Ok(response)) => read_answer(response.into_inner(), &self.url),
            Ok(Err(status)) if matches!(status.code(), Code::InvalidArgument | Code::OutOfRange) => {
                Ok(Answer::Rejected { reason: status.message().to_owned() })
            }
            Ok(Err(status)) if status.code() == Code::NotFound && !is_transport(&status) => {
                let problem = status.message().to_owned();
                Err(ClientError::UnknownModel { url: self.url.clone(), problem })
            }
            Ok(Err(status)) if is_transport(&status) && status.code() == Code::Unavailable => {
                Err(ClientError::Unreachable { url: self.url.clone(), reason: root_cause(&status) })
            }
            Ok(Err(status)) if is_transport(&status) => Err(ClientError::Broken { url: self.url.clone() }),
            Ok(Err(status)) => Err(self.status(status)),
            Err(_) => Err(ClientError::Overdue { url: self.url.clone(), after }),
        }
    }

    /// Refuses the answer of a model that was not asked for, as servers give it that do not know that they can be asked.
    fn by_whom_was_asked(
        &self,
        asked: &str,
        answer: Result<Answer, ClientError>,
    ) -> Result<Answer, ClientError> {
        match answer {
            Ok(Answer::Classified { model, .. }) if !asked.is_empty() && !answers_to(&model, asked) => {
                let problem = UnknownModel { asked: asked.to_owned(), models: vec![model] }.text();
                Err(ClientError::UnknownModel { url: self.url.clone(), problem })
            }
            answer => answer,
        }
    }

    fn status(&self, status: Status) -> ClientError {
        ClientError::Status { url: self.url.clone(), status: Box::new(status) }
    }
}

/// Whether this status was made here because the connection failed, not sent by the server.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}
