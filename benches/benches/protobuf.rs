//! Protobuf: records of both topics to bytes and back, every field checked on the way back.

mod common;

use std::hint::black_box;

use anyhow::ensure;
use criterion::{Criterion, Throughput};
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::seed::Generator;
use firesteel_proto::{ImageRecord, PredictionRecord, Result};

const IMAGES: usize = 64;
const PREDICTIONS: u64 = 1_024;

fn main() -> anyhow::Result<()> {
    common::run(measure)
}

fn measure(criterion: &mut Criterion) -> anyhow::Result<()> {
    let generator = Generator::new(42, 4);
    let predictions: Vec<PredictionRecord> =
        (0..PREDICTIONS).map(|index| generator.prediction(index)).collect();
    let images: Vec<ImageRecord> = Dataset::load(None)?
        .first(IMAGES)?
        .into_iter()
        .zip(&predictions)
        .map(|(image, prediction)| ImageRecord {
            id: prediction.id,
            produced_at: prediction.produced_at,
            label: image.label,
            encoding: image.encoding,
            data: image.data,
        })
        .collect();
    records(criterion, "protobuf/image", &images, ImageRecord::encode, |value| ImageRecord::decode(value))?;
    records(
        criterion,
        "protobuf/prediction",
        &predictions,
        PredictionRecord::encode,
        PredictionRecord::decode,
    )
}

fn records<T: PartialEq>(
    criterion: &mut Criterion,
    name: &str,
    records: &[T],
    encode: fn(&T) -> Vec<u8>,
    decode: fn(&[u8]) -> Result<T>,
) -> anyhow::Result<()> {
    let values: Vec<Vec<u8>> = records.iter().map(encode).collect();
    let read: Vec<T> = values.iter().map(|value| decode(value)).collect::<Result<_>>()?;
    ensure!(read == records, "{name}: records changed on their way");

    let bytes = values.iter().map(|value| value.len() as u64).sum();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::ElementsAndBytes { elements: records.len() as u64, bytes });
    group.bench_function("encode", |bencher| {
        bencher.iter(|| records.iter().for_each(|record| drop(black_box(encode(black_box(record))))));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| values.iter().for_each(|value| drop(black_box(decode(black_box(value))))));
    });
    group.finish();
    Ok(())
}
