//! Data comes back as it was: what a statement copies from one collection into another is the same there, or the statement is
//! refused with the field's name.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc};
use firesteel_engine::{Error, Outcome, Session};
use futures::TryStreamExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::Fixture;

async fn documents(fixture: &Fixture, collection: &str) -> anyhow::Result<Vec<Document>> {
    let collection = fixture.database.collection::<Document>(collection);
    Ok(collection.find(doc! {}).sort(doc! { "_id": 1 }).await?.try_collect().await?)
}

/// A document as the bytes of its fields, so that NaN is itself and `1.5` is not `1.50`.
fn fields(document: &Document) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let field = |(name, value): (&String, &Bson)| Ok((name.clone(), doc! { "": value.clone() }.to_vec()?));
    document.iter().map(field).collect()
}

async fn run(session: &Session, sql: &str) -> Result<(), Error> {
    match session.execute(sql).await? {
        Outcome::Rows(rows) => rows.collect().await.map(drop),
        Outcome::Done(_) => Ok(()),
    }
}

/// Copies a collection into another with the same columns.
async fn copy(fixture: &Fixture, from: &str, to: &str) -> anyhow::Result<Result<(), Error>> {
    let session = &fixture.session;
    let schema = session.infer_collection(from, from).await?;
    session.register_collection(to, to, schema)?;
    Ok(run(session, &format!("INSERT INTO {to} SELECT * FROM {from}")).await)
}

fn scalar() -> impl Strategy<Value = Bson> {
    let decimal = (any::<i32>(), -3..3_i32)
        .prop_map(|(digits, exponent)| Bson::Decimal128(format!("{digits}E{exponent}").parse().unwrap()));
    let subtypes = prop::sample::select(vec![0_u8, 2, 3, 4, 5, 0x80]);
    let kinds: Vec<BoxedStrategy<Bson>> = vec![
        any::<i32>().prop_map(Bson::Int32).boxed(),
        any::<i64>().prop_map(Bson::Int64).boxed(),
        any::<f64>().prop_map(Bson::Double).boxed(),
        Just(Bson::Double(f64::NAN)).boxed(),
        decimal.boxed(),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(Decimal128::from_bytes(bytes))).boxed(),
        "[a-zé\"{}0-9]{0,6}".prop_map(Bson::String).boxed(),
        Just(Bson::Null).boxed(),
        Just(Bson::Undefined).boxed(),
        any::<bool>().prop_map(Bson::Boolean).boxed(),
        any::<i64>().prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))).boxed(),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))).boxed(),
        (subtypes, prop::collection::vec(any::<u8>(), 16))
            .prop_map(|(subtype, bytes)| Binary { subtype: BinarySubtype::from(subtype), bytes }.into())
            .boxed(),
        (1..9_u32, 0..3_u32).prop_map(|(time, increment)| Timestamp { time, increment }.into()).boxed(),
        Just(Bson::MinKey).boxed(),
        Just(Bson::MaxKey).boxed(),
        "[a-z]{1,4}".prop_map(Bson::JavaScriptCode).boxed(),
        "[a-z]{1,4}".prop_map(Bson::Symbol).boxed(),
        any::<i32>()
            .prop_map(|a| JavaScriptCodeWithScope { code: "f()".to_owned(), scope: doc! { "a": a } }.into())
            .boxed(),
        Just(Bson::RegularExpression(Regex {
            pattern: "^a".try_into().unwrap(),
            options: "i".try_into().unwrap(),
        }))
        .boxed(),
    ];
    prop::strategy::Union::new(kinds)
}

fn value() -> impl Strategy<Value = Bson> {
    scalar().prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            prop::collection::btree_map("[abA]", inner, 0..3)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

/// Documents of a few fields, each mostly of one value; the keys are of any type.
fn collection() -> impl Strategy<Value = Vec<Document>> {
    let fields = prop::collection::btree_map("[b-dA-C]", prop::collection::vec(value(), 1..3), 0..4);
    let rows = prop::collection::vec((value(), any::<prop::sample::Index>(), 0..8_usize), 1..4);
    (fields, rows, any::<bool>()).prop_map(|(fields, rows, alike)| {
        let first = rows[0].0.clone();
        let document = |(number, (id, pick, left_out)): (usize, (Bson, prop::sample::Index, usize))| {
            // One key for all of them would be one document.
            let id = if alike && number == 0 { first.clone() } else { id };
            let mut document = doc! { "_id": id };
            for (number, (name, values)) in fields.iter().enumerate() {
                if left_out != number {
                    document.insert(name.clone(), values[pick.index(values.len())].clone());
                }
            }
            document
        };
        let rows = if alike { rows.into_iter().take(1).collect() } else { rows };
        rows.into_iter().enumerate().map(document).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn random_documents_come_back_or_are_refused_by_name() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("round_trip").await? else { return Ok(()) };
    let mut runner = TestRunner::deterministic();
    let strategy = collection();
    let (mut same, mut refused) = (0, 0);
    for number in 0..150 {
        let generated = strategy.new_tree(&mut runner).map_err(anyhow::Error::msg)?.current();
        let (from, to) = (format!("src{number}"), format!("dst{number}"));
        let source = fixture.database.collection::<Document>(&from);
        for document in &generated {
            // The server refuses some types of keys, and one key twice.
            let _ = source.insert_one(document).await;
        }
        let stored = documents(&fixture, &from).await?;
        if stored.is_empty() {
            continue;
        }
        match copy(&fixture, &from, &to).await? {
            Ok(()) => {
                let copied = documents(&fixture, &to).await?;
                let fields = |all: &[Document]| all.iter().map(fields).collect::<anyhow::Result<Vec<_>>>();
                assert_eq!(fields(&copied)?, fields(&stored)?, "collection {number}");
                same += 1;
            }
            Err(error) => {
                let names: Vec<&String> = stored.iter().flat_map(Document::keys).collect();
                let told = error.to_string();
                assert!(names.iter().any(|name| told.contains(&format!("`{name}"))), "{number}: {told}");
                refused += 1;
            }
        }
    }
    assert!(same > 30 && refused > 10, "{same} came back, {refused} were refused");
    fixture.session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_type_so_a_document_is_replaced() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("uuid").await? else { return Ok(()) };
    let session = &fixture.session;
    let uuid = Bson::from(Binary { subtype: BinarySubtype::Uuid, bytes: (0..16).collect() });
    fixture.fill("t", false, &[doc! { "_id": uuid.clone(), "v": 1 }]).await?;
    // With inferred columns, and with declared ones, which say nothing about the subtype.
    run(session, "CREATE EXTERNAL TABLE inferred STORED AS MONGODB LOCATION 't'").await?;
    run(session, "CREATE EXTERNAL TABLE hinted (_id BYTEA, v INT) STORED AS MONGODB LOCATION 't' OPTIONS (schemaHints '_id UUID')").await?;
    for (table, expected) in [("inferred", 2), ("hinted", 3)] {
        run(session, &format!("INSERT INTO {table} SELECT _id, v + 1 AS v FROM {table}")).await?;
        assert_eq!(documents(&fixture, "t").await?, [doc! { "_id": uuid.clone(), "v": expected }]);
    }
    run(session, "CREATE EXTERNAL TABLE declared (_id BYTEA, v INT) STORED AS MONGODB LOCATION 't'").await?;
    let error = run(session, "INSERT INTO declared SELECT _id, v + 1 AS v FROM declared").await.unwrap_err();
    assert!(matches!(&error, Error::ChangedValue { field, .. } if field == "_id"), "{error}");
    // What the table leaves open is as it was read.
    run(session, "INSERT INTO declared SELECT _id, 7 AS v FROM inferred").await?;
    assert_eq!(documents(&fixture, "t").await?, [doc! { "_id": uuid, "v": 7 }]);
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_as_another_type_is_told_before_a_row_is_written() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("kinds").await? else { return Ok(()) };
    let session = &fixture.session;
    let id = ObjectId::parse_str("0123456789abcdef01234567")?;
    fixture
        .fill(
            "src",
            false,
            &[doc! { "_id": 1, "ref": id, "list": [id], "at": Timestamp { time: 7, increment: 1 } }],
        )
        .await?;
    run(session, "CREATE EXTERNAL TABLE src STORED AS MONGODB LOCATION 'src'").await?;
    run(session, "CREATE EXTERNAL TABLE texts (_id INT, ref TEXT) STORED AS MONGODB LOCATION 'texts'")
        .await?;
    let error = run(session, "INSERT INTO texts SELECT _id, ref FROM src").await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("column `ref`: it was read from ObjectIds, and the table has strings"), "{told}");
    run(session, "INSERT INTO texts SELECT _id, ref || '' FROM src").await?;
    assert_eq!(documents(&fixture, "texts").await?, [doc! { "_id": 1, "ref": id.to_hex() }]);
    run(
        session,
        "CREATE EXTERNAL TABLE dst (_id INT) STORED AS MONGODB LOCATION 'dst' \
         OPTIONS (schemaHints 'ref OBJECTID, list ARRAY<OBJECTID>, at EXTENDED')",
    )
    .await?;
    run(session, "INSERT INTO dst SELECT * FROM src").await?;
    assert_eq!(documents(&fixture, "dst").await?, documents(&fixture, "src").await?);
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_not_there_stay_so_or_their_author_decides() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("nulls").await? else { return Ok(()) };
    let session = &fixture.session;
    let optional = [doc! { "_id": 1, "a": 1, "s": { "x": 1 } }, doc! { "_id": 2, "s": { "x": 2, "y": 2 } }];
    fixture.fill("optional", false, &optional).await?;
    copy(&fixture, "optional", "optional_copy").await??;
    assert_eq!(documents(&fixture, "optional_copy").await?, optional);

    let both = [doc! { "_id": 1 }, doc! { "_id": 2, "a": Bson::Null }, doc! { "_id": 3, "a": 3 }];
    fixture.fill("both", false, &both).await?;
    let error = copy(&fixture, "both", "both_copy").await?.unwrap_err();
    assert!(matches!(&error, Error::ChangedValue { field, .. } if field == "a"), "{error}");
    assert!(error.to_string().contains("ignoreNullValues"), "{error}");
    for (ignored, expected) in [
        (true, [doc! { "_id": 1 }, doc! { "_id": 2 }, doc! { "_id": 3, "a": 3 }]),
        (
            false,
            [
                doc! { "_id": 1, "a": Bson::Null },
                doc! { "_id": 2, "a": Bson::Null },
                doc! { "_id": 3, "a": 3 },
            ],
        ),
    ] {
        let table = format!("decided_{ignored}");
        run(
            session,
            &format!(
                "CREATE EXTERNAL TABLE {table} (_id INT, a INT) STORED AS MONGODB LOCATION '{table}' \
                 OPTIONS (ignoreNullValues {ignored})"
            ),
        )
        .await?;
        run(session, &format!("INSERT INTO {table} SELECT * FROM both")).await?;
        assert_eq!(documents(&fixture, &table).await?, expected);
    }
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_capitals_are_those_of_the_fields() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start("capitals").await? else { return Ok(()) };
    let session = &fixture.session;
    fixture.fill("users", false, &[doc! { "_id": 1, "userId": 5, "s": { "zipCode": 7 } }]).await?;
    let create = async |table: &str, columns: &str, options: &str| {
        let sql =
            format!("CREATE EXTERNAL TABLE {table} {columns} STORED AS MONGODB LOCATION 'users' {options}");
        run(session, &sql).await
    };
    create("declared", "(_id INT, userId INT, s STRUCT<zipCode INT>)", "").await?;
    create("hinted", "", "OPTIONS ('schemaHints' 'userId BIGINT')").await?;
    create("inferred", "", "").await?;
    for table in ["declared", "hinted", "inferred"] {
        for (what, condition) in [
            ("userId", "userId = 5"),
            ("\"userId\"", "\"userId\" = 5"),
            ("s['zipCode'] - 2", "s.zipCode = 7"),
        ] {
            let sql = format!("SELECT CAST({what} AS BIGINT) FROM {table} WHERE {condition}");
            let found: Vec<(i64,)> = session.sql(&sql).await?.collect_as().await?;
            assert_eq!(found, [(5,)], "{sql}");
        }
    }
    let columns = session.sql("SELECT * FROM hinted").await?.collect().await?;
    assert_eq!(columns.batches()[0].num_columns(), 3, "the hint is about the field");
    run(session, "INSERT INTO declared (_id, userId) VALUES (2, 6)").await?;
    let written = documents(&fixture, "users").await?;
    assert_eq!(written[1], doc! { "_id": 2, "userId": 6, "s": Bson::Null });
    for (columns, options) in [
        ("(_id INT, userid INT)", ""),
        ("(_id INT, \"USERID\" INT)", ""),
        ("", "OPTIONS ('schemaHints' 'userid BIGINT')"),
    ] {
        let error = create("near", columns, options).await.unwrap_err().to_string();
        assert!(error.contains("`userId`"), "{columns} {options}: {error}");
    }
    let error = create("near", "(s STRUCT<zipcode INT>)", "").await.unwrap_err().to_string();
    assert!(error.contains("`s.zipCode`"), "{error}");
    let error = run(session, "SELECT userid FROM declared").await.unwrap_err().to_string();
    assert!(error.contains("userId"), "{error}");
    session.shutdown().await;
    Ok(())
}
