//! Every document is read exactly once, by several partitions, under every plan shape, whatever its `_id` is.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bson::{Bson, DateTime, Document, doc};
use firesteel_engine::{Partitioner, Session};
use rand::Rng as _;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

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

/// Returns several ids of every type that MongoDB accepts, unordered.
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

fn number(n: u64) -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(n - 1)
}

/// Returns every partitioner, with the minimal and maximal number of partitions into which it splits `documents` when
/// 13 are requested.
fn partitioners(documents: usize) -> Vec<(Partitioner, usize, usize)> {
    let count =
        |partitions: u32| Partitioner::Count { partitions: NonZeroU32::MIN.saturating_add(partitions - 1) };
    let sample = |ids: u32| Partitioner::Sample { per_partition: NonZeroU32::MIN.saturating_add(ids - 1) };
    vec![
        (Partitioner::Auto, 2, 13),
        (sample(1), 2, 13),
        (sample(200), 2, 13),
        (Partitioner::BucketAuto { sample: None }, 12, 13),
        (Partitioner::BucketAuto { sample: Some(number(100)) }, 2, 13),
        (Partitioner::Size { megabytes: number(1) }, 1, 1),
        (count(7), 7, 7),
        (count(29), 28, 29),
        // One partition per document. The last page may start at MaxKey, which is no boundary.
        (count(u32::MAX), documents.min(10_000) - 2, documents.min(10_000)),
        // The tests have no sharded cluster; the decision over chunks has a unit test.
        (Partitioner::Sharded, 2, 13),
        (Partitioner::Single, 1, 1),
    ]
}

/// Returns the number of partitions of a plan's scan.
fn partitions_of(plan: &str) -> Option<usize> {
    let (_, rest) = plan.split_once("MongoScanExec: ")?.1.split_once("partitions=")?;
    rest.split_once(',')?.0.parse().ok()
}

/// Returns documents with ids of all types, and documents whose ids are dense except for a few distant ones.
fn collections() -> Vec<(&'static str, Vec<Document>)> {
    let numbered = |ids: Vec<Bson>| -> Vec<Document> {
        ids.into_iter().enumerate().map(|(n, id)| doc! { "_id": id, "n": n as i64 }).collect()
    };
    let crowded = (0..400_i64).map(|n| Bson::String(format!("aaaaaaaaaaaaaaaa{n:04}")));
    let far = (0..5_i64).map(|n| Bson::String(format!("z{n}")));
    vec![("mixed", numbered(ids())), ("skewed", numbered(crowded.chain(far).collect()))]
}

/// Every partitioner over every kind of collection, in several rounds that split at different places.
#[tokio::test(flavor = "multi_thread")]
async fn every_partitioner_covers_ids_of_all_types_once() -> anyhow::Result<()> {
    let fixture = Fixture::start_with("mixed", |config| {
        config.partitions = Some(13);
        config.scan.min_documents_per_partition = 1;
        // The test is about scans, so the server must not count.
        config.scan.aggregate_pushdown = false;
    });
    let Some(fixture) = fixture.await? else { return Ok(()) };
    let mut sessions = Vec::new();
    let documents = collections().into_iter().map(|(_, documents)| documents.len()).max().unwrap_or(0);
    for (partitioner, least, most) in partitioners(documents) {
        let mut config = fixture.config.clone();
        config.scan.partitioner = partitioner;
        sessions.push((Session::embedded(config).await?, partitioner, least, most));
    }
    for (kind, documents) in collections() {
        let count = documents.len() as i64;
        for clustered in [true, false] {
            let table = format!("{kind}_{clustered}");
            fixture.fill(&table, clustered, &documents).await?;
            for (session, partitioner, least, most) in &sessions {
                session.register_collection(&table, &table, number_schema())?;
                let plan = session.sql(&format!("SELECT n FROM {table}")).await?.explain().await?;
                let partitions = partitions_of(&plan).expect("a scan");
                let least = (*least).min(documents.len() - 2);
                assert!((least..=*most).contains(&partitions), "{partitioner:?} of {table}: {plan}");
                // Boundaries are random, so each round splits at other places.
                for round in 0..if partitions > 50 { 1 } else { 3 } {
                    for filter in ["", " WHERE n >= 0"] {
                        let sql = format!("SELECT count(*), count(DISTINCT n), sum(n) FROM {table}{filter}");
                        let rows = session.sql(&sql).await?.collect_as::<(i64, i64, i64)>().await?;
                        let expected = [(count, count, count * (count - 1) / 2)];
                        assert_eq!(rows, expected, "{partitioner:?}: {sql}, round {round}");
                    }
                }
            }
        }
    }
    for (session, ..) in sessions {
        session.shutdown().await;
    }
    fixture.session.shutdown().await;
    Ok(())
}

/// A collection that is written between two queries is split elsewhere by the second, and still covered once.
#[tokio::test(flavor = "multi_thread")]
async fn boundaries_vary_and_coverage_does_not() -> anyhow::Result<()> {
    let fixture = Fixture::start_with("growing", |config| {
        config.partitions = Some(5);
        config.scan.min_documents_per_partition = 1;
        // The test is about scans, so the server must not count.
        config.scan.aggregate_pushdown = false;
    });
    let Some(fixture) = fixture.await? else { return Ok(()) };
    let mut random = StdRng::seed_from_u64(7);
    for clustered in [true, false] {
        let table = format!("growing_{clustered}");
        create(&fixture.database, &table, clustered).await?;
        fixture.session.register_collection(&table, &table, number_schema())?;
        let mut ids = ids();
        ids.shuffle(&mut random);
        let mut written = 0_i64;
        for ids in ids.chunks(37) {
            let documents: Vec<Document> =
                ids.iter().zip(written..).map(|(id, n)| doc! { "_id": id.clone(), "n": n }).collect();
            written += documents.len() as i64;
            fixture.database.collection::<Document>(&table).insert_many(documents).await?;
            let sql = format!("SELECT count(*), count(DISTINCT n) FROM {table}");
            let rows = fixture.session.sql(&sql).await?.collect_as::<(i64, i64)>().await?;
            assert_eq!(rows, [(written, written)], "{table}");
        }
    }
    fixture.session.shutdown().await;
    Ok(())
}

/// The partitions of a plain collection are ranges of record ids. Their ends lie in the middle of batches, and the
/// documents at the ends are deleted while others are written.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_once_while_documents_come_and_go() -> anyhow::Result<()> {
    const DOCUMENTS: i64 = 2_000;
    let fixture = Fixture::start_with("records", |config| {
        config.partitions = Some(7);
        config.scan.min_documents_per_partition = 1;
        config.scan.batch_rows = 64;
        config.scan.aggregate_pushdown = false;
    });
    let Some(fixture) = fixture.await? else { return Ok(()) };
    let documents: Vec<Document> = (0..DOCUMENTS).map(|n| doc! { "n": n }).collect();
    fixture.fill("records", false, &documents).await?;
    fixture.session.register_collection("records", "records", number_schema())?;
    let plan = fixture.session.sql("SELECT n FROM records").await?.explain().await?;
    assert!(plan.contains("partitions=7, partitioner=auto (records)"), "{plan}");

    // Every document is replaced, one at a time, by a document that is stored at the end.
    let writer = tokio::spawn({
        let database = fixture.database.clone();
        async move {
            let mut session = database.client().start_session().await?;
            let collection = database.collection::<Document>("records");
            let mut random = StdRng::seed_from_u64(3);
            loop {
                let n = random.random_range(0..DOCUMENTS);
                session.start_transaction().await?;
                collection.delete_one(doc! { "n": n }).session(&mut session).await?;
                collection.insert_one(doc! { "n": n }).session(&mut session).await?;
                session.commit_transaction().await?;
            }
            #[expect(unreachable_code, reason = "it is ended from outside, and says what it may fail with")]
            Ok::<(), mongodb::error::Error>(())
        }
    });
    for round in 0..30 {
        for (filter, least) in [("", 0), (" WHERE n >= 1234", 1_234), (" WHERE n >= 1999", 1_999)] {
            let sql = format!("SELECT count(*), count(DISTINCT n), sum(n) FROM records{filter}");
            let rows = fixture.session.sql(&sql).await?.collect_as::<(i64, i64, i64)>().await?;
            let count = DOCUMENTS - least;
            let sum = (least..DOCUMENTS).sum::<i64>();
            assert_eq!(rows, [(count, count, sum)], "{sql}, round {round}");
        }
        let limited = fixture.session.sql("SELECT n FROM records LIMIT 1500").await?.collect().await?;
        assert_eq!(limited.len(), 1_500, "round {round}");
    }
    if writer.is_finished() {
        panic!("the writer failed: {:?}", writer.await);
    }
    writer.abort();
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
    let command = doc! {
        "create": "collated_view", "viewOn": "base", "pipeline": [{ "$match": { "correct": true } }],
        "collation": { "locale": "en", "strength": 1 },
    };
    fixture.database.run_command(command).await?;

    for table in ["view", "collated", "collated_view", "empty", "missing"] {
        fixture.session.register_collection(table, table, firesteel_engine::predictions_schema())?;
    }
    let right =
        documents.iter().filter(|document| document.get_bool("correct").unwrap_or_default()).count() as i64;
    for (table, filter, expected) in [
        ("view", "", right),
        ("view", " WHERE label = 'nothing'", 0),
        ("collated_view", "", right),
        // The view's collation would match them all and the server accepts no other one, so the engine filters.
        ("collated_view", " WHERE label = 'CAT'", 0),
        ("collated_view", " WHERE label >= 'a' AND sequence >= 0", right),
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
