//! Members come and go: the partitions move and no record is lost.

use crate::world::{Running, World, ids, some_predictions};
use firesteel_pipeline::Result;
use firesteel_pipeline::consumer::predictions;
use firesteel_pipeline::kafka::{TopicSpec, ensure_topics};
use firesteel_pipeline::sink::{MemorySink, Sink, Written};
use firesteel_proto::PredictionRecord;
use firesteel_testkit::{SOON, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Writes to a shared store while its gate is open; says how many writes wait at it.
#[derive(Debug)]
pub(crate) struct Gated {
    inner: Arc<MemorySink>,
    gate: watch::Receiver<bool>,
    waiting: AtomicU64,
}

#[async_trait::async_trait]
impl Sink for Gated {
    async fn write(&self, batch: &[PredictionRecord]) -> Result<Written> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.gate.clone().wait_for(|open| *open).await.expect("the test holds the gate");
        self.inner.write(batch).await
    }
}

pub(crate) fn start(config: predictions::Config, sink: Arc<Gated>) -> Running {
    Running::start(|stats, shutdown| async move {
        predictions::run_with(config, sink.as_ref(), stats, shutdown).await
    })
}

pub(crate) fn gated(inner: &Arc<MemorySink>, open: bool) -> (watch::Sender<bool>, Arc<Gated>) {
    let (gate, receiver) = watch::channel(open);
    (gate, Arc::new(Gated { inner: Arc::clone(inner), gate: receiver, waiting: AtomicU64::new(0) }))
}

fn stored(store: &MemorySink) -> usize {
    store.records().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_stalled_gives_up_partitions_and_loses_nothing() {
    let Some(world) = World::new("stalled") else { return };
    ensure_topics(&world.kafka, "test", &[TopicSpec::new(&world.predictions).with_partitions(8)])
        .await
        .expect("the topic");
    let records: Vec<_> = (0..40).flat_map(|producer| some_predictions(producer, 50)).collect();
    world.publish_predictions(&records).await;
    let store = Arc::new(MemorySink::default());
    let small = || predictions::Config { max_in_flight: 20, max_batch: 10, ..world.prediction_consumer() };

    let (gate, sink) = gated(&store, false);
    let stalled = start(small(), Arc::clone(&sink));
    wait_until("the first member is full", SOON, async || stalled.stats.snapshot().in_flight >= 20).await;
    // The second can only get partitions if the first answers the rebalance although it takes no records.
    let (_open, free) = gated(&store, true);
    let second = start(small(), free);
    wait_until("the second member has got partitions", SOON, async || stored(&store) > 0).await;
    let stats = stalled.stats.snapshot();
    assert_eq!((stats.succeeded, stats.committed), (0, 0), "{stats:?}");
    // Records of partitions that arrive during the pause may come on top, one for each poll.
    assert!(stats.in_flight <= 20 + 8, "{stats:?}");
    assert!(sink.waiting.load(Ordering::SeqCst) > 0);

    gate.send_replace(true);
    wait_until("every record is stored", SOON, async || stored(&store) == records.len()).await;

    // The partitions that were taken from it while it was stalled come back, and flow.
    second.stop().await;
    let late: Vec<_> = (100..140).flat_map(|producer| some_predictions(producer, 5)).collect();
    world.publish_predictions(&late).await;
    let all = [records, late].concat();
    wait_until("the late ones are stored too", SOON, async || stored(&store) == all.len()).await;
    stalled.stop().await;
    assert_eq!(ids(&store.records()), ids(&all));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_lose_nothing() {
    let Some(world) = World::new("members") else { return };
    ensure_topics(&world.kafka, "test", &[TopicSpec::new(&world.predictions).with_partitions(8)])
        .await
        .expect("the topic");
    let store = Arc::new(MemorySink::default());
    let (_gate, sink) = gated(&store, true);
    let config = || predictions::Config { max_in_flight: 50, max_batch: 10, ..world.prediction_consumer() };
    let consumed = |member: &Running| member.stats.snapshot().consumed;
    // Each part is spread over all partitions, so a member that has any partition gets a share of it.
    let part = |index: u32| -> Vec<PredictionRecord> {
        (0..40).flat_map(|producer| some_predictions(index * 100 + producer, 20)).collect()
    };
    let parts: Vec<_> = (0..4).map(part).collect();

    let first = start(config(), Arc::clone(&sink));
    world.publish_predictions(&parts[0]).await;
    wait_until("the first member works", SOON, async || consumed(&first) > 0).await;
    let second = start(config(), Arc::clone(&sink));
    world.publish_predictions(&parts[1]).await;
    // Whoever owns the partitions now: go on publishing until the newcomer has a share.
    wait_until("the second member works", SOON, async || {
        world.publish_predictions(&parts[1][..40]).await;
        consumed(&second) > 0
    })
    .await;
    first.stop().await;
    world.publish_predictions(&parts[2]).await;
    let third = start(config(), Arc::clone(&sink));
    world.publish_predictions(&parts[3]).await;
    let all: Vec<_> = parts.concat();
    wait_until("every record is stored", SOON, async || stored(&store) == all.len()).await;
    second.stop().await;
    third.stop().await;
    assert_eq!(ids(&store.records()), ids(&all));
}
