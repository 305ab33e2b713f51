//! What must not bring a scheduler or the cluster down: broken reports, strangers, full disks, many small queries.

use crate::support::{World, count_pairs, in_time};
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::task_status::Status;
use ballista_core::serde::protobuf::{RunningTask, TaskStatus, UpdateTaskStatusParams};
use firesteel_engine::Error;
use firesteel_testkit::{Cluster, SOON, wait_until};

/// The id of an executor, of a job that runs, and of a stage of it with tasks that run.
async fn running(cluster: &Cluster) -> (String, String, u32) {
    let mut found = None;
    wait_until("a stage runs", SOON, async || {
        let now = cluster.get("/api/firesteel/cluster").await.expect("an answer").json();
        let activity = cluster.get("/api/firesteel/activity").await.expect("an answer").json();
        let job = &activity["jobs"][0];
        let stages = job["stages"].as_array().cloned().unwrap_or_default();
        let stage = stages.iter().find(|stage| stage["state"] == "running");
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        found = (|| {
            let stage = u32::try_from(stage?["id"].as_u64()?).ok()?;
            Some((text(&now["executors"][0]["id"])?, text(&job["id"])?, stage))
        })();
        found.is_some()
    })
    .await;
    found.expect("it was found")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_task_that_does_not_exist_is_refused_and_the_next_query_works() {
    let Some(world) = World::new("cluster-wedge", 40_000, 10).await else { return };
    let mut cluster = Cluster::start(world.settings(), 1).await;
    let session = world.session(&cluster).await;
    let job = tokio::spawn({
        let session = session.clone();
        async move { count_pairs(&session).await }
    });
    let (executor_id, job_id, stage_id) = running(&cluster).await;
    let running = Some(Status::Running(RunningTask { executor_id: executor_id.clone() }));
    let report = |task_id, status| TaskStatus {
        task_id,
        job_id: job_id.clone(),
        stage_id,
        status,
        ..TaskStatus::default()
    };
    let mut scheduler =
        SchedulerGrpcClient::connect(format!("http://{}", cluster.address())).await.expect("a connection");
    for task_status in [report(4_000_000_000, running), report(0, None)] {
        let broken =
            UpdateTaskStatusParams { executor_id: executor_id.clone(), task_status: vec![task_status] };
        // Refused at the door, or by the job.
        let _ = scheduler.update_task_status(broken).await;
    }
    assert_eq!(in_time("the job", job).await.expect("no panic").expect("a count"), world.pairs());
    let counted = in_time("the next query", count_pairs(&session)).await.expect("a count");
    assert_eq!(counted, world.pairs());
    assert_eq!(cluster.get("/healthz").await.expect("an answer").status, 200);
    let said = cluster.scheduler_said();
    assert!(said.contains("the report of a task is refused") && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_are_remembered_by_number() {
    let Some(world) = World::new("cluster-many", 10, 1).await else { return };
    let settings = world.settings().scheduler(&["--finished-jobs", "10"]);
    let cluster = Cluster::start(settings, 1).await;
    let session = world.session(&cluster).await;
    for number in 0..25_i64 {
        let sql = format!("SELECT {number} + count(*) FROM predictions");
        let rows: Vec<(i64,)> = session.sql(&sql).await.expect("a plan").collect_as().await.expect("rows");
        assert_eq!(rows, [(number + 10,)]);
    }
    let jobs = cluster.get("/api/jobs").await.expect("an answer").json();
    assert_eq!(jobs.as_array().map(Vec::len), Some(10), "{jobs}");
    let metrics = cluster.get("/metrics").await.expect("metrics");
    assert_eq!(metrics.metric("firesteel_queued_jobs"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_the_error_of_its_query_and_of_nobody_else() {
    let Some(world) = World::new("cluster-disk", 40_000, 10).await else { return };
    let settings = world.settings().executor(&["--scratch-size", "1MiB"]);
    let cluster = Cluster::start(settings, 2).await;
    let session = world.session(&cluster).await;
    let hashed = "SELECT producer_id, sha512(CAST(sequence AS VARCHAR)) AS hash FROM predictions";
    let sql = format!(
        "SELECT count(*) FROM ({hashed}) a JOIN ({hashed}) b ON a.producer_id = b.producer_id AND a.hash <> b.hash"
    );
    let job = async { session.sql(&sql).await?.collect().await };
    let error = in_time("the job", job).await.expect_err("5 MB do not fit");
    assert!(matches!(error, Error::ScratchFull { .. }), "{error}");
    assert!(error.to_string().contains("executor.scratch"), "{error}");
    // It was not tried elsewhere, nobody was lost, and what fits works.
    let metrics = cluster.get("/metrics").await.expect("metrics");
    assert_eq!(metrics.metric("firesteel_jobs_submitted_total"), Some(1.0), "{}", metrics.body);
    cluster.wait_for_executors(2).await;
    let rows: Vec<(i64,)> =
        session.sql("SELECT count(*) FROM predictions").await.unwrap().collect_as().await.unwrap();
    assert_eq!(rows, [(40_000,)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_with_another_model_is_refused_where_that_is_asked_for() {
    let Some(world) = World::new("cluster-mixed", 10, 1).await else { return };
    for (action, joins) in [("warn", true), ("refuse", false)] {
        let settings = world
            .settings()
            .scheduler(&["--mismatched-executors", action])
            .executor(&["--precision", "int8"]);
        let mut cluster = Cluster::start(settings, 0).await;
        let executor = cluster.add_executor();
        if joins {
            cluster.wait_for_executors(1).await;
            let said = cluster.scheduler_said();
            assert!(said.contains("may answer otherwise") && said.contains("the functions"), "{said}");
        } else {
            wait_until("it is refused", SOON, async || {
                cluster.executor_said(executor).contains("it differs in the functions")
            })
            .await;
            cluster.wait_for_executors(0).await;
        }
    }
}
