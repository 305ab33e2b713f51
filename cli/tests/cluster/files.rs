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
async fn a_flight_sql_client_meets_limits_and_the_scheduler_lives() {
    let cluster = Cluster::start(settings(), 1).await;
    let mut client = flight_sql(&cluster).await;
    let sum = |terms: usize| format!("SELECT {} AS s", vec!["1"; terms].join("+"));
    let terms: Vec<String> = (0..20_000).map(|n| format!("a={n}")).collect();
    let either = format!("SELECT count(*) FROM (VALUES (1)) AS t(a) WHERE {}", terms.join(" OR "));
    let doubling: String =
        (1..40).map(|n| format!(", t{n} AS (SELECT a.x FROM t{0} a, t{0} b)", n - 1)).collect();
    for (sql, words) in [
        (sum(500_000), "limits.sql_depth"),
        (either, "limits.sql_depth"),
        (format!("SELECT '{}'", "x".repeat(2 << 20)), "limits.sql_bytes"),
        ("SELECT length(repeat('x', 2000000000)) AS n".to_owned(), "limits.value_bytes"),
        (format!("WITH t0 AS (SELECT 1 AS x){doubling} SELECT * FROM t39"), "limits.plan_nodes"),
        ("SET datafusion.execution.target_partitions = 1000000000".to_owned(), "from 1 to 1000"),
        ("SET datafusion.catalog.location = '/etc'".to_owned(), "datafusion.catalog.location"),
    ] {
        let asked = in_time("the refusal", client.execute(sql.clone(), None)).await;
        let told = asked.expect_err(&sql[..sql.len().min(60)]).to_string();
        assert!(told.contains(words), "{words}: {told}");
        in_time("a query behind it", client.execute("SELECT 41 + 1".to_owned(), None))
            .await
            .expect("an answer");
    }
    in_time("a deep query", client.execute(sum(900), None)).await.expect("it is within the limits");
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
    // DataFusion's writers keep the reason to themselves, so the executor alone knows why.
    session.sql(&copy).await.expect("a plan").collect().await.expect_err("refused");
    assert!(!cluster.folder().join("new.csv").exists());
}
