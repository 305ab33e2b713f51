//! Schemas: inference, nested values, and documents that do not fit, with filters evaluated by the server and by the
//! engine.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Decimal128, Document, doc};
use firesteel_engine::{Error, Session};

use crate::Fixture;

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse::<Decimal128>().unwrap())
}

fn id(number: usize) -> ObjectId {
    ObjectId::parse_str(format!("{number:024x}")).unwrap()
}

/// Orders of a shop, as an application would store them.
fn orders() -> Vec<Document> {
    (0..500_usize)
        .map(|n| {
            let items: Vec<Document> = (0..n % 4)
                .map(|k| doc! { "sku": format!("s{k}"), "price": decimal(&format!("{}.5", k + 1)) })
                .collect();
            let city = if n % 2 == 0 { "Rome" } else { "Oslo" };
            let weight = if n % 2 == 0 { Bson::Int32(n as i32) } else { Bson::Double(n as f64 + 0.5) };
            let code = if n % 5 == 0 { Bson::Int32(n as i32) } else { format!("x{n}").into() };
            let mut order = doc! {
                "_id": id(n),
                "customer": { "name": format!("c{}", n % 7), "address": { "city": city, "zip": n as i32 } },
                "items": items,
                "total": decimal(&format!("{n}.25")),
                "weight": weight,
                "at": DateTime::from_millis(1_760_000_000_000 + n as i64),
                "code": code,
                "tags": ["a", "b"],
                "a.b": 1,
            };
            if n % 3 == 0 {
                order.insert("note", Bson::Null);
            }
            order
        })
        .collect()
}

async fn text(session: &Session, sql: &str) -> anyhow::Result<String> {
    let rows = session.sql(sql).await?.collect().await?;
    Ok(arrow::util::pretty::pretty_format_batches(rows.batches())?.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_nested_documents_is_a_table() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("schemas").await? else { return Ok(()) };
    fixture.fill("orders", false, &orders()).await?;
    let session = &fixture.session;
    let _ = session.execute("CREATE EXTERNAL TABLE orders STORED AS MONGODB LOCATION 'orders'").await?;

    let columns = text(session, "DESCRIBE orders").await?;
    insta::assert_snapshot!(columns, @r#"
    +-------------+---------------------------------------------------------------------+-------------+
    | column_name | data_type                                                           | is_nullable |
    +-------------+---------------------------------------------------------------------+-------------+
    | _id         | Utf8                                                                | true        |
    | customer    | Struct("name": Utf8, "address": Struct("city": Utf8, "zip": Int32)) | true        |
    | items       | List(Struct("sku": Utf8, "price": Decimal128(38, 1)))               | true        |
    | total       | Decimal128(38, 2)                                                   | true        |
    | weight      | Float64                                                             | true        |
    | at          | Timestamp(ms, "UTC")                                                | true        |
    | code        | Utf8                                                                | true        |
    | tags        | List(Utf8)                                                          | true        |
    | note        | Utf8                                                                | true        |
    +-------------+---------------------------------------------------------------------+-------------+
    "#);

    for (sql, expected) in [
        ("SELECT count(*) FROM orders", 500),
        ("SELECT count(*) FROM orders WHERE customer['address']['city'] = 'Oslo'", 250),
        ("SELECT max(customer['address']['zip']) FROM orders", 499),
        ("SELECT sum(cardinality(items)) FROM orders", 750),
        ("SELECT count(*) FROM (SELECT unnest(items) AS item FROM orders) WHERE item['price'] > 2", 375),
        ("SELECT count(*) FROM orders WHERE _id = '00000000000000000000000a'", 1),
        ("SELECT count(*) FROM orders WHERE _id IN ('00000000000000000000000a', 'a')", 1),
        ("SELECT count(*) FROM orders WHERE _id < '00000000000000000000000a'", 10),
        ("SELECT count(*) FROM orders WHERE total > 10.25 AND total <= 20.25", 10),
        ("SELECT count(*) FROM orders WHERE weight = 4", 1),
        ("SELECT count(*) FROM orders WHERE code = '10' OR code = 'x11'", 2),
        ("SELECT count(*) FROM orders WHERE items IS NULL", 0),
        ("SELECT count(*) FROM orders WHERE note IS NULL", 500),
        ("SELECT count(*) FROM orders WHERE array_has(tags, 'b')", 500),
    ] {
        let found: Vec<(i64,)> =
            session.sql(&format!("SELECT CAST(({sql}) AS BIGINT)")).await?.collect_as().await?;
        assert_eq!(found, [(expected,)], "{sql}");
    }
    let row =
        text(session, "SELECT customer['name'] AS name, items, total FROM orders WHERE total = 3.25").await?;
    insta::assert_snapshot!(row, @r"
    +------+-----------------------------------------------------------------------+-------+
    | name | items                                                                 | total |
    +------+-----------------------------------------------------------------------+-------+
    | c3   | [{sku: s0, price: 1.5}, {sku: s1, price: 2.5}, {sku: s2, price: 3.5}] | 3.25  |
    +------+-----------------------------------------------------------------------+-------+
    ");

    // Groups and joins by nested values are shuffled.
    let grouped = text(
        session,
        "SELECT a.customer['address'] AS address, count(*) AS n FROM orders a JOIN orders b ON a.customer = b.customer \
         WHERE a.customer['address']['zip'] < 2 GROUP BY a.customer['address'] ORDER BY n, address['zip']",
    )
    .await?;
    insta::assert_snapshot!(grouped, @r"
    +----------------------+---+
    | address              | n |
    +----------------------+---+
    | {city: Rome, zip: 0} | 1 |
    | {city: Oslo, zip: 1} | 1 |
    +----------------------+---+
    ");
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn extreme_values_are_kept() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("extremes").await? else { return Ok(()) };
    let documents = [
        doc! { "_id": 1, "d": f64::NAN, "m": decimal("9999999999999999999999999999999999"), "at": DateTime::MAX, "n": i64::MAX },
        doc! { "_id": 2, "d": -0.0, "m": decimal("-9999999999999999999999999999999999"), "at": DateTime::MIN, "n": 0.5 },
        doc! { "_id": 3, "d": f64::NEG_INFINITY, "m": decimal("0E-6176"), "w": decimal("1E+6111") },
    ];
    fixture.fill("extremes", true, &documents).await?;
    let session = &fixture.session;
    let schema = session.infer_collection("extremes", "extremes").await?;
    let types: BTreeMap<_, _> =
        schema.fields().iter().map(|field| (field.name().as_str(), field.data_type().to_string())).collect();
    // A zero with 6,176 decimal places counts as one with 18.
    assert_eq!(types["m"], "Utf8", "34 digits and 18 more are too many");
    assert_eq!((types["n"].as_str(), types["w"].as_str()), ("Decimal128(38, 1)", "Utf8"));
    let values =
        text(session, "SELECT _id, d, m, n, w, CAST(at AS BIGINT) AS at FROM extremes ORDER BY _id").await?;
    insta::assert_snapshot!(values, @r#"
    +-----+------+----------------------------------------------------------+-----------------------+------------------------------+----------------------+
    | _id | d    | m                                                        | n                     | w                            | at                   |
    +-----+------+----------------------------------------------------------+-----------------------+------------------------------+----------------------+
    | 1   | NaN  | {"$numberDecimal":"9999999999999999999999999999999999"}  | 9223372036854775807.0 |                              | 9223372036854775807  |
    | 2   | -0.0 | {"$numberDecimal":"-9999999999999999999999999999999999"} | 0.5                   |                              | -9223372036854775808 |
    | 3   | -inf | {"$numberDecimal":"0E-6176"}                             |                       | {"$numberDecimal":"1E+6111"} |                      |
    +-----+------+----------------------------------------------------------+-----------------------+------------------------------+----------------------+
    "#);
    assert_eq!(
        text(session, "SELECT count(*) AS c FROM extremes WHERE d > 0").await?.matches("| 1 ").count(),
        1
    );
    session.shutdown().await;
    Ok(())
}

/// Returns documents, some of which do not fit `_id BIGINT, n INT, t TEXT, s STRUCT<x INT>, l INT ARRAY`.
fn misfits() -> Vec<Document> {
    let values: [(&str, Vec<Option<Bson>>); 4] = [
        (
            "n",
            vec![
                None,
                Some(1.into()),
                Some("one".into()),
                Some(Bson::Null),
                Some(vec![1].into()),
                Some(2.5.into()),
                Some(2.into()),
                Some(3.into()),
            ],
        ),
        ("t", vec![Some("a".into()), None, Some(5.into()), Some(vec!["a"].into()), Some("b".into())]),
        ("s", vec![Some(doc! { "x": 1 }.into()), Some(doc! { "x": "?" }.into()), Some("s".into()), None]),
        ("b", vec![Some(true.into()), Some(false.into()), None, Some(vec![true].into()), Some(1.into())]),
    ];
    (0..600_usize)
        .map(|n| {
            let mut document = doc! { "_id": n as i64 };
            for (step, (name, values)) in [1, 7, 11, 13].into_iter().zip(&values) {
                if let Some(value) = &values[n / step % values.len()] {
                    document.insert(*name, value.clone());
                }
            }
            document
        })
        .collect()
}

const PREDICATES: &[&str] = &[
    "n = 1",
    "n <> 1",
    "NOT (n = 1)",
    "n IS NULL",
    "n IS NOT NULL",
    "NOT (n IS NOT NULL)",
    "n IN (1, 2)",
    "n NOT IN (1, 2)",
    "n BETWEEN 0 AND 2",
    "t = 'a'",
    "t <> 'a'",
    "t < 'b'",
    "t IS NULL OR n = 1",
    "t = 'a' AND n IS NULL",
    "b",
    "NOT b",
    "b IS TRUE",
    "b IS NOT TRUE",
    "b IS NOT FALSE",
    "b IS UNKNOWN",
    "b IS NOT UNKNOWN AND t = 'b'",
    "s IS NULL",
    "s['x'] = 1",
    "s['x'] IS NULL",
    "_id < 300 AND NOT (t = 'a' AND b)",
    "NOT (t = 'a' OR n IS NULL)",
    "true",
];

const COLUMNS: &str = "_id BIGINT, n INT, t TEXT, s STRUCT<x INT>, b BOOLEAN";

async fn ids(session: &Session, sql: &str) -> anyhow::Result<Vec<(i64,)>> {
    Ok(session.sql(sql).await?.collect_as().await?)
}

/// In these modes no result depends on whether the server filters or on which columns are read.
#[tokio::test(flavor = "multi_thread")]
async fn modes_agree_with_pushdown_on_and_off() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("modes").await? else { return Ok(()) };
    fixture.fill("misfits", false, &misfits()).await?;
    let session = &fixture.session;
    let mut pushed = 0;
    for mode in ["PERMISSIVE", "DROPMALFORMED"] {
        for (table, pushdown) in [("pushed", true), ("plain", false)] {
            let _ = session
                .execute(&format!(
                    "CREATE OR REPLACE EXTERNAL TABLE {table} ({COLUMNS}, _corrupt_record TEXT) STORED AS MONGODB \
                     LOCATION 'misfits' OPTIONS (mode '{mode}', filterPushdown {pushdown})"
                ))
                .await?;
        }
        for predicate in PREDICATES {
            let query = |columns: &str, table: &str| {
                format!("SELECT {columns} FROM {table} WHERE {predicate} ORDER BY _id")
            };
            let expected = ids(session, &query("_id", "plain")).await?;
            assert!(!expected.is_empty(), "{mode} {predicate} matches nothing");
            assert_eq!(ids(session, &query("_id", "pushed")).await?, expected, "{mode} {predicate}");
            // The count is the same whatever columns are read, and however the rows are counted.
            let wide = text(session, &query("*", "pushed")).await?;
            assert_eq!(wide, text(session, &query("*", "plain")).await?, "{mode} {predicate}");
            assert_eq!(wide.lines().count() - 4, expected.len(), "{mode} {predicate}");
            let count = ids(session, &format!("SELECT count(*) FROM pushed WHERE {predicate}")).await?;
            assert_eq!(count, [(expected.len() as i64,)], "{mode} {predicate}");
            pushed += usize::from(
                session.sql(&query("_id", "pushed")).await?.explain().await?.contains(", filter={"),
            );
        }
        let limited = ids(session, "SELECT _id FROM pushed LIMIT 20").await?;
        assert_eq!(limited.len(), 20, "{mode}");
    }
    assert!(pushed > PREDICATES.len(), "only {pushed} filters were pushed");
    session.shutdown().await;
    Ok(())
}

/// Compares the results of PERMISSIVE and DROPMALFORMED with plain Rust.
#[tokio::test(flavor = "multi_thread")]
async fn documents_that_do_not_fit_fail_are_shown_or_are_dropped() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("misfits").await? else { return Ok(()) };
    let documents = misfits();
    fixture.fill("misfits", true, &documents).await?;
    let session = &fixture.session;
    let create = async |table: &str, columns: &str, options: &str| {
        let sql = format!(
            "CREATE EXTERNAL TABLE {table} ({columns}) STORED AS MONGODB LOCATION 'misfits' OPTIONS ({options})"
        );
        session.execute(&sql).await.map(drop)
    };
    create("failing", COLUMNS, "mode 'failfast'").await?;
    create("dropping", COLUMNS, "mode 'dropmalformed'").await?;
    let shown = format!("{COLUMNS}, bad TEXT");
    create("showing", &shown, "mode 'permissive', columnNameOfCorruptRecord 'bad'").await?;

    let fits = |document: &Document| {
        let fits = |name: &str, test: fn(&Bson) -> bool| {
            document.get(name).is_none_or(|value| *value == Bson::Null || test(value))
        };
        fits("n", |value| value.as_i32().is_some())
            && fits("t", |value| value.as_str().is_some())
            && fits("b", |value| value.as_bool().is_some())
            && fits("s", |value| value.as_document().is_some_and(|inner| inner.get_i32("x").is_ok()))
    };
    let good: Vec<(i64,)> = documents
        .iter()
        .filter(|document| fits(document))
        .map(|document| (document.get_i64("_id").unwrap(),))
        .collect();
    assert!(good.len() > 10 && good.len() < documents.len() / 2, "{}", good.len());

    assert!(matches!(
        session.sql("SELECT n FROM failing").await?.collect().await.unwrap_err(),
        Error::SchemaMismatch { field, .. } if field == "n"
    ));
    assert!(matches!(
        session.sql("SELECT s FROM failing").await?.collect().await.unwrap_err(),
        Error::SchemaMismatch { field, .. } if field == "s.x" || field == "s"
    ));
    // No column of the query is malformed, but the document is dropped because another one is.
    assert_eq!(ids(session, "SELECT _id FROM dropping ORDER BY _id").await?, good);
    assert_eq!(ids(session, "SELECT count(*) FROM dropping").await?, [(good.len() as i64,)]);
    assert_eq!(ids(session, "SELECT _id FROM showing WHERE bad IS NULL ORDER BY _id").await?, good);
    assert_eq!(ids(session, "SELECT count(*) FROM showing").await?, [(documents.len() as i64,)]);

    // The whole document is returned, also if the query reads only one of its fields.
    let one = documents.iter().find(|document| document.get("n") == Some(&"one".into())).unwrap();
    let id = one.get_i64("_id").unwrap();
    let found: Vec<(Option<i64>, String)> = session
        .sql(&format!("SELECT CAST(n AS BIGINT), bad FROM showing WHERE _id = {id}"))
        .await?
        .collect_as()
        .await?;
    let expected: serde_json::Value = serde_json::to_value(one)?;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, None);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&found[0].1)?, expected);
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_and_options_decide_and_wrong_ones_are_errors() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("hints").await? else { return Ok(()) };
    fixture.fill("orders", false, &orders()).await?;
    create_empty(&fixture).await?;
    let session = &fixture.session;
    let create = async |table: &str, columns: &str, location: &str, options: &str| {
        session
            .execute(&format!(
                "CREATE EXTERNAL TABLE {table} {columns} STORED AS MONGODB LOCATION '{location}' {options}"
            ))
            .await
            .map(drop)
    };
    let location = format!("mongodb:///{}/orders", fixture.config.mongodb.database);
    create(
        "hinted",
        "",
        &location,
        "OPTIONS (schemaHints 'weight DOUBLE, total DECIMAL(20, 4), extra BIGINT', sampleSize 50)",
    )
    .await?;
    let hinted = text(session, "DESCRIBE hinted").await?;
    insta::assert_snapshot!(hinted, @r#"
    +-------------+---------------------------------------------------------------------+-------------+
    | column_name | data_type                                                           | is_nullable |
    +-------------+---------------------------------------------------------------------+-------------+
    | _id         | Utf8                                                                | true        |
    | customer    | Struct("name": Utf8, "address": Struct("city": Utf8, "zip": Int32)) | true        |
    | items       | List(Struct("sku": Utf8, "price": Decimal128(38, 1)))               | true        |
    | total       | Decimal128(20, 4)                                                   | true        |
    | weight      | Float64                                                             | true        |
    | at          | Timestamp(ms, "UTC")                                                | true        |
    | code        | Utf8                                                                | true        |
    | tags        | List(Utf8)                                                          | true        |
    | note        | Utf8                                                                | true        |
    | extra       | Int64                                                               | true        |
    +-------------+---------------------------------------------------------------------+-------------+
    "#);
    create(
        "declared",
        "(total DOUBLE, _id TEXT)",
        "orders",
        "OPTIONS (schemaHints '_id OBJECTID, total DECIMAL(10, 2)')",
    )
    .await?;
    let declared = text(session, "SELECT * FROM declared WHERE total < 2 ORDER BY _id").await?;
    insta::assert_snapshot!(declared, @r"
    +-------+--------------------------+
    | total | _id                      |
    +-------+--------------------------+
    | 0.25  | 000000000000000000000000 |
    | 1.25  | 000000000000000000000001 |
    +-------+--------------------------+
    ");
    create("shown", "", "orders", "OPTIONS (mode 'PERMISSIVE', columnNameOfCorruptRecord 'bad')").await?;
    assert_eq!(ids(session, "SELECT count(*) - count(bad) FROM shown").await?, [(500,)]);

    for (location, options, expected) in [
        ("mongodb://me:hunter2@host/shop/orders", "", "(mongodb.uri)"),
        ("orders", "OPTIONS (sampelSize 5)", "did you mean `sampleSize`?"),
        ("orders", "OPTIONS (mode 'lenient')", "DROPMALFORMED"),
        ("orders", "OPTIONS (connection 'other')", "other"),
        ("orders", "OPTIONS (schemaHints 'a DATE')", "type DATE is not supported"),
        ("empty", "", "declare the columns"),
        ("nothing", "", "declare the columns"),
    ] {
        let error = create("wrong", "", location, options).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{location} {options}: {error}");
    }
    session.shutdown().await;
    Ok(())
}

async fn create_empty(fixture: &Fixture) -> anyhow::Result<()> {
    crate::create(&fixture.database, "empty", false).await
}
