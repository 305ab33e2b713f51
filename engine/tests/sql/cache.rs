//! Cached tables: they keep a snapshot until they are refreshed, leave no files behind, and answer as the live table
//! does.

use std::sync::Arc;

use firesteel_engine::{ConfigField, Error, report};

use crate::{Fixture, prediction, predictions};

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_table_is_a_snapshot() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::with_mongodb("cache").await? else { return Ok(()) };
    let collection = fixture.predictions()?;
    collection.insert_many(predictions(0..1_000)).await?;
    let count = "SELECT count(*) FROM predictions";
    let live = report::run(&fixture.session, None).await?;

    let message = fixture.done("CACHE TABLE predictions").await?;
    assert!(
        message.starts_with("CACHE TABLE: 1000 rows, cached at 20") && message.contains("(cluster time "),
        "{message}"
    );
    collection.insert_many(predictions(1_000..1_100)).await?;
    assert_eq!(fixture.rows(count).await?, ["1000"], "what came later is not in the snapshot");
    let cached = report::run(&fixture.session, None).await?;
    assert_eq!((cached.producers, cached.classes), (live.producers, live.classes));
    let plan = fixture.session.sql("SELECT label FROM predictions").await?.explain().await?;
    assert!(
        plan.contains("CachedScanExec") && plan.contains("cached at 20") && plan.contains("cluster time"),
        "{plan}"
    );
    assert!(!plan.contains("MongoScanExec"), "{plan}");

    let shown = fixture.rows("SHOW CACHED TABLES").await?;
    assert_eq!(shown.len(), 1);
    assert!(shown[0].starts_with("predictions|1000|20"), "{shown:?}");
    assert!(fixture.done("CACHE TABLE predictions").await?.contains("cached already"));

    assert!(fixture.done("REFRESH TABLE predictions").await?.starts_with("REFRESH TABLE: 1100 rows"));
    assert_eq!(fixture.rows(count).await?, ["1100"]);
    assert_ne!(fixture.rows("SHOW CACHED TABLES").await?, shown, "the stamp is another");

    assert_eq!(fixture.done("UNCACHE TABLE predictions").await?, "UNCACHE TABLE");
    assert!(fixture.cached_files().is_empty(), "{:?}", fixture.cached_files());
    collection.insert_one(prediction(5_000)).await?;
    assert_eq!(fixture.rows(count).await?, ["1101"], "live again");
    assert!(matches!(fixture.fails("UNCACHE TABLE predictions").await?, Error::NotCached { .. }));
    assert!(matches!(fixture.fails("REFRESH TABLE predictions").await?, Error::NotCached { .. }));
    fixture.done("UNCACHE TABLE IF EXISTS predictions").await?;
    fixture.session.shutdown().await;
    Ok(())
}

/// Aggregates by dictionary keys and other keys, with filters and projections, over nulls, and over no rows.
const QUERIES: [&str; 18] = [
    "SELECT label, count(*), count(correct), sum(sequence), min(produced_at), max(inferred_at) FROM predictions GROUP BY label",
    "SELECT producer_id, label, round(avg(confidence), 6), min(predicted), max(_id) FROM predictions GROUP BY producer_id, label",
    "SELECT label, count(*) FROM predictions WHERE correct GROUP BY label",
    "SELECT predicted, sum(CASE WHEN label = predicted THEN 1 ELSE 0 END) FROM predictions WHERE label LIKE '%o%' GROUP BY predicted",
    "SELECT l, count(*) FROM (SELECT label AS l, sequence FROM predictions WHERE sequence > 100) GROUP BY l",
    "SELECT label, count(*) FILTER (WHERE confidence > 0.7) FROM predictions GROUP BY label",
    "SELECT label, count(DISTINCT predicted), approx_distinct(predicted) FROM predictions GROUP BY label",
    "SELECT label, producer_id FROM predictions GROUP BY producer_id, label",
    "SELECT DISTINCT label FROM predictions",
    "SELECT _id, count(*) FROM predictions GROUP BY _id ORDER BY _id LIMIT 7",
    "SELECT upper(label), count(*) FROM predictions GROUP BY upper(label)",
    "SELECT label, count(*) FROM predictions WHERE label = 'no such' GROUP BY label",
    "SELECT count(*), sum(sequence), min(label), max(label) FROM predictions",
    "SELECT count(*) FROM predictions WHERE label IS NULL OR correct IS NULL",
    "SELECT label, correct, count(*) FROM predictions GROUP BY label, correct",
    "SELECT label, count(*) FROM predictions GROUP BY ROLLUP (label)",
    "SELECT a.label, count(*) FROM predictions a JOIN predictions b ON a._id = b._id GROUP BY a.label HAVING count(*) > 10",
    "SELECT * FROM predictions WHERE sequence BETWEEN 500 AND 520",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_table_answers_as_the_live_one() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::with_mongodb("cache-answers").await? else { return Ok(()) };
    fixture.predictions()?.insert_many(predictions(0..3_000)).await?;
    let mut live = Vec::new();
    for sql in QUERIES {
        live.push(fixture.rows(sql).await?);
    }
    fixture.done("CACHE TABLE predictions").await?;
    // The first run reads the files, the second the memory.
    for round in 0..2 {
        for (sql, expected) in QUERIES.iter().zip(&live) {
            assert_eq!(&fixture.rows(sql).await?, expected, "round {round}: {sql}");
        }
    }
    assert_eq!(fixture.rows("SELECT label FROM predictions LIMIT 5").await?.len(), 5);
    let plan = fixture.session.sql(QUERIES[0]).await?.explain().await?;
    assert!(plan.contains("CachedAggregateExec"), "{plan}");
    let plan = fixture.session.sql(QUERIES[6]).await?.explain().await?;
    assert!(plan.contains("CachedScanExec"), "{plan}");
    fixture.session.shutdown().await;
    assert!(!fixture.config.cache.folder.join("session-x").exists());
    assert!(fixture.cached_files().is_empty(), "a session that ends leaves no files");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_query_is_cached_under_a_name() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    std::fs::write(fixture.path("a.csv"), "id,name\n1,one\n2,two\n")?;
    let csv = fixture.path("a.csv");
    fixture
        .done(&format!(
            "CREATE EXTERNAL TABLE a STORED AS CSV LOCATION '{}' OPTIONS ('has_header' 'true')",
            csv.display()
        ))
        .await?;
    let message = fixture.done("CACHE TABLE b AS SELECT name, id * 10 AS tens FROM a").await?;
    assert!(message.starts_with("CACHE TABLE: 2 rows") && !message.contains("cluster time"), "{message}");
    assert!(matches!(fixture.fails("CACHE TABLE b AS SELECT 1 AS one").await?, Error::TableExists { .. }));
    std::fs::write(&csv, "id,name\n1,one\n2,two\n3,three\n")?;
    assert_eq!(fixture.rows("SELECT * FROM b").await?, ["one|10", "two|20"]);
    fixture.done("REFRESH TABLE b").await?;
    assert_eq!(fixture.rows("SELECT * FROM b").await?, ["one|10", "three|30", "two|20"]);

    // As in Spark, the name stays when it is uncached.
    fixture.done("CACHE TABLE empty AS SELECT * FROM a WHERE id > 100").await?;
    assert_eq!(fixture.rows("SELECT name, count(*) FROM empty GROUP BY name").await?, Vec::<String>::new());
    assert_eq!(fixture.rows("SELECT count(*) FROM empty").await?, ["0"]);
    assert_eq!(fixture.done("CLEAR CACHE").await?, "CLEAR CACHE: 2 tables");
    assert!(fixture.cached_files().is_empty());
    assert_eq!(fixture.rows("SELECT count(*) FROM b").await?, ["3"]);
    fixture.done("DROP VIEW b").await?;
    fixture.done("CACHE TABLE a").await?;
    fixture.done("DROP TABLE a").await?;
    assert!(fixture.cached_files().is_empty());
    assert!(fixture.rows("SHOW CACHED TABLES").await?.is_empty());
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_files_are_an_error_that_names_the_setting() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    fixture.done("CACHE TABLE t AS SELECT column1 AS n FROM (VALUES (1), (2))").await?;
    std::fs::remove_dir_all(&fixture.config.cache.folder)?;
    let error = fixture.fails("SELECT * FROM t").await?;
    assert!(error.to_string().contains(ConfigField::CacheFolder.name()), "{error}");
    fixture.done("REFRESH TABLE t").await?;
    assert_eq!(fixture.rows("SELECT * FROM t").await?, ["1", "2"]);

    // A folder that cannot be written to is an error of the statement, and nothing is cached.
    fixture.done("UNCACHE TABLE t").await?;
    std::fs::remove_dir_all(&fixture.config.cache.folder)?;
    std::fs::write(&fixture.config.cache.folder, "a file")?;
    let error = fixture.fails("CACHE TABLE t").await?;
    assert!(error.to_string().contains(ConfigField::CacheFolder.name()), "{error}");
    assert_eq!(fixture.rows("SELECT * FROM t").await?, ["1", "2"]);
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_refreshes_do_not_disturb_each_other() -> anyhow::Result<()> {
    let fixture = Arc::new(Fixture::alone().await?);
    let digits = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))";
    let rows = format!(
        "SELECT CAST(a * 10 + b AS VARCHAR) AS k, c * 100 + d * 10 + e AS n \
         FROM {digits} AS a(a), {digits} AS b(b), {digits} AS c(c), {digits} AS d(d), {digits} AS e(e)"
    );
    fixture.done(&format!("CACHE TABLE t AS {rows}")).await?;
    let queries = (0..4).map(|_| {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(async move {
            for _ in 0..5 {
                let sql = "SELECT count(*), sum(c), sum(s) FROM (SELECT k, count(*) AS c, sum(n) AS s FROM t GROUP BY k)";
                assert_eq!(fixture.rows(sql).await?, ["100|100000|49950000"]);
            }
            anyhow::Ok(())
        })
    });
    let queries: Vec<_> = queries.collect();
    for _ in 0..3 {
        fixture.done("REFRESH TABLE t").await?;
    }
    for query in queries {
        query.await??;
    }
    fixture.session.shutdown().await;
    assert!(fixture.cached_files().is_empty());
    Ok(())
}
