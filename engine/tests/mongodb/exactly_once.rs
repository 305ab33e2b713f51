//! Every document is read exactly once: by several partitions, under every plan shape, whatever its `_id` is.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bson::{Bson, DateTime, Document, doc};

use crate::{Fixture, create, predictions};

#[tokio::test(flavor = "multi_thread")]
async fn every_plan_shape_sees_each_row_once() -> anyhow::Result<()> {
    for pushdown in [false, true] {
        check_every_plan_shape(pushdown).await?;
    }
    Ok(())
}

async fn check_every_plan_shape(pushdown: bool) -> anyhow::Result<()> {
    let fixture = Fixture::start_with("once", |config| config.scan.aggregate_pushdown = pushdown);
    let Some(fixture) = fixture.await? else { return Ok(()) };
    let documents = predictions(3_000, 7);
    let mut by_producer: BTreeMap<String, i64> = BTreeMap::new();
    for document in &documents {
        *by_producer.entry(document.get_str("producer_id")?.to_owned()).or_default() += 1;
    }
    let by_producer: Vec<(String, i64)> = by_producer.into_iter().collect();

    for (table, clustered) in [("clustered", true), ("plain", false)] {
        fixture.fill(table, clustered, &documents).await?;
        let session = &fixture.session;
        session.register_collection(table, table, firesteel_engine::predictions_schema())?;

        let plan = session.sql(&format!("SELECT count(*) FROM {table}")).await?.explain().await?;
        let partitions = if pushdown && !clustered { 1 } else { 4 };
        assert!(plan.contains(&format!("DataSourceExec: partitions={partitions}")), "{plan}");

        let one = |sql: String| async move {
            let rows = session.sql(&sql).await?.collect_as::<(i64,)>().await?;
            anyhow::Ok(rows.first().map(|row| row.0))
        };
        assert_eq!(one(format!("SELECT count(*) FROM {table}")).await?, Some(3_000));
        assert_eq!(one(format!("SELECT count(DISTINCT _id) FROM {table}")).await?, Some(3_000));
        let sql = format!("SELECT sum(sequence) FROM {table} WHERE NOT correct");
        let expected = documents.iter().filter(|document| !document.get_bool("correct").unwrap_or_default());
        let expected: i64 = expected.map(|document| document.get_i64("sequence").unwrap_or_default()).sum();
        assert_eq!(one(sql).await?, Some(expected));
        let sql = format!(
            "SELECT count(*) FROM (SELECT _id FROM {table} UNION ALL SELECT _id FROM {table} WHERE correct IS NOT NULL)"
        );
        assert_eq!(one(sql).await?, Some(6_000));
        let sql = format!("SELECT count(*) FROM {table} a JOIN {table} b ON a._id = b._id");
        assert_eq!(one(sql).await?, Some(3_000));
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE sequence > (SELECT avg(sequence) FROM {table}) AND label = 'cat'"
        );
        let mean =
            documents.iter().map(|document| document.get_i64("sequence").unwrap_or_default()).sum::<i64>()
                as f64
                / 3_000.0;
        let above = documents.iter().filter(|document| {
            document.get_str("label").is_ok_and(|label| label == "cat")
                && document.get_i64("sequence").unwrap_or_default() as f64 > mean
        });
        assert_eq!(one(sql).await?, Some(above.count() as i64));

        let sql =
            format!("SELECT producer_id, count(*) FROM {table} GROUP BY producer_id ORDER BY producer_id");
        assert_eq!(session.sql(&sql).await?.collect_as::<(String, i64)>().await?, by_producer);

        let sql = format!("SELECT _id FROM {table} ORDER BY _id LIMIT 5 OFFSET 2");
        let mut ids: Vec<&str> =
            documents.iter().filter_map(|document| document.get_str("_id").ok()).collect();
        ids.sort_unstable();
        let found = session.sql(&sql).await?.collect_as::<(String,)>().await?;
        assert_eq!(found.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ids[2..7]);

        let limited = session.sql(&format!("SELECT _id FROM {table} LIMIT 17")).await?.collect().await?;
        assert_eq!(limited.len(), 17);
    }
    fixture.session.shutdown().await;
    Ok(())
}

/// Ids of every type that MongoDB takes, in no order, several of each.
pub(crate) fn ids() -> Vec<Bson> {
    let mut ids = vec![Bson::MinKey, Bson::MaxKey, Bson::Null, Bson::Boolean(true), Bson::Boolean(false)];
    ids.push(Bson::Double(f64::NAN));
    ids.push(Bson::Double(f64::INFINITY));
    for n in 0..40_i32 {
        ids.push(Bson::Int32(n));
        ids.push(Bson::Double(f64::from(n) + 0.5));
        ids.push(Bson::Int64(i64::from(n) + (1 << 40)));
        ids.push(Bson::String(format!("id {n}")));
        ids.push(Bson::Document(doc! { "n": n }));
        ids.push(Bson::ObjectId(bson::oid::ObjectId::new()));
        ids.push(Bson::DateTime(DateTime::from_millis(i64::from(n))));
        ids.push(Bson::Timestamp(bson::Timestamp { time: n.unsigned_abs() + 1, increment: 1 }));
        let bytes = n.to_le_bytes().to_vec();
        ids.push(Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes }));
    }
    ids
}

fn number_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_all_types_are_covered_once() -> anyhow::Result<()> {
    let fixture = Fixture::start_with("mixed", |config| {
        config.partitions = Some(13);
        config.scan.min_documents_per_partition = 1;
    });
    let Some(fixture) = fixture.await? else { return Ok(()) };
    let documents: Vec<Document> =
        ids().into_iter().enumerate().map(|(n, id)| doc! { "_id": id, "n": n as i64 }).collect();
    let count = documents.len() as i64;
    for (table, clustered) in [("clustered", true), ("plain", false)] {
        fixture.fill(table, clustered, &documents).await?;
        fixture.session.register_collection(table, table, number_schema())?;
        // Boundaries are sampled: several rounds cut in several places.
        for round in 0..8 {
            for filter in ["", " WHERE n >= 0"] {
                let sql = format!("SELECT count(*), count(DISTINCT n), sum(n) FROM {table}{filter}");
                let rows = fixture.session.sql(&sql).await?.collect_as::<(i64, i64, i64)>().await?;
                assert_eq!(rows, [(count, count, count * (count - 1) / 2)], "{sql}, round {round}");
            }
        }
    }
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn views_collations_and_missing_collections_are_read_whole() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("whole").await? else { return Ok(()) };
    let documents = predictions(500, 3);
    fixture.fill("base", true, &documents).await?;
    let command = doc! {
        "create": "view", "viewOn": "base", "pipeline": [{ "$match": { "correct": true } }],
    };
    fixture.database.run_command(command).await?;
    let command = doc! { "create": "collated", "collation": { "locale": "en", "strength": 2 } };
    fixture.database.run_command(command).await?;
    let upper_and_lower = ["cat", "Cat", "CAT"].iter().enumerate();
    let upper_and_lower: Vec<Document> =
        upper_and_lower.map(|(n, label)| doc! { "_id": n.to_string(), "label": *label }).collect();
    fixture.database.collection("collated").insert_many(upper_and_lower).await?;
    create(&fixture.database, "empty", true).await?;

    for table in ["view", "collated", "empty", "missing"] {
        fixture.session.register_collection(table, table, firesteel_engine::predictions_schema())?;
    }
    let right =
        documents.iter().filter(|document| document.get_bool("correct").unwrap_or_default()).count() as i64;
    for (table, filter, expected) in [
        ("view", "", right),
        ("view", " WHERE label = 'nothing'", 0),
        ("collated", "", 3),
        ("collated", " WHERE label = 'cat'", 1),
        ("empty", "", 0),
        ("missing", "", 0),
    ] {
        let sql = format!("SELECT count(*) FROM {table}{filter}");
        let rows = fixture.session.sql(&sql).await?.collect_as::<(i64,)>().await?;
        assert_eq!(rows, [(expected,)], "{sql}");
    }
    fixture.session.shutdown().await;
    Ok(())
}
