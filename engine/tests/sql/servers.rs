//! Tables of MongoDB, Kafka and files, created by statements, together in one query and cached.

use bson::{Document, doc};
use firesteel_testkit::{Services, TempTopics, publish, unique};

use crate::{Fixture, predictions};

#[tokio::test(flavor = "multi_thread")]
async fn sources_of_three_kinds_meet_in_a_query_and_in_the_cache() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::with_mongodb("sql-servers").await? else { return Ok(()) };
    let Some(services) = Services::from_env() else { return Ok(()) };
    fixture.predictions()?.insert_many(predictions(0..500)).await?;
    let (database, _) = fixture.database.as_ref().unwrap();
    let orders: Vec<Document> = (0..300_i32)
        .map(|i| {
            doc! {
                "_id": bson::oid::ObjectId::new(),
                "label": crate::LABELS[(i % 4) as usize],
                "lines": [{ "sku": format!("s{}", i % 3), "n": i }, { "sku": "x", "n": bson::Bson::Null }],
                "place": { "city": format!("c{}", i % 5), "at": bson::DateTime::from_millis(i64::from(i)) },
                "price": "12.50".parse::<bson::Decimal128>().unwrap(),
            }
        })
        .collect();
    database.collection("orders").insert_many(orders).await?;
    let topic = unique("sql-events");
    let _topics = TempTopics::new(&services.kafka_bootstrap, [topic.clone()]);
    let records: Vec<(String, Vec<u8>)> =
        (0..40).map(|i| (crate::LABELS[i % 4].to_string(), i.to_string().into_bytes())).collect();
    publish(&services.kafka_bootstrap, &topic, 3, &records).await?;
    std::fs::write(fixture.path("names.csv"), "label,long\ncat,Cat\ndog,Dog\nfrog,Frog\n")?;

    for sql in [
        "CREATE EXTERNAL TABLE orders STORED AS MONGODB LOCATION 'orders'".to_owned(),
        format!(
            "CREATE EXTERNAL TABLE events STORED AS KAFKA LOCATION '{topic}' OPTIONS ('value.format' 'raw')"
        ),
        format!(
            "CREATE EXTERNAL TABLE names STORED AS CSV LOCATION '{}' OPTIONS ('has_header' 'true')",
            fixture.path("names.csv").display()
        ),
    ] {
        assert_eq!(fixture.done(&sql).await?, "CREATE EXTERNAL TABLE");
    }
    let queries = [
        "SELECT n.long, count(*) FROM events e JOIN names n ON CAST(e.key AS VARCHAR) = n.label GROUP BY n.long",
        "SELECT p.label, count(*) FROM predictions p JOIN names n ON p.label = n.label GROUP BY p.label",
        "SELECT place['city'], count(*), max(price), max(lines[1]['n']) FROM orders GROUP BY place['city']",
        "SELECT label, place, lines, price FROM orders",
        "SELECT 'e', count(*) FROM events UNION ALL SELECT 'o', count(*) FROM orders",
    ];
    let mut live = Vec::new();
    for sql in queries {
        live.push(fixture.rows(sql).await?);
    }
    assert_eq!(live[0], ["Cat|10", "Dog|10", "Frog|10"]);
    for table in ["orders", "events", "names", "predictions"] {
        let message = fixture.done(&format!("CACHE TABLE {table}")).await?;
        assert_eq!(message.contains("cluster time"), ["orders", "predictions"].contains(&table), "{message}");
    }
    for (sql, expected) in queries.iter().zip(&live) {
        let plan = fixture.session.sql(sql).await?.explain().await?;
        assert!(!plan.contains("MongoScanExec") && !plan.contains("KafkaScanExec"), "{plan}");
        assert_eq!(&fixture.rows(sql).await?, expected, "{sql}");
    }
    fixture.session.shutdown().await;
    assert!(fixture.cached_files().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_statement_is_refused_and_forgotten() -> anyhow::Result<()> {
    let fixture = Fixture::alone().await?;
    for sql in [
        "CREATE EXTERNAL TABLE t STORED AS MONGODB LOCATION 'mongodb://me:hunter2@host/db.c'",
        "CREATE EXTERNAL TABLE t (a INT) STORED AS MONGODB LOCATION 'c' OPTIONS ('password' 'hunter2')",
        "CREATE EXTERNAL TABLE t STORED AS KAFKA LOCATION 'c' OPTIONS ('sasl.password' 'hunter2')",
    ] {
        let error = fixture.fails(sql).await?;
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let known = [fixture.rows("SHOW ALL").await?, fixture.rows("SHOW TABLES").await?].concat();
    assert!(known.iter().all(|row| !row.contains("hunter2")));
    fixture.session.shutdown().await;
    Ok(())
}
