//! Connections to MongoDB that break while a query runs: the task runs again and the result is right, or the error
//! names the server and the setting.

use std::time::Duration;

use bson::{Document, doc};
use firesteel_engine::{Config, ConfigField, Error, Session};
use firesteel_testkit::{Proxy, SOON, wait_until};
use futures::TryStreamExt;

use crate::{Fixture, predictions};

/// Starts a session that reaches the fixture's database through a proxy.
async fn through_a_proxy(
    fixture: &Fixture,
    change: impl FnOnce(&mut Config),
) -> anyhow::Result<(Proxy, Session)> {
    let address = fixture.config.mongodb.uri.expose().trim_start_matches("mongodb://");
    let address = address.split(['/', '?']).next().unwrap_or_default();
    let proxy = Proxy::start(address.to_owned(), true).await;
    let mut config = fixture.config.clone();
    // The addresses that a replica set reports would bypass the proxy.
    config.mongodb.uri = format!("mongodb://{}/?directConnection=true", proxy.address()).into();
    change(&mut config);
    let session = Session::embedded(config).await?;
    Ok((proxy, session))
}

/// Returns whether a cursor is open on a collection, which means that a scan is under way.
async fn is_scanned(database: &mongodb::Database, collection: &str) -> anyhow::Result<bool> {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
        doc! { "$match": { "ns": format!("{}.{collection}", database.name()), "cursor.cursorId": { "$exists": true } } },
    ];
    let open = database.client().database("admin").aggregate(pipeline).await?;
    Ok(open.try_collect::<Vec<_>>().await?.iter().any(|operation| !operation.is_empty()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_whose_connections_are_cut_is_tried_again() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("cut").await? else { return Ok(()) };
    let documents = predictions(20_000, 7);
    fixture.fill("predictions", true, &documents).await?;
    let expected: i64 =
        documents.iter().map(|document| document.get_i64("sequence").unwrap_or_default()).sum();
    // Small batches need many round trips, so a cut hits the middle of a scan.
    let (proxy, session) = through_a_proxy(&fixture, |config| {
        config.scan.batch_rows = 16;
        config.scan.aggregate_pushdown = false;
    })
    .await?;
    let mut cuts = 0;
    for round in 0..6 {
        let sql = "SELECT count(*), count(DISTINCT _id), sum(sequence) FROM predictions";
        let query = session.sql(sql).await?;
        let query = tokio::spawn(async move { query.collect_as::<(i64, i64, i64)>().await });
        wait_until("the scan has begun", SOON, async || {
            query.is_finished() || is_scanned(&fixture.database, "predictions").await.unwrap_or(false)
        })
        .await;
        cuts += usize::from(!query.is_finished());
        proxy.cut();
        tokio::task::yield_now().await;
        proxy.mend();
        // The batches of failed attempts are not counted.
        let rows = tokio::time::timeout(SOON, query).await???;
        assert_eq!(rows, [(20_000, 20_000, expected)], "round {round}");
    }
    assert!(cuts > 0, "no scan was cut");
    session.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_named_with_its_setting() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("gone").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(2_000, 3)).await?;
    let (proxy, session) =
        through_a_proxy(&fixture, |config| config.connect_timeout = Duration::from_secs(1)).await?;
    let query = session.sql("SELECT count(*) FROM predictions WHERE NOT correct").await?;
    proxy.cut();
    let error = tokio::time::timeout(SOON, query.collect()).await?.unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { role: "MongoDB", address, setting, .. }
            if *address == proxy.address().to_string() && *setting == ConfigField::MongodbUri),
        "{error:?}"
    );
    proxy.mend();
    let rows = session.sql("SELECT count(*) FROM predictions").await?.collect_as::<(i64,)>().await?;
    assert_eq!(rows, [(2_000,)], "the session goes on when the server is back");
    session.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_whose_connections_are_cut_writes_each_document_once() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("cutwrite").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(4_000, 7)).await?;
    let (proxy, session) = through_a_proxy(&fixture, |config| config.write.batch_rows = 20).await?;
    session.register_collection("copy", "copy", firesteel_engine::predictions_schema())?;
    let sql = "INSERT INTO copy SELECT * FROM predictions";
    let insert = session.sql(sql).await?;
    let insert = tokio::spawn(async move { insert.collect_as::<(i64,)>().await });
    let copy = fixture.database.collection::<Document>("copy");
    let mut cuts = 0;
    // Each cut hits the writer at a later point than the one before.
    let mut seen = 0;
    while !insert.is_finished() && cuts < 10 {
        wait_until("more is written", SOON, async || {
            insert.is_finished() || copy.estimated_document_count().await.is_ok_and(|count| count > seen)
        })
        .await;
        seen = copy.estimated_document_count().await?;
        proxy.cut();
        tokio::task::yield_now().await;
        proxy.mend();
        cuts += 1;
    }
    match tokio::time::timeout(SOON, insert).await?? {
        Ok(rows) => {
            assert_eq!(rows, [(4_000,)], "after {cuts} cuts");
            assert_eq!(copy.count_documents(doc! {}).await?, 4_000, "after {cuts} cuts");
        }
        Err(Error::Unreachable { setting, .. }) => assert_eq!(setting, ConfigField::MongodbUri),
        Err(other) => panic!("neither right nor clear: {other:?}"),
    }
    assert!(cuts > 1, "{cuts} cuts");
    // Running the statement again completes what an earlier run left undone.
    assert_eq!(session.sql(sql).await?.collect_as::<(i64,)>().await?, [(4_000,)]);
    assert_eq!(copy.count_documents(doc! {}).await?, 4_000);
    session.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}
