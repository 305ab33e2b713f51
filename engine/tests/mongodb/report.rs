//! The report equals a `$group` that the server computes.

use std::collections::BTreeMap;

use bson::{Document, doc};
use firesteel_engine::report;
use futures::TryStreamExt;

use crate::{Fixture, create, predictions};

async fn group(
    fixture: &Fixture,
    key: &str,
    filter: Document,
) -> anyhow::Result<BTreeMap<String, (u64, u64)>> {
    let pipeline = [
        doc! { "$match": filter },
        doc! { "$group": {
            "_id": key,
            "total": { "$sum": 1_i64 },
            "wrong": { "$sum": { "$cond": ["$correct", 0_i64, 1_i64] } },
        } },
    ];
    let groups = fixture.database.collection::<Document>("predictions").aggregate(pipeline).await?;
    let groups: Vec<Document> = groups.try_collect().await?;
    groups
        .iter()
        .map(|group| {
            let counts = (group.get_i64("total")?.try_into()?, group.get_i64("wrong")?.try_into()?);
            Ok((group.get_str("_id")?.to_owned(), counts))
        })
        .collect()
}

async fn check(fixture: &Fixture, producers: Option<&[String]>) -> anyhow::Result<report::Report> {
    let report = report::run(&fixture.session, producers).await?;
    let filter = producers.map_or_else(Document::new, |ids| doc! { "producer_id": { "$in": ids } });
    let by_producer: BTreeMap<String, (u64, u64)> = report
        .producers
        .iter()
        .map(|row| (row.producer_id.clone(), (row.total_inferences, row.wrong_inference_count)))
        .collect();
    assert_eq!(by_producer, group(fixture, "$producer_id", filter.clone()).await?);
    let by_class: BTreeMap<String, (u64, u64)> =
        report.classes.iter().map(|row| (row.class.clone(), (row.total, row.total - row.correct))).collect();
    assert_eq!(by_class, group(fixture, "$label", filter).await?);
    Ok(report)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_equals_the_servers_own_group() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("report").await? else { return Ok(()) };
    create(&fixture.database, "predictions", true).await?;
    let empty = report::run(&fixture.session, None).await?;
    assert!(empty.is_empty() && empty.producers.is_empty() && empty.classes.is_empty(), "{empty:?}");

    let mut documents = predictions(4_000, 4);
    // A prediction without `correct` counts as wrong, also in the server's `$cond`.
    documents[1].remove("correct");
    fixture.database.collection::<Document>("predictions").insert_many(&documents).await?;
    let report = check(&fixture, None).await?;
    assert_eq!((report.totals.images, report.totals.producers), (4_000, 4));
    assert_eq!(report.totals.ingest_seconds, (3_999.0 * 10.0 + 250.0) / 1_000.0);
    assert!(report.totals.job_seconds > 0.0);

    let ids = [report.producers[0].producer_id.clone(), report.producers[2].producer_id.clone()];
    let some = check(&fixture, Some(&ids)).await?;
    assert_eq!((some.totals.images, some.totals.producers), (2_000, 2));
    assert!(check(&fixture, Some(&["nobody".to_owned()])).await?.is_empty());
    assert!(check(&fixture, Some(&[])).await?.is_empty());
    fixture.session.shutdown().await;
    Ok(())
}
