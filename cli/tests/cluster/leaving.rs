//! Executors that are asked to leave: what they have begun is finished, and nothing is lost.

use crate::support::{World, count_pairs, in_time};
use firesteel_testkit::{Cluster, SOON, wait_until};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_drains_midway_finishes_its_part() {
    let Some(world) = World::new("cluster-drain", 40_000, 10).await else { return };
    let mut cluster = Cluster::start(world.settings(), 2).await;
    let session = world.session(&cluster).await;
    let job = tokio::spawn(async move { count_pairs(&session).await });
    wait_until("tasks run", SOON, async || {
        cluster.get("/api/firesteel/cluster").await.expect("an answer").json()["tasks"]["running"] != 0
    })
    .await;
    cluster.signal(0, 15);
    let counted = in_time("the job", job).await.expect("no panic").expect("a result");
    assert_eq!(counted, world.pairs());
    let (status, said) = cluster.wait_for_end(0, Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("\"message\":\"drained\""), "{said}");
    cluster.wait_for_executors(1).await;

    // Nothing had to be run again, and its folder is gone.
    let failed = cluster.get("/metrics").await.expect("metrics");
    assert_eq!(failed.metric("firesteel_jobs_total{outcome=\"failed\"}"), Some(0.0));
    assert!(!cluster.scheduler_said().contains("Roll back"), "{}", cluster.scheduler_said());
    let left = std::fs::read_dir(cluster.folder()).expect("a folder").count();
    assert_eq!(left, 1, "the work directory of the other one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_executor_leaves_at_once_and_a_second_signal_ends_any() {
    let Some(world) = World::new("cluster-leave", 20_000, 2).await else { return };
    let mut cluster = Cluster::start(world.settings(), 2).await;
    cluster.signal(0, 15);
    let (status, said) = cluster.wait_for_end(0, Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "{said}");
    // Its farewell counts at once, not after the heartbeat's timeout.
    wait_until("the scheduler forgets it", Duration::from_secs(5), async || {
        let now = cluster.get("/api/firesteel/cluster").await.expect("an answer").json();
        now["executors"].as_array().map(Vec::len) == Some(1)
    })
    .await;

    // A job of minutes.
    let session = world.session(&cluster).await;
    let job = tokio::spawn(async move {
        let endless = "SELECT count(*) FROM predictions a JOIN predictions b ON a.producer_id = b.producer_id \
                       JOIN predictions c ON b.producer_id = c.producer_id";
        session.sql(endless).await?.collect().await
    });
    wait_until("tasks run", SOON, async || {
        cluster.get("/api/firesteel/cluster").await.expect("an answer").json()["tasks"]["running"] != 0
    })
    .await;
    cluster.signal(1, 15);
    wait_until("it drains", SOON, async || {
        let now = cluster.get("/api/firesteel/cluster").await.expect("an answer").json();
        now["executors"][0]["status"] == "draining"
    })
    .await;
    cluster.signal(1, 15);
    let (status, _) = cluster.wait_for_end(1, Duration::from_secs(5));
    assert_eq!(status.code(), Some(143));
    job.abort();
}
