//! `firesteel sql` against a cluster: Ctrl-C ends the job there, and the executors stop working on it.

use crate::support::World;
use firesteel_testkit::{Cluster, Role, SOON, http, wait_until};
use std::time::Duration;

/// Takes minutes, all of it in the executors.
const LONG: &str = "SELECT count(*) FROM predictions a, predictions b, predictions c, predictions d \
                    WHERE a.confidence + b.confidence + c.confidence + d.confidence > 99";

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_job_on_the_cluster() {
    let Some(world) = World::new("cluster-shell", 400, 4).await else { return };
    let mut cluster = Cluster::start(world.settings(), 2).await;
    let ran = cluster
        .firesteel(&["sql", "--format", "csv", "-c", "SELECT count(*) AS n FROM predictions"])
        .output();
    let ran = ran.expect("the binary starts");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "n\n400\n", "{}", String::from_utf8_lossy(&ran.stderr));
    let information = cluster.firesteel(&["sql", "-c", "\\conninfo"]).output().expect("the binary starts");
    let information = String::from_utf8_lossy(&information.stdout).into_owned();
    assert!(
        information.contains("the cluster") && information.contains("Executors: 2, slots: 4."),
        "{information}"
    );

    let mut shell = Role::start(cluster.firesteel(&["sql", "-c", LONG]));
    // It says so once the query has run for two seconds.
    shell.wait_for("running");
    let activity = cluster.get("/api/firesteel/activity").await.expect("an answer").json();
    let id = activity["jobs"][0]["id"].as_str().expect("the job runs").to_owned();
    assert!(
        activity["jobs"][0]["stages"][0]["running"].as_u64().is_some_and(|tasks| tasks > 0),
        "{activity}"
    );
    shell.signal(2);
    assert_eq!(shell.wait(Duration::from_secs(20)).code(), Some(130), "{}", shell.said());

    let job = cluster.get(&format!("/api/job/{id}")).await.expect("an answer").json();
    assert_eq!(job["status"], "Failed", "{job}");
    assert!(job["job_status"].as_str().is_some_and(|words| words.contains("Cancelled")), "{job}");
    let activity = cluster.get("/api/firesteel/activity").await.expect("an answer").json();
    assert_eq!(activity["jobs"], serde_json::json!([]));
    let mut cancelled = 0.0;
    for executor in cluster.executors() {
        let health = cluster.health_address(executor);
        let metric = async |name: &str| {
            http(health, "GET", "/metrics").await.expect("metrics").metric(name).unwrap_or_default()
        };
        wait_until("the executor has stopped", SOON, async || metric("firesteel_running_tasks").await == 0.0)
            .await;
        cancelled += metric("firesteel_tasks_total{outcome=\"cancelled\"}").await;
    }
    assert!(cancelled > 0.0, "tasks were ended before their time");
}
