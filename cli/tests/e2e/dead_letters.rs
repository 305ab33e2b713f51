//! `firesteel dead-letters` over what a real consumer gave up, with a replay that is killed midway.

use crate::support::{Role, World, output, stderr, stdout};
use firesteel_testkit::{SOON, publish, samples, wait_until};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const RECORDS: usize = 300;

fn succeed(command: Command) -> String {
    let ended = output(command);
    assert!(ended.status.success(), "{}", stderr(&ended));
    stdout(&ended)
}

/// Consumes predictions until so many letters are there in all.
async fn consume(world: &World, letters: usize) {
    let mut consumer = Role::start(world.firesteel(&["consume-predictions"]));
    wait_until("all are letters", SOON, async || counted(world) == letters as u64).await;
    consumer.signal(15);
    assert_eq!(consumer.wait(Duration::from_secs(30)).code(), Some(0), "{}", consumer.said());
}

/// How many letters of predictions there are.
fn counted(world: &World) -> u64 {
    let arguments = ["dead-letters", "list", "--topic", "predictions", "--summary", "--format", "json"];
    let ended = output(world.firesteel(&arguments));
    let counts: Value = serde_json::from_str(&stdout(&ended)).unwrap_or_default();
    counts.as_object().map_or(0, |classes| classes.values().filter_map(Value::as_u64).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_shown_and_replayed_once_also_by_a_replay_that_is_killed() {
    let Some(world) = World::new("dead-letters") else { return };
    let records: Vec<_> =
        (0..RECORDS).map(|index| ("0000002a".to_owned(), format!("broken-{index}").into_bytes())).collect();
    publish(&world.services.kafka_bootstrap, &world.predictions, 4, &records).await.expect("published");
    consume(&world, RECORDS).await;

    let list = ["dead-letters", "list", "--topic", "predictions", "--limit", "5", "--format", "json"];
    let listed = output(world.firesteel(&list));
    let rows: Value = serde_json::from_str(&stdout(&listed)).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(5));
    assert_eq!((&rows[0]["producer_id"], &rows[0]["replays"]), (&"0000002a".into(), &0.into()));
    assert_eq!(rows[0]["source_topic"], world.predictions);
    assert!(stderr(&listed).contains("295 older ones are not shown"), "{}", stderr(&listed));

    let at = format!("{}:{}", rows[4]["partition"], rows[4]["offset"]);
    let shown = succeed(world.firesteel(&[
        "dead-letters",
        "show",
        &at,
        "--topic",
        "predictions",
        "--out",
        "x",
        "--raw",
    ]));
    for part in [&at, "key       0000002a", "source.topic = ", "no prediction", "headers   "] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let raw = std::fs::read_to_string(world.folder.path().join("x")).expect("a file");
    assert!(raw.starts_with("broken-"), "{raw}");

    let replay = |more: &[&str]| {
        world.firesteel(&[&["dead-letters", "replay", "--topic", "predictions"], more].concat())
    };
    assert_eq!(output(replay(&[])).status.code(), Some(2), "which letters?");
    let dry = succeed(replay(&["--letter", &at, "--dry-run"]));
    assert!(dry.contains(", attempt 1") && dry.contains("1 letter of"), "{dry}");

    // It dies between its transactions, or in the middle of one. To look on, a dry run needs no transaction.
    let mut victim = Role::start(replay(&["--all", "--batch", "1"]));
    wait_until("some are replayed", SOON, async || {
        succeed(replay(&["--all", "--dry-run"])).contains("replayed before")
    })
    .await;
    victim.signal(9);
    victim.wait(Duration::from_secs(10));
    let rest = succeed(replay(&["--all"]));
    assert!(
        rest.contains("replayed before") && !rest.starts_with("0 letters"),
        "it was to die midway: {rest}"
    );
    let again = succeed(replay(&["--all"]));
    assert!(again.starts_with("0 letters"), "{again}");

    // Each record comes back once, and says that it has been here before.
    consume(&world, 2 * RECORDS).await;
    let sql = "SELECT replays, count(*) AS letters, count(DISTINCT CAST(value AS VARCHAR)) AS records \
               FROM dead_letters GROUP BY 1 ORDER BY 1";
    let found = succeed(world.firesteel(&["sql", "--format", "csv", "-c", sql]));
    assert_eq!(found, format!("replays,letters,records\n0,{RECORDS},{RECORDS}\n1,{RECORDS},{RECORDS}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_of_a_letter_becomes_a_file_and_what_is_not_there_is_told() {
    let Some(world) = World::new("dead-image") else { return };
    let missing = output(world.firesteel(&["dead-letters", "show", "0:0"]));
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("there is no topic"), "{}", stderr(&missing));
    assert_eq!(succeed(world.firesteel(&["dead-letters", "list", "--format", "json"])), "[]\n");

    let image = firesteel_proto::ImageRecord {
        id: samples::image_id(0, 1),
        produced_at: samples::produced_at(0),
        label: Some(firesteel_testkit::cifar::label("cat")),
        encoding: firesteel_proto::Encoding::Jpeg,
        data: vec![1, 2, 3].into(),
    };
    let records = [("k".to_owned(), image.encode()), ("k".to_owned(), b"no image".to_vec())];
    let letters = format!("{}.dead-letter", world.images);
    publish(&world.services.kafka_bootstrap, &letters, 1, &records).await.expect("published");
    let shown = succeed(world.firesteel(&["dead-letters", "show", "0:0", "--out", "x.jpg"]));
    assert!(shown.contains("labelled cat") && shown.contains("3 bytes of Jpeg"), "{shown}");
    assert_eq!(std::fs::read(world.folder.path().join("x.jpg")).expect("a file"), [1, 2, 3]);
    for (arguments, words) in [
        (&["0:1", "--out", "y"][..], "--raw writes all of it"),
        (&["0:2"], "partition 0 has offsets 0 to 1"),
        (&["1:0"], "there are partitions 0 to 0"),
    ] {
        let refused = output(world.firesteel(&[&["dead-letters", "show"], arguments].concat()));
        assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(words), "{words} in {}", stderr(&refused));
    }
}
