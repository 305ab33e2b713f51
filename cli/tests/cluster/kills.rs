//! Executors that are killed at any moment: the right result or a clear error, never a wrong count, never a hang.

use crate::support::{World, count_pairs, in_time};
use firesteel_engine::Error;
use firesteel_testkit::{Cluster, SOON, wait_until};

/// Until tasks of a job run.
async fn tasks_run(cluster: &Cluster) {
    wait_until("tasks run", SOON, async || {
        cluster.get("/api/firesteel/cluster").await.expect("an answer").json()["tasks"]["running"] != 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_executors_killed_is_a_clear_error_or_the_result_of_the_next_one() {
    let Some(world) = World::new("cluster-all", 40_000, 10).await else { return };
    let settings = world.settings().scheduler(&["--no-executors-grace-period-seconds", "5"]);
    let mut cluster = Cluster::start(settings, 2).await;
    for comes_back in [true, false] {
        let session = world.session(&cluster).await;
        let job = tokio::spawn(async move { count_pairs(&session).await });
        tasks_run(&cluster).await;
        for number in cluster.executors() {
            cluster.kill(number);
        }
        cluster.wait_for_executors(0).await;
        if comes_back {
            cluster.add_executor();
        }
        let ended = in_time("the job", job).await.expect("no panic");
        match (comes_back, ended) {
            (true, ended) => assert_eq!(ended.expect("a result"), world.pairs()),
            (false, Err(Error::Job { message })) => {
                assert!(message.contains("all executors were lost"), "{message}");
            }
            (false, other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_executor_is_lost_after_its_timeout() {
    let Some(world) = World::new("cluster-frozen", 40_000, 10).await else { return };
    let settings = world.settings().scheduler(&["--executor-timeout-seconds", "3"]);
    let cluster = Cluster::start(settings, 2).await;
    let session = world.session(&cluster).await;
    let job = tokio::spawn(async move { count_pairs(&session).await });
    tasks_run(&cluster).await;
    // Frozen, its connections stay open: only the missing heartbeats tell.
    cluster.signal(0, 19);
    let counted = in_time("the job", job).await.expect("no panic").expect("a result");
    assert_eq!(counted, world.pairs());
    cluster.wait_for_executors(1).await;
    // Thawed, it learns that it was given up, and joins again.
    cluster.signal(0, 18);
    cluster.wait_for_executors(2).await;
    let session = world.session(&cluster).await;
    assert_eq!(in_time("pairs", count_pairs(&session)).await.expect("a count"), world.pairs());
}
