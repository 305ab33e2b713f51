//! A store that goes away and comes back: retried, never a dead letter.

use crate::world::{Running, World, ids, some_predictions};
use firesteel_pipeline::consumer::predictions;
use firesteel_pipeline::kafka::{TopicSpec, dead_letter_topic, ensure_topics, watermarks};
use firesteel_pipeline::sink::MongoConfig;
use firesteel_testkit::{Proxy, SOON, wait_until};
use mongodb::options::ClientOptions;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_waited_for_and_nothing_is_lost() {
    let Some(world) = World::new("away") else { return };
    let target =
        ClientOptions::parse(world.mongo.uri.expose()).await.expect("an address").hosts[0].to_string();
    let proxy = Proxy::start(target, false).await;
    let uri = format!("mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=500", proxy.address());
    let mongo = MongoConfig { uri: uri.into(), ..world.mongo.clone() };
    ensure_topics(&world.kafka, "test", &[TopicSpec::new(&world.predictions)]).await.expect("the topic");
    let records = some_predictions(1, 2_000);
    world.publish_predictions(&records[..1_000]).await;

    // It is away when the consumer starts.
    let consumer =
        Running::predictions(predictions::Config { mongo, max_batch: 50, ..world.prediction_consumer() });
    let retries = || consumer.stats.snapshot().retries;
    wait_until("it was tried", SOON, async || retries() >= 2).await;
    proxy.mend();
    wait_until("the first are stored", SOON, async || consumer.stats.snapshot().succeeded >= 100).await;
    // It goes away while records are being written.
    proxy.cut();
    world.publish_predictions(&records[1_000..]).await;
    let before = retries();
    wait_until("it is missed", SOON, async || retries() >= before + 2).await;
    assert!(consumer.stats.snapshot().succeeded < 2_000, "the cut came in the middle");
    proxy.mend();
    wait_until("all are stored and committed", SOON, async || {
        let stats = consumer.stats.snapshot();
        stats.succeeded >= 2_000 && stats.committed >= 2_000
    })
    .await;
    assert_eq!(consumer.stats.snapshot().dead_lettered, 0);
    consumer.stop().await;
    assert_eq!(world.document_ids().await, ids(&records));
    let dead = watermarks(&world.kafka, &dead_letter_topic(&world.predictions)).await.expect("the topic");
    assert!(dead.values().all(|(_, high)| *high == 0), "no dead letter");
}
