//! Every role as a process of its own, and one of them killed midway: while images are still being produced, so that
//! there is a midway however fast the others are.

use crate::support::{Role, World, ledger};
use firesteel_testkit::{SOON, wait_until};
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use std::collections::BTreeSet;
use std::time::Duration;

/// The inference server on a free port; its URL.
pub(crate) fn inference(world: &World) -> (Role, String) {
    let mut command = world.firesteel(&["inference-server", "--listen", "127.0.0.1:0"]);
    command.env("FIRESTEEL_LOG_FORMAT", "json");
    let mut role = Role::start(command);
    let line = role.wait_for("inference server is ready");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
    let url = format!("http://{}", line["fields"]["address"].as_str().expect("an address"));
    (role, url)
}

/// Producers that take five seconds or so, and whether they came to a good end.
fn producing(world: &World, producers: &str, images: &str) -> Role {
    let arguments = ["--rate", "20", "--producers", producers, "--images", images, "--ledger", "ledger"];
    Role::start(world.firesteel(&[["produce"].as_slice(), &arguments].concat()))
}

fn ended_well(mut role: Role) {
    let status = role.wait(SOON);
    assert_eq!(status.code(), Some(0), "{}", role.said());
}

async fn ids(world: &World) -> Vec<String> {
    let documents =
        world.collection().await.find(doc! {}).projection(doc! { "_id": 1 }).await.expect("a cursor");
    let documents: Vec<Document> = documents.try_collect().await.expect("documents");
    documents.iter().map(|document| document.get_str("_id").expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_prediction_consumer_loses_and_doubles_nothing() {
    let Some(world) = World::new("sigkill") else { return };
    let (mut server, url) = inference(&world);
    let mut images = world.firesteel(&["consume-images"]);
    images.env("FIRESTEEL_INFERENCE_URL", &url);
    let mut images = Role::start(images);
    images.wait_for("consuming");

    // Small batches, so that it has written, committed and received different things when it dies.
    let predictions =
        || world.firesteel(&["consume-predictions", "--max-batch", "7", "--max-in-flight", "50"]);
    let mut victim = Role::start(predictions());
    victim.wait_for("consuming");

    let producers = producing(&world, "3", "100");
    wait_until("a part is stored", SOON, async || world.documents().await > 60).await;
    victim.signal(9);
    victim.wait(Duration::from_secs(10));
    let stored = world.documents().await;
    assert!(stored < 300, "it was to die midway, and {stored} were stored");
    ended_well(producers);
    let acknowledged = ledger(&world.folder.path().join("ledger"));
    assert_eq!(acknowledged.len(), 300);

    let mut heir = Role::start(predictions());
    wait_until("everything is stored", SOON, async || world.documents().await == 300).await;

    // SIGTERM ends each role in order, with exit code 0.
    for role in [&mut images, &mut heir, &mut server] {
        role.signal(15);
        let status = role.wait(Duration::from_secs(30));
        assert_eq!(status.code(), Some(0), "{}", role.said());
    }
    let stored = ids(&world).await;
    assert_eq!(stored.len(), 300);
    let stored: BTreeSet<_> = stored.into_iter().collect();
    assert_eq!(stored, acknowledged.into_iter().collect::<BTreeSet<_>>(), "results = acknowledged");

    // Its group's offsets stand at the end: a third consumer is given nothing.
    let mut third = Role::start(predictions());
    third.wait_for("consuming");
    third.signal(15);
    assert_eq!(third.wait(Duration::from_secs(30)).code(), Some(0));
    assert_eq!(world.documents().await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_producer_goes_on_under_its_name() {
    let Some(world) = World::new("sigkill-producer") else { return };
    let (_server, url) = inference(&world);
    let mut images = world.firesteel(&["consume-images"]);
    images.env("FIRESTEEL_INFERENCE_URL", &url);
    let _consumers = [Role::start(images), Role::start(world.firesteel(&["consume-predictions"]))];
    let producer = || {
        let arguments = [
            "produce",
            "--producer-id",
            "0000000a,0000000b",
            "--ledger",
            "ledger",
            "--images",
            "150",
            "--rate",
            "60",
        ];
        world.firesteel(&arguments)
    };
    for least in [50, 120] {
        let mut victim = Role::start(producer());
        wait_until("a part is stored", SOON, async || world.documents().await > least).await;
        victim.signal(9);
        victim.wait(Duration::from_secs(10));
    }
    let output = crate::support::output(producer());
    assert_eq!(output.status.code(), Some(0), "{}", crate::support::stderr(&output));
    let said = crate::support::stdout(&output);
    assert!(
        said.contains("0000000a 150 images acknowledged, ") && said.contains(" in earlier runs"),
        "{said}"
    );
    wait_until("everything is stored", SOON, async || world.documents().await >= 300).await;
    let stored: BTreeSet<_> = ids(&world).await.into_iter().collect();
    let acknowledged: BTreeSet<_> = ledger(&world.folder.path().join("ledger")).into_iter().collect();
    assert_eq!(stored, acknowledged);
    assert_eq!(stored.len(), 300, "no image has a second name");

    let other = world.firesteel(&["produce", "--producer-id", "0000000a", "--ledger", "other"]);
    let output = crate::support::output(other);
    assert_ne!(output.status.code(), Some(0));
    for part in ["0000000a", "claimed", "--producer-id", "--ledger"] {
        assert!(
            crate::support::stderr(&output).contains(part),
            "{part} in {}",
            crate::support::stderr(&output)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_image_consumer_and_inference_server_lose_nothing() {
    let Some(world) = World::new("sigkill-images") else { return };
    let mut sink = Role::start(world.firesteel(&["consume-predictions"]));
    sink.wait_for("consuming");
    let (first_server, url) = inference(&world);
    let consumer = |url: &str| {
        let mut command = world.firesteel(&["consume-images", "--max-in-flight", "40"]);
        command.env("FIRESTEEL_INFERENCE_URL", url);
        command
    };
    let mut victim = Role::start(consumer(&url));
    victim.wait_for("consuming");
    let producers = producing(&world, "2", "100");
    wait_until("some are stored", SOON, async || world.documents().await > 20).await;
    victim.signal(9);
    victim.wait(Duration::from_secs(10));
    ended_well(producers);
    let mut heir = Role::start(consumer(&url));
    wait_until("the next consumer gets on", SOON, async || world.documents().await == 200).await;
    // Then the server dies under it: it waits, and goes on where a new one answers at the same address.
    let producers = producing(&world, "2", "100");
    wait_until("more are stored", SOON, async || world.documents().await > 220).await;
    first_server.signal(9);
    drop(first_server);
    heir.wait_for("inference server");
    let address = url.trim_start_matches("http://").to_owned();
    let mut second_server = Role::start(world.firesteel(&["inference-server", "--listen", &address]));
    second_server.wait_for("inference server is ready");
    ended_well(producers);
    wait_until("everything is stored", SOON, async || world.documents().await == 400).await;
    let stored: BTreeSet<_> = ids(&world).await.into_iter().collect();
    assert_eq!(stored, ledger(&world.folder.path().join("ledger")).into_iter().collect::<BTreeSet<_>>());
}
