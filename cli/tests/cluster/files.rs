//! Files of the machine, asked for by clients that are not ours, and of executors that have fewer than their scheduler.

use firesteel_engine::{Config, ConfigField, Error, Session};
use firesteel_testkit::{Cluster, ClusterSettings};

use crate::foreign::flight_sql;
use crate::support::in_time;

/// No query here asks a server for anything.
fn settings() -> ClusterSettings {
    ClusterSettings::new(env!("CARGO_BIN_EXE_firesteel"), "mongodb://localhost:1", "unused")
}

fn create(name: &str, folder: &std::path::Path) -> String {
    format!(
        "CREATE EXTERNAL TABLE {name} STORED AS CSV LOCATION '{}/key.csv' OPTIONS ('format.has_header' 'true')",
        folder.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flight_sql_client_has_the_schedulers_files_and_no_others() {
    let (allowed, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for folder in [&allowed, &outside] {
        std::fs::write(folder.path().join("key.csv"), "hunter2,x\n1,2\n").expect("a file");
    }
    let cluster =
        Cluster::start(settings().with("FIRESTEEL_ALLOW_READ", &allowed.path().to_string_lossy()), 1).await;
    let mut client = flight_sql(&cluster).await;
    let made = in_time("a table", client.execute(create("a", allowed.path()), None)).await;
    made.expect("an allowed file");
    for location in [outside.path().to_owned(), outside.path().join("absent")] {
        let made = in_time("a table", client.execute(create("b", &location), None)).await;
        let told = made.expect_err("a file elsewhere").to_string();
        assert!(told.contains("files.read") && !told.contains("hunter2"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_has_its_own_files_whatever_the_scheduler_has() {
    let cluster = Cluster::start(settings().executor(&["--allow-read", "", "--allow-write", ""]), 1).await;
    std::fs::write(cluster.folder().join("key.csv"), "a,b\n1,2\n").expect("a file");
    let session = Session::connect(&cluster.url(), Config::default()).await.expect("a session");
    let _ = session.execute(&create("a", cluster.folder())).await.expect("the client sees the columns");
    let error = session.sql("SELECT * FROM a").await.expect("a plan").collect().await.expect_err("refused");
    assert!(matches!(error, Error::FileRefused { setting: ConfigField::FilesRead, .. }), "{error}");
    let copy = format!("COPY (SELECT 1 AS a) TO '{}/new.csv'", cluster.folder().display());
    let error = session.sql(&copy).await.expect("a plan").collect().await.expect_err("refused");
    assert!(matches!(error, Error::FileRefused { setting: ConfigField::FilesWrite, .. }), "{error}");
}
