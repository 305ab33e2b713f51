//! An inference server that answers by a rule and fails when it is told to.
//!
//! The rule: the class is the sum of the image's bytes modulo ten; an image whose sum is divisible by `reject` is
//! rejected. While it is down, every call ends as UNAVAILABLE. There may be one image that it fails at. It may be a server from
//! before its model was described and could be asked for, which reads one image a message; otherwise "plane" means "airplane".

use firesteel_proto::Label;
use firesteel_proto::inference::{
    Classification, ClassifyRequest, ClassifyRequests, ClassifyResponse, ClassifyResponses, DescribeRequest,
    DescribeResponse, Inference, InferenceServer, ModelDescription, Outcome, Rejection, UnknownModel,
};
use firesteel_testkit::cifar::{CLASSES, class};
use futures::Stream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

#[derive(Debug, Default)]
struct State {
    down: AtomicBool,
    refused: AtomicU64,
    answered: AtomicU64,
    reject: u64,
    fault: Mutex<Option<(Vec<u8>, Fault)>>,
    faults: AtomicU64,
    undescribed: AtomicBool,
    lacks: AtomicU64,
    descriptions: AtomicU64,
    asked: Mutex<Vec<(String, String)>>,
}

/// How the server fails at an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never answers.
    Silence,
    /// It ends the call, with everything that is under way in it.
    End,
}

pub(crate) struct FakeInference {
    pub(crate) url: String,
    state: Arc<State>,
    _server: AbortOnDropHandle<()>,
}

impl FakeInference {
    /// Rejects images whose byte sum is divisible by `reject`; 0 rejects none.
    pub(crate) async fn start(reject: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State { reject, ..State::default() });
        let service = InferenceServer::new(Service { state: Arc::clone(&state) });
        let server = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("served");
        });
        Self { url, state, _server: AbortOnDropHandle::new(server) }
    }

    /// Ends every call as UNAVAILABLE, those that are under way at their next image.
    pub(crate) fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    /// Fails at the image of these bytes from now on.
    pub(crate) fn fail_at(&self, data: &[u8], fault: Fault) {
        *self.state.fault.lock().unwrap() = Some((data.to_vec(), fault));
    }

    /// Fails at no image any more.
    pub(crate) fn mend(&self) {
        *self.state.fault.lock().unwrap() = None;
    }

    /// How often it has failed at that image.
    pub(crate) fn faults(&self) -> u64 {
        self.state.faults.load(Ordering::SeqCst)
    }

    /// Calls and images that were refused while it was down.
    pub(crate) fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::SeqCst)
    }

    /// The model and the key of every request that it has answered.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Does not know the question for its model any more.
    pub(crate) fn be_old(&self) {
        self.state.undescribed.store(true, Ordering::SeqCst);
    }

    /// Has none of the models that so many requests name.
    pub(crate) fn lack_models(&self, requests: u64) {
        self.state.lacks.store(requests, Ordering::SeqCst);
    }

    /// How often it was asked for its model.
    pub(crate) fn descriptions(&self) -> u64 {
        self.state.descriptions.load(Ordering::SeqCst)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.state.answered.load(Ordering::SeqCst)
    }
}

fn sum(data: &[u8]) -> u64 {
    data.iter().map(|byte| u64::from(*byte)).sum()
}

/// What the server names an image.
pub(crate) fn label_of(data: &[u8]) -> Label {
    class((sum(data) % 10) as usize)
}

/// Whether the server rejects an image.
pub(crate) fn is_rejected(data: &[u8], reject: u64) -> bool {
    reject > 0 && sum(data).is_multiple_of(reject)
}

struct Service {
    state: Arc<State>,
}

impl State {
    fn fault(&self, data: &[u8]) -> Option<Fault> {
        let fault = self.fault.lock().unwrap();
        let (_, fault) = fault.as_ref().filter(|(bytes, _)| bytes == data)?;
        self.faults.fetch_add(1, Ordering::SeqCst);
        Some(*fault)
    }

    fn answer(&self, request: &ClassifyRequest) -> Result<ClassifyResponse, Status> {
        if self.down.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Status::unavailable("told to be down"));
        }
        self.answered.fetch_add(1, Ordering::SeqCst);
        let ClassifyRequest { model, key, .. } = request;
        let key = String::from_utf8(key.to_vec()).expect("a key that is text");
        self.asked.lock().unwrap().push((model.clone(), key));
        let one_less = |left: u64| left.checked_sub(1);
        let lacks = !model.is_empty()
            && self.lacks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        let is_known = self.undescribed.load(Ordering::SeqCst) || matches!(model.as_str(), "" | "fake");
        let outcome = if lacks || !is_known {
            let models = vec!["fake".to_owned()];
            Outcome::UnknownModel(UnknownModel { asked: model.clone(), models })
        } else if is_rejected(&request.data, self.reject) {
            Outcome::Rejection(Rejection { reason: "told to reject".to_owned() })
        } else {
            let label = label_of(&request.data).as_str().to_owned();
            Outcome::Classification(Classification { label, confidence: 0.75, model: "fake".to_owned() })
        };
        Ok(ClassifyResponse { id: request.id, outcome: Some(outcome) })
    }
}

#[tonic::async_trait]
impl Inference for Service {
    async fn classify(
        &self,
        request: Request<ClassifyRequest>,
    ) -> Result<Response<ClassifyResponse>, Status> {
        match self.state.fault(&request.get_ref().data) {
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::End) => Err(Status::internal("told to fail")),
            None => self.state.answer(request.get_ref()).map(Response::new),
        }
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        self.state.descriptions.fetch_add(1, Ordering::SeqCst);
        if self.state.down.load(Ordering::SeqCst) {
            return Err(Status::unavailable("told to be down"));
        }
        if self.state.undescribed.load(Ordering::SeqCst) {
            return Err(Status::unimplemented("of an older version"));
        }
        let model = ModelDescription {
            name: "fake".to_owned(),
            classes: CLASSES.map(str::to_owned).to_vec(),
            aliases: [("plane".to_owned(), "airplane".to_owned())].into(),
            share: 1,
        };
        Ok(Response::new(DescribeResponse { models: vec![model] }))
    }

    type ClassifyStreamStream = Answers<ClassifyResponse>;

    async fn classify_stream(
        &self,
        request: Request<Streaming<ClassifyRequest>>,
    ) -> Result<Response<Self::ClassifyStreamStream>, Status> {
        Ok(Response::new(self.answers(request.into_inner())?))
    }

    type ClassifyBatchesStream = Answers<ClassifyResponses>;

    async fn classify_batches(
        &self,
        request: Request<Streaming<ClassifyRequests>>,
    ) -> Result<Response<Self::ClassifyBatchesStream>, Status> {
        if self.state.undescribed.load(Ordering::SeqCst) {
            return Err(Status::unimplemented("of an older version"));
        }
        let requests = futures::StreamExt::flat_map(request.into_inner(), |message| {
            futures::stream::iter(match message {
                Ok(message) => message.requests.into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            })
        });
        let answers = self.answers(requests)?;
        let messages =
            answers.map(|answer| answer.map(|response| ClassifyResponses { responses: vec![response] }));
        Ok(Response::new(Box::pin(messages)))
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    fn answers(
        &self,
        requests: impl Stream<Item = Result<ClassifyRequest, Status>> + Send + 'static,
    ) -> Result<Answers<ClassifyResponse>, Status> {
        if self.state.down.load(Ordering::SeqCst) {
            self.state.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Status::unavailable("told to be down"));
        }
        let state = Arc::clone(&self.state);
        let answers = requests.filter_map(move |request| {
            let request = match request {
                Ok(request) => request,
                Err(status) => return Some(Err(status)),
            };
            match state.fault(&request.data) {
                Some(Fault::Silence) => None,
                Some(Fault::End) => Some(Err(Status::internal("told to fail"))),
                None => Some(state.answer(&request)),
            }
        });
        Ok(Box::pin(answers))
    }
}
