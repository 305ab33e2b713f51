//! Any number of executors gives the same results, whatever started first; every process says how it is.

use crate::support::{World, count_pairs, in_time};
use firesteel_testkit::{Cluster, SOON, http, wait_until};
use std::process::Command;

/// What `firesteel report --format json` says, without times.
fn report(mut command: Command) -> serde_json::Value {
    let output = command.args(["report", "--format", "json"]).output().expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["producers"].as_array().is_some_and(|rows| !rows.is_empty()), "{report}");
    serde_json::json!({ "producers": report["producers"], "classes": report["classes"],
        "images": report["totals"]["images"] })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_the_same_on_one_two_and_three_executors() {
    let Some(world) = World::new("cluster-report", 20_000, 7).await else { return };
    let mut cluster = Cluster::start(world.settings(), 1).await;
    let mut embedded = cluster.firesteel(&[]);
    embedded.env_remove("FIRESTEEL_SCHEDULER");
    let expected = report(embedded);
    assert_eq!(expected["images"], 20_000, "{expected}");
    for executors in 1..=3 {
        if executors > 1 {
            cluster.add_executor();
            cluster.wait_for_executors(executors).await;
        }
        assert_eq!(report(cluster.firesteel(&[])), expected, "{executors} executors");
        let session = world.session(&cluster).await;
        assert_eq!(in_time("pairs", count_pairs(&session)).await.expect("a count"), world.pairs());
    }
    // All of them had a part in it.
    for number in cluster.executors() {
        let health = cluster.health_address(number);
        let tasks = http(health, "GET", "/metrics").await.expect("metrics");
        let tasks = tasks.metric("firesteel_tasks_total{outcome=\"completed\"}");
        assert!(tasks.is_some_and(|tasks| tasks > 0.0), "executor {number}: {tasks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_wait_for_a_scheduler_and_find_the_next_one() {
    let Some(world) = World::new("cluster-order", 2_000, 3).await else { return };
    let mut cluster = Cluster::prepare(world.settings());
    let executor = cluster.add_executor();
    let health = cluster.health_address(executor);
    let ready = async || http(health, "GET", "/readyz").await.expect("an answer").status;
    assert_eq!(http(health, "GET", "/healthz").await.expect("an answer").status, 200);
    assert_eq!(ready().await, 503, "there is no scheduler yet");

    for _ in 0..2 {
        cluster.start_scheduler();
        cluster.wait_for_executors(1).await;
        wait_until("the executor is ready", SOON, async || ready().await == 200).await;
        let session = world.session(&cluster).await;
        assert_eq!(in_time("pairs", count_pairs(&session)).await.expect("a count"), world.pairs());
        cluster.kill_scheduler();
        wait_until("the executor notices", SOON, async || ready().await == 503).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_says_how_it_is() {
    let Some(world) = World::new("cluster-observed", 3_000, 3).await else { return };
    let mut cluster = Cluster::start(world.settings().executor(&["--memory-pool-size", "256MiB"]), 0).await;
    let get = async |path: &'static str| cluster.get(path).await.expect("an answer");
    assert_eq!(get("/healthz").await.status, 200);
    assert_eq!(get("/readyz").await.status, 503, "no executor is there");
    let executor = cluster.add_executor();
    cluster.wait_for_executors(1).await;
    let session = world.session(&cluster).await;
    let all: Vec<(i64,)> =
        session.sql("SELECT sequence FROM predictions").await.unwrap().collect_as().await.unwrap();
    assert_eq!(all.len(), 3_000);

    let get = async |path: &'static str| cluster.get(path).await.expect("an answer");
    assert_eq!(get("/readyz").await.status, 200);
    assert!(get("/").await.body.contains("/api/firesteel/cluster"));
    assert_eq!(get("/nowhere").await.status, 404);
    assert_eq!(get("/api/firesteel/version").await.json()["ballista"], "55.0.0");
    let now = get("/api/firesteel/cluster").await.json();
    assert_eq!(now["slots"], serde_json::json!({ "total": 2, "free": 2 }), "{now}");
    assert_eq!(now["executors"][0]["vcores"], 2, "{now}");
    // Ballista's own routes.
    assert_eq!(get("/api/executors").await.json().as_array().map(Vec::len), Some(1));
    let jobs = get("/api/jobs").await.json();
    let job = jobs[0]["job_id"].as_str().expect("a job").to_owned();
    for path in ["", "/stages", "/config", "/dot"] {
        let answer = cluster.get(&format!("/api/job/{job}{path}")).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(!answer.body.contains(&world.services.mongodb_uri), "{path} tells the address of MongoDB");
    }

    let metrics = get("/metrics").await;
    for (name, value) in [
        ("firesteel_jobs_submitted_total", 1.0),
        ("firesteel_jobs_total{outcome=\"completed\"}", 1.0),
        ("firesteel_jobs_total{outcome=\"failed\"}", 0.0),
        ("firesteel_job_seconds_count", 1.0),
        ("firesteel_executors", 1.0),
        ("firesteel_slots", 2.0),
        ("firesteel_free_slots", 2.0),
        ("firesteel_pending_tasks", 0.0),
        ("firesteel_running_tasks", 0.0),
    ] {
        assert_eq!(metrics.metric(name), Some(value), "{name} in {}", metrics.body);
    }
    assert_eq!(get("/api/metrics").await.metric("firesteel_jobs_submitted_total"), Some(1.0));

    let metrics = http(cluster.health_address(executor), "GET", "/metrics").await.expect("metrics");
    for (name, value) in [
        ("firesteel_scan_rows_total{source=\"mongodb\"}", 3_000.0),
        ("firesteel_tasks_total{outcome=\"failed\"}", 0.0),
        ("firesteel_running_tasks", 0.0),
        ("firesteel_slots", 2.0),
        ("firesteel_memory_pool_limit_bytes", 268_435_456.0),
        ("firesteel_scheduler_connected", 1.0),
    ] {
        assert_eq!(metrics.metric(name), Some(value), "{name} in {}", metrics.body);
    }
    for name in [
        "firesteel_scan_bytes_total{source=\"mongodb\"}",
        "firesteel_scan_partitions_total{source=\"mongodb\"}",
        "firesteel_scan_seconds_total{source=\"mongodb\"}",
    ] {
        assert!(metrics.metric(name).is_some_and(|value| value > 0.0), "{name} in {}", metrics.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_executors_ends_with_a_reason() {
    let Some(world) = World::new("cluster-empty", 100, 1).await else { return };
    let settings = world.settings().scheduler(&["--no-executors-grace-period-seconds", "1"]);
    let cluster = Cluster::start(settings, 0).await;
    let session = world.session(&cluster).await;
    let error = in_time("the job", count_pairs(&session)).await.expect_err("nobody runs it").to_string();
    assert!(error.contains("no executor") && error.contains("scheduler.no_executors_grace"), "{error}");
    // The binary names the flag.
    let ran = cluster.firesteel(&["report"]).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.contains("no executor") && said.contains("--no-executors-grace-period-seconds"), "{said}");
}
