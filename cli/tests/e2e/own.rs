//! Images of one's own, for a model of one's own: a folder of three classes goes through the demo to a report, and images
//! come in over HTTP.

use crate::roles::inference;
use crate::support::{Role, World, output, stderr};
use firesteel_pipeline::dataset::{Dataset, Image};
use firesteel_testkit::{SOON, http, http_with, wait_until};
use mongodb::bson::doc;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Classes of the shipped model, and their places among its outputs.
const KEPT: [(&str, usize); 3] = [("cat", 3), ("ship", 8), ("truck", 9)];
/// The tensors that have a row for each class.
const HEADS: [&str; 2] = ["fc.weight", "fc.bias"];

/// Writes the weights of a model that knows three classes: those of the shipped one, without the rows of the others.
fn three_classes(path: &Path) {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline/assets/resnet18-cifar10.safetensors");
    let shipped = std::fs::read(shipped).expect("the weights");
    let (length, rest) = shipped.split_first_chunk::<8>().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).expect("a header");
    let (mut tensors, mut kept) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, mut tensor) in header {
        if name != "__metadata__" {
            let at = |place: usize| tensor["data_offsets"][place].as_u64().expect("an offset") as usize;
            let bytes = &data[at(0)..at(1)];
            let begin = kept.len();
            if HEADS.contains(&name.as_str()) {
                let row = bytes.len() / tensor["shape"][0].as_u64().expect("a shape") as usize;
                KEPT.iter().for_each(|(_, class)| kept.extend(&bytes[class * row..(class + 1) * row]));
                tensor["shape"][0] = json!(KEPT.len());
            } else {
                kept.extend(bytes);
            }
            tensor["data_offsets"] = json!([begin, kept.len()]);
        }
        tensors.insert(name, tensor);
    }
    let mut header = serde_json::to_vec(&tensors).expect("JSON");
    // The data begin at a multiple of eight, as in files that others write.
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(path, [&length[..], &header, &kept].concat()).expect("written");
    let manifest = json!({ "classes": KEPT.map(|(class, _)| class), "version": "3" });
    std::fs::write(format!("{}.json", path.display()), manifest.to_string()).expect("written");
}

/// The first `count` images of a class.
fn images(class: &str, count: usize) -> Vec<Image> {
    let shipped = Dataset::load(None).expect("shipped");
    let images = (0..shipped.len()).map(|row| shipped.get(row).expect("an image"));
    images
        .filter(|image| image.label.as_ref().is_some_and(|label| label.as_str() == class))
        .take(count)
        .collect()
}

/// A folder with a subfolder for each class.
fn folder(path: &Path, count: usize) {
    for (class, _) in KEPT {
        std::fs::create_dir_all(path.join(class)).expect("made");
        for (number, image) in images(class, count).into_iter().enumerate() {
            std::fs::write(path.join(class).join(format!("{number}.jpg")), image.data).expect("written");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_three_classes_goes_through_the_demo_to_a_report() {
    let Some(world) = World::new("folder") else { return };
    folder(&world.folder.path().join("set"), 10);
    std::fs::write(world.folder.path().join("set/cat/notes.txt"), "not an image").expect("written");
    three_classes(&world.folder.path().join("three.safetensors"));
    let arguments = [
        "demo",
        "--dataset",
        "set",
        "--model",
        "three.safetensors",
        "--producers",
        "4",
        "--report",
        "r.json",
    ];
    let ran = output(world.firesteel(&arguments));
    let said = stderr(&ran);
    assert!(ran.status.success(), "{said}");
    for part in ["1 files are no JPEG, PNG or WebP", "notes.txt", "4 producers, 30 images", "three@3/"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let report = std::fs::read_to_string(world.folder.path().join("r.json")).expect("the report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["totals"]["images"].as_u64(), Some(30), "each image once: {report}");
    let classes = report["classes"].as_array().expect("classes").iter();
    let classes: Vec<_> = classes.map(|row| (row["class"].as_str(), row["total"].as_u64())).collect();
    assert_eq!(classes, KEPT.map(|(class, _)| (Some(class), Some(10_u64))));
    // Of three classes the shipped model's features tell nearly all apart.
    assert!(report["totals"]["accuracy"].as_f64().expect("accuracy") > 80.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_is_sent_once_and_a_bad_file_is_named_or_passed_over() {
    let Some(world) = World::new("pattern") else { return };
    folder(&world.folder.path().join("set"), 5);
    let produce =
        |more: &[&str]| {
            output(world.firesteel(
                &[&["produce", "--dataset", "set/**/*.jpg", "--producers", "2"][..], more].concat(),
            ))
        };
    let ran = produce(&[]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.contains(" 7 images acknowledged") && said.contains(" 8 images acknowledged"), "{said}");
    let large = [&[0xff, 0xd8, 0xff][..], &[0; 5_000]].concat();
    std::fs::write(world.folder.path().join("set/cat/large.jpg"), large).expect("written");
    let ran = produce(&["--max-image-size", "4KiB"]);
    assert_eq!(ran.status.code(), Some(1));
    for part in ["large.jpg", "5003 bytes", "--dataset"] {
        assert!(stderr(&ran).contains(part), "{part} in {}", stderr(&ran));
    }
    let ran = produce(&["--max-image-size", "4KiB", "--skip-unreadable"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("1 files or folders are left out"), "{}", stderr(&ran));
    let ran = output(world.firesteel(&["produce", "--dataset", "nowhere"]));
    assert!(stderr(&ran).contains("nowhere") && stderr(&ran).contains("--dataset"), "{}", stderr(&ran));
}

/// The door for images on a free port; where that answers.
async fn ingest(world: &World) -> (Role, SocketAddr) {
    let mut command = world.firesteel(&["ingest", "--listen", "127.0.0.1:0"]);
    command.env("FIRESTEEL_LOG_FORMAT", "json");
    let mut role = Role::start(command);
    let fields = role.wait_for_fields("images are taken");
    let address: SocketAddr = fields["address"].as_str().expect("an address").parse().expect("an address");
    let ready = async || http(address, "GET", "/readyz").await.is_ok_and(|answer| answer.status == 200);
    wait_until("the door is ready", SOON, ready).await;
    (role, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_came_by_http_is_a_document_and_its_repeat_is_the_same() {
    let Some(world) = World::new("ingest") else { return };
    let (_server, url) = inference(&world);
    let mut consumer = world.firesteel(&["consume-images"]);
    consumer.env("FIRESTEEL_INFERENCE_URL", &url);
    let _consumers = [Role::start(consumer), Role::start(world.firesteel(&["consume-predictions"]))];
    let image = images("ship", 1).remove(0);
    let keyed = [("Content-Type", "image/jpeg"), ("Idempotency-Key", "order-4711")];
    let post = async |address, headers: &[(&str, &str)]| {
        let answer =
            http_with(address, "POST", "/images?label=ship", headers, &image.data).await.expect("an answer");
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["id"].as_str().expect("an id").to_owned()
    };
    let (mut first, address) = ingest(&world).await;
    let id = post(address, &keyed).await;
    wait_until("the image is stored", SOON, async || world.documents().await == 1).await;
    first.signal(9);
    first.wait(Duration::from_secs(10));

    // Another process, which knows nothing of the first one.
    let (mut second, address) = ingest(&world).await;
    assert_eq!(post(address, &keyed).await, id);
    let other = post(address, &keyed[..1]).await;
    assert_ne!(other, id);
    wait_until("the other image is stored", SOON, async || world.documents().await == 2).await;
    let document = world
        .collection()
        .await
        .find_one(doc! { "_id": &id })
        .await
        .expect("an answer")
        .expect("it is there");
    assert_eq!(document.get_str("label").expect("a label"), "ship");
    second.signal(15);
    assert_eq!(second.wait(Duration::from_secs(30)).code(), Some(0), "{}", second.said());
    assert_eq!(world.documents().await, 2, "the repeat is no second document");
}
