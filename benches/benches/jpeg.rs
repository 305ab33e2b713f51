//! JPEG decode: the files that producers send to the pixels that the model takes, with the server's checks.

mod common;

use std::hint::black_box;

use anyhow::ensure;
use criterion::{Criterion, Throughput};
use firesteel_pipeline::dataset::{Dataset, Image};
use firesteel_pipeline::inference::Decoder;
use firesteel_proto::Encoding;

const IMAGES: usize = 64;
/// The shipped model's input, and the server's limit.
const DECODER: Decoder = Decoder { width: 32, height: 32, max_bytes: 1 << 20 };

fn main() -> anyhow::Result<()> {
    common::run(measure)
}

fn measure(criterion: &mut Criterion) -> anyhow::Result<()> {
    let dataset = Dataset::load(None)?;
    let images: Vec<&Image> = dataset.images().iter().take(IMAGES).collect();
    for image in &images {
        let pixels = DECODER.decode(Encoding::Jpeg, &image.jpeg)?;
        ensure!(pixels.len() == 32 * 32 * 3, "{} has {} bytes of pixels", image.name, pixels.len());
    }

    let bytes = images.iter().map(|image| image.jpeg.len() as u64).sum();
    let mut group = criterion.benchmark_group("jpeg");
    group.throughput(Throughput::ElementsAndBytes { elements: images.len() as u64, bytes });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            for image in &images {
                drop(black_box(DECODER.decode(Encoding::Jpeg, black_box(&image.jpeg))));
            }
        });
    });
    group.finish();
    Ok(())
}
