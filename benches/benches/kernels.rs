//! The network's forward pass in every precision, beside candle as it comes.

mod common;

use std::hint::black_box;

use anyhow::ensure;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::inference::{
    Decoder, Device, Model, Network, PlainResNet, Precision, Weights, compile,
};

/// One image that waits alone, and a queue of some.
const BATCHES: [usize; 2] = [1, 16];
const DECODER: Decoder = Decoder::new(32, 32);

fn main() -> anyhow::Result<()> {
    common::run(measure)
}

fn measure(criterion: &mut Criterion) -> anyhow::Result<()> {
    let network = Network::read(Weights::shipped()?)?;
    let mut models: Vec<(&str, Box<dyn Model>)> =
        vec![("candle conv2d", Box::new(PlainResNet::new(&network)?))];
    for precision in Precision::ALL {
        models.push((precision.name(), compile(&network, precision, Device::Cpu)?));
    }
    let dataset = Dataset::load(None)?;

    // A pass takes up to a second: ten samples of as many passes each, where the default grows their number.
    let mut group = criterion.benchmark_group("forward");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for count in BATCHES {
        let mut pixels = Vec::with_capacity(count * network.info.image_len());
        for image in dataset.first(count)? {
            pixels.extend(DECODER.decode(image.encoding, &image.data)?);
        }
        group.throughput(Throughput::Elements(count as u64));
        for (name, model) in &mut models {
            let logits = model.forward(&pixels)?;
            ensure!(logits.len() == count * network.info.classes.len(), "{name}: {} logits", logits.len());
            group.bench_function(BenchmarkId::new(*name, count), |bencher| {
                bencher.iter(|| model.forward(black_box(&pixels)));
            });
        }
    }
    group.finish();
    Ok(())
}
