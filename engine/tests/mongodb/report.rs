//! The report equals a `$group` that the server computes, with labelled and unlabelled images, pushed down or not.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use firesteel_engine::{Session, report};
use futures::TryStreamExt;

use crate::{Fixture, create, predictions};

/// Labelled images, wrong ones and unlabelled ones, by key.
type Counts = BTreeMap<String, (u64, u64, u64)>;

async fn group(fixture: &Fixture, key: &str, filter: Document) -> anyhow::Result<Counts> {
    let pipeline = [
        doc! { "$match": filter },
        doc! { "$group": {
            "_id": key,
            "total": { "$sum": { "$cond": [{ "$gt": ["$correct", null] }, 1_i64, 0_i64] } },
            "wrong": { "$sum": { "$cond": [{ "$eq": ["$correct", false] }, 1_i64, 0_i64] } },
            "unlabelled": { "$sum": { "$cond": [{ "$gt": ["$correct", null] }, 0_i64, 1_i64] } },
        } },
    ];
    let groups = fixture.database.collection::<Document>("predictions").aggregate(pipeline).await?;
    let groups: Vec<Document> = groups.try_collect().await?;
    groups
        .iter()
        .map(|group| {
            let count = |name: &str| anyhow::Ok(u64::try_from(group.get_i64(name)?)?);
            let key = group.get_str("_id").unwrap_or("unknown").to_owned();
            Ok((key, (count("total")?, count("wrong")?, count("unlabelled")?)))
        })
        .collect()
}

async fn check(
    fixture: &Fixture,
    session: &Session,
    producers: Option<&[String]>,
) -> anyhow::Result<report::Report> {
    let report = report::run(session, producers).await?;
    let filter = producers.map_or_else(Document::new, |ids| doc! { "producer_id": { "$in": ids } });
    let by_producer: Counts = report
        .producers
        .iter()
        .map(|row| {
            (row.producer_id.clone(), (row.total_inferences, row.wrong_inference_count, row.unlabelled))
        })
        .collect();
    assert_eq!(by_producer, group(fixture, "$producer_id", filter.clone()).await?);
    let by_class: BTreeMap<String, (u64, u64)> =
        report.classes.iter().map(|row| (row.class.clone(), (row.total, row.total - row.correct))).collect();
    let expected = group(fixture, "$label", filter).await?.into_iter();
    let expected = expected.filter(|(_, (total, ..))| *total > 0);
    let expected: BTreeMap<_, _> =
        expected.map(|(class, (total, wrong, _))| (class, (total, wrong))).collect();
    assert_eq!(by_class, expected);
    Ok(report)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_equals_the_servers_own_group() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("report").await? else { return Ok(()) };
    create(&fixture.database, "predictions", true).await?;
    let empty = report::run(&fixture.session, None).await?;
    assert!(empty.is_empty() && empty.producers.is_empty() && empty.classes.is_empty(), "{empty:?}");

    let documents = predictions(4_000, 4);
    fixture.database.collection::<Document>("predictions").insert_many(&documents).await?;
    let session = &fixture.session;
    let report = check(&fixture, session, None).await?;
    assert_eq!((report.totals.images, report.totals.producers), (4_000, 4));
    assert_eq!(report.totals.unlabelled, 0);
    assert_eq!(report.totals.ingest_seconds, (3_999.0 * 10.0 + 250.0) / 1_000.0);
    assert!(report.totals.job_seconds > 0.0);

    let ids = [report.producers[0].producer_id.clone(), report.producers[2].producer_id.clone()];
    let some = check(&fixture, session, Some(&ids)).await?;
    assert_eq!((some.totals.images, some.totals.producers), (2_000, 2));
    assert!(check(&fixture, session, Some(&["nobody".to_owned()])).await?.is_empty());
    assert!(check(&fixture, session, Some(&[])).await?.is_empty());
    fixture.session.shutdown().await;
    Ok(())
}

/// Labelled images, then the same and unlabelled ones between them, with nulls and with fields that are not there.
#[tokio::test(flavor = "multi_thread")]
async fn unlabelled_images_are_counted_apart_and_change_no_rate() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("unlabelled").await? else { return Ok(()) };
    let mut config = fixture.config.clone();
    config.scan.aggregate_pushdown = false;
    let without = Session::embedded(config).await?;
    create(&fixture.database, "predictions", true).await?;
    let collection = fixture.database.collection::<Document>("predictions");
    let (labelled, mut others): (Vec<_>, Vec<_>) =
        predictions(4_000, 4).into_iter().enumerate().partition(|(index, _)| index % 3 != 1);
    collection.insert_many(labelled.into_iter().map(|(_, document)| document)).await?;
    let before = check(&fixture, &fixture.session, None).await?;

    for (index, document) in &mut others {
        match index.rem_euclid(4) {
            0 => drop((document.remove("label"), document.remove("correct"))),
            1 => drop(document.remove("correct")),
            _ => drop((document.insert("label", Bson::Null), document.insert("correct", Bson::Null))),
        }
    }
    let unlabelled = others.len() as u64;
    collection.insert_many(others.into_iter().map(|(_, document)| document)).await?;
    let mut reports = Vec::new();
    for session in [&fixture.session, &without] {
        let mut report = check(&fixture, session, None).await?;
        report.totals.job_seconds = 0.0;
        assert_eq!(report.totals.unlabelled, unlabelled);
        assert_eq!(report.totals.images, 4_000);
        assert_eq!(report.classes, before.classes);
        assert_eq!(report.totals.accuracy, before.totals.accuracy);
        assert_eq!(report.totals.average_error_rate, before.totals.average_error_rate);
        for (row, known) in report.producers.iter().zip(&before.producers) {
            assert!(row.unlabelled > 0);
            assert_eq!(&report::ProducerRow { unlabelled: 0, ..row.clone() }, known);
        }
        reports.push(report);
    }
    assert_eq!(reports[0], reports[1], "pushed down or not");
    without.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}
