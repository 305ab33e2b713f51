//! The whole network against PyTorch's logits, and against itself at other batch sizes, paths and shapes.

use crate::assets::reference;
use firesteel_pipeline::inference::compiled::{Compiled, Isa, Options};
use firesteel_pipeline::inference::network::{Block, Conv, Linear};
use firesteel_pipeline::inference::{Accuracy, Model, ModelInfo, Network, Precision, Resize, Weights};
use firesteel_testkit::cifar::label;
use std::collections::BTreeMap;

fn network() -> Network {
    Network::read(Weights::shipped().unwrap()).unwrap()
}

pub(crate) fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn paths(precision: Precision) -> Vec<Options> {
    let mut paths = vec![];
    for isa in Isa::ALL {
        for edge in [0, 4, 6] {
            let pointless =
                edge > 0 && (matches!(isa, Isa::Portable | Isa::Amx) || precision == Precision::Int8);
            if isa.supports(precision) && !pointless {
                paths.push(Options { isa: Some(isa), edge, ..Options::new(precision) });
            }
        }
    }
    paths
}

#[test]
fn agrees_with_pytorch() {
    let (net, expected) = (network(), reference());
    let (pixels, logits) = (expected.pixels, expected.logits);
    for precision in Precision::ALL {
        for options in paths(precision) {
            let limit = match precision {
                Precision::F32 => 2e-5,
                Precision::Bf16 => 0.15,
                Precision::Int8 => 0.2,
            };
            // The portable kernels take their time.
            let n = if options.isa == Some(Isa::Portable) { 4 } else { 64 };
            let got = Compiled::new(&net, options.clone()).unwrap().forward(&pixels[..n * 3072]).unwrap();
            let found = difference(&got, &logits[..n * 10]);
            assert!(found < limit, "{options:?}: {found}");
        }
    }
}

#[test]
fn int8_is_the_same_on_every_path() {
    let (net, pixels) = (network(), reference().pixels);
    let run = |options: Options| Compiled::new(&net, options).unwrap().forward(&pixels[..6 * 3072]).unwrap();
    let chosen = Options::new(Precision::Int8);
    // It may have been f32, where int8 has no instructions of its own.
    let int8 = Compiled::new(&net, chosen.clone()).unwrap().kernels().starts_with("int8");
    let mut results = paths(Precision::Int8).into_iter().chain(int8.then_some(chosen)).map(run);
    let first = results.next().unwrap();
    results.for_each(|other| assert_eq!(other, first));
}

#[test]
fn f32_is_the_same_with_all_vector_instructions() {
    let (net, pixels) = (network(), reference().pixels);
    for edge in [0, 4, 6] {
        let vectors = |path: &Options| path.edge == edge && path.isa != Some(Isa::Portable);
        let run = |path: Options| Compiled::new(&net, path).unwrap().forward(&pixels[..6 * 3072]).unwrap();
        let mut results = paths(Precision::F32).into_iter().filter(vectors).map(run);
        let Some(first) = results.next() else { return };
        results.for_each(|other| assert_eq!(other, first, "edge {edge}"));
    }
}

#[test]
fn an_image_has_the_same_logits_in_any_batch() {
    let (net, pixels) = (network(), reference().pixels);
    for precision in Precision::ALL {
        // The choice by speed may keep bf16 and int8 in f32.
        let options = Options { isa: Some(Isa::detect(precision)), ..Options::new(precision) };
        let mut model = Compiled::new(&net, options).unwrap();
        let all = model.forward(&pixels).unwrap();
        for batch in [1, 3, 7, 32] {
            let parts: Vec<f32> =
                pixels.chunks(batch * 3072).flat_map(|p| model.forward(p).unwrap()).collect();
            assert_eq!(all, parts, "{precision}, batch {batch}");
        }
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| model.forward(&pixels)).unwrap();
            assert_eq!(all, again, "{precision}, {threads} threads");
        }
    }
}

/// Numbers from -1 to 1.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
    }

    fn conv(&mut self, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv {
        let count = inputs * kernel * kernel;
        let size = 1.5 / (count as f32).sqrt();
        let weight = (0..outputs * count).map(|_| self.next() * size).collect();
        Conv {
            inputs,
            outputs,
            kernel,
            stride,
            weight,
            bias: (0..outputs).map(|_| self.next() * 0.1).collect(),
        }
    }
}

/// The ImageNet form, for odd sizes and with channels that fill no panel.
fn strange(height: usize, width: usize) -> Network {
    let mut r = Random(1);
    let stem = r.conv(3, 20, 7, 2);
    let mut blocks = vec![];
    for (i, o, s) in [(20, 20, 1), (20, 20, 1), (20, 72, 2), (72, 72, 1), (72, 130, 2), (130, 130, 1)] {
        blocks.push(Block {
            name: format!("block{}", blocks.len()),
            convs: vec![r.conv(i, o, 3, s), r.conv(o, o, 3, 1)],
            shortcut: (s != 1).then(|| r.conv(i, o, 1, s)),
        });
    }
    let info = ModelInfo {
        name: "strange".into(),
        architecture: "resnet14".into(),
        classes: (0..7).map(|c| label(&c.to_string())).collect(),
        aliases: BTreeMap::new(),
        version: None,
        height,
        width,
        mean: [0.4, 0.5, 0.6],
        std: [0.2, 0.25, 0.3],
        resize: Resize::DEFAULT,
    };
    let fc = Linear {
        weight: (0..7 * 130).map(|_| r.next() * 0.2).collect(),
        bias: (0..7).map(|_| r.next()).collect(),
    };
    Network { info, stem, pool: true, blocks, fc, calibration: None, accuracy: Accuracy::default() }
}

/// Channels-last `[h, w, c]`, as simple as can be.
fn naive(net: &Network, pixels: &[u8]) -> Vec<f32> {
    type Map = (usize, usize, Vec<f32>);
    fn conv((h, w, x): &Map, conv: &Conv, relu: bool, residual: Option<&Map>) -> Map {
        let (k, p) = (conv.kernel, conv.padding());
        let (oh, ow) = (h.div_ceil(conv.stride), w.div_ceil(conv.stride));
        let mut y = vec![0.0; oh * ow * conv.outputs];
        for (at, y) in y.iter_mut().enumerate() {
            let (o, position) = (at % conv.outputs, at / conv.outputs);
            let mut sum = f64::from(conv.bias[o]);
            for (ky, kx) in (0..k * k).map(|i| (i / k, i % k)) {
                let (iy, ix) = (position / ow * conv.stride + ky, position % ow * conv.stride + kx);
                if (p..h + p).contains(&iy) && (p..w + p).contains(&ix) {
                    for c in 0..conv.inputs {
                        let v = x[((iy - p) * w + ix - p) * conv.inputs + c];
                        sum += f64::from(v * conv.weight[((o * conv.inputs + c) * k + ky) * k + kx]);
                    }
                }
            }
            let sum = sum as f32 + residual.map_or(0.0, |r| r.2[at]);
            *y = if relu { sum.max(0.0) } else { sum };
        }
        (oh, ow, y)
    }
    let info = &net.info;
    let x =
        pixels.iter().enumerate().map(|(i, p)| (f32::from(*p) / 255.0 - info.mean[i % 3]) / info.std[i % 3]);
    let mut x = conv(&(info.height, info.width, x.collect()), &net.stem, true, None);
    if net.pool {
        let (h, w, c) = (x.0, x.1, net.stem.outputs);
        let (oh, ow) = (h.div_ceil(2), w.div_ceil(2));
        let y = (0..oh * ow * c).map(|at| {
            let (o, y, x0) = (at % c, at / c / ow, at / c % ow);
            let mut best = 0.0_f32;
            for (iy, ix) in (0..9).map(|i| (2 * y + i / 3, 2 * x0 + i % 3)) {
                if (1..=h).contains(&iy) && (1..=w).contains(&ix) {
                    best = best.max(x.2[((iy - 1) * w + ix - 1) * c + o]);
                }
            }
            best
        });
        x = (oh, ow, y.collect());
    }
    for block in &net.blocks {
        let short = block.shortcut.as_ref().map_or_else(|| x.clone(), |c| conv(&x, c, false, None));
        let (last, first) = block.convs.split_last().unwrap();
        let hidden = first.iter().fold(x, |x, c| conv(&x, c, true, None));
        x = conv(&hidden, last, true, Some(&short));
    }
    let channels = net.blocks.last().unwrap().outputs();
    let mean: Vec<f32> = (0..channels)
        .map(|c| x.2.iter().skip(c).step_by(channels).sum::<f32>() / (x.0 * x.1) as f32)
        .collect();
    let rows = net.fc.weight.chunks(channels).zip(&net.fc.bias);
    rows.map(|(row, b)| b + row.iter().zip(&mean).map(|(w, m)| w * m).sum::<f32>()).collect()
}

#[test]
fn other_stems_sizes_and_channels_agree_with_a_naive_loop() {
    for (height, width) in [(37, 26), (32, 32), (1, 5), (64, 50)] {
        let mut net = strange(height, width);
        let mut r = Random(7);
        let image = height * width * 3;
        let pixels: Vec<u8> = (0..5 * image).map(|_| ((r.next() + 1.0) * 127.0) as u8).collect();
        let expected: Vec<f32> = pixels.chunks(image).flat_map(|p| naive(&net, p)).collect();
        net.calibration = Some(Compiled::calibrate(&net, &pixels).unwrap());
        let size = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
        for precision in Precision::ALL {
            let limit = match precision {
                Precision::F32 => 2e-5,
                Precision::Bf16 => 0.05,
                Precision::Int8 => 0.15,
            };
            for options in paths(precision) {
                let mut model = Compiled::new(&net, options.clone()).unwrap();
                for n in [5, 1, 2] {
                    let got = model.forward(&pixels[..n * image]).unwrap();
                    let found = difference(&got, &expected[..n * 7]) / size;
                    assert!(found < limit, "{height}x{width}, {n} images, {options:?}: {found} of {size}");
                }
            }
        }
    }
}

#[test]
fn what_is_missing_is_said() {
    let net = Network { calibration: None, ..network() };
    let error = Compiled::new(&net, Options::new(Precision::Int8)).unwrap_err().to_string();
    assert!(error.contains("stem"), "{error}");
    // An instruction for int8 alone.
    let options = Options { isa: Some(Isa::AvxVnni), ..Options::new(Precision::F32) };
    let error = Compiled::new(&network(), options).unwrap_err().to_string();
    assert!(error.contains("avx-vnni"), "{error}");
}

#[test]
fn bf16_is_kept_in_f32_where_the_instructions_have_none() {
    let (net, pixels) = (network(), reference().pixels);
    let isa = Some(Isa::Avx2).filter(|isa| isa.supports(Precision::F32));
    let run = |precision: Precision| {
        let mut model = Compiled::new(&net, Options { isa, ..Options::new(precision) }).unwrap();
        (model.forward(&pixels[..3 * 3072]).unwrap(), model.info().name.clone(), model.kernels())
    };
    if isa.is_none() {
        return;
    }
    let (f32, _, _) = run(Precision::F32);
    let (bf16, name, kernels) = run(Precision::Bf16);
    assert_eq!(f32, bf16);
    assert_eq!((name.as_str(), kernels.as_str()), ("resnet18-cifar10/bf16", "f32 by avx2"));
}

#[test]
fn no_precision_is_slower_than_f32() {
    let net = network();
    let models = Precision::ALL.map(|p| Compiled::new(&net, Options::new(p)).unwrap());
    let [f32, bf16, int8] = &models;
    if Isa::detect(Precision::F32) == Isa::Portable {
        assert_eq!((f32.time(), bf16.kernels()), (None, "bf16 by portable".to_owned()));
        return;
    }
    for other in [bf16, int8] {
        assert!(other.time().unwrap() <= f32.time().unwrap(), "{:?}\n{:?}", other.costs(), f32.costs());
    }
    // A stem, the first stage's kind, and three more in each of the other stages.
    assert_eq!(f32.costs().len(), 11, "{:?}", f32.costs());
    for (precision, model) in Precision::ALL.into_iter().zip(&models) {
        let again = Compiled::new(&net, Options::new(precision)).unwrap();
        assert_eq!(again.costs(), model.costs(), "measured once");
        assert_eq!(again.kernels(), model.kernels());
    }
}
