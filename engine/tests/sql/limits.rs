//! How much one statement may ask for: what is over a limit is an error that names it, and the engine goes on.

use firesteel_engine::{Config, ConfigField, Error, Outcome, Session, SqlLimits};
use firesteel_testkit::InProcessCluster;

use crate::Fixture;

async fn run(session: &Session, sql: &str) -> Result<String, Error> {
    match session.execute(sql).await? {
        Outcome::Done(done) => Ok(done),
        Outcome::Rows(rows) => {
            Ok(arrow::util::pretty::pretty_format_batches(&rows.batches().await?).unwrap().to_string())
        }
    }
}

fn sum(terms: usize) -> String {
    format!("SELECT {} AS s", vec!["1"; terms].join("+"))
}

fn alternatives(terms: usize) -> String {
    let terms: Vec<String> = (0..terms).map(|n| format!("a + 0 = {n}")).collect();
    format!("SELECT count(*) AS n FROM (VALUES (1), (2), (-1)) AS t(a) WHERE {}", terms.join(" OR "))
}

/// Statements that are over a limit, and the field that sets it.
async fn nothing_is_over_a_limit(session: &Session) {
    for (sql, field) in [
        (sum(500_000), ConfigField::LimitsSqlDepth),
        (alternatives(200_000), ConfigField::LimitsSqlBytes),
        (alternatives(20_000), ConfigField::LimitsSqlDepth),
        (format!("CACHE TABLE c AS {}", sum(5_000)), ConfigField::LimitsSqlDepth),
        (format!("EXPLAIN {}", sum(5_000)), ConfigField::LimitsSqlDepth),
        (format!("SELECT '{}'", "x".repeat(2 << 20)), ConfigField::LimitsSqlBytes),
        (format!("SELECT 1 WHERE 1 IN ({}1)", "1,".repeat(200_000)), ConfigField::LimitsSqlTokens),
        ("SELECT length(repeat('x', 2000000000)) AS n".to_owned(), ConfigField::LimitsValueBytes),
        ("SELECT length(lpad('x', 2000000000)) AS n".to_owned(), ConfigField::LimitsValueBytes),
        ("SELECT length(repeat(repeat('x', 1000000), 1000)) AS n".to_owned(), ConfigField::LimitsValueBytes),
        ("SELECT cardinality(range(0, 1000000000000)) AS n".to_owned(), ConfigField::LimitsValueBytes),
        ("SELECT cardinality(array_repeat(1, 1000000000)) AS n".to_owned(), ConfigField::LimitsValueBytes),
        (
            "SELECT max(length(repeat(a, 2000000000))) FROM (VALUES ('x'), ('y')) AS t(a)".to_owned(),
            ConfigField::LimitsValueBytes,
        ),
    ] {
        match run(session, &sql).await {
            Err(error @ Error::OverLimit { .. }) => {
                assert_eq!(error.field(), Some(field), "{sql:.80}: {error}");
                assert!(error.to_string().contains(field.name()), "{error}");
            }
            other => panic!("{sql:.80}: {other:?}"),
        }
        let fine = run(session, "SELECT 41 + 1 AS fine").await.unwrap();
        assert!(fine.contains("| 42 "), "{fine}");
    }
}

/// What is within the limits is run, however close it is.
async fn what_is_below_is_run(session: &Session, limits: &SqlLimits) {
    let terms = limits.depth - 10;
    assert!(run(session, &sum(terms)).await.unwrap().contains(&format!("| {terms} ")));
    assert!(run(session, &alternatives(20)).await.unwrap().contains("| 2 "));
    // Over what is computed while a query is planned, and below what a task computes.
    let large = run(session, "SELECT length(repeat('x', 20000000)) AS n").await.unwrap();
    assert!(large.contains("| 20000000 "), "{large}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_engine_survives_what_is_over_a_limit() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    nothing_is_over_a_limit(&fixture.session).await;
    what_is_below_is_run(&fixture.session, &SqlLimits::default()).await;
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_survives_what_is_over_a_limit() -> anyhow::Result<()> {
    let cluster = InProcessCluster::start(Config::default(), 1).await?;
    nothing_is_over_a_limit(&cluster.session).await;
    what_is_below_is_run(&cluster.session, &SqlLimits::default()).await;
    for (sql, name) in [
        ("SET datafusion.execution.target_partitions = 1000000000", "datafusion.execution.target_partitions"),
        ("SET datafusion.catalog.location = '/etc'", "datafusion.catalog.location"),
        ("SET ballista.testing.chaos_execution.enabled = true", "ballista.testing.chaos_execution.enabled"),
    ] {
        match run(&cluster.session, sql).await {
            Err(Error::SessionSetting { name: found, .. }) => assert_eq!(found, name),
            other => panic!("{sql}: {other:?}"),
        }
    }
    cluster.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_what_the_configuration_says() -> anyhow::Result<()> {
    let limits = SqlLimits { bytes: 100, depth: 20, value_bytes: 1_000, ..SqlLimits::default() };
    let session = Session::embedded(Config { limits, ..Config::default() }).await?;
    for (sql, field) in [
        (format!("SELECT '{}'", "x".repeat(100)), ConfigField::LimitsSqlBytes),
        (sum(30), ConfigField::LimitsSqlDepth),
        ("SELECT length(repeat('x', 2000)) AS n".to_owned(), ConfigField::LimitsValueBytes),
    ] {
        let error = run(&session, &sql).await.expect_err(&sql);
        assert_eq!(error.field(), Some(field), "{sql}: {error}");
    }
    session.shutdown().await;
    Ok(())
}
