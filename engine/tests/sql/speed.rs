//! Measures the speed of cached tables. Run it by hand with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use firesteel_engine::report;
use futures::TryStreamExt;

use crate::Fixture;

/// The number of predictions, and the number of measurements of each variant.
const PREDICTIONS: i32 = 5_000_000;
const ROUNDS: usize = 7;

/// Generates predictions inside the server: 100 producers, 10 labels, one in eleven wrong.
async fn fill(database: &mongodb::Database, clustered: bool) -> anyhow::Result<()> {
    if clustered {
        let key = doc! { "key": { "_id": 1 }, "unique": true };
        database.run_command(doc! { "create": "predictions", "clusteredIndex": key }).await?;
    }
    let part = PREDICTIONS / 50;
    for first in 0..50 {
        let pipeline = vec![
            doc! { "$documents": [{ "n": { "$range": [first * part, (first + 1) * part] } }] },
            doc! { "$unwind": "$n" },
            doc! { "$set": { "producer_id": { "$concat": ["ab00", { "$toString": { "$add": [1000, { "$mod": ["$n", 100] }] } }] } } },
            doc! { "$project": {
                "_id": { "$concat": ["$producer_id", ":", { "$toString": "$n" }] },
                "producer_id": 1,
                "sequence": { "$toLong": "$n" },
                "label": { "$concat": ["label", { "$toString": { "$mod": [{ "$floor": { "$divide": ["$n", 100] } }, 10] } }] },
                "predicted": { "$concat": ["label", { "$toString": { "$mod": ["$n", 10] } }] },
                "correct": { "$ne": [{ "$mod": ["$n", 11] }, 0] },
                "confidence": { "$divide": [{ "$mod": ["$n", 1000] }, 1000.0] },
                "model": "resnet18",
                "produced_at": { "$toDate": { "$add": [1_760_000_000_000_i64, "$n"] } },
                "inferred_at": { "$toDate": { "$add": [1_760_000_000_250_i64, "$n"] } },
            } },
            doc! { "$merge": { "into": "predictions", "whenMatched": "fail" } },
        ];
        database.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await?;
    }
    Ok(())
}

/// Computes the report as one `$group` in the server.
async fn group(database: &mongodb::Database) -> anyhow::Result<usize> {
    let pipeline = vec![doc! { "$group": {
        "_id": { "p": "$producer_id", "l": "$label" },
        "total": { "$sum": 1 },
        "wrong": { "$sum": { "$cond": ["$correct", 0, 1] } },
        "first": { "$min": "$produced_at" },
        "last": { "$max": "$inferred_at" },
    } }];
    let collection = database.collection::<Document>("predictions");
    Ok(collection.aggregate(pipeline).await?.try_collect::<Vec<Document>>().await?.len())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn a_cached_report_against_the_servers_group() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::with_mongodb("cache-speed").await? else { return Ok(()) };
    let (database, _) = fixture.database.as_ref().unwrap();
    let started = Instant::now();
    fill(database, true).await?;
    println!("{PREDICTIONS} predictions in {:.1?}", started.elapsed());
    let started = Instant::now();
    println!("{} in {:.1?}", fixture.done("CACHE TABLE predictions").await?, started.elapsed());
    let (mut groups, mut cached) = (Vec::new(), Vec::new());
    let first = Instant::now();
    report::run(&fixture.session, None).await?;
    println!("first cached report: {:.0?}", first.elapsed());
    // The variants alternate, so that other load on the machine affects both.
    for _ in 0..ROUNDS {
        let started = Instant::now();
        assert_eq!(group(database).await?, 1_000);
        groups.push(started.elapsed());
        let started = Instant::now();
        let report = report::run(&fixture.session, None).await?;
        assert_eq!((report.totals.images, report.totals.producers), (PREDICTIONS as u64, 100));
        cached.push(started.elapsed());
    }
    println!("$group: {groups:.0?}\ncached report: {cached:.0?}");
    let (group, cached) = (median(&mut groups), median(&mut cached));
    println!(
        "medians: $group {group:.0?}, cached {cached:.0?}: {:.1} times",
        group.as_secs_f64() / cached.as_secs_f64()
    );
    fixture.session.shutdown().await;
    Ok(())
}

/// A query that generates five million rows like predictions: 100 producers, 10 labels.
const ROWS: &str = "
    WITH d AS (SELECT * FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS d(d)),
         n AS (SELECT a.d * 1000000 + b.d * 100000 + c.d * 10000 + e.d * 1000 + f.d * 100 + g.d * 10 + h.d AS n
               FROM d a, d b, d c, d e, d f, d g, d h WHERE a.d < 5)
    SELECT concat('ab0000', lpad(CAST(n % 100 AS VARCHAR), 2, '0'), ':', CAST(n AS VARCHAR)) AS _id,
           concat('ab0000', lpad(CAST(n % 100 AS VARCHAR), 2, '0')) AS producer_id,
           n AS sequence,
           concat('label', CAST(n / 7 % 10 AS VARCHAR)) AS label,
           concat('label', CAST(n / 9 % 10 AS VARCHAR)) AS predicted,
           n % 11 <> 0 AS correct,
           CAST(n % 1000 AS DOUBLE) / 1000 AS confidence,
           'resnet18' AS model,
           arrow_cast(1760000000000 + n, 'Timestamp(Millisecond, Some(\"UTC\"))') AS produced_at,
           arrow_cast(1760000000250 + n, 'Timestamp(Millisecond, Some(\"UTC\"))') AS inferred_at
    FROM n";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn a_report_over_five_million_cached_rows() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    let started = Instant::now();
    fixture.done("DROP TABLE predictions").await?;
    println!(
        "{} in {:.2?}",
        fixture.done(&format!("CREATE TABLE predictions AS {ROWS}")).await?,
        started.elapsed()
    );
    for round in 0..8 {
        let started = Instant::now();
        let report = report::run(&fixture.session, None).await?;
        assert_eq!((report.totals.images, report.totals.producers), (5_000_000, 100));
        println!("cached report, round {round}: {:.1?}", started.elapsed());
    }
    // DataFusion's Parquet scan and hash aggregation over the same files.
    let file = fixture.cached_files().pop().and_then(|file| Some(file.parent()?.to_owned()));
    let folder = file.unwrap_or_default().display().to_string();
    fixture.done(&format!("CREATE EXTERNAL TABLE plain STORED AS PARQUET LOCATION '{folder}/'")).await?;
    for table in ["predictions", "plain"] {
        let sql = format!(
            "SELECT producer_id, label, count(1), sum(CASE WHEN correct IS NOT TRUE THEN 1 ELSE 0 END), \
                    min(produced_at), max(inferred_at) FROM {table} GROUP BY producer_id, label"
        );
        for round in 0..5 {
            let started = Instant::now();
            assert_eq!(fixture.rows(&sql).await?.len(), 700);
            println!("{table}, round {round}: {:.1?}", started.elapsed());
        }
    }
    fixture.session.shutdown().await;
    Ok(())
}
