//! What the inference server tells of itself over HTTP.

use crate::fake::{Step, fake, image};
use crate::server::{config, run};
use firesteel_pipeline::health;
use firesteel_pipeline::inference::{Metrics, Server};
use firesteel_proto::Encoding;
use firesteel_proto::inference::ClassifyRequest;
use firesteel_testkit::http;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A metric of the one model.
fn of_model(name: &str) -> String {
    format!("{name}{{model=\"fake/u8\"}}")
}

#[tokio::test]
async fn it_is_ready_while_it_serves_and_counts_what_it_has_answered() {
    let (model, mut script) = fake();
    let server = Server::bind(config()).await.unwrap().with_models(move |_| Ok(vec![model]));
    let (metrics, ready) = (Metrics::of(&server), server.ready());
    let told = health::Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let (address, shutdown) = (told.address(), CancellationToken::new());
    let told = tokio::spawn(told.run(Arc::new(metrics), shutdown.clone()));
    let get = async |path| http(address, "GET", path).await.unwrap();
    assert_eq!((get("/healthz").await.status, get("/readyz").await.status), (200, 503));
    let server = run(server);
    assert!(ready.wait().await);
    assert_eq!(get("/readyz").await.status, 200);

    let classify = |data: Vec<u8>| {
        let mut rpc = server.rpc();
        tokio::spawn(async move { rpc.classify(ClassifyRequest::of(1, Encoding::Rgb8, data.into())).await })
    };
    let call = classify(image(3));
    assert_eq!(script.started().await, 1);
    assert_eq!(
        get("/metrics").await.metric(&of_model("firesteel_inference_seconds_count")),
        Some(0.0),
        "not yet"
    );
    script.go(Step::Answer);
    call.await.unwrap().unwrap();
    classify(vec![1; 5]).await.unwrap().unwrap_err();
    let call = classify(image(4));
    script.started().await;
    script.go(Step::Fail);
    call.await.unwrap().unwrap_err();

    let metrics = get("/metrics").await;
    let images = |outcome| {
        metrics
            .metric(&format!("firesteel_inference_images_total{{model=\"fake/u8\",outcome=\"{outcome}\"}}"))
    };
    let outcomes = ["classified", "rejected", "failed", "refused"].map(images);
    assert_eq!(outcomes, [Some(1.0), Some(1.0), Some(1.0), Some(0.0)]);
    for (name, value) in [
        (of_model("firesteel_inference_queue_images"), 0.0),
        (of_model("firesteel_inference_batch_images_sum"), 1.0),
        ("firesteel_inference_batch_images_bucket{model=\"fake/u8\",le=\"1\"}".to_owned(), 1.0),
        (of_model("firesteel_inference_seconds_count"), 1.0),
        ("firesteel_inference_unknown_models_total".to_owned(), 0.0),
    ] {
        assert_eq!(metrics.metric(&name), Some(value), "{name}");
    }
    server.stop().await;
    assert_eq!(get("/readyz").await.status, 503);
    shutdown.cancel();
    told.await.unwrap();
}
