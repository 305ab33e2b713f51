//! Two models share the images of one server: an image keeps its model however often it is delivered, and one that asks for a
//! model gets it.

use crate::support::{Role, World, output, stderr, stdout};
use firesteel_pipeline::inference::Split;
use firesteel_testkit::{SOON, wait_until};
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use std::collections::BTreeMap;

/// The shipped model in two precisions, of which the second one gets a quarter of the images.
const MODELS: [&str; 4] =
    ["--model", "exact=shipped,precision=f32,share=3", "--model", "small=shipped,precision=int8,share=1"];
const NAMES: [&str; 2] = ["exact/f32", "small/int8"];

/// The documents by their `_id`, without the time at which they were made.
async fn documents(world: &World) -> BTreeMap<String, Document> {
    let found = world.collection().await.find(doc! {}).await.expect("a cursor");
    let found: Vec<Document> = found.try_collect().await.expect("documents");
    let parts = found.into_iter().map(|mut document| {
        document.remove("inferred_at");
        (document.get_str("_id").expect("an id").to_owned(), document)
    });
    parts.collect()
}

fn model(document: &Document) -> &str {
    document.get_str("model").expect("a model")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_has_the_same_model_again_when_it_is_delivered_again() {
    let Some(world) = World::new("split") else { return };
    let arguments = [&["demo", "--producers", "2", "--images", "100"][..], &MODELS].concat();
    let ran = output(world.firesteel(&arguments));
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("exact/f32, small/int8 at "), "{}", stderr(&ran));
    let first = documents(&world).await;
    assert_eq!(first.len(), 200);
    let split = Split::new(&[Some(3), Some(1)]).expect("shares");
    for (id, document) in &first {
        assert_eq!(model(document), NAMES[split.of(id.as_bytes())], "{id}");
    }
    let small = first.values().filter(|document| model(document) == NAMES[1]).count();
    assert!((20..=80).contains(&small), "{small} of 200 are about a quarter");

    // A group that has read nothing yet reads all of it once more, from another server.
    let before = mongodb::bson::DateTime::now();
    let mut command =
        world.firesteel(&[&["inference-server", "--listen", "127.0.0.1:0"][..], &MODELS].concat());
    command.env("FIRESTEEL_LOG_FORMAT", "json");
    let mut server = Role::start(command);
    let fields = server.wait_for_fields("inference server is ready");
    assert_eq!(fields["model"], "exact/f32, small/int8");
    let url = format!("http://{}", fields["address"].as_str().expect("an address"));
    let consume = |arguments: &[&str]| {
        let mut command = world.firesteel(arguments);
        command.env("FIRESTEEL_INFERENCE_URL", &url).env("FIRESTEEL_IMAGES_MAX_ATTEMPTS", "2");
        command
    };
    let mut consumers = ["consume-images", "consume-predictions"].map(|role| Role::start(consume(&[role])));
    wait_until("all images are answered once more", SOON, async || {
        let later = doc! { "inferred_at": { "$gte": before } };
        world.collection().await.count_documents(later).await.expect("a count") == 200
    })
    .await;
    assert_eq!(documents(&world).await, first);

    // A record that names a model gets it, or is a letter if there is none of this name.
    for (asked, images) in [("small", "10"), ("nobody", "3")] {
        let ran =
            output(world.firesteel(&["produce", "--producers", "1", "--images", images, "--model", asked]));
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    let list = ["dead-letters", "list", "--topic", "images", "--summary", "--format", "json"];
    wait_until("all are documents or letters", SOON, async || {
        let letters = output(world.firesteel(&list));
        let letters: Value = serde_json::from_str(&stdout(&letters)).unwrap_or_default();
        world.documents().await == 210 && letters["unknown-model"].as_u64() == Some(3)
    })
    .await;
    let later = documents(&world).await;
    let mut more = later.iter().filter(|(id, _)| !first.contains_key(*id));
    assert!(more.all(|(_, document)| model(document) == NAMES[1]), "{later:?}");
    for consumer in &mut consumers {
        consumer.signal(15);
        assert_eq!(consumer.wait(SOON).code(), Some(0), "{}", consumer.said());
    }

    // A consumer for a model that there is not says so and ends.
    let ran = output(consume(&["consume-images", "--model", "nobody"]));
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    for part in ["has no model \"nobody\": it has exact/f32, small/int8", "--model", "FIRESTEEL_IMAGES_MODEL"]
    {
        assert!(stderr(&ran).contains(part), "{part} in {}", stderr(&ran));
    }
}
