//! A scheduler that is killed midway and started again, and executors that are replaced under load.

use crate::support::{PAIRS, World, count_pairs, in_time};
use firesteel_engine::Error;
use firesteel_testkit::{Cluster, SOON, wait_until};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Until tasks of a job run.
async fn tasks_run(cluster: &Cluster) {
    wait_until("tasks run", SOON, async || {
        cluster.get("/api/firesteel/cluster").await.expect("an answer").json()["tasks"]["running"] != 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_outlives_the_scheduler_that_ran_it() {
    let Some(world) = World::new("cluster-restart", 40_000, 10).await else { return };
    let mut cluster = Cluster::start(world.settings(), 2).await;
    let session = world.session(&cluster).await;
    let job = tokio::spawn(async move { count_pairs(&session).await });
    let shell = cluster
        .firesteel(&["sql", "--format", "csv", "-c", PAIRS])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    wait_until("both queries run", SOON, async || {
        let now = cluster.get("/api/firesteel/activity").await.expect("an answer").json();
        now["jobs"].as_array().map(Vec::len) == Some(2)
    })
    .await;
    tasks_run(&cluster).await;
    // SIGKILL.
    cluster.kill_scheduler();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.start_scheduler();
    assert_eq!(in_time("the job", job).await.expect("no panic").expect("a count"), world.pairs());
    let output = in_time("the shell", async {
        tokio::task::spawn_blocking(move || shell.wait_with_output()).await.expect("no panic")
    });
    let output = output.await.expect("an end");
    let (rows, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && rows.contains(&world.pairs().to_string()), "{rows} {said}");
    assert_eq!(said.matches("the scheduler went away").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_not_sent_again_and_a_scheduler_that_stays_away_is_an_error() {
    let Some(world) = World::new("cluster-gone", 40_000, 10).await else { return };
    let mut cluster = Cluster::start(world.settings(), 1).await;
    let mut config = world.config();
    config.reconnect = Duration::from_secs(2);
    let url = cluster.url();
    let session = firesteel_engine::Session::connect(&url, config).await.expect("a session");
    let run = |sql: &'static str| {
        let session = session.clone();
        tokio::spawn(async move { session.sql(sql).await?.collect().await })
    };
    session.register_collection("copy", "copy", firesteel_engine::predictions_schema()).expect("a table");
    let write = run("INSERT INTO copy (_id, label) SELECT CAST(count(*) AS VARCHAR), 'cat' \
                     FROM predictions a JOIN predictions b ON a.producer_id = b.producer_id");
    let read = run(PAIRS);
    wait_until("both queries run", SOON, async || {
        let now = cluster.get("/api/firesteel/activity").await.expect("an answer").json();
        now["jobs"].as_array().map(Vec::len) == Some(2)
    })
    .await;
    cluster.kill_scheduler();
    let error = in_time("the write", write).await.expect("no panic").expect_err("it is lost");
    assert!(error.is_lost_work(), "{error}");
    let error = in_time("the read", read).await.expect("no panic").expect_err("nobody is there");
    assert!(matches!(error, Error::Unreachable { role: "the scheduler", .. }), "{error}");
    assert!(error.to_string().contains("not back within 2 s"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_are_replaced_one_after_the_other_and_no_query_is_lost() {
    let Some(world) = World::new("cluster-rolling", 20_000, 10).await else { return };
    let mut cluster = Cluster::start(world.settings(), 2).await;
    let session = world.session(&cluster).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (session, stop) = (session.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut counts = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    counts.push(count_pairs(&session).await);
                }
                counts
            })
        })
        .collect();
    for old in 0..2 {
        tasks_run(&cluster).await;
        cluster.add_executor();
        cluster.wait_for_executors(3).await;
        cluster.signal(old, 15);
        let (status, said) = cluster.wait_for_end(old, Duration::from_secs(40));
        assert_eq!(status.code(), Some(0), "{said}");
        cluster.wait_for_executors(2).await;
    }
    stop.store(true, Ordering::SeqCst);
    for load in load {
        let counts = in_time("the load", load).await.expect("no panic");
        assert!(counts.len() > 1, "{counts:?}");
        for count in counts {
            assert_eq!(count.expect("no query is lost"), world.pairs());
        }
    }
}
