//! `--health-listen`: every role of the pipeline tells of its readiness and its counts, and what it counts is what is
//! in MongoDB.

use crate::support::{Role, World, output, stderr};
use firesteel_testkit::{Answer, SOON, http, wait_until};
use mongodb::bson::doc;
use std::net::SocketAddr;
use std::time::Duration;

/// A role with a health server; where that answers.
fn start(world: &World, arguments: &[&str], inference: Option<&str>) -> (Role, SocketAddr) {
    let listen = ["--health-listen", "127.0.0.1:0"];
    let mut command = world.firesteel(&[arguments, listen.as_slice()].concat());
    command.env("FIRESTEEL_LOG_FORMAT", "json");
    if let Some(url) = inference {
        command.env("FIRESTEEL_INFERENCE_URL", url);
    }
    let mut role = Role::start(command);
    let fields = role.wait_for_fields("health is served");
    let address = fields["address"].as_str().expect("an address").parse().expect("an address");
    (role, address)
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    http(address, "GET", path).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_tells_that_it_is_ready_and_what_it_has_counted() {
    let Some(world) = World::new("health") else { return };
    let (mut server, classified) =
        start(&world, &["inference-server", "--listen", "127.0.0.1:0", "--precision", "f32"], None);
    let fields = server.wait_for_fields("inference server is ready");
    let url = format!("http://{}", fields["address"].as_str().expect("an address"));
    let (mut images, published) = start(&world, &["consume-images"], Some(&url));
    let (mut predictions, stored) = start(&world, &["consume-predictions"], None);
    for address in [classified, published, stored] {
        assert_eq!(get(address, "/healthz").await.status, 200);
        wait_until("a role is ready", SOON, async || get(address, "/readyz").await.status == 200).await;
    }

    let produced = output(world.firesteel(&["produce", "--producers", "2", "--images", "20"]));
    assert!(produced.status.success(), "{}", stderr(&produced));
    for (address, name) in [
        (
            classified,
            "firesteel_inference_images_total{model=\"resnet18-cifar10/f32\",outcome=\"classified\"}",
        ),
        (published, "firesteel_records_total{outcome=\"succeeded\",role=\"consume-images\"}"),
        (published, "firesteel_image_seconds_count"),
        (stored, "firesteel_records_total{outcome=\"succeeded\",role=\"consume-predictions\"}"),
    ] {
        wait_until(name, SOON, async || get(address, "/metrics").await.metric(name) == Some(40.0)).await;
    }
    let metrics = get(stored, "/metrics").await;
    for correct in [true, false] {
        let label = format!("correct=\"{correct}\"");
        let samples = metrics
            .body
            .lines()
            .filter(|line| line.starts_with("firesteel_predictions_total{") && line.contains(&label));
        let told: f64 = samples
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number"))
            .sum();
        let counted = world.collection().await.count_documents(doc! { "correct": correct }).await;
        assert_eq!(told, counted.expect("a count") as f64, "{label}");
    }

    // A server that is gone is one that its consumer is not ready without, once it is missed.
    server.signal(15);
    assert_eq!(server.wait(Duration::from_secs(30)).code(), Some(0), "{}", server.said());
    let produced = output(world.firesteel(&["produce", "--producers", "1", "--images", "1"]));
    assert!(produced.status.success(), "{}", stderr(&produced));
    wait_until("the server is missed", SOON, async || get(published, "/readyz").await.status == 503).await;
    assert_eq!(get(published, "/healthz").await.status, 200);
    // The binary's own question, as a container asks it.
    let asked = |path: &str| output(world.firesteel(&["health", &format!("http://{published}{path}")]));
    assert!(asked("/healthz").status.success());
    let away = asked("/readyz");
    assert_eq!(away.status.code(), Some(1));
    assert!(stderr(&away).contains("answers 503"), "{}", stderr(&away));
    for role in [&mut images, &mut predictions] {
        role.signal(15);
        assert_eq!(role.wait(Duration::from_secs(40)).code(), Some(0), "{}", role.said());
    }
}
