//! `firesteel seed`: the documents that were asked for, once each, and a report that counts them.

use crate::support::{Role, World, output, stderr, stdout};
use firesteel_testkit::{SOON, wait_until};
use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use serde_json::Value;
use std::process::Output;
use std::time::Duration;

fn seed(world: &World, arguments: &[&str]) -> Output {
    output(world.firesteel(&[["seed"].as_slice(), arguments].concat()))
}

fn said(ran: &Output, code: i32, words: &[&str]) {
    let text = stdout(ran) + &stderr(ran);
    assert_eq!(ran.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

async fn contents(world: &World) -> Vec<Document> {
    let found = world.collection().await.find(doc! {}).sort(doc! { "_id": 1 }).await.expect("a cursor");
    found.try_collect().await.expect("documents")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_makes_the_same_documents_once_and_the_report_counts_them() {
    let Some(world) = World::new("seed") else { return };
    said(&seed(&world, &["--docs", "12345", "--seed", "7", "--producers", "3"]), 0, &["12345 documents"]);
    let first = contents(&world).await;
    assert_eq!(first.len(), 12_345);

    let report = output(world.firesteel(&["report", "--format", "json"]));
    assert!(report.status.success(), "{}", stderr(&report));
    let report: Value = serde_json::from_str(&stdout(&report)).expect("JSON");
    assert_eq!(report["totals"]["images"].as_u64(), Some(12_345));
    let shares = report["producers"].as_array().expect("producers").iter();
    let mut shares: Vec<_> = shares.map(|row| row["total_inferences"].as_u64()).collect();
    shares.sort_unstable();
    assert_eq!(shares, [Some(4_115), Some(4_115), Some(4_115)]);
    assert_eq!(report["classes"].as_array().map(Vec::len), Some(10));
    let accuracy = report["totals"]["accuracy"].as_f64().expect("a rate");
    assert!((accuracy - 93.15).abs() < 1.5, "{accuracy}");

    // Not over what is there, unless told what to do about it; and then nothing is doubled.
    said(&seed(&world, &["--docs", "5"]), 1, &["12345 documents already", "--drop", "--append"]);
    let longer = ["--docs", "12400", "--seed", "7", "--producers", "3", "--append"];
    said(&seed(&world, &longer), 0, &["55 documents written", "12345 were there already"]);
    assert_eq!(world.documents().await, 12_400);
    let wrong = seed(&world, &["--docs", "5", "--append", "--plain"]);
    said(&wrong, 1, &["--plain", "clustered on _id"]);

    // The same again from nothing: the same documents.
    let again = ["--docs", "12345", "--seed", "7", "--producers", "3", "--drop"];
    said(&seed(&world, &again), 0, &["12345 documents written"]);
    assert!(contents(&world).await == first, "another run made other documents");
    // Some of them without a true class: the rest is what it was.
    let some = ["--docs", "12345", "--seed", "7", "--producers", "3", "--drop", "--unlabelled", "0.25"];
    said(&seed(&world, &some), 0, &["12345 documents written"]);
    let mut unlabelled = 0;
    for (before, after) in first.iter().zip(contents(&world).await) {
        if after.get("label") == Some(&Bson::Null) {
            unlabelled += 1;
            assert_eq!(after.get("correct"), Some(&Bson::Null));
        } else {
            assert_eq!(&after, before);
        }
    }
    assert!((2_800..3_400).contains(&unlabelled), "{unlabelled}");
    said(&seed(&world, &["--docs", "5", "--unlabelled", "1.5"]), 2, &["a share from 0 to 1"]);

    said(&seed(&world, &["--docs", "100", "--seed", "8", "--producers", "1", "--drop"]), 0, &[]);
    assert!(contents(&world).await.iter().all(|document| !first.contains(document)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_collection_is_made_on_request() {
    let Some(world) = World::new("seed-plain") else { return };
    said(&seed(&world, &["--docs", "10", "--plain", "--collection", "heap"]), 0, &[".heap"]);
    said(&seed(&world, &["--docs", "10"]), 0, &[".predictions"]);
    let client = mongodb::Client::with_uri_str(&world.services.mongodb_uri).await.expect("MongoDB");
    let collections = client.database(&world.database.name).list_collections().await.expect("collections");
    let mut collections: Vec<_> = collections.try_collect().await.expect("collections");
    collections.sort_by(|a, b| a.name.cmp(&b.name));
    let clustered: Vec<_> =
        collections.iter().map(|c| (c.name.as_str(), c.options.clustered_index.is_some())).collect();
    assert_eq!(clustered, [("heap", false), ("predictions", true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_seed_says_how_far_it_came_and_is_completed_by_appending() {
    let Some(world) = World::new("seed-interrupted") else { return };
    let arguments = ["seed", "--docs", "400000", "--seed", "3"];
    let mut role = Role::start(world.firesteel(&arguments));
    wait_until("a part is stored", SOON, async || world.documents().await > 0).await;
    role.signal(2);
    let text = role.wait_for("interrupted: ");
    let status = role.wait(Duration::from_secs(30));
    assert_eq!(status.code(), Some(130), "{text}");
    let there = world.documents().await;
    assert!(there < 400_000, "it was to be interrupted");
    assert!(text.contains(&format!("interrupted: {there} of 400000")), "{there}: {text}");

    let rest = 400_000 - there;
    let ran = output(world.firesteel(&[&arguments[..], &["--append"]].concat()));
    said(&ran, 0, &[&format!("{rest} documents written"), &format!("{there} were there already")]);
    assert_eq!(world.documents().await, 400_000);
}
