//! The gRPC methods: requests to the batcher, answers back.
//!
//! Unary `Classify` is refused (RESOURCE_EXHAUSTED) when the queue is full. `ClassifyStream` waits instead: it holds at
//! most one request that has no place yet and reads no further, so HTTP/2 flow control stops the sender; and it
//! holds at most `queue` answers that the client has not taken, so a slow reader stops only itself. `ClassifyBatches` is the same
//! with messages of several images (`batches`): it holds one message more, of requests and of answers. On shutdown all
//! take nothing more and answer what they have accepted; what is left of a message of several is not. `Describe` says which
//! models there are, and which classes they have. Which model answers is decided when a request has come ([`Served::choose`]).

use super::batcher::ClassifyError;
use super::batches::{TOGETHER, apart, together};
use super::decode::Rejection;
use super::model::{Classification, ModelInfo};
use super::served::Served;
use bytes::Bytes;
use firesteel_proto::Label;
use firesteel_proto::inference::{
    self as rpc, ClassifyRequest, ClassifyRequests, ClassifyResponse, ClassifyResponses, DescribeRequest,
    DescribeResponse, Inference, ModelDescription, Outcome,
};
use futures::stream::{BoxStream, Stream, TryStreamExt as _};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// The service behind the generated server.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// Empty while the models load.
    pub(super) models: Arc<OnceLock<Served>>,
    /// Images of one call that may be under way.
    pub(super) limit: usize,
    /// Cancelled when the server stops taking requests.
    pub(super) draining: CancellationToken,
}

impl Service {
    fn models(&self) -> Result<&Served, Status> {
        if self.draining.is_cancelled() {
            return Err(shutting_down());
        }
        self.loaded()
    }

    /// A call of many images, whose answers go there.
    fn call(&self, answers: mpsc::Sender<Result<ClassifyResponse, Status>>) -> Result<Call, Status> {
        self.models()?;
        Ok(Call { models: Arc::clone(&self.models), limit: self.limit, answers, tasks: JoinSet::new() })
    }

    fn loaded(&self) -> Result<&Served, Status> {
        self.models.get().ok_or_else(|| Status::unavailable("the model is still loading"))
    }
}

#[tonic::async_trait]
impl Inference for Service {
    async fn classify(
        &self,
        request: Request<ClassifyRequest>,
    ) -> Result<Response<ClassifyResponse>, Status> {
        let models = self.models()?;
        let request = request.into_inner();
        let id = request.id;
        let handle = models.choose(&request).map_err(|unknown| Status::not_found(unknown.text()))?;
        let (encoding, data) = match request.into_image() {
            Ok(image) => image,
            Err(error) => {
                handle.stats().rejected.inc();
                return Err(Status::invalid_argument(error.to_string()));
            }
        };
        let permit = handle.try_acquire(data.len()).map_err(status)?;
        let data = apart_from_its_message(data);
        let said = handle.classify_with(permit, encoding, data).await.map_err(status)?;
        Ok(Response::new(response(id, classified(handle.info(), said))))
    }

    type ClassifyStreamStream = ReceiverStream<Result<ClassifyResponse, Status>>;

    async fn classify_stream(
        &self,
        request: Request<Streaming<ClassifyRequest>>,
    ) -> Result<Response<Self::ClassifyStreamStream>, Status> {
        let (answers, outgoing) = mpsc::channel(1);
        let call = self.call(answers)?;
        tokio::spawn(call.run(request.into_inner(), self.draining.clone()));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    type ClassifyBatchesStream = BoxStream<'static, Result<ClassifyResponses, Status>>;

    async fn classify_batches(
        &self,
        request: Request<Streaming<ClassifyRequests>>,
    ) -> Result<Response<Self::ClassifyBatchesStream>, Status> {
        let (answers, outgoing) = mpsc::channel(TOGETHER);
        let call = self.call(answers)?;
        tokio::spawn(call.run(apart(request.into_inner()), self.draining.clone()));
        Ok(Response::new(together(outgoing)))
    }

    /// It answers in a shutdown, too: who has the last answers may have to know what they mean.
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let models = self.loaded()?.all().map(|(model, share)| description(model.info(), share));
        Ok(Response::new(DescribeResponse { models: models.collect() }))
    }
}

fn description(info: &ModelInfo, share: u32) -> ModelDescription {
    let aliases = info.aliases.iter().map(|(alias, class)| (alias.to_string(), class.to_string()));
    ModelDescription {
        name: info.name.clone(),
        classes: info.classes.iter().map(Label::to_string).collect(),
        aliases: aliases.collect(),
        share,
    }
}

/// A `ClassifyStream` or `ClassifyBatches` call, with a task for each image under way.
struct Call {
    /// Never empty: a call begins after they are loaded.
    models: Arc<OnceLock<Served>>,
    limit: usize,
    answers: mpsc::Sender<Result<ClassifyResponse, Status>>,
    tasks: JoinSet<Result<(), Status>>,
}

impl Call {
    async fn run(
        mut self,
        mut requests: impl Stream<Item = Result<ClassifyRequest, Status>> + Send + Unpin,
        draining: CancellationToken,
    ) {
        let mut end = self.read(&mut requests, &draining).await;
        // What was accepted is answered, unless the model is gone or the client is.
        while let (false, Some(done)) = (is_final(&end), self.tasks.join_next().await) {
            if let Err(failure) = finished(done) {
                end = Err(failure);
            }
        }
        if let Err(status) = end {
            let _ = self.answers.send(Err(status)).await;
        }
    }

    /// Reads requests until the client ends the call or something else does.
    async fn read(
        &mut self,
        requests: &mut (impl Stream<Item = Result<ClassifyRequest, Status>> + Send + Unpin),
        draining: &CancellationToken,
    ) -> Result<(), Status> {
        loop {
            while self.tasks.len() >= self.limit {
                if let Some(done) = self.tasks.join_next().await {
                    finished(done)?;
                }
            }
            let request = tokio::select! {
                biased;
                () = draining.cancelled() => return Err(shutting_down()),
                () = self.answers.closed() => return Err(Status::cancelled("the client has gone")),
                Some(done) = self.tasks.join_next() => {
                    finished(done)?;
                    continue;
                }
                request = requests.try_next() => request?,
            };
            let Some(request) = request else { return Ok(()) };
            self.accept(request).await?;
        }
    }

    async fn accept(&mut self, request: ClassifyRequest) -> Result<(), Status> {
        let (id, answers) = (request.id, self.answers.clone());
        let models = self.models.get().ok_or_else(|| Status::internal("no model is loaded"))?;
        let handle = match models.choose(&request) {
            Ok(handle) => handle.clone(),
            Err(unknown) => {
                let answer = response(id, Outcome::UnknownModel(unknown));
                self.tasks.spawn(async move { send(&answers, answer).await });
                return Ok(());
            }
        };
        match request.into_image() {
            Ok((encoding, data)) => {
                let permit = match handle.acquire(data.len()).await {
                    Ok(permit) => permit,
                    Err(ClassifyError::Rejected(why)) => {
                        let answer = response(id, rejected(why.to_string()));
                        self.tasks.spawn(async move { send(&answers, answer).await });
                        return Ok(());
                    }
                    Err(error) => return Err(status(error)),
                };
                let data = apart_from_its_message(data);
                self.tasks.spawn(async move {
                    let outcome = match handle.classify_with(permit, encoding, data).await {
                        Ok(said) => classified(handle.info(), said),
                        Err(ClassifyError::Rejected(why)) => rejected(why.to_string()),
                        Err(error) => return Err(status(error)),
                    };
                    send(&answers, response(id, outcome)).await
                });
            }
            Err(error) => {
                handle.stats().rejected.inc();
                self.tasks
                    .spawn(async move { send(&answers, response(id, rejected(error.to_string()))).await });
            }
        }
        Ok(())
    }
}

/// The image in memory of its own. What was decoded is a slice of its whole message, which would stay in memory with it, however
/// long its key and its neighbours are, while a permit counts the image alone.
fn apart_from_its_message(data: Bytes) -> Bytes {
    let image = Bytes::copy_from_slice(&data);
    drop(data);
    image
}

async fn send(
    answers: &mpsc::Sender<Result<ClassifyResponse, Status>>,
    response: ClassifyResponse,
) -> Result<(), Status> {
    answers.send(Ok(response)).await.map_err(|_| Status::cancelled("the client has gone"))
}

fn finished(done: Result<Result<(), Status>, JoinError>) -> Result<(), Status> {
    done.unwrap_or_else(|_| Err(Status::internal("a request's task failed")))
}

/// Whether the rest of a call's images need no answers: they would only fail alike.
fn is_final(end: &Result<(), Status>) -> bool {
    matches!(end, Err(status) if matches!(status.code(), tonic::Code::Internal | tonic::Code::Cancelled))
}

fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down")
}

fn response(id: u64, outcome: Outcome) -> ClassifyResponse {
    ClassifyResponse { id, outcome: Some(outcome) }
}

fn classified(info: &ModelInfo, said: Classification) -> Outcome {
    Outcome::Classification(rpc::Classification {
        label: info.classes.get(said.class).map(Label::to_string).unwrap_or_default(),
        confidence: said.confidence,
        model: info.name.clone(),
    })
}

fn rejected(reason: String) -> Outcome {
    Outcome::Rejection(rpc::Rejection { reason })
}

fn status(error: ClassifyError) -> Status {
    let text = error.to_string();
    match error {
        ClassifyError::Rejected(Rejection::TooLarge { .. }) => Status::out_of_range(text),
        ClassifyError::Rejected(_) => Status::invalid_argument(text),
        ClassifyError::Full { .. } => Status::resource_exhausted(text),
        ClassifyError::ShuttingDown => Status::unavailable(text),
        ClassifyError::Model(_) => Status::internal(text),
    }
}
