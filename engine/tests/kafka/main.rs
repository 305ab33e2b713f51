//! The Kafka source against a real broker. An embedded engine reads topics, and the tests compare each message with
//! what was produced.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod failures;
mod gaps;
mod raw;
mod reading;
mod support;
mod typed;

use firesteel_proto::{
    Encoding, ImageId, ImageRecord, Label, PredictionRecord, ProducerId, Sequence, Timestamp,
};
use support::Fixture;

fn id(index: usize) -> ImageId {
    ImageId { producer: ProducerId(0xab00_0000 + (index % 5) as u32), sequence: Sequence(index as u64 / 5) }
}

fn millis(index: usize) -> i64 {
    1_760_000_000_000 + index as i64 * 10
}

fn image(index: usize) -> ImageRecord {
    ImageRecord {
        id: id(index),
        produced_at: Timestamp(millis(index)),
        label: Label::ALL[index % 10],
        encoding: [Encoding::Jpeg, Encoding::Png, Encoding::Rgb8][index % 3],
        data: vec![(index % 256) as u8; 1 + index % 100].into(),
    }
}

fn prediction(index: usize) -> PredictionRecord {
    let wrong = index.is_multiple_of(7);
    PredictionRecord {
        id: id(index),
        label: Label::ALL[index % 10],
        predicted: Label::ALL[(index + usize::from(wrong)) % 10],
        confidence: 0.5 + (index % 50) as f32 / 100.0,
        model: "resnet18".to_owned(),
        produced_at: Timestamp(millis(index)),
        inferred_at: Timestamp(millis(index) + 250),
    }
}

/// Returns `count` images, keyed by producer.
fn images(count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|index| (id(index).producer.to_string(), image(index).encode())).collect()
}

fn predictions(count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|index| (id(index).producer.to_string(), prediction(index).encode())).collect()
}
