//! The Kafka source against a real broker. An embedded engine reads topics, and the tests compare each message with
//! what was produced.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod failures;
mod gaps;
mod letters;
mod raw;
mod reading;
mod support;
mod typed;

use firesteel_proto::{Encoding, ImageId, ImageRecord, PredictionRecord};
use firesteel_testkit::samples;
use support::Fixture;

const PRODUCERS: usize = 5;

fn id(index: usize) -> ImageId {
    samples::image_id(index, PRODUCERS)
}

fn millis(index: usize) -> i64 {
    samples::produced_at(index).0
}

fn image(index: usize) -> ImageRecord {
    ImageRecord {
        id: id(index),
        produced_at: samples::produced_at(index),
        label: prediction(index).label,
        encoding: [Encoding::Jpeg, Encoding::Png, Encoding::Rgb8, Encoding::WebP][index % 4],
        data: vec![(index % 256) as u8; 1 + index % 100].into(),
    }
}

fn prediction(index: usize) -> PredictionRecord {
    samples::prediction(index, PRODUCERS)
}

/// Returns `count` images, keyed by producer.
fn images(count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|index| (id(index).producer.to_string(), image(index).encode())).collect()
}

fn predictions(count: usize) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|index| (id(index).producer.to_string(), prediction(index).encode())).collect()
}
