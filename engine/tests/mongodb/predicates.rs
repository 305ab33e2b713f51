//! A filter returns the same rows whether the server or the engine evaluates it, over nulls, missing fields and edge
//! cases of doubles.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bson::{Bson, DateTime, Document, doc};
use firesteel_engine::Session;

use crate::Fixture;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("_id", DataType::Int64, false),
        Field::new("t", DataType::Utf8, true),
        Field::new("i", DataType::Int64, true),
        Field::new("s", DataType::Int32, true),
        Field::new("d", DataType::Float64, true),
        Field::new("b", DataType::Boolean, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
    ]))
}

/// Returns documents that combine a few values of each column; `None` is a missing field.
fn documents() -> Vec<Document> {
    let texts: [Option<Bson>; 12] = [
        None,
        Some(Bson::Null),
        Some("".into()),
        Some("a".into()),
        Some("A".into()),
        Some("é".into()),
        Some("ab\n".into()),
        Some("a%b_c".into()),
        Some("a.b".into()),
        Some("b".into()),
        Some("\u{D7FF}x".into()),
        Some("\u{E000}\u{10FFFF}x".into()),
    ];
    let integers = [
        None,
        Some(Bson::Int32(-1)),
        Some(Bson::Int64(i64::MAX)),
        Some(Bson::Double(5.0)),
        Some(Bson::Int64(0)),
    ];
    let doubles = [
        None,
        Some(f64::NAN.into()),
        // The result of 0.0 / 0.0 on x86, which Arrow's total order puts below all numbers.
        Some(f64::from_bits(0xfff8_0000_0000_0000).into()),
        Some((-0.0).into()),
        Some(0.0.into()),
        Some(f64::INFINITY.into()),
        Some(Bson::Int32(5)),
        Some(f64::NEG_INFINITY.into()),
    ];
    let flags = [Some(true.into()), Some(false.into()), None];
    let times = [
        None,
        Some(Bson::DateTime(DateTime::from_millis(-1))),
        Some(Bson::DateTime(DateTime::from_millis(1_760_000_000_000))),
        Some(Bson::DateTime(DateTime::from_millis(1_760_000_000_001))),
        Some(Bson::DateTime(DateTime::from_millis(1_760_054_400_000))),
    ];
    (0..630_usize)
        .map(|n| {
            let mut document = doc! { "_id": n as i64 };
            // The steps are coprime, so values meet in many combinations.
            for (name, value) in [
                ("t", &texts[n % 12]),
                ("i", &integers[n / 2 % 5]),
                ("s", &integers[n % 2]),
                ("d", &doubles[n % 11 % 8]),
                ("b", &flags[n / 3 % 3]),
                ("at", &times[n / 5 % 5]),
            ] {
                if let Some(value) = value {
                    document.insert(name, value.clone());
                }
            }
            document
        })
        .collect()
}

const PREDICATES: &[(&str, bool)] = &[
    ("t = 'a'", true),
    ("t <> 'a'", true),
    ("t < 'a'", true),
    ("t >= 'a'", true),
    ("t > ''", true),
    ("t IN ('a', 'é', 'nothing')", true),
    ("t NOT IN ('a', 'A')", true),
    ("t IN ('a', NULL)", true),
    ("t IS NULL", true),
    ("t IS NOT NULL", true),
    ("NOT (t = 'a' OR i = 0)", true),
    ("t = 'a' AND (i = 0 OR b)", true),
    ("t BETWEEN 'A' AND 'a'", true),
    ("t NOT BETWEEN 'A' AND 'a'", true),
    ("t = NULL", false),
    ("i = 5", true),
    ("i > -1", true),
    ("i <= 0", true),
    ("i <> 0", true),
    ("i = 9223372036854775807", true),
    ("i IN (0, 5)", true),
    ("s = -1", true),
    ("s < 7", true),
    ("s IS NULL", true),
    ("d = 0.0", true),
    ("d = -0.0", true),
    ("d > 0.0", true),
    ("d >= 5", true),
    ("d < 5.5", true),
    ("d <= 0", true),
    ("d <> 0.0", false),
    ("NOT (d > 0.0)", true),
    ("d IS NULL", true),
    ("d > 0 AND t = 'a'", true),
    ("d > 0 OR t = 'a'", true),
    ("b", true),
    ("NOT b", true),
    ("b = true", true),
    ("b <> true", true),
    ("b IS TRUE", true),
    ("b IS NOT TRUE", true),
    ("b IS FALSE", true),
    ("b IS NOT FALSE", true),
    ("b IS UNKNOWN", true),
    ("b IS NOT UNKNOWN", true),
    ("at < '1970-01-01T00:00:00Z'", true),
    ("at >= '2025-10-09T08:53:20Z'", true),
    ("at IS NOT NULL AND b", true),
    ("t = 'a' AND i + 1 = 1", true),
    ("length(t) = 1", false),
    ("t = CAST(i AS VARCHAR)", false),
    ("t LIKE 'a%'", true),
    ("t NOT LIKE 'a%'", true),
    ("NOT (t LIKE 'a%' OR t = 'A')", true),
    ("t LIKE 'a\\%%'", true),
    ("t LIKE '%'", false),
    ("t LIKE 'a'", true),
    ("t LIKE '%b'", true),
    ("t LIKE 'a_'", true),
    ("t LIKE 'a_b'", true),
    ("t LIKE 'a.b'", true),
    ("t LIKE '%b%'", true),
    ("t LIKE '%b_'", true),
    ("t NOT LIKE '%b%'", true),
    ("t LIKE '_'", true),
    ("t LIKE '\u{D7FF}%'", true),
    ("t NOT LIKE '\u{E000}\u{10FFFF}%'", true),
    ("t ILIKE 'A%'", false),
    ("starts_with(t, 'a%')", true),
    ("(t = 'a') IS TRUE", true),
    ("(t = 'a') IS NOT TRUE", true),
    ("(t = 'a') IS FALSE", true),
    ("(t = 'a' AND i = 0) IS NOT FALSE", true),
    ("b IS NOT TRUE AND t LIKE 'a%'", true),
    ("CAST(s AS BIGINT) = -1", true),
    ("CAST(s AS BIGINT) > 100", true),
    ("CAST(i AS DOUBLE) > 0.5", true),
    ("CAST(i AS DOUBLE) <> 5.0", true),
    ("i > 0.5", true),
    ("i BETWEEN 0 AND 5", true),
    ("i NOT BETWEEN 0 AND 5", true),
    ("d BETWEEN 0 AND 5", true),
    ("at BETWEEN '1970-01-01T00:00:00Z' AND '2025-10-09T08:53:20Z'", true),
    ("at >= DATE '2025-10-09'", true),
    ("at < DATE '2025-10-10'", true),
    ("CAST(at AS DATE) = DATE '2025-10-09'", true),
    ("CAST(at AS DATE) <> DATE '2025-10-09'", true),
    ("CAST(at AS DATE) < DATE '1970-01-01'", true),
    ("CAST(at AS DATE) BETWEEN DATE '2025-10-09' AND DATE '2025-10-10'", true),
    ("at = TIMESTAMP '2025-10-09 08:53:20'", true),
    ("at > TIMESTAMP '2025-10-09 08:53:20.0005'", true),
    ("at <= TIMESTAMP '2025-10-09 08:53:20.0005'", true),
    ("at IN (TIMESTAMP '2025-10-09 08:53:20', TIMESTAMP '2025-10-09 08:53:20.001')", true),
    ("CAST(at AS TIMESTAMP) > TIMESTAMP '2025-10-09 08:53:20.0005'", true),
    ("_id = 7", true),
    ("_id IN (1, 2, 3) AND t IS NOT NULL", true),
    ("_id <= 300", true),
    ("_id > 100 AND _id <= 300 AND b", true),
    ("_id = 7 OR t = 'a'", true),
];

async fn ids(session: &Session, table: &str, predicate: &str) -> anyhow::Result<Vec<(i64,)>> {
    let sql = format!("SELECT _id FROM {table} WHERE {predicate} ORDER BY _id");
    Ok(session.sql(&sql).await?.collect_as().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn pushdown_never_changes_a_result() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("predicates").await? else { return Ok(()) };
    let mut config = fixture.config.clone();
    config.scan.filter_pushdown = false;
    let without = Session::embedded(config).await?;
    for (table, clustered) in [("clustered", true), ("plain", false)] {
        fixture.fill(table, clustered, &documents()).await?;
        for session in [&fixture.session, &without] {
            session.register_collection(table, table, schema())?;
        }
        let (mut matched, mut wrong) = (0, Vec::new());
        for (predicate, pushed) in PREDICATES {
            let server = ids(&fixture.session, table, predicate).await?;
            let engine = ids(&without, table, predicate).await?;
            if server != engine {
                wrong.push(format!("{predicate} on the {table} collection: {server:?} is not {engine:?}"));
            }
            matched += usize::from(!server.is_empty());
            let sql = format!("SELECT _id FROM {table} WHERE {predicate}");
            let plan = fixture.session.sql(&sql).await?.explain().await?;
            if plan.contains(", filter={") != *pushed {
                wrong.push(format!("{predicate} is {}pushed: {plan}", if *pushed { "not " } else { "" }));
            }
            let plan = without.sql(&sql).await?.explain().await?;
            assert!(!plan.contains(", filter={"), "{predicate}\n{plan}");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(matched > PREDICATES.len() * 9 / 10, "only {matched} predicates match anything");
    }
    without.shutdown().await;
    fixture.session.shutdown().await;
    Ok(())
}
