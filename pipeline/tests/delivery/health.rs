//! What a consumer tells of itself over HTTP is what is so: ready or not, how far behind, what became of its records.

use crate::inference::FakeInference;
use crate::topic;
use crate::world::{Running, World, some_predictions};
use firesteel_pipeline::consumer::{Metrics, images, predictions};
use firesteel_pipeline::health::{HealthSource, Server};
use firesteel_pipeline::kafka::{TopicSpec, dead_letter_topic, ensure_topics};
use firesteel_pipeline::producer;
use firesteel_testkit::{Answer, SOON, cifar, http, wait_until};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LAG: &str = "firesteel_consumer_lag_records{";

/// A health server that runs until it is stopped.
struct Health {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Health {
    async fn of(source: impl HealthSource) -> Self {
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let (address, shutdown) = (server.address(), CancellationToken::new());
        let task = tokio::spawn(server.run(Arc::new(source), shutdown.clone()));
        Self { address, shutdown, task }
    }

    async fn get(&self, path: &str) -> Answer {
        http(self.address, "GET", path).await.expect("an answer")
    }

    async fn is_ready(&self) -> bool {
        self.get("/readyz").await.status == 200
    }

    /// The sum of the samples whose lines begin with `start`; `None` where there are none.
    async fn sum(&self, start: &str) -> Option<f64> {
        let answer = self.get("/metrics").await;
        let samples = answer.body.lines().filter(|line| line.starts_with(start));
        let values: Vec<f64> = samples
            .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_consumer_tells_its_readiness_its_lag_and_its_counts() {
    let Some(world) = World::new("health-images") else { return };
    let server = FakeInference::start(13).await;
    let config = images::Config { max_in_flight: 5, ..world.image_consumer(&server.url) };
    let consumer = Running::images(config.clone());
    let health = Health::of(Metrics::images(&config, Arc::clone(&consumer.stats))).await;
    assert_eq!(health.get("/healthz").await.status, 200);
    wait_until("it has its partitions", SOON, async || health.is_ready().await).await;

    server.set_down(true);
    let produce = async |producers| {
        let all = world.producer(Path::new("unused"));
        let config = producer::Config { producers, images: Some(20), ledger: None, ..all };
        producer::run(config, Arc::default(), CancellationToken::new()).await.expect("produced");
    };
    produce(3).await;
    wait_until("the server is missed", SOON, async || !health.is_ready().await).await;
    assert_eq!(health.get("/readyz").await.body, "inference server is unavailable\n");
    wait_until("it is behind by all images", SOON, async || health.sum(LAG).await == Some(60.0)).await;
    // It fetches nothing while it waits, and knows all the same that there is more.
    produce(2).await;
    wait_until("it is behind by more", SOON, async || health.sum(LAG).await == Some(100.0)).await;
    assert!(health.sum("firesteel_records_in_flight{").await >= Some(1.0));
    assert!(health.sum("firesteel_retries_total{").await >= Some(1.0));
    assert_eq!(health.sum("firesteel_records_total{").await, Some(0.0));

    server.set_down(false);
    let records = "firesteel_records_total{";
    wait_until("all are done", SOON, async || health.sum(records).await == Some(100.0)).await;
    wait_until("nothing is left", SOON, async || health.sum(LAG).await == Some(0.0)).await;
    assert!(health.is_ready().await);
    let metrics = health.get("/metrics").await;
    let count = async |topic: &str| Some(topic::read(&world.kafka, topic).await.len() as f64);
    let outcome =
        |name: &str| format!("firesteel_records_total{{outcome=\"{name}\",role=\"consume-images\"}}");
    let succeeded = metrics.metric(&outcome("succeeded"));
    assert_eq!(succeeded, count(&world.predictions).await);
    assert_eq!(metrics.metric(&outcome("dead_lettered")), count(&dead_letter_topic(&world.images)).await);
    assert_eq!(metrics.metric("firesteel_image_seconds_count"), succeeded);
    assert_eq!(metrics.metric("firesteel_records_in_flight{role=\"consume-images\"}"), Some(0.0));
    consumer.stop().await;
    assert_eq!(health.sum(LAG).await, None, "it has given its partitions up");
    health.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_consumer_tells_what_is_right_and_what_is_wrong_by_class() {
    let Some(world) = World::new("health-predictions") else { return };
    let topic = TopicSpec::new(&world.predictions).with_partitions(4);
    ensure_topics(&world.kafka, "test", &[topic]).await.expect("the topic");
    let mut records = some_predictions(1, 50);
    records.iter_mut().skip(43).for_each(|record| record.label = None);
    world.publish_predictions(&records).await;
    world.publish(&world.predictions, [(b"k".as_slice(), Some(b"garbage".as_slice()))]).await;

    let config: predictions::Config = world.prediction_consumer();
    let consumer = Running::predictions(config.clone());
    let health = Health::of(Metrics::predictions(&config, Arc::clone(&consumer.stats))).await;
    let outcome =
        |name: &str| format!("firesteel_records_total{{outcome=\"{name}\",role=\"consume-predictions\"}}");
    wait_until("all are done", SOON, async || {
        let metrics = health.get("/metrics").await;
        metrics.metric(&outcome("succeeded")) == Some(50.0)
            && metrics.metric(&outcome("dead_lettered")) == Some(1.0)
    })
    .await;
    wait_until("nothing is left", SOON, async || health.sum(LAG).await == Some(0.0)).await;
    assert!(health.is_ready().await);
    let metrics = health.get("/metrics").await;
    assert_eq!(metrics.metric("firesteel_unlabelled_predictions_total"), Some(7.0));
    for label in cifar::classes() {
        for correct in [true, false] {
            let expected =
                records.iter().filter(|r| r.label.as_ref() == Some(&label) && r.correct() == Some(correct));
            let expected = expected.count();
            let name = format!("firesteel_predictions_total{{correct=\"{correct}\",label=\"{label}\"}}");
            assert_eq!(metrics.metric(&name), Some(expected as f64), "{name}");
        }
    }
    consumer.stop().await;
    health.stop().await;
}
