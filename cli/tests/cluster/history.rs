//! Jobs outlive the scheduler that ran them, in the event log.

use crate::support::{World, count_pairs, in_time};
use firesteel_testkit::{Cluster, SOON, wait_until};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_are_there_after_a_restart() {
    let Some(world) = World::new("cluster-history", 2_000, 3).await else { return };
    let log = tempfile::tempdir().expect("a folder");
    let folder = log.path().join("events").to_string_lossy().into_owned();
    let settings = world.settings().scheduler(&["--event-log-dir", &folder]);
    let mut cluster = Cluster::start(settings, 1).await;
    let session = world.session(&cluster).await;
    in_time("pairs", count_pairs(&session)).await.expect("a count");
    let job = cluster.get("/api/jobs").await.expect("jobs").json()[0]["job_id"].clone();
    let job = job.as_str().expect("a job").to_owned();

    // SIGTERM ends the scheduler in order.
    assert_eq!(cluster.end_scheduler(15, Duration::from_secs(15)).code(), Some(0));
    cluster.start_scheduler();
    assert_eq!(cluster.get("/api/jobs").await.expect("jobs").json(), serde_json::json!([]));
    let history = cluster.get("/history/api/jobs").await.expect("history").json();
    assert_eq!(history[0]["job_id"], job.as_str(), "{history}");
    let told = cluster.get(&format!("/history/api/job/{job}")).await.expect("a job").json();
    assert!(told["job_status"].as_str().is_some_and(|status| status.starts_with("Completed")), "{told}");
    let stages = cluster.get(&format!("/history/api/job/{job}/stages")).await.expect("stages").json();
    assert!(stages["stages"].as_array().is_some_and(|stages| !stages.is_empty()), "{stages}");
    assert_eq!(cluster.get("/history/api/job/nothing").await.expect("an answer").status, 404);

    // What ends now is in the same history.
    cluster.wait_for_executors(1).await;
    let session = world.session(&cluster).await;
    in_time("pairs", count_pairs(&session)).await.expect("a count");
    wait_until("both jobs are in the history", SOON, async || {
        let history = cluster.get("/history/api/jobs").await.expect("history").json();
        history.as_array().map(Vec::len) == Some(2)
    })
    .await;
}
