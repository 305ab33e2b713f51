//! The report by MongoDB itself: what our engine is compared with.

use std::time::Duration;

use anyhow::Context as _;
use bson::{Bson, Document, doc};
use firesteel_engine::dataflow::Timestamp;
use firesteel_engine::report::{KeyedCounts, Report};
use futures::TryStreamExt as _;
use mongodb::Database;

/// Runs one `$group` with the keys and accumulators of [`firesteel_engine::report::run`].
pub(crate) async fn group(database: &Database) -> anyhow::Result<Report> {
    let pipeline = [doc! { "$group": {
        "_id": { "producer_id": "$producer_id", "label": "$label" },
        "total": { "$sum": 1_i64 },
        // Null, and what is not there, orders below every boolean.
        "labelled": { "$sum": { "$cond": [{ "$gt": ["$correct", null] }, 1_i64, 0_i64] } },
        "wrong": { "$sum": { "$cond": [{ "$eq": ["$correct", false] }, 1_i64, 0_i64] } },
        "first_produced": { "$min": "$produced_at" },
        "last_inferred": { "$max": "$inferred_at" },
    } }];
    let groups = database.collection::<Document>("predictions").aggregate(pipeline).await;
    let groups: Vec<Document> = groups.context("MongoDB's $group")?.try_collect().await?;
    let rows: Option<Vec<KeyedCounts>> = groups.iter().map(keyed).collect();
    let rows = rows.context("a group of MongoDB's $group is not what was asked for")?;
    Ok(Report::fold(&rows, Duration::ZERO))
}

fn keyed(group: &Document) -> Option<KeyedCounts> {
    let key = group.get_document("_id").ok()?;
    let text = |field| key.get_str(field).ok().map(str::to_owned);
    let count = |field| u64::try_from(group.get_i64(field).ok()?).ok();
    let time = |field| match group.get(field) {
        Some(Bson::DateTime(time)) => Some(Timestamp::from_millis(time.timestamp_millis())),
        _ => None,
    };
    Some(KeyedCounts {
        producer_id: text("producer_id"),
        label: text("label"),
        labelled: count("labelled")?,
        unlabelled: count("total")?.checked_sub(count("labelled")?)?,
        wrong: count("wrong")?,
        first_produced: time("first_produced"),
        last_inferred: time("last_inferred"),
    })
}
