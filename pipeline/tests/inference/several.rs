//! Several models in one server: each request gets the one that it is for, and none waits for another.

use crate::assets::rows;
use crate::fake::{Script, Step, image, named};
use crate::server::{Running, config, open, raw, refusal, run};
use firesteel_pipeline::inference::{Client, ClientError, Config, Error, Loaded, Question, Server, Split};
use firesteel_proto::Encoding;
use firesteel_proto::inference::{ClassifyRequest, DescribeRequest, Outcome};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Code;

/// A server with these models, each with its share, and what tells them what to do.
async fn serve(config: Config, models: &[(&str, Option<u32>)]) -> (Running, Vec<Script>) {
    let (loaded, scripts): (Vec<Loaded>, Vec<Script>) = models
        .iter()
        .map(|(name, share)| {
            let (model, script) = named(name);
            (Loaded { models: vec![model], share: *share }, script)
        })
        .unzip();
    let server = Server::bind(config).await.unwrap().with_several(move |_| Ok(loaded));
    let ready = server.ready();
    let running = run(server);
    assert!(ready.wait().await);
    (running, scripts)
}

/// A server whose models answer at once.
async fn prompt(models: &[(&str, Option<u32>)]) -> Running {
    serve(config(), models).await.0
}

fn asking(id: u64, model: &str) -> ClassifyRequest {
    ClassifyRequest { model: model.to_owned(), ..raw(id, 3) }
}

fn answered_by(outcome: Option<&Outcome>) -> &str {
    match outcome {
        Some(Outcome::Classification(said)) => &said.model,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_gets_the_model_that_it_names() {
    let server = prompt(&[("a@1/u8", None), ("b/u8", None), ("a@2/u8", None)]).await;
    let mut rpc = server.rpc();
    for (asked, expected) in [
        ("", "a@1/u8"),
        ("a", "a@1/u8"),
        ("a@2", "a@2/u8"),
        ("a@2/u8", "a@2/u8"),
        ("b", "b/u8"),
        ("b/u8", "b/u8"),
    ] {
        let answer = rpc.classify(asking(1, asked)).await.unwrap().into_inner();
        assert_eq!(answered_by(answer.outcome.as_ref()), expected, "{asked:?}");
    }
    for asked in ["c", "a@3", "b/f32"] {
        let expected = format!("there is no model {asked:?} here: the models are a@1/u8, b/u8, a@2/u8");
        assert_eq!(refusal(&mut rpc, asking(1, asked)).await, (Code::NotFound, expected));
    }
    let (code, said) = refusal(&mut rpc, asking(1, &"c".repeat(10_000))).await;
    assert!(code == Code::NotFound && said.len() < 400, "a name is repeated as far as it can be one: {said}");
    let of = |name: &str| server.stats.of(name).unwrap().images();
    assert_eq!(["a@1/u8", "b/u8", "a@2/u8"].map(of), [2, 2, 2]);
    assert_eq!((server.stats.images(), server.stats.unknown_models()), (6, 4));

    let told = rpc.describe(DescribeRequest {}).await.unwrap().into_inner().models;
    let told: Vec<_> = told.iter().map(|model| (model.name.as_str(), model.share)).collect();
    assert_eq!(told, [("a@1/u8", 1), ("b/u8", 0), ("a@2/u8", 0)]);
    server.stop().await;
}

#[tokio::test]
async fn a_model_that_there_is_not_ends_no_stream() {
    let server = prompt(&[("a/u8", None), ("b/u8", None)]).await;
    let mut rpc = server.rpc();
    let (requests, mut answers) = open(&mut rpc).await;
    let sender = tokio::spawn(async move {
        for id in 0..90 {
            requests.send(asking(id, ["a", "nobody", "b"][(id % 3) as usize])).await.unwrap();
        }
    });
    let mut count = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        count += 1;
        match (answer.id % 3, answer.outcome.as_ref()) {
            (1, Some(Outcome::UnknownModel(unknown))) => {
                assert_eq!((unknown.asked.as_str(), unknown.models.len()), ("nobody", 2));
            }
            (0, outcome) => assert_eq!(answered_by(outcome), "a/u8"),
            (_, outcome) => assert_eq!(answered_by(outcome), "b/u8"),
        }
    }
    sender.await.unwrap();
    assert_eq!((count, server.stats.unknown_models()), (90, 30));
    server.stop().await;
}

#[tokio::test]
async fn images_that_ask_for_none_are_shared_out_by_their_key_and_else_by_their_bytes() {
    let shares = [Some(3), None, Some(1)];
    let names = ["a/u8", "b/u8", "c/u8"];
    let server = prompt(&[0, 1, 2].map(|model| (names[model], shares[model]))).await;
    let (mut rpc, split) = (server.rpc(), Split::new(&shares).unwrap());
    let mut ask = async |key: &str, class| {
        let key = key.to_owned().into_bytes().into();
        let answer = rpc.classify(ClassifyRequest { key, ..raw(1, class) }).await.unwrap().into_inner();
        answered_by(answer.outcome.as_ref()).to_owned()
    };
    let mut counts = [0, 0, 0];
    for sequence in 0..40 {
        let key = format!("00000001:{sequence}");
        let expected = split.of(key.as_bytes());
        counts[expected] += 1;
        assert_eq!(ask(&key, 1).await, names[expected]);
        assert_eq!(ask(&key, 2).await, names[expected], "whatever the image is");
    }
    assert!(counts[0] > counts[2] && counts[2] > 0 && counts[1] == 0, "{counts:?}");
    for class in 0..10 {
        let expected = names[split.of(&image(class))];
        assert_eq!([ask("", class).await, ask("", class).await], [expected, expected]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_model_that_is_stuck_keeps_no_other_from_answering() {
    let config = Config { queue: 2, ..config() };
    let (server, mut scripts) = serve(config, &[("slow/u8", None), ("quick/u8", None)]).await;
    let quick = scripts.pop().unwrap();
    let mut slow = scripts.pop().unwrap();
    drop(quick);
    let mut rpc = server.rpc();
    let waiting: Vec<_> = (0..2)
        .map(|id| {
            let mut rpc = rpc.clone();
            tokio::spawn(async move { rpc.classify(asking(id, "slow")).await })
        })
        .collect();
    let begun = slow.started().await;
    while server.stats.of("slow/u8").unwrap().queued() < 2 - begun as u64 {
        tokio::task::yield_now().await;
    }
    let (code, _) = refusal(&mut rpc, asking(9, "slow")).await;
    assert_eq!(code, Code::ResourceExhausted, "its own queue is full");
    for id in 10..20 {
        let answer = rpc.classify(asking(id, "quick")).await.unwrap().into_inner();
        assert_eq!(answered_by(answer.outcome.as_ref()), "quick/u8");
    }
    assert_eq!(server.stats.of("quick/u8").unwrap().refused(), 0);
    drop(slow);
    for call in waiting {
        call.await.unwrap().unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn a_model_that_panics_ends_the_server_whichever_it_is() {
    let (server, mut scripts) = serve(config(), &[("a/u8", None), ("b/u8", None)]).await;
    let mut rpc = server.rpc();
    let call = tokio::spawn(async move { refusal(&mut rpc, asking(1, "b")).await });
    scripts[1].started().await;
    scripts[1].go(Step::Panic);
    assert_eq!(call.await.unwrap(), (Code::Internal, "b/u8 panicked: was told to panic".to_owned()));
    let error = server.ended.await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Panicked { model, .. } if model == "b/u8"), "{error}");
}

#[tokio::test]
async fn a_client_is_told_which_models_there_are() {
    let server = prompt(&[("a/u8", None), ("b/u8", None)]).await;
    let client = Client::connect(&server.url, Duration::from_secs(10)).await.unwrap();
    assert_eq!(client.models().await.unwrap(), ["a/u8", "b/u8"]);
    let question =
        |model: &str| Question { model: model.to_owned(), ..Question::of(Encoding::Rgb8, image(1).into()) };
    client.ask(question("b")).await.unwrap();
    for answer in [client.ask(question("c")).await, client.ask_alone(question("c")).await] {
        let error = answer.unwrap_err();
        assert!(matches!(error, ClientError::UnknownModel { .. }), "{error}");
        assert!(error.to_string().ends_with("no model \"c\" here: the models are a/u8, b/u8"), "{error}");
        assert!(error.is_transient() && !error.may_be_an_image());
    }
    client.ask(question("a")).await.unwrap();
    server.stop().await;
}

/// Image 1 makes model b fail, and model a answers for another: that says nothing of image 1, as long as b answers for none.
#[tokio::test]
async fn an_image_is_not_blamed_because_another_model_is_well() {
    let (server, mut scripts) = serve(config(), &[("a/u8", None), ("b/u8", None)]).await;
    let mut b = scripts.pop().unwrap();
    drop(scripts);
    let client = Client::connect(&server.url, Duration::from_secs(10)).await.unwrap();
    let question =
        |model: &str| Question { model: model.to_owned(), ..Question::of(Encoding::Rgb8, image(1).into()) };
    client.ask(question("a")).await.unwrap();
    let asked = tokio::spawn(async move { client.ask_alone(question("b")).await });
    for _ in 0..2 {
        b.started().await;
        b.go(Step::Fail);
    }
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Status { .. }), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn models_of_the_settings_are_loaded_and_those_that_cannot_be_are_named() {
    let config = |models: &[&str]| Config {
        models: models.iter().map(|text| text.parse().unwrap()).collect(),
        ..config()
    };
    let server =
        Server::bind(config(&["shipped,precision=f32,share=1", "small=shipped,precision=int8,share=1"]))
            .await
            .unwrap();
    let ready = server.ready();
    let server = run(server);
    assert!(ready.wait().await);
    let mut rpc = server.rpc();
    let told = rpc.describe(DescribeRequest {}).await.unwrap().into_inner().models;
    let names: Vec<_> = told.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["resnet18-cifar10/f32", "small/int8"]);
    let (_, jpeg) = rows(1).swap_remove(0);
    for (asked, expected) in [("resnet18-cifar10", names[0]), ("small", names[1])] {
        let request = ClassifyRequest::of(1, Encoding::Jpeg, jpeg.clone().into());
        let answer = rpc.classify(ClassifyRequest { model: asked.to_owned(), ..request }).await.unwrap();
        assert_eq!(answered_by(answer.into_inner().outcome.as_ref()), expected);
    }
    server.stop().await;

    for (models, words) in [
        (
            &["shipped,precision=f32", "shipped,precision=f32"][..],
            "two models are called resnet18-cifar10/f32",
        ),
        (&["shipped", "b=/nowhere/b.safetensors"], "/nowhere/b.safetensors"),
        (&["a=shipped,share=0", "b=shipped,share=0"], "share"),
    ] {
        let server = Server::bind(config(models)).await.unwrap();
        let error = server.run(CancellationToken::new()).await.unwrap_err().to_string();
        assert!(error.contains(words), "{models:?}: {error}");
    }
}
