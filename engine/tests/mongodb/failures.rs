//! Errors name their cause: an unreachable server, a document that does not fit, an engine that has ended.

use std::time::{Duration, Instant};

use bson::doc;
use firesteel_engine::{Config, ConfigField, Error, Session};

use crate::{Fixture, predictions};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_an_error_within_ten_seconds() -> anyhow::Result<()> {
    let config = Config::new("mongodb://me:hunter2@127.0.0.1:1/?authSource=admin", "firesteel");
    let started = Instant::now();
    let session = Session::embedded(config).await?;
    for error in [
        session.table("predictions").await.unwrap_err(),
        session.sql("SELECT count(*) FROM predictions").await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Unreachable { address, setting, .. }
                if address == "127.0.0.1:1" && *setting == ConfigField::MongodbUri),
            "{error:?}"
        );
        let told = error.to_string();
        assert!(told.contains("127.0.0.1:1") && told.contains(ConfigField::MongodbUri.name()), "{told}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{told}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "two errors in {:?}", started.elapsed());
    // Queries that do not need MongoDB work without it.
    assert_eq!(session.sql("SELECT 1 + 1").await?.collect_as::<(i64,)>().await?, [(2,)]);
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_does_not_fit_is_named() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("misfit").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(1_000, 3)).await?;
    let collection = fixture.database.collection("predictions");
    collection.insert_one(doc! { "_id": "zz:1", "label": "cat", "correct": "yes" }).await?;
    let session = &fixture.session;

    let error = session.sql("SELECT correct FROM predictions").await?.collect().await.unwrap_err();
    match &error {
        Error::SchemaMismatch { collection, id, field, expected, found } => assert_eq!(
            [collection, id, field, expected, found].map(String::as_str),
            ["predictions", "zz:1", "correct", "Boolean", "String"]
        ),
        other => panic!("{other:?}"),
    }
    // A value that does not fit matters only if its column is read.
    let rows = session.sql("SELECT count(label) FROM predictions").await?.collect_as::<(i64,)>().await?;
    assert_eq!(rows, [(1_001,)]);
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_queries_fail_and_the_session_goes_on() -> anyhow::Result<()> {
    let session = Session::embedded(Config::default()).await?;
    for sql in ["SELECT", "SELECT x FROM no_such_table", "SELECT no_such_function(1)"] {
        assert!(matches!(session.sql(sql).await, Err(Error::Query(_))), "{sql}");
    }
    let failed =
        session.sql("SELECT 1 / (n - 1) FROM (VALUES (1), (2)) AS t(n)").await?.collect().await.unwrap_err();
    assert!(failed.to_string().to_lowercase().contains("zero"), "{failed:?}");
    assert_eq!(session.sql("SELECT 7").await?.collect_as::<(i64,)>().await?, [(7,)]);

    session.shutdown().await;
    session.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        session.sql("SELECT 1 + n FROM (VALUES (1)) AS t(n)").await?.collect().await
    });
    assert!(ended.await?.is_err(), "an engine that has ended answers nothing");
    Ok(())
}
