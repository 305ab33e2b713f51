//! The output of `EXPLAIN`: partitions, columns, filters, limit, and how the documents are read.

use firesteel_engine::prelude::*;

use crate::{Fixture, predictions};

/// Returns the scans of a physical plan, one per line, without what differs between runs.
fn scans(plan: &str, database: &str) -> String {
    // The distributed plan repeats the scans.
    let physical = plan.split("distributed_plan").next().unwrap_or_default();
    let lines = physical.lines().map(str::trim).filter(|line| line.starts_with("MongoScanExec"));
    lines.map(|line| line.replace(database, "db")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_partitions_and_pushdown() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start_with("plans", |config| config.scan.aggregate_pushdown = false).await?
    else {
        return Ok(());
    };
    fixture.fill("predictions", true, &predictions(1_000, 3)).await?;
    let explain = async |sql: &str| {
        let plan = fixture.session.sql(sql).await?.explain().await?;
        anyhow::Ok((scans(&plan, &fixture.config.mongodb.database), plan))
    };

    let (scan, plan) =
        explain("SELECT label, count(*) FROM predictions WHERE producer_id = 'ab000001' GROUP BY label")
            .await?;
    insta::assert_snapshot!(scan, @r#"MongoScanExec: collection=db.predictions, partitions=4, partitioner=auto, projection=[label], filter={ "producer_id": { "$eq": "ab000001" } }, read=snapshot"#);
    assert!(!plan.contains("FilterExec"), "an exact filter is not evaluated twice: {plan}");
    assert!(plan.contains("DataSourceExec: partitions=4"), "{plan}");

    let (scan, plan) =
        explain("SELECT count(*) FROM predictions WHERE confidence < 0.7 AND NOT correct").await?;
    insta::assert_snapshot!(scan, @r#"MongoScanExec: collection=db.predictions, partitions=4, partitioner=auto, projection=[confidence], filter={ "$and": [{ "$or": [{ "confidence": { "$lte": 0.7 } }, { "confidence": NaN }] }, { "correct": false }] }, read=snapshot"#);
    assert!(plan.contains("FilterExec: confidence"), "an inexact filter is: {plan}");

    let (scan, _) = explain("SELECT _id, label FROM predictions WHERE label <> predicted").await?;
    insta::assert_snapshot!(scan, @"MongoScanExec: collection=db.predictions, partitions=4, partitioner=auto, projection=[_id, label, predicted], read=snapshot");

    let (scan, _) = explain("SELECT label FROM predictions LIMIT 3").await?;
    insta::assert_snapshot!(scan, @"MongoScanExec: collection=db.predictions, partitions=4, partitioner=auto, projection=[label], limit=3, read=snapshot");

    let (scan, _) = explain("SELECT count(*) FROM predictions").await?;
    insta::assert_snapshot!(scan, @"MongoScanExec: collection=db.predictions, partitions=4, partitioner=auto, projection=[], read=snapshot");

    let dataflow = fixture
        .session
        .table("predictions")
        .await?
        .map(col("label"), lit(1))
        .count_by_key()?
        .explain()
        .await?;
    let sql = explain("SELECT label, count(1) AS count FROM predictions GROUP BY label").await?;
    assert_eq!(scans(&dataflow, &fixture.config.mongodb.database), sql.0);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_an_index_serves_is_read_through_it() -> anyhow::Result<()> {
    // The plan shows how a scan reads.
    let fixture = Fixture::start_with("index", |config| config.scan.aggregate_pushdown = false);
    let Some(fixture) = fixture.await? else { return Ok(()) };
    let documents = predictions(4_000, 200);
    fixture.fill("predictions", true, &documents).await?;
    let create = bson::doc! {
        "createIndexes": "predictions",
        "indexes": [{ "name": "by_producer", "key": { "producer_id": 1 } }, { "name": "by_label", "key": { "label": 1 } }],
    };
    fixture.database.run_command(create).await?;
    for (filter, partitioner, expected) in [
        // 20 of 4,000 documents.
        ("producer_id = 'ab000007'", "single (index by_producer)", 20),
        ("producer_id LIKE 'ab00000%' AND label <> 'x'", "auto", 320),
        ("producer_id IN ('ab000007', 'ab000008') AND label >= 'a'", "single (index by_producer)", 40),
        // An index does not pay off for a tenth of the documents, and the last filter has none.
        ("label = 'cat'", "auto", 400),
        ("sequence = 3", "auto", 200),
    ] {
        let query = format!("SELECT count(*) FROM predictions WHERE {filter}");
        let plan = fixture.session.sql(&query).await?.explain().await?;
        assert!(plan.contains(&format!("partitioner={partitioner}, ")), "{filter}: {plan}");
        assert_eq!(
            fixture.session.sql(&query).await?.collect_as::<(i64,)>().await?,
            [(expected,)],
            "{filter}"
        );
    }
    fixture.session.shutdown().await;
    Ok(())
}
