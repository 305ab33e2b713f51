//! The server over real gRPC, on a free port, with a model that the test drives and with the shipped one.

use crate::assets::{reference, rows};
use crate::fake::{Script, Step, fake, image, prompt};
use firesteel_pipeline::inference::{Config, Error, Model, ModelSpec, Result, Server, ServerStats};
use firesteel_proto::Encoding;
use firesteel_proto::inference::{
    ClassifyRequest, ClassifyResponse, DescribeRequest, InferenceClient, Outcome, SERVICE_NAME,
};
use firesteel_testkit::cifar::CLASSES;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A running server and how to end it.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) stats: Arc<ServerStats>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: JoinHandle<Result<()>>,
}

pub(crate) fn config() -> Config {
    Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() }
}

pub(crate) fn run(server: Server) -> Running {
    let shutdown = CancellationToken::new();
    let (url, stats) = (format!("http://{}", server.address()), server.stats());
    let ended = tokio::spawn(server.run(shutdown.clone()));
    Running { url, stats, shutdown, ended }
}

pub(crate) async fn serve(config: Config, model: Box<dyn Model>) -> Running {
    let server = Server::bind(config).await.unwrap().with_models(move |_| Ok(vec![model]));
    let ready = server.ready();
    let running = run(server);
    assert!(ready.wait().await);
    running
}

pub(crate) async fn serve_scripted(config: Config) -> (Running, Script) {
    let (model, script) = fake();
    (serve(config, model).await, script)
}

impl Running {
    pub(crate) fn rpc(&self) -> InferenceClient<Channel> {
        InferenceClient::new(self.channel())
    }

    fn channel(&self) -> Channel {
        Channel::from_shared(self.url.clone()).unwrap().connect_lazy()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap();
    }

    async fn health(&self, service: &str) -> ServingStatus {
        let mut client = HealthClient::new(self.channel());
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.unwrap().into_inner().status()
    }
}

pub(crate) fn raw(id: u64, class: usize) -> ClassifyRequest {
    ClassifyRequest::of(id, Encoding::Rgb8, image(class).into())
}

pub(crate) async fn open(
    rpc: &mut InferenceClient<Channel>,
) -> (mpsc::Sender<ClassifyRequest>, Streaming<ClassifyResponse>) {
    let (requests, outgoing) = mpsc::channel(16);
    (requests, rpc.classify_stream(ReceiverStream::new(outgoing)).await.unwrap().into_inner())
}

fn label(response: &ClassifyResponse) -> &str {
    match response.outcome.as_ref().unwrap() {
        Outcome::Classification(said) => &said.label,
        Outcome::Rejection(why) => panic!("{}", why.reason),
        Outcome::UnknownModel(unknown) => panic!("{}", unknown.text()),
    }
}

pub(crate) async fn refusal(rpc: &mut InferenceClient<Channel>, request: ClassifyRequest) -> (Code, String) {
    let status = rpc.classify(request).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn one_image_by_a_unary_call() {
    let server = serve(config(), prompt()).await;
    let mut rpc = server.rpc();
    let response = rpc.classify(raw(42, 3)).await.unwrap().into_inner();
    assert_eq!(response.id, 42);
    let Some(Outcome::Classification(said)) = response.outcome else { panic!("{response:?}") };
    assert_eq!((said.label.as_str(), said.model.as_str()), ("cat", "fake/u8"));
    assert!((said.confidence - 0.9428).abs() < 1e-3, "e^5 / (e^5 + 9): {}", said.confidence);
    server.stop().await;
}

#[tokio::test]
async fn a_model_is_described_with_its_classes_in_their_order() {
    let server = serve(config(), prompt()).await;
    let told = server.rpc().describe(DescribeRequest {}).await.unwrap().into_inner();
    let [model] = &told.models[..] else { panic!("{told:?}") };
    assert_eq!((model.name.as_str(), &model.classes[..]), ("fake/u8", &CLASSES.map(str::to_owned)[..]));
    assert_eq!(model.aliases.get("plane").map(String::as_str), Some("airplane"));
    assert_eq!((model.aliases.len(), model.share), (1, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_bad_image_is_an_invalid_argument() {
    let config = Config { max_image_bytes: 1 << 20, max_message_bytes: 4 << 20, ..config() };
    let server = serve(config, prompt()).await;
    let mut rpc = server.rpc();
    let mut check = async |request, code, reason: &str| {
        let (found, message) = refusal(&mut rpc, request).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(reason), "{message}");
    };
    let of = |encoding, data: Vec<u8>| ClassifyRequest::of(1, encoding, data.into());
    check(of(Encoding::Jpeg, vec![1; 9]), Code::InvalidArgument, "not a readable JPEG image").await;
    check(of(Encoding::Rgb8, vec![1; 9]), Code::InvalidArgument, "9 bytes of raw RGB").await;
    check(of(Encoding::Png, vec![]), Code::InvalidArgument, "the image has no data").await;
    check(ClassifyRequest { encoding: 77, ..raw(1, 1) }, Code::InvalidArgument, "unknown image encoding 77")
        .await;
    check(of(Encoding::Png, vec![1; (1 << 20) + 1]), Code::OutOfRange, "more than the limit of 1048576")
        .await;
    check(of(Encoding::Png, vec![1; 5 << 20]), Code::OutOfRange, "limit").await;
    assert_eq!(label(&rpc.classify(raw(1, 9)).await.unwrap().into_inner()), "truck");
    assert_eq!(server.stats.rejections(), 5, "the message over 4 MiB never became one");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_past_bad_images() {
    let server = serve(config(), prompt()).await;
    let mut rpc = server.rpc();
    let (requests, mut answers) = open(&mut rpc).await;
    let sender = tokio::spawn(async move {
        for id in 0..300_u64 {
            let request = match id % 3 {
                0 => ClassifyRequest::of(id, Encoding::Jpeg, b"no jpeg".as_slice().into()),
                1 => ClassifyRequest { encoding: 0, ..raw(id, 1) },
                _ => raw(id, usize::try_from(id % 10).unwrap()),
            };
            requests.send(request).await.unwrap();
        }
    });
    let mut seen = [false; 300];
    while let Some(answer) = answers.message().await.unwrap() {
        let id = usize::try_from(answer.id).unwrap();
        assert!(!std::mem::replace(&mut seen[id], true), "{id} twice");
        match (id % 3, answer.outcome.as_ref().unwrap()) {
            (0, Outcome::Rejection(why)) => assert!(why.reason.contains("not a readable JPEG")),
            (1, Outcome::Rejection(why)) => assert_eq!(why.reason, "unknown image encoding 0"),
            (2, Outcome::Classification(said)) => assert_eq!(said.label, CLASSES[id % 10]),
            other => panic!("{id}: {other:?}"),
        }
    }
    sender.await.unwrap();
    assert!(seen.iter().all(|seen| *seen), "every request has its answer");
    assert_eq!((server.stats.images(), server.stats.rejections()), (100, 200));
    server.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_a_unary_call_and_makes_a_stream_wait() {
    let (server, mut script) = serve_scripted(Config { queue: 2, ..config() }).await;
    let mut rpc = server.rpc();
    let (requests, mut answers) = open(&mut rpc).await;
    requests.send(raw(0, 0)).await.unwrap();
    assert_eq!(script.started().await, 1);
    for id in 1..5 {
        requests.send(raw(id, 1)).await.unwrap();
    }
    while server.stats.queued() < 1 {
        tokio::task::yield_now().await;
    }
    let (code, message) = refusal(&mut rpc, raw(9, 9)).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert!(message.starts_with("the queue is full: 2 images"), "{message}");
    drop(requests);
    drop(script);
    let mut ids = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        ids.push(answer.id);
    }
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
    server.stop().await;
}

#[tokio::test]
async fn a_failing_model_is_an_internal_error() {
    let (server, mut script) = serve_scripted(config()).await;
    let mut rpc = server.rpc();
    let mut unary = rpc.clone();
    let call = tokio::spawn(async move { refusal(&mut unary, raw(1, 1)).await });
    script.started().await;
    script.go(Step::Fail);
    assert_eq!(call.await.unwrap(), (Code::Internal, "fake/u8 was told to fail".to_owned()));

    let (requests, mut answers) = open(&mut rpc).await;
    requests.send(raw(1, 1)).await.unwrap();
    script.started().await;
    script.go(Step::Fail);
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Internal);
    script.go(Step::Answer);
    assert_eq!(label(&rpc.classify(raw(1, 2)).await.unwrap().into_inner()), "bird", "the server lives on");
    server.stop().await;
}

#[tokio::test]
async fn a_panicking_model_ends_the_server_with_an_error() {
    let (server, mut script) = serve_scripted(config()).await;
    let mut rpc = server.rpc();
    let call = tokio::spawn(async move { refusal(&mut rpc, raw(1, 1)).await });
    script.started().await;
    script.go(Step::Panic);
    assert_eq!(call.await.unwrap(), (Code::Internal, "fake/u8 panicked: was told to panic".to_owned()));
    let error = server.ended.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Panicked { .. }), "{error}");
}

#[tokio::test]
async fn a_shutdown_answers_what_it_has_read() {
    let (server, mut script) = serve_scripted(config()).await;
    let mut rpc = server.rpc();
    let mut unary = rpc.clone();
    let (requests, mut answers) = open(&mut rpc).await;
    requests.send(raw(0, 0)).await.unwrap();
    script.started().await;
    let waiting = tokio::spawn(async move { unary.classify(raw(9, 9)).await });
    requests.send(raw(1, 1)).await.unwrap();
    while server.stats.queued() < 2 {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    drop(script);
    let mut ids = Vec::new();
    let status = loop {
        match answers.message().await {
            Ok(Some(answer)) => ids.push(answer.id),
            Ok(None) => panic!("the end has a reason"),
            Err(status) => break status,
        }
    };
    assert!(ids.contains(&0) && ids.contains(&1), "{ids:?}");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the server is shutting down"));
    assert_eq!(label(&waiting.await.unwrap().unwrap().into_inner()), "truck");
    server.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn health_follows_the_life_of_the_model() {
    let (model, mut script) = fake();
    let (allow, allowed) = std::sync::mpsc::channel::<()>();
    let server = Server::bind(config()).await.unwrap().with_models(move |_| {
        allowed.recv().unwrap();
        Ok(vec![model])
    });
    let ready = server.ready();
    let running = run(server);
    for service in ["", SERVICE_NAME] {
        assert_eq!(running.health(service).await, ServingStatus::NotServing, "while loading");
    }
    let mut rpc = running.rpc();
    let loading = (Code::Unavailable, "the model is still loading".to_owned());
    assert_eq!(refusal(&mut rpc, raw(1, 1)).await, loading);

    allow.send(()).unwrap();
    assert!(ready.wait().await);
    for service in ["", SERVICE_NAME] {
        assert_eq!(running.health(service).await, ServingStatus::Serving);
    }

    let mut watching = HealthClient::new(running.channel());
    let mut changes = watching.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let call = tokio::spawn(async move { rpc.classify(raw(1, 1)).await });
    script.started().await;
    running.shutdown.cancel();
    assert_eq!(
        changes.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing,
        "while draining"
    );
    drop(changes);
    script.go(Step::Answer);
    assert_eq!(label(&call.await.unwrap().unwrap().into_inner()), "automobile");
    running.ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn reflection_describes_the_service() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let server = serve(config(), prompt()).await;
    let mut client = ServerReflectionClient::new(server.channel());
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let questions = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SERVICE_NAME.to_owned())),
    ]);
    let mut answers = client.server_reflection_info(questions).await.unwrap().into_inner();
    let services = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = services else { panic!("{services:?}") };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    assert!(
        names.contains(&"firesteel.v1.Inference") && names.contains(&"grpc.health.v1.Health"),
        "{names:?}"
    );
    let file = answers.message().await.unwrap().unwrap().message_response.unwrap();
    assert!(
        matches!(file, MessageResponse::FileDescriptorResponse(f) if !f.file_descriptor_proto.is_empty())
    );
    drop(answers);
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = serve(config(), prompt()).await;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    let error = Server::bind(Config { listen: address, ..config() }).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("inference server: cannot listen on {address} (inference.listen): ")),
        "{error}"
    );
    server.stop().await;
}

#[tokio::test]
async fn weights_that_do_not_fit_end_the_server_before_it_is_ready() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"hello").unwrap();
    let models = vec![ModelSpec::of(file.path())];
    let server = Server::bind(Config { models, ..config() }).await.unwrap();
    let ready = server.ready();
    let error = server.run(CancellationToken::new()).await.unwrap_err().to_string();
    assert!(
        error.contains(&file.path().display().to_string()) && error.contains("not a safetensors file"),
        "{error}"
    );
    assert!(!ready.wait().await);
}

#[tokio::test]
async fn the_shipped_model_names_real_images() {
    let server = Server::bind(config()).await.unwrap();
    let ready = server.ready();
    let server = run(server);
    assert!(ready.wait().await);
    let mut rpc = server.rpc();
    let (requests, mut answers) = open(&mut rpc).await;
    tokio::spawn(async move {
        for (id, (_, jpeg)) in rows(64).into_iter().enumerate() {
            requests.send(ClassifyRequest::of(id as u64, Encoding::Jpeg, jpeg.into())).await.unwrap();
        }
    });
    let reference = reference();
    let mut same = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        let row = &reference.logits[usize::try_from(answer.id).unwrap() * 10..][..10];
        let best = (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        same += usize::from(label(&answer) == CLASSES[best]);
    }
    assert!(same >= 63, "{same} of 64 are the reference's");
    server.stop().await;
}
