//! How fast a cached table is: run by hand, with `--ignored --nocapture`.

use std::time::Instant;

use firesteel_engine::report;

use crate::Fixture;

/// Five million rows in the shape of predictions, made by a query: 100 producers, 10 labels.
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
    // The same files, read by DataFusion's own Parquet scan and grouped by its own hash table.
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
