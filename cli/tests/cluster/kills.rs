//! Executors that are killed at any moment: the right result or a clear error, never a wrong count, never a hang.

use crate::support::{World, count_pairs, in_time};
use firesteel_engine::Error;
use firesteel_testkit::{Cluster, SOON, wait_until};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::{Duration, Instant};

/// Until tasks of a job run.
async fn tasks_run(cluster: &Cluster) {
    wait_until("tasks run", SOON, async || {
        cluster.get("/api/firesteel/cluster").await.expect("an answer").json()["tasks"]["running"] != 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_at_any_moment_change_no_result() {
    let Some(world) = World::new("cluster-kills", 40_000, 10).await else { return };
    let mut cluster = Cluster::start(world.settings(), 2).await;
    let session = world.session(&cluster).await;
    in_time("a warm-up", count_pairs(&session)).await.expect("a count");
    let begun = Instant::now();
    in_time("the undisturbed job", count_pairs(&session)).await.expect("a count");
    let undisturbed = begun.elapsed();
    let (mut slowest, mut errors) = (Duration::ZERO, Vec::new());
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let executors = cluster.executors();
        let victim = executors[random.random_range(0..executors.len())];
        let moment = undisturbed.mul_f64(random.random_range(0.0..1.2));
        let job = tokio::spawn({
            let session = session.clone();
            async move { count_pairs(&session).await }
        });
        let begun = Instant::now();
        tokio::time::sleep(moment).await;
        cluster.kill(victim);
        cluster.add_executor();
        match in_time(&format!("the job of seed {seed}"), job).await.expect("no panic") {
            Ok(counted) => assert_eq!(counted, world.pairs(), "seed {seed}"),
            Err(error) => errors.push(format!("seed {seed}: {error}")),
        }
        slowest = slowest.max(begun.elapsed());
        cluster.wait_for_executors(2).await;
    }
    println!("undisturbed {undisturbed:?}, slowest {slowest:?}, errors {errors:#?}");
    assert!(slowest < undisturbed * 2 + Duration::from_secs(10), "{slowest:?}, undisturbed {undisturbed:?}");
    // A result that has just been computed can die with its executor before it is fetched.
    assert!(errors.len() <= 3, "{errors:#?}");
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
            (false, Err(error @ (Error::Job { .. } | Error::NoExecutors { .. }))) => {
                let message = error.to_string();
                let clear = ["all executors were lost", "the cluster has had no executor for 5 s"];
                assert!(clear.iter().any(|reason| message.contains(reason)), "{message}");
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
