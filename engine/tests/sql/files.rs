//! Which files of the machine SQL reads and writes: those below allowed folders, on an engine in this process and on a
//! cluster, by any statement.

use std::path::Path;

use firesteel_engine::{Config, ConfigField, Error, FileAccess, Outcome, Session};
use firesteel_testkit::InProcessCluster;

use crate::Fixture;

const SECRET: &str = "mongodb_uri = hunter2";

fn csv(table: &str, file: &Path) -> String {
    // A line is one field.
    let options = "OPTIONS ('format.has_header' 'false', 'format.delimiter' '~')";
    format!("CREATE EXTERNAL TABLE {table} (l VARCHAR) STORED AS CSV LOCATION '{}' {options}", file.display())
}

/// What a statement comes to.
async fn run(session: &Session, sql: &str) -> Result<Vec<String>, Error> {
    match session.execute(sql).await? {
        Outcome::Done(done) => Ok(vec![done]),
        Outcome::Rows(rows) => {
            let batches = rows.batches().await?;
            Ok(vec![arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()])
        }
    }
}

/// Runs statements, of which the last is refused, and returns what it says.
async fn refused(session: &Session, statements: &[String], expected: ConfigField) -> String {
    let (last, before) = statements.split_last().unwrap();
    for sql in before {
        run(session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    match run(session, last).await {
        Err(error @ Error::FileRefused { setting, .. }) if setting == expected => error.to_string(),
        other => panic!("{last}: {other:?}"),
    }
}

/// All ways to a file, on an engine that may have none outside of a folder.
async fn nothing_leads_to(session: &Session, outside: &Path) {
    let (secret, absent) = (outside.join("firesteel.toml"), outside.join("absent.toml"));
    let (read, write) = (ConfigField::FilesRead, ConfigField::FilesWrite);
    let select = |table: &str| format!("SELECT * FROM {table}");
    let there = refused(session, &[csv("a", &secret), select("a")], read).await;
    let absent = refused(session, &[csv("b", &absent), select("b")], read).await;
    assert_eq!(there.replace("firesteel.toml", "absent.toml"), absent, "no word of whether it exists");
    assert!(there.contains("files.read") && !there.contains("hunter2"), "{there}");
    refused(session, &[csv("c", outside), select("c")], read).await;
    let glob = outside.join("*.toml");
    refused(session, &[csv("d", &glob), select("d")], read).await;
    refused(session, &["CREATE TABLE kept AS SELECT * FROM a".to_owned()], read).await;

    for target in [outside.join("new.csv"), outside.join("new/"), secret.clone()] {
        let copy = format!("COPY (SELECT 1 AS a) TO '{}' STORED AS CSV", target.display());
        refused(session, &[copy], write).await;
        let url = format!("COPY (SELECT 1 AS a) TO 'file://{}' STORED AS CSV", target.display());
        refused(session, &[url], write).await;
    }
    // INSERT looks at what is there before it writes.
    let insert = "INSERT INTO e VALUES ('x')".to_owned();
    let folder = outside.join("folder/");
    let error = match run(session, &csv("e", &folder)).await {
        Ok(_) => run(session, &insert).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, Error::FileRefused { .. }), "{error}");

    let unbounded = csv("f", &secret).replace("EXTERNAL", "UNBOUNDED EXTERNAL");
    let error = run(session, &unbounded).await.unwrap_err();
    assert!(matches!(error, Error::UnsupportedStatement { .. }), "{error}");
    let error = run(session, &format!("SELECT * FROM '{}'", secret.display())).await.unwrap_err();
    assert!(!matches!(error, Error::FileRefused { .. }), "a file's name is no table: {error}");

    assert_eq!(std::fs::read_to_string(&secret).unwrap(), SECRET);
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 1, "nothing was written");
}

fn outside() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("firesteel.toml"), SECRET).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_engine_has_the_files_below_its_folders_and_no_others() -> anyhow::Result<()> {
    let (fixture, outside) = (Fixture::alone().await?, outside());
    nothing_leads_to(&fixture.session, outside.path()).await;
    // By default that is the current folder, which a temporary one is not in.
    let session = Session::embedded(Config::default()).await?;
    nothing_leads_to(&session, outside.path()).await;
    let here = csv("here", Path::new("Cargo.toml"));
    run(&session, &here).await?;
    let rows = run(&session, "SELECT * FROM here WHERE l LIKE '[package]%'").await?;
    assert!(rows[0].contains("[package]"), "{rows:?}");
    session.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_no_files_unless_it_is_told() -> anyhow::Result<()> {
    let outside = outside();
    let cluster = InProcessCluster::start(Config::default(), 2).await?;
    nothing_leads_to(&cluster.session, outside.path()).await;
    cluster.stop().await?;

    let folder = tempfile::tempdir()?;
    let config = Config { files: FileAccess::below([folder.path()]), ..Config::default() };
    let cluster = InProcessCluster::start(config, 2).await?;
    nothing_leads_to(&cluster.session, outside.path()).await;
    let file = folder.path().join("a/");
    let copy = format!("COPY (SELECT 'x' AS l) TO '{}' STORED AS CSV", file.display());
    // Its first line is the header, which the table takes for a row.
    run(&cluster.session, &copy).await?;
    run(&cluster.session, &csv("g", &file)).await?;
    run(&cluster.session, "INSERT INTO g VALUES ('y')").await?;
    let rows = run(&cluster.session, "SELECT l FROM g ORDER BY l").await?;
    assert!(rows[0].contains("| x |") && rows[0].contains("| y |"), "{rows:?}");
    // A table in the cache lies in a folder of its own.
    run(&cluster.session, "CACHE TABLE g").await?;
    let rows = run(&cluster.session, "SELECT count(*) AS n FROM g").await?;
    assert!(rows[0].contains("| 3 "), "{rows:?}");
    cluster.stop().await
}
