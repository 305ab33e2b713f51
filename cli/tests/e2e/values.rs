//! Every output format of `firesteel sql` is valid for every value: dates beyond any calendar, infinities, one name twice.

use crate::support::{World, output, stderr, stdout};
use mongodb::bson::{DateTime, Document, doc};

/// JavaScript's largest date, which many applications use for "never".
const NEVER: i64 = 8_640_000_000_000_000;

async fn world(name: &str) -> Option<World> {
    let world = World::new(name)?;
    let database = world.database.open().await.expect("MongoDB");
    let at = |millis: i64| DateTime::from_millis(millis);
    let never = [
        doc! { "_id": 1, "at": at(NEVER), "s": { "at": at(NEVER) }, "l": [at(NEVER), at(0)], "d": f64::NAN },
        doc! { "_id": 2, "at": at(0), "s": { "at": at(0) }, "l": [at(0)], "d": f64::INFINITY },
        doc! { "_id": 3, "at": at(i64::MIN), "s": { "at": at(i64::MAX) }, "l": [], "d": 0.5 },
    ];
    database.collection::<Document>("never").insert_many(never).await.expect("an insert");
    database
        .collection::<Document>("a")
        .insert_one(doc! { "_id": 1, "k": 7, "v": "x" })
        .await
        .expect("an insert");
    database
        .collection::<Document>("b")
        .insert_one(doc! { "_id": 2, "k": 7, "w": "y" })
        .await
        .expect("an insert");
    Some(world)
}

/// What a query prints in a format; it has to end well.
fn printed(world: &World, query: &str, format: &[&str]) -> String {
    let tables = ["never", "a", "b"]
        .map(|name| format!("CREATE EXTERNAL TABLE {name} STORED AS MONGODB LOCATION '{name}';"))
        .concat();
    let ran = output(world.firesteel(&[&["sql", "-q", "-c", &tables, "-c", query], format].concat()));
    assert!(ran.status.success(), "{query} {format:?}: {}", stderr(&ran));
    stdout(&ran)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_beyond_the_calendar_and_an_infinity_have_a_form_in_every_format() {
    let Some(world) = world("values").await else { return };
    let query = "SELECT * FROM never ORDER BY _id";
    let text = printed(&world, query, &["--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let expected = serde_json::json!([
        {
            "_id": 1, "at": "+275760-09-13T00:00:00Z", "s": { "at": "+275760-09-13T00:00:00Z" },
            "l": ["+275760-09-13T00:00:00Z", "1970-01-01T00:00:00Z"], "d": "NaN",
        },
        {
            "_id": 2, "at": "1970-01-01T00:00:00Z", "s": { "at": "1970-01-01T00:00:00Z" },
            "l": ["1970-01-01T00:00:00Z"], "d": "Infinity",
        },
        {
            "_id": 3, "at": "-292275055-05-16T16:47:04.192Z", "s": { "at": "+292278994-08-17T07:12:55.807Z" },
            "l": [], "d": 0.5,
        },
    ]);
    assert_eq!(serde_json::Value::Array(rows), expected);
    let lines = printed(&world, query, &["--format", "ndjson"]);
    let rows: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(serde_json::Value::Array(rows), expected);
    let csv = printed(&world, query, &["--format", "csv"]);
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.contains("1,+275760-09-13T00:00:00Z,{at: +275760-09-13T00:00:00Z}"), "{csv}");
    for layout in [["--format", "table"].as_slice(), &[]] {
        let table = printed(&world, query, layout);
        assert!(table.contains("| +275760-09-13T00:00:00Z "), "{table}");
    }
    let expanded = printed(&world, &format!("\\x\n{query}"), &[]);
    assert_eq!(expanded.matches("-[ record ").count(), 3, "{expanded}");

    // Times without a zone, days, times of a day and intervals.
    let query = "SELECT CAST(at AS TIMESTAMP(3)) AS plain, CAST(2147483647 AS DATE) AS day, TIME '01:02:03' AS time, \
                 INTERVAL '1000000 years' AS span FROM never WHERE _id = 1";
    for format in ["json", "ndjson", "csv", "table"] {
        let text = printed(&world, query, &["--format", format]);
        assert!(text.contains("+5881580-07-11"), "{format}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_one_name_have_a_key_each() {
    let Some(world) = world("twice").await else { return };
    let query = "SELECT * FROM a JOIN b ON a.k = b.k";
    let expected = "{\"_id\":1,\"k\":7,\"v\":\"x\",\"_id_2\":2,\"k_2\":7,\"w\":\"y\"}";
    assert_eq!(printed(&world, query, &["--format", "ndjson"]), format!("{expected}\n"));
    assert_eq!(printed(&world, query, &["--format", "json"]), format!("[{expected}]\n"));
    assert_eq!(printed(&world, query, &["--format", "csv"]), "_id,k,v,_id,k,w\n1,7,x,2,7,y\n");
}
