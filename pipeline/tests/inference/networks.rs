//! ResNets of every kind, told from tensors named as torchvision names them: what is computed, and what is refused.

use crate::compiled::{Random, difference};
use crate::weights::File;
use firesteel_pipeline::inference::compiled::{Compiled, Isa, Options};
use firesteel_pipeline::inference::{Model, Network, PlainResNet, Precision, Weights};

/// A small ResNet: the layout of torchvision's, with fewer channels.
#[derive(Clone, Copy)]
struct Small {
    bottleneck: bool,
    blocks: [usize; 4],
    /// Channels of the stem; each layer has twice as many as the one before.
    width: usize,
    /// The bottlenecks' width over the usual.
    widening: usize,
    stem: usize,
    classes: usize,
}

const BASIC: Small =
    Small { bottleneck: false, blocks: [2, 1, 2, 1], width: 12, widening: 1, stem: 7, classes: 17 };
const BOTTLENECK: Small = Small { bottleneck: true, blocks: [1, 2, 1, 1], width: 8, ..BASIC };

impl Small {
    /// Its file, for images of `height` x `width`, without the metadata that can be assumed.
    fn file(self, height: usize, width: usize) -> File {
        let (mut file, mut random) = (File::default(), Random(99));
        let mut conv = |file: &mut File, name: &str, norm: &str, [i, o, k]: [usize; 3]| {
            let size = (6.0 / (i * k * k) as f32).sqrt();
            let mut fill = |file: &mut File, name: String, shape: &[usize], middle: f32, spread: f32| {
                let values: Vec<f32> =
                    (0..shape.iter().product()).map(|_| middle + spread * random.next()).collect();
                file.f32(&name, shape, |at| values[at]);
            };
            fill(file, format!("{name}.weight"), &[o, i, k, k], 0.0, size);
            fill(file, format!("{norm}.weight"), &[o], 0.7, 0.2);
            fill(file, format!("{norm}.bias"), &[o], 0.1, 0.2);
            fill(file, format!("{norm}.running_mean"), &[o], 0.0, 0.3);
            fill(file, format!("{norm}.running_var"), &[o], 1.0, 0.5);
        };
        conv(&mut file, "conv1", "bn1", [3, self.width, self.stem]);
        let mut inputs = self.width;
        for (layer, blocks) in self.blocks.into_iter().enumerate() {
            let base = self.width << layer;
            let (hidden, outputs) =
                if self.bottleneck { (base * self.widening, 4 * base) } else { (base, base) };
            for block in 0..blocks {
                let at = format!("layer{}.{block}", layer + 1);
                let shapes: &[[usize; 3]] = if self.bottleneck {
                    &[[inputs, hidden, 1], [hidden, hidden, 3], [hidden, outputs, 1]]
                } else {
                    &[[inputs, hidden, 3], [hidden, outputs, 3]]
                };
                for (shape, i) in shapes.iter().zip(1..) {
                    conv(&mut file, &format!("{at}.conv{i}"), &format!("{at}.bn{i}"), *shape);
                }
                if inputs != outputs {
                    let (name, norm) = (format!("{at}.downsample.0"), format!("{at}.downsample.1"));
                    conv(&mut file, &name, &norm, [inputs, outputs, 1]);
                }
                inputs = outputs;
            }
        }
        let mut random = Random(5);
        let weight: Vec<f32> = (0..self.classes * inputs).map(|_| random.next() * 0.3).collect();
        file.f32("fc.weight", &[self.classes, inputs], |at| weight[at]);
        file.f32("fc.bias", &[self.classes], |at| at as f32 / 100.0);
        let classes: Vec<String> = (0..self.classes).map(|class| format!("class {class}")).collect();
        file.set("classes", &classes.join(","));
        file.set("input", &format!("3x{height}x{width}"));
        if self.stem == 3 {
            file.set("mean", "0.5,0.5,0.5");
            file.set("std", "0.25,0.25,0.25");
        }
        file
    }

    fn network(self, height: usize, width: usize) -> Network {
        let bytes = self.file(height, width).bytes();
        Network::read(Weights::parse("generated", "small", &bytes).unwrap()).unwrap()
    }
}

fn pixels(network: &Network, images: usize) -> Vec<u8> {
    let mut random = Random(3);
    (0..images * network.info.image_len()).map(|_| ((random.next() + 1.0) * 127.5) as u8).collect()
}

#[test]
fn every_kind_agrees_with_candle_in_every_precision() {
    let kinds = [
        (BASIC, 96, 64),
        (BASIC, 45, 70),
        (Small { stem: 3, ..BASIC }, 32, 32),
        (BOTTLENECK, 64, 96),
        (BOTTLENECK, 33, 33),
        (Small { stem: 3, width: 20, ..BOTTLENECK }, 16, 24),
        (Small { widening: 2, ..BOTTLENECK }, 64, 64),
    ];
    for (kind, height, width) in kinds {
        let mut network = kind.network(height, width);
        let pixels = pixels(&network, 5);
        let expected = PlainResNet::new(&network).unwrap().forward(&pixels).unwrap();
        assert_eq!(expected.len(), 5 * kind.classes);
        network.calibration = Some(Compiled::calibrate(&network, &pixels).unwrap());
        let size = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
        assert!(size > 0.5, "the network says something: {size}");
        for (precision, limit) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.05), (Precision::Int8, 0.15)] {
            // The choice by speed may keep bf16 and int8 in f32.
            let options = Options { isa: Some(Isa::detect(precision)), ..Options::new(precision) };
            let mut model = Compiled::new(&network, options).unwrap();
            let image = network.info.image_len();
            let one = model.forward(&pixels[..image]).unwrap();
            let all = model.forward(&pixels).unwrap();
            let rest = model.forward(&pixels[3 * image..]).unwrap();
            let name = &network.info.architecture;
            let found = difference(&all, &expected) / size;
            assert!(found < limit, "{name}, {height}x{width}, {precision}: off by {found} of {size}");
            assert_eq!((&all[..kind.classes], &all[3 * kind.classes..]), (&one[..], &rest[..]), "{name}");
        }
    }
}

/// The classifier's matrix and bias, by the definition.
fn classified(network: &Network, embedding: &[f32]) -> Vec<f32> {
    let rows = network.fc.weight.chunks_exact(embedding.len()).zip(&network.fc.bias);
    rows.map(|(row, bias)| bias + row.iter().zip(embedding).map(|(w, x)| w * x).sum::<f32>()).collect()
}

#[test]
fn the_classifier_makes_the_logits_of_the_embedding() {
    for (kind, height, width) in
        [(BASIC, 45, 70), (BOTTLENECK, 33, 33), (Small { stem: 3, width: 20, ..BOTTLENECK }, 16, 24)]
    {
        let mut network = kind.network(height, width);
        let pixels = pixels(&network, 5);
        network.calibration = Some(Compiled::calibrate(&network, &pixels).unwrap());
        let mut models: Vec<Box<dyn Model>> = vec![Box::new(PlainResNet::new(&network).unwrap())];
        for precision in Precision::ALL {
            let options = Options { isa: Some(Isa::detect(precision)), ..Options::new(precision) };
            models.push(Box::new(Compiled::new(&network, options).unwrap()));
        }
        let mut reference: Option<Vec<f32>> = None;
        for (mut model, limit) in models.into_iter().zip([0.0, 2e-5, 0.05, 0.15]) {
            let name = model.info().name.clone();
            let features = model.features().unwrap();
            assert_eq!(features, network.blocks.last().unwrap().outputs());
            let (logits, embeddings) = (model.forward(&pixels).unwrap(), model.embed(&pixels).unwrap());
            assert_eq!(embeddings.len(), 5 * features, "{name}");
            let made: Vec<f32> =
                embeddings.chunks_exact(features).flat_map(|row| classified(&network, row)).collect();
            let size = logits.iter().map(|v| v.abs()).fold(0.0, f32::max);
            assert!(difference(&made, &logits) / size < 1e-5, "{name}: {made:?} for {logits:?}");
            let expected = reference.get_or_insert_with(|| embeddings.clone());
            let size = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
            let found = difference(&embeddings, expected) / size;
            assert!(found <= limit, "{name}: off by {found} of {size}");
            let one = model.embed(&pixels[..network.info.image_len()]).unwrap();
            if name.ends_with("-plain") {
                continue;
            }
            assert_eq!(one, embeddings[..features], "{name}: the same in any batch");
            assert!(model.embed(&pixels[1..]).is_err(), "no whole images");
        }
    }
}

#[test]
fn depth_and_kind_are_told_from_the_tensors() {
    let name = |kind: Small| kind.network(32, 32).info.architecture;
    assert_eq!(name(BASIC), "resnet14");
    assert_eq!(name(Small { blocks: [2; 4], ..BASIC }), "resnet18");
    assert_eq!(name(Small { blocks: [3, 4, 6, 3], width: 2, ..BASIC }), "resnet34");
    let bottleneck = Small { blocks: [3, 4, 6, 3], width: 4, ..BOTTLENECK };
    assert_eq!(name(bottleneck), "resnet50");
    assert_eq!(name(Small { widening: 2, ..bottleneck }), "wide_resnet50_2");
    assert_eq!(name(Small { blocks: [3, 4, 23, 3], width: 1, ..BOTTLENECK }), "resnet101");
    let network = bottleneck.network(32, 32);
    assert_eq!(network.blocks.len(), 16);
    assert_eq!((network.blocks[3].name.as_str(), network.blocks[3].outputs()), ("layer2.0", 32));
    let strides: Vec<usize> = network.blocks[3].convs.iter().map(|conv| conv.stride).collect();
    assert_eq!(strides, [1, 2, 1], "the stride is the 3x3 convolution's");
}

#[test]
fn imagenets_normalisation_is_assumed_for_its_stem_alone() {
    let mut file = BASIC.file(32, 32);
    file.set("mean", "0.1,0.2,0.3");
    let network = Network::read(Weights::parse("w", "w", &file.bytes()).unwrap()).unwrap();
    assert_eq!((network.info.mean, network.info.std), ([0.1, 0.2, 0.3], [0.229, 0.224, 0.225]));
    let mut file = Small { stem: 3, ..BASIC }.file(32, 32);
    file.set("architecture", "resnet14.a1_in1k");
    Network::read(Weights::parse("w", "w", &file.bytes()).unwrap()).unwrap();
    file.set("architecture", "resnet50");
    assert!(
        file.error().contains("\"resnet50\", but the tensors are those of \"resnet14\""),
        "{}",
        file.error()
    );
}

fn refused(kind: Small, break_it: impl FnOnce(&mut File), expected: &str) {
    let mut file = kind.file(32, 32);
    break_it(&mut file);
    let error = file.error();
    assert!(error.starts_with("w.safetensors: ") && error.contains(expected), "{error}");
}

#[test]
fn what_is_no_such_network_is_refused_by_name() {
    let zeros = |name: &'static str, shape: &'static [usize]| move |f: &mut File| f.f32(name, shape, |_| 0.0);
    refused(
        BOTTLENECK,
        zeros("layer1.0.conv2.weight", &[8, 2, 3, 3]),
        "tensor \"layer1.0.conv2.weight\" with shape [8, 2, 3, 3] is a convolution in 4 groups, as in ResNeXt",
    );
    refused(BASIC, zeros("layer1.0.se.fc1.weight", &[2, 12, 1, 1]), "squeeze-and-excitation");
    refused(BASIC, zeros("conv1.0.weight", &[6, 3, 3, 3]), "a stem of several convolutions");
    refused(
        BASIC,
        zeros("layer2.0.downsample.1.weight", &[24, 12, 1, 1]),
        "a pooled shortcut, as in ResNet-D",
    );
    refused(
        BASIC,
        |f| f.remove("layer3.1.conv2.weight"),
        "tensor \"layer3.1.conv2.weight\" is missing, expected with shape [48, 48, 3, 3]",
    );
    refused(
        BOTTLENECK,
        |f| f.remove("layer4.0.downsample.0.weight"),
        "tensor \"layer4.0.downsample.0.weight\" is missing, expected with shape [256, 128, 1, 1]",
    );
    refused(
        BOTTLENECK,
        zeros("layer2.1.conv3.weight", &[60, 16, 1, 1]),
        "tensor \"layer2.1.bn3.weight\" has shape [64], expected [60]",
    );
    refused(BASIC, zeros("layer1.0.conv1.weight", &[12, 12, 5, 5]), "expected [12, 12, 3, 3]");
    refused(BASIC, zeros("layer1.0.conv1.weight", &[0, 12, 3, 3]), "is empty");
    refused(BASIC, zeros("layer5.0.conv1.weight", &[1, 1, 3, 3]), "is not part of resnet14");
    refused(BASIC, zeros("layer1.60000.conv1.weight", &[1, 1, 3, 3]), "\"layer1.2.conv1.weight\" is missing");
    refused(
        BASIC,
        |f| f.remove("fc.weight"),
        "tensor \"fc.weight\" is missing, expected with shape [17, 96]",
    );
    let mut nothing = File::default();
    nothing.f32("features.0.weight", &[8, 3, 3, 3], |_| 0.0);
    assert!(nothing.error().contains("has no tensors of a layer1, and only ResNets"), "{}", nothing.error());
}
