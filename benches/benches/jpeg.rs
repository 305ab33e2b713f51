//! JPEG decode: the files that producers send to the pixels that the model takes, with the server's checks.

mod common;

use std::hint::black_box;

use anyhow::ensure;
use criterion::{Criterion, Throughput};
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::inference::Decoder;

const IMAGES: usize = 64;
/// The shipped model's input, and the server's limit.
const DECODER: Decoder = Decoder { width: 32, height: 32, max_bytes: 1 << 20 };

fn main() -> anyhow::Result<()> {
    common::run(measure)
}

fn measure(criterion: &mut Criterion) -> anyhow::Result<()> {
    let images = Dataset::load(None)?.first(IMAGES)?;
    for image in &images {
        let pixels = DECODER.decode(image.encoding, &image.data)?;
        ensure!(pixels.len() == 32 * 32 * 3, "{} has {} bytes of pixels", image.name, pixels.len());
    }

    let bytes = images.iter().map(|image| image.data.len() as u64).sum();
    let mut group = criterion.benchmark_group("jpeg");
    group.throughput(Throughput::ElementsAndBytes { elements: images.len() as u64, bytes });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            for image in &images {
                drop(black_box(DECODER.decode(image.encoding, black_box(&image.data))));
            }
        });
    });
    group.finish();
    Ok(())
}
