//! Jobs of one user in the eyes of another.

use std::time::Duration;

use firesteel_testkit::{SOON, wait_until};

use super::support::{ADA, BOB, EVE, Guarded, ROOT, run, settings};

/// Long enough to be looked at, with a literal that nobody else should read.
const LONG: &str = "SELECT count(*) AS n FROM generate_series(1, 3000000) a, generate_series(1, 3000) b \
     WHERE a.value * b.value % 7 = 3 AND 'hunter2' <> ''";

#[tokio::test(flavor = "multi_thread")]
async fn a_user_neither_reads_nor_ends_the_job_of_another() {
    let log = tempfile::tempdir().expect("a folder");
    let folder = log.path().join("events");
    let settings = settings().scheduler(&["--event-log-dir", &folder.to_string_lossy()]);
    let guarded = Guarded::start_with(settings, 1).await;
    let mut ada = guarded.client(ADA).await;
    let running = tokio::spawn(async move { run(&mut ada, LONG).await });
    let mut job = String::new();
    wait_until("the job runs", SOON, async || {
        let jobs = guarded.get("/api/firesteel/activity", ROOT).await.json();
        job = jobs["jobs"][0]["id"].as_str().unwrap_or_default().to_owned();
        !job.is_empty()
    })
    .await;

    let routes = ["", "/stages", "/config", "/dot"].map(|path| format!("/api/job/{job}{path}"));
    for (token, sees) in [(ADA, true), (ROOT, true), (BOB, false), (EVE, false)] {
        for list in ["/api/jobs", "/api/firesteel/activity"] {
            let answer = guarded.get(list, token).await;
            assert_eq!(answer.status, 200, "{token} {list}");
            assert!(answer.body.contains(&job), "{token} {list}: that it runs is no secret: {}", answer.body);
            assert_eq!(answer.body.contains("SELECT count"), sees, "{token} {list}: {}", answer.body);
        }
        for path in &routes {
            let answer = guarded.get(path, token).await;
            assert_eq!(answer.status == 200, sees, "{token} {path}: {answer:?}");
            assert!(
                sees || answer.status == 403 && answer.body.contains("admin"),
                "{token} {path}: {answer:?}"
            );
        }
    }
    let cancelled = guarded.ask("PATCH", &format!("/api/job/{job}"), BOB).await;
    assert_eq!(cancelled.status, 403, "{cancelled:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!running.is_finished(), "it goes on");
    let cancelled = guarded.ask("PATCH", &format!("/api/job/{job}"), ADA).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let told = running.await.expect("no panic").expect_err("cancelled");
    assert!(told.to_lowercase().contains("cancel"), "{told}");

    // The history of the same, and its files.
    wait_until("it is in the history", SOON, async || {
        guarded.get("/history/api/jobs", ROOT).await.body.contains(&job)
    })
    .await;
    for (token, sees) in [(ADA, true), (ROOT, true), (BOB, false)] {
        let list = guarded.get("/history/api/jobs", token).await;
        assert!(list.body.contains(&job) && list.body.contains("SELECT count") == sees, "{token}: {list:?}");
        let told = guarded.get(&format!("/history/api/job/{job}"), token).await;
        assert_eq!(told.status, if sees { 200 } else { 403 }, "{token}: {told:?}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&folder.metadata().expect("a folder").permissions());
    assert_eq!(mode & 0o077, 0, "nobody else reads the event log: {mode:o}");
}
