//! JPEG decode: the files that producers send, and photographs of 12 megapixels, to the pixels that a model takes, with the
//! server's checks.

mod common;

use std::hint::black_box;

use anyhow::{Context as _, ensure};
use criterion::{Criterion, Throughput};
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::inference::{Decoder, Resize};
use firesteel_proto::Encoding;

const IMAGES: usize = 64;
/// The shipped model's input, and the server's limits.
const DECODER: Decoder = Decoder::new(32, 32);

/// One row of blocks of a photograph, 400 x 16 pixels in one interval between restarts.
const STRIPE: &[u8] = include_bytes!("../../pipeline/tests/images/stripe.jpg");
/// Width and height of the photograph, in stripes.
const STRIPES: (usize, usize) = (10, 188);
/// Its pixels: the last row of blocks is cut.
const PHOTOGRAPH: (u16, u16) = (4_000, 3_000);

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

    let photograph = photograph()?;
    group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: photograph.len() as u64 });
    // The last one keeps a single pixel, so it is the decode and hardly more.
    for (rule, edge) in
        [("bilinear crop 256", 224), ("bicubic crop 256", 224), ("bilinear crop", 32), ("box crop 3000", 1)]
    {
        let resize = Resize::parse(rule).map_err(|problem| anyhow::anyhow!("the rule {problem}"))?;
        let decoder = Decoder { resize, ..Decoder::new(edge, edge) };
        let pixels = decoder.decode(Encoding::Jpeg, &photograph)?;
        ensure!(pixels.len() == (edge * edge * 3) as usize, "{} bytes of pixels", pixels.len());
        group.bench_function(format!("12 megapixels to {edge}, {rule}"), |bencher| {
            bencher.iter(|| black_box(decoder.decode(Encoding::Jpeg, black_box(&photograph))));
        });
    }
    group.finish();
    Ok(())
}

/// A photograph made of the stripe: what lies between two restarts depends on nothing before it, so it can be repeated.
fn photograph() -> anyhow::Result<Vec<u8>> {
    let find = |marker: [u8; 2]| STRIPE.windows(2).position(|pair| pair == marker).context("a marker");
    let (frame, scan) = (find([0xff, 0xc0])?, find([0xff, 0xda])?);
    let header = scan + 2 + usize::from(u16::from_be_bytes([STRIPE[scan + 2], STRIPE[scan + 3]]));
    let interval = &STRIPE[header..STRIPE.len() - 2];
    let mut file = STRIPE[..header].to_vec();
    // Marker, length and precision come before height and width.
    file[frame + 5..frame + 7].copy_from_slice(&PHOTOGRAPH.1.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&PHOTOGRAPH.0.to_be_bytes());
    for restart in 0..STRIPES.0 * STRIPES.1 {
        if restart > 0 {
            file.extend([0xff, 0xd0 + u8::try_from((restart - 1) % 8)?]);
        }
        file.extend(interval);
    }
    file.extend([0xff, 0xd9]);
    Ok(file)
}
