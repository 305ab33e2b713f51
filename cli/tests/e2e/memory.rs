//! Large images pass through processes that are allowed little memory.

use crate::roles::inference;
use crate::support::{Role, World};
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::kafka::{KafkaConfig, Message, Publisher};
use firesteel_proto::{Encoding, ImageId, ImageRecord, ProducerId, Sequence, Timestamp};
use firesteel_testkit::{SOON, wait_until};
use futures::StreamExt as _;

const IMAGES: u64 = 600;
const BYTES: usize = 1_000_000;
/// What the manifests allow: the consumers, and the inference server, which has the model in it.
const CONSUMER: u64 = 256 << 20;
const INFERENCE: u64 = 512 << 20;

/// A JPEG, made larger by comments behind its first marker, which decoders leave out.
fn padded(jpeg: &[u8]) -> Vec<u8> {
    let (marker, rest) = jpeg.split_at(2);
    let mut image = marker.to_vec();
    while image.len() + rest.len() < BYTES {
        let comment = (BYTES - image.len() - rest.len()).clamp(4, 65_537);
        image.extend([0xff, 0xfe]);
        image.extend(u16::try_from(comment - 2).unwrap().to_be_bytes());
        image.resize(image.len() + comment - 4, b'x');
    }
    image.extend(rest);
    image
}

/// The most memory that a process has had, in bytes.
fn peak(role: &Role) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", role.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_megabyte_pass_through_a_quarter_of_a_gibibyte() {
    let Some(world) = World::new("padded") else { return };
    let dataset = Dataset::load(None).expect("shipped");
    let kafka = KafkaConfig::new(world.services.kafka_bootstrap.clone());
    let spec = firesteel_pipeline::kafka::TopicSpec::new(&world.images).with_partitions(4);
    firesteel_pipeline::kafka::ensure_topics(&kafka, "test", &[spec]).await.expect("a topic");
    let publisher = &Publisher::new(&kafka, "test", SOON).expect("a publisher");
    let sends = futures::stream::iter(0..IMAGES).map(|sequence| {
        let image = dataset.get(sequence as usize).expect("an image");
        let producer = ProducerId(u128::from(sequence % 16));
        let record = ImageRecord {
            id: ImageId { producer, sequence: Sequence(sequence) },
            produced_at: Timestamp::now(),
            label: image.label,
            encoding: Encoding::Jpeg,
            data: padded(&image.data).into(),
        };
        assert!((BYTES..BYTES + 100).contains(&record.data.len()), "{}", record.data.len());
        let topic = world.images.as_str();
        async move {
            let (key, value) = (producer.to_string(), record.encode());
            let message = Message { topic, key: Some(key.as_bytes()), payload: Some(&value), headers: None };
            publisher.publish(message).await.expect("acknowledged");
        }
    });
    sends.buffer_unordered(16).collect::<()>().await;

    // All of them are there when the consumers begin.
    let (server, url) = inference(&world);
    let mut images = world.firesteel(&["consume-images"]);
    images.env("FIRESTEEL_INFERENCE_URL", &url);
    let predictions = world.firesteel(&["consume-predictions"]);
    let roles = [
        ("inference-server", INFERENCE, server),
        ("consume-images", CONSUMER, Role::start(images)),
        ("consume-predictions", CONSUMER, Role::start(predictions)),
    ];
    wait_until("everything is stored", SOON * 2, async || world.documents().await >= IMAGES).await;
    assert_eq!(world.documents().await, IMAGES);
    for (name, allowed, role) in roles {
        let peak = peak(&role);
        assert!(peak < allowed, "{name}: {} MiB", peak >> 20);
    }
}
