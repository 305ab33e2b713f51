//! `firesteel demo`: its report equals what MongoDB itself counts, run after run.

use crate::support::{World, output, stderr, stdout};
use firesteel_testkit::{SOON, unique, wait_until};
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use std::collections::BTreeMap;

fn number(document: &Document, field: &str) -> u64 {
    let value = document.get(field).expect(field);
    let value = value.as_i32().map(i64::from).or_else(|| value.as_i64()).expect("an integer");
    u64::try_from(value).expect("a count")
}

/// key → (documents, wrong ones), by MongoDB's own `$group`.
async fn grouped(world: &World, key: &str, producers: &[String]) -> BTreeMap<String, (u64, u64)> {
    let pipeline = [
        doc! { "$match": { "producer_id": { "$in": producers } } },
        doc! { "$group": { "_id": format!("${key}"), "total": { "$sum": 1 },
        "wrong": { "$sum": { "$cond": [{ "$ne": ["$label", "$predicted"] }, 1, 0] } } } },
    ];
    let groups = world.collection().await.aggregate(pipeline).await.expect("a cursor");
    let groups: Vec<Document> = groups.try_collect().await.expect("groups");
    let row = |g: &Document| {
        (g.get_str("_id").expect("a key").to_owned(), (number(g, "total"), number(g, "wrong")))
    };
    groups.iter().map(row).collect()
}

fn run(world: &World, report: &str, images: &str) -> Value {
    let ran = output(world.firesteel(&["demo", "--producers", "2", "--images", images, "--report", report]));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let tables = stdout(&ran);
    assert!(tables.starts_with("Wrong Inference Counts by Producer:\n+-"), "{tables}");
    let head = tables.lines().nth(2).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(head, "| producer_id | wrong_inference_count | total_inferences | error_rate |", "{tables}");
    let text = std::fs::read_to_string(world.folder.path().join(report)).expect("the report");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_reports_what_mongodb_counts_and_so_does_the_next_one() {
    let Some(world) = World::new("demo") else { return };
    let first = run(&world, "first.json", "40");
    let second = run(&world, "second.json", "30");

    for (report, images) in [(&first, 40), (&second, 30)] {
        let producers = report["producers"].as_array().expect("producers");
        assert_eq!(producers.len(), 2, "a demo reports on its own producers");
        let ids: Vec<String> =
            producers.iter().map(|row| row["producer_id"].as_str().expect("an id").to_owned()).collect();

        let counted = grouped(&world, "producer_id", &ids).await;
        let reported = producers.iter().map(|row| {
            let (total, wrong) = (row["total_inferences"].as_u64(), row["wrong_inference_count"].as_u64());
            let rate = row["error_rate"].as_f64().expect("a rate");
            let (total, wrong) = (total.expect("a total"), wrong.expect("a count"));
            assert!((rate - 100.0 * wrong as f64 / total as f64).abs() < 1e-9, "{row}");
            assert_eq!(total, images, "every image once");
            (row["producer_id"].as_str().expect("an id").to_owned(), (total, wrong))
        });
        assert_eq!(reported.collect::<BTreeMap<_, _>>(), counted);

        let counted = grouped(&world, "label", &ids).await;
        let reported = report["classes"].as_array().expect("classes").iter().map(|row| {
            let (total, correct) =
                (row["total"].as_u64().expect("total"), row["correct"].as_u64().expect("correct"));
            (row["class"].as_str().expect("a class").to_owned(), (total, total - correct))
        });
        assert_eq!(reported.collect::<BTreeMap<_, _>>(), counted);
        assert_eq!(report["totals"]["images"].as_u64(), Some(2 * images));
        assert!(report["totals"]["accuracy"].as_f64().expect("accuracy") > 75.0, "{}", report["totals"]);
    }

    // The report over everything sees both runs.
    let all = output(world.firesteel(&["report", "--format", "json"]));
    assert!(all.status.success(), "{}", stderr(&all));
    let all: Value = serde_json::from_str(&stdout(&all)).expect("JSON");
    assert_eq!(all["totals"]["images"].as_u64(), Some(140));
    assert_eq!(all["totals"]["producers"].as_u64(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_demo_leaves_no_process_group_or_partial_file() {
    use crate::support::Role;
    let Some(world) = World::new("interrupted") else { return };
    let mut demo =
        Role::start(world.firesteel(&["demo", "--producers", "2", "--images", "5000", "--report", "r.json"]));
    wait_until("some predictions are stored", SOON, async || world.documents().await > 20).await;
    demo.signal(2);
    let status = demo.wait(std::time::Duration::from_secs(40));
    let said = demo.said();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted: of 10000 images"), "{said}");
    assert!(!world.folder.path().join("r.json").exists(), "no report of half a run");
    let left: Vec<_> = std::fs::read_dir(world.folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
    // What it stored is whole: each document has all its fields.
    let whole = doc! { "producer_id": { "$type": "string" }, "sequence": { "$type": "long" }, "correct": { "$type": "bool" },
    "produced_at": { "$type": "date" }, "inferred_at": { "$type": "date" } };
    let collection = world.collection().await;
    assert_eq!(collection.count_documents(whole).await.expect("a count"), world.documents().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_over_nothing_is_an_error_that_says_so() {
    let Some(world) = World::new(&unique("empty")) else { return };
    let ran = output(world.firesteel(&["report"]));
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("there are no predictions in"), "{}", stderr(&ran));
}
