//! An aggregate returns the same rows whether the server or the engine computes it: over nulls, missing fields, edge
//! cases of doubles and integers, values of other types, and ids of all types.

mod input;
mod random;

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bson::{Bson, DateTime, Document, doc};
use firesteel_engine::{Error, Session, report};
use futures::TryStreamExt;

use self::input::{QUERIES, mixed, schema, uniform};
use crate::{Fixture, predictions};

/// Returns the rows of a query, sorted. Values are texts, except for doubles.
async fn rows(session: &Session, sql: &str) -> Result<Vec<Vec<Cell>>, Error> {
    let mut rows = Vec::new();
    for batch in session.sql(sql).await?.batches().await? {
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| Cell::of(column.as_ref(), row)).collect());
        }
    }
    rows.sort_by_cached_key(|row: &Vec<Cell>| row.iter().map(Cell::rounded).collect::<Vec<_>>());
    Ok(rows)
}

#[derive(Clone, Debug)]
enum Cell {
    Text(String),
    Double(f64),
}

impl Cell {
    fn of(column: &dyn Array, row: usize) -> Self {
        match column.as_primitive_opt::<Float64Type>() {
            Some(doubles) if doubles.is_valid(row) => Self::Double(doubles.value(row)),
            _ => {
                let options = FormatOptions::new().with_null("NULL");
                Self::Text(ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string())
            }
        }
    }

    fn rounded(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Double(value) => format!("{value:.6e}"),
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => {
                // A sum of doubles depends on the order of the additions.
                (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
            }
            _ => false,
        }
    }
}

fn assert_equal(pushed: &[Vec<Cell>], read: &[Vec<Cell>], what: &str) {
    let same = pushed.len() == read.len()
        && pushed
            .iter()
            .zip(read)
            .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b)));
    assert!(same, "{what}\npushed: {pushed:?}\nread:   {read:?}");
}

async fn both(fixture: &Fixture) -> anyhow::Result<Session> {
    let mut config = fixture.config.clone();
    config.scan.aggregate_pushdown = false;
    Ok(Session::embedded(config).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn pushdown_never_changes_an_aggregate() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("aggregates").await? else { return Ok(()) };
    let without = both(&fixture).await?;
    let mut wrong = Vec::new();
    for (table, clustered, documents) in [
        ("uniform_clustered", true, uniform()),
        ("uniform_plain", false, uniform()),
        ("mixed_clustered", true, mixed()),
        ("mixed_plain", false, mixed()),
    ] {
        fixture.fill(table, clustered, &documents).await?;
        for session in [&fixture.session, &without] {
            session.register_collection(table, table, schema())?;
        }
        for (query, pushed) in QUERIES {
            let sql = query.replace("{t}", table);
            let plan = fixture.session.sql(&sql).await?.explain().await?;
            if plan.contains("MongoGroupExec") != *pushed {
                wrong.push(format!("pushed should be {pushed}: {sql}\n{plan}"));
            }
            let plan = without.sql(&sql).await?.explain().await?;
            assert!(!plan.contains("MongoGroupExec"), "{sql}\n{plan}");
            let (with, read) = (rows(&fixture.session, &sql).await, rows(&without, &sql).await);
            match (with, read) {
                (Ok(with), Ok(read)) => assert_equal(&with, &read, &sql),
                (Err(with), Err(read)) => {
                    assert!(sql.contains('/'), "{sql}: {with:?}");
                    assert_eq!(std::mem::discriminant(&with), std::mem::discriminant(&read), "{sql}");
                }
                (with, read) => panic!("{sql}\npushed: {with:?}\nread:   {read:?}"),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    without.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}

/// Fields, each with a value of another type than the column's.
const MISFITS: &[(&str, Bson)] = &[
    ("k", Bson::Int32(5)),
    ("b", Bson::Int32(1)),
    ("i", Bson::Double(1.5)),
    ("s", Bson::Int64(1 << 40)),
    ("d", Bson::Int64(i64::MAX)),
    ("t", Bson::Boolean(true)),
    ("at", Bson::Int64(7)),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_another_type_is_the_same_error() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("misfits").await? else { return Ok(()) };
    let without = both(&fixture).await?;
    for (n, (field, value)) in MISFITS.iter().enumerate() {
        let table = format!("misfit{n}");
        fixture.fill(&table, n % 2 == 0, &uniform()).await?;
        fixture.database.collection(&table).insert_one(doc! { "_id": "zz", *field: value.clone() }).await?;
        for session in [&fixture.session, &without] {
            session.register_collection(&table, &table, schema())?;
        }
        for query in [
            "SELECT count({f}) FROM {t}",
            "SELECT min({f}), max({f}) FROM {t}",
            "SELECT {f}, count(*) FROM {t} GROUP BY {f}",
            "SELECT k, sum(CASE WHEN {f} IS NULL THEN 1 ELSE 0 END) FROM {t} GROUP BY k",
        ] {
            let sql = query.replace("{t}", &table).replace("{f}", field);
            let mut reported = Vec::new();
            for session in [&fixture.session, &without] {
                match session.sql(&sql).await?.collect().await {
                    Err(Error::SchemaMismatch { id, field: named, .. }) => reported.push((id, named)),
                    other => panic!("{sql}: {other:?}"),
                }
            }
            assert_eq!(reported, vec![("zz".to_owned(), (*field).to_owned()); 2], "{sql}");
        }
    }
    without.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_a_group_of_each_range() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("grouped").await? else { return Ok(()) };
    let without = both(&fixture).await?;
    fixture.fill("predictions", true, &predictions(4_000, 4)).await?;
    fixture.database.run_command(doc! { "profile": 2 }).await?;
    let mut pushed = report::run(&fixture.session, None).await?;
    fixture.database.run_command(doc! { "profile": 0 }).await?;

    let profile = fixture.database.collection::<Document>("system.profile");
    let entries: Vec<Document> = profile.find(doc! {}).await?.try_collect().await?;
    let groups = |entry: &&Document| {
        entry.get_document("command").is_ok_and(|command| {
            command.get_array("pipeline").is_ok_and(|stages| {
                stages
                    .iter()
                    .any(|stage| stage.as_document().is_some_and(|stage| stage.contains_key("$group")))
            })
        })
    };
    let grouped: Vec<&Document> = entries.iter().filter(groups).collect();
    assert_eq!(grouped.len(), 4, "one for each range: {entries:?}");
    // A range scan also examines the first document behind its end.
    let examined: i64 = grouped
        .iter()
        .map(|entry| {
            entry
                .get("docsExamined")
                .and_then(|n| n.as_i64().or(n.as_i32().map(i64::from)))
                .unwrap_or_default()
        })
        .sum();
    assert!((4_000..=4_016).contains(&examined), "{examined}: {grouped:?}");
    let reads = entries.iter().filter(|entry| {
        entry
            .get_document("command")
            .is_ok_and(|command| command.contains_key("find") && !command.contains_key("sort"))
    });
    assert_eq!(reads.count(), 0, "nothing is read besides: {entries:?}");

    let mut read = report::run(&without, None).await?;
    (pushed.totals.job_seconds, read.totals.job_seconds) = (0.0, 0.0);
    assert_eq!(pushed, read);
    without.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_all_types_are_grouped_once() -> anyhow::Result<()> {
    let fixture = Fixture::start_with("mixed_groups", |config| {
        config.partitions = Some(13);
        config.scan.min_documents_per_partition = 1;
    });
    let Some(fixture) = fixture.await? else { return Ok(()) };
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let kinds: Vec<(&str, Vec<Bson>)> = vec![
        ("mixed", crate::exactly_once::ids()),
        ("texts", (0..300).map(|n| Bson::String(format!("id {}", n * 7 % 300))).collect()),
        (
            "numbers",
            (0..300)
                .map(|n| if n % 2 == 0 { Bson::Int32(n) } else { Bson::Double(f64::from(n) + 0.5) })
                .collect(),
        ),
        (
            "numbers_and_nan",
            std::iter::once(Bson::Double(f64::NAN)).chain((0..300).map(Bson::Int32)).collect(),
        ),
        (
            "texts_and_ends",
            (0..300)
                .map(|n| Bson::String(format!("id {n}")))
                .chain([Bson::MinKey, Bson::MaxKey, Bson::Null])
                .collect(),
        ),
        ("object_ids", (0..300).map(|_| Bson::ObjectId(bson::oid::ObjectId::new())).collect()),
        ("dates", (0..300).map(|n| Bson::DateTime(DateTime::from_millis(n - 150))).collect()),
    ];
    for (kind, ids) in kinds {
        let documents: Vec<Document> =
            ids.into_iter().enumerate().map(|(n, id)| doc! { "_id": id, "n": n as i64 }).collect();
        let count = documents.len() as i64;
        for clustered in [true, false] {
            let table = format!("{kind}_{clustered}");
            fixture.fill(&table, clustered, &documents).await?;
            fixture.session.register_collection(&table, &table, Arc::clone(&schema) as SchemaRef)?;
            // Boundaries are sampled, so each round splits at other places.
            for round in 0..6 {
                let sql = format!("SELECT count(*), count(n), sum(n) FROM {table}");
                let found = fixture.session.sql(&sql).await?.collect_as::<(i64, i64, i64)>().await?;
                assert_eq!(found, [(count, count, count * (count - 1) / 2)], "{sql}, round {round}");
            }
        }
    }
    fixture.session.shutdown().await;
    Ok(())
}
