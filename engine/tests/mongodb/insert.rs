//! `INSERT INTO`: the selected rows are written once per key, also when a statement or a task runs twice.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bson::{Bson, DateTime, Document, doc};
use firesteel_engine::{Acknowledgement, Error, Session};
use futures::TryStreamExt;

use crate::{Fixture, create, predictions};

async fn inserted(session: &Session, sql: &str) -> anyhow::Result<i64> {
    let rows = session.sql(sql).await?.collect_as::<(i64,)>().await?;
    anyhow::ensure!(rows.len() == 1, "{sql}: {rows:?}");
    Ok(rows[0].0)
}

async fn documents(fixture: &Fixture, collection: &str) -> anyhow::Result<Vec<Document>> {
    let collection = fixture.database.collection::<Document>(collection);
    Ok(collection.find(doc! {}).sort(doc! { "_id": 1 }).await?.try_collect().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_runs_twice_writes_each_document_once() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("insert").await? else { return Ok(()) };
    let session = &fixture.session;
    let written = predictions(3_000, 7);
    fixture.fill("predictions", true, &written).await?;
    session.register_collection("copy", "copy", firesteel_engine::predictions_schema())?;

    let sql = "INSERT INTO copy SELECT * FROM predictions WHERE label <> 'cat'";
    let plan = session.sql(sql).await?.explain().await?;
    assert!(plan.contains("MongoWriteExec: collection="), "{plan}");
    assert!(plan.contains("key=[_id], w=majority, j=true"), "{plan}");
    assert!(plan.contains("DataSourceExec: partitions=4"), "four partitions are written at once: {plan}");
    for _ in 0..2 {
        assert_eq!(inserted(session, sql).await?, 2_700);
    }
    let mut expected: Vec<Document> =
        written.into_iter().filter(|document| document.get_str("label").ok() != Some("cat")).collect();
    expected.sort_by(|a, b| a.get_str("_id").ok().cmp(&b.get_str("_id").ok()));
    assert_eq!(documents(&fixture, "copy").await?, expected);

    // A row replaces the document that has its key, with all its fields.
    let sql = "INSERT INTO copy (_id, label) VALUES ('ab000000:0', 'none'), ('new', 'none')";
    assert_eq!(inserted(session, sql).await?, 2);
    let copy = fixture.database.collection::<Document>("copy");
    assert_eq!(copy.count_documents(doc! {}).await?, 2_701);
    let replaced = copy.find_one(doc! { "_id": "ab000000:0" }).await?.expect("it was there");
    assert_eq!((replaced.get_str("label")?, replaced.get("sequence")), ("none", Some(&Bson::Null)));
    // Inserting into the collection that is read: the scan sees its state at the start.
    assert_eq!(inserted(session, "INSERT INTO copy SELECT * FROM copy").await?, 2_701);
    assert_eq!(copy.count_documents(doc! {}).await?, 2_701);
    assert_eq!(inserted(session, "INSERT INTO copy SELECT * FROM copy WHERE false").await?, 0);
    fixture.session.shutdown().await;
    Ok(())
}

fn types() -> SchemaRef {
    let id = Field::new("ref", DataType::Utf8, true)
        .with_metadata(HashMap::from([("firesteel.bson".to_owned(), "objectId".to_owned())]));
    Arc::new(Schema::new(vec![
        Field::new("_id", DataType::Int64, false),
        id,
        Field::new("i", DataType::Int32, true),
        Field::new("d", DataType::Float64, true),
        Field::new("b", DataType::Boolean, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("bin", DataType::Binary, true),
    ]))
}

#[tokio::test(flavor = "multi_thread")]
async fn values_become_their_bson_types() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("types").await? else { return Ok(()) };
    let session = &fixture.session;
    session.register_collection("types", "types", types())?;
    let sql = "INSERT INTO types VALUES \
               (1, '0123456789abcdef01234567', 7, 1.5, true, '2026-01-02T03:04:05.678Z', X'00ff'), \
               (2, NULL, NULL, 'NaN', NULL, NULL, NULL)";
    assert_eq!(inserted(session, sql).await?, 2);
    let found = documents(&fixture, "types").await?;
    let id = bson::oid::ObjectId::parse_str("0123456789abcdef01234567")?;
    let bytes = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0, 0xff] };
    assert_eq!(
        found[0],
        doc! {
            "_id": 1_i64, "ref": id, "i": 7, "d": 1.5, "b": true,
            "at": DateTime::parse_rfc3339_str("2026-01-02T03:04:05.678Z")?, "bin": bytes,
        }
    );
    assert_eq!((found[1].get("i"), found[1].get("ref")), (Some(&Bson::Null), Some(&Bson::Null)));
    assert!(found[1].get_f64("d")?.is_nan());

    let error = inserted(session, "INSERT INTO types (_id, ref) VALUES (3, 'no id')").await.unwrap_err();
    assert!(error.to_string().contains("\"no id\" is no ObjectId"), "{error}");
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_written_are_an_error() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("refused").await? else { return Ok(()) };
    let session = &fixture.session;
    let command = doc! {
        "create": "predictions", "validator": { "label": { "$ne": "unicorn" } },
    };
    fixture.database.run_command(command).await?;
    for (sql, words) in [
        ("INSERT INTO predictions (label) VALUES ('cat')", vec!["_id", "label: cat"]),
        (
            "INSERT INTO predictions (_id, label) SELECT nullif(a, 'x'), 'dog' FROM (SELECT 'a' AS a UNION ALL SELECT 'x') t",
            vec!["its key `_id` is null", "label: dog"],
        ),
        ("INSERT INTO predictions (_id, label) VALUES ('a', 'unicorn')", vec!["did not write", "121"]),
        ("INSERT OVERWRITE predictions (_id) VALUES ('a')", vec!["INSERT OVERWRITE is not supported"]),
    ] {
        let error = match session.sql(sql).await {
            Ok(query) => query.collect().await.unwrap_err(),
            Err(error) => error,
        };
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{sql}: {error}");
    }
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_key_fields_need_a_unique_index() -> anyhow::Result<()> {
    let fixture = Fixture::start_with("keys", |config| {
        config.write.key_fields = vec!["producer_id".to_owned(), "sequence".to_owned()];
        config.write.write_concern.acknowledgement = Acknowledgement::Members(std::num::NonZeroU32::MIN);
        config.write.write_concern.journal = false;
        config.write.batch_rows = 10;
        config.write.ignore_nulls = true;
    });
    let Some(fixture) = fixture.await? else { return Ok(()) };
    let session = &fixture.session;
    let schema = firesteel_engine::predictions_schema();
    let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    session.register_collection("keyed", "keyed", Arc::new(Schema::new(nullable.collect::<Vec<_>>())))?;
    fixture.fill("predictions", true, &predictions(500, 3)).await?;
    create(&fixture.database, "keyed", false).await?;

    let sql = "INSERT INTO keyed (producer_id, sequence, label) \
               SELECT producer_id, sequence, label FROM predictions";
    let error = session.sql(sql).await?.collect().await.unwrap_err();
    assert!(error.to_string().contains("need a unique index on exactly these fields"), "{error}");

    let index = doc! {
        "createIndexes": "keyed",
        "indexes": [{ "name": "key", "key": { "producer_id": 1, "sequence": 1 }, "unique": true }],
    };
    fixture.database.run_command(index).await?;
    for _ in 0..2 {
        assert_eq!(inserted(session, sql).await?, 500);
    }
    let found = documents(&fixture, "keyed").await?;
    assert_eq!(found.len(), 500);
    assert!(found.iter().all(|document| document.get_object_id("_id").is_ok()), "the server makes ids");
    assert!(found.iter().all(|document| document.len() == 4), "nulls are left out: {}", found[0]);

    let sql = "INSERT INTO keyed (producer_id, label) VALUES ('a', 'cat')";
    let error = session.sql(sql).await?.collect().await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidRow { message, .. } if message.contains("its key `sequence` is null")),
        "{error}"
    );
    session.shutdown().await;
    Ok(())
}
