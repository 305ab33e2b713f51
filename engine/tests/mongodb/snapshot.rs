//! All scans of a query read one snapshot, so its parts agree although a writer never stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firesteel_engine::report;

use crate::{Fixture, prediction, predictions};

/// The number of reports that are computed while the writer writes.
const REPORTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_query_agrees_with_itself_under_concurrent_writes() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("snapshot").await? else { return Ok(()) };
    fixture.fill("predictions", true, &predictions(1_000, 3)).await?;
    let (stop, collection) = (Arc::new(AtomicBool::new(false)), fixture.database.collection("predictions"));
    let writer = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut index = 1_000;
            while !stop.load(Ordering::Relaxed) {
                collection.insert_one(prediction(index, 3)).await?;
                index += 1;
            }
            Ok::<usize, mongodb::error::Error>(index)
        }
    });

    // Several scans of the same rows, planned one after the other and run at different times: rows, the sums over
    // producers and over classes, and a join.
    let sql = "SELECT count(sequence) FROM predictions \
               UNION ALL SELECT sum(n) FROM (SELECT count(*) AS n FROM predictions GROUP BY producer_id) AS producers \
               UNION ALL SELECT sum(n) FROM (SELECT count(*) AS n FROM predictions GROUP BY label) AS classes \
               UNION ALL SELECT count(a._id) FROM predictions a JOIN predictions b ON a._id = b._id";
    let mut last = 0;
    for round in 0..REPORTS {
        let counts = fixture.session.sql(sql).await?.collect_as::<(i64,)>().await?;
        assert_eq!(counts.len(), 4, "round {round}: {counts:?}");
        assert!(counts.iter().all(|count| count == &counts[0]), "round {round}: {counts:?}");
        assert!(counts[0].0 >= last, "round {round}: {counts:?} after {last}");
        last = counts[0].0;

        let report = report::run(&fixture.session, None).await?;
        let producers: u64 = report.producers.iter().map(|row| row.total_inferences).sum();
        let classes: u64 = report.classes.iter().map(|row| row.total).sum();
        assert_eq!((producers, classes), (report.totals.images, report.totals.images), "round {round}");
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await??;
    assert!(last > 1_000, "the writer wrote while the queries ran");
    let counts =
        fixture.session.sql("SELECT count(*) FROM predictions").await?.collect_as::<(i64,)>().await?;
    assert_eq!(counts, [(written as i64,)], "a query sees every write that was acknowledged before it");
    fixture.session.shutdown().await;
    Ok(())
}
