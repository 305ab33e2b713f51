//! The shipped model: the logits that PyTorch gives, the accuracy that its card promises, and two implementations
//! that agree on both stems.

use crate::assets::{DECODER, reference, rows, samples};
use crate::weights::imagenet_stem;
use firesteel_pipeline::inference::{
    Device, Model, Network, PlainResNet, Precision, Weights, compile, evaluate,
};
use firesteel_proto::Encoding;
use firesteel_testkit::cifar;

/// PyTorch folds nothing and sums in another order. Measured with AVX-512: at most 3.7e-6.
const TOLERANCE: f32 = 1e-4;

fn shipped() -> Box<dyn Model> {
    compile(&Network::read(Weights::shipped().unwrap()).unwrap(), Precision::F32, Device::Cpu).unwrap()
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The logits of the images of the reference, so many at a time.
pub(crate) fn logits_in_batches(model: &mut dyn Model, batch: usize, pixels: &[u8]) -> Vec<f32> {
    pixels.chunks(batch * 3_072).flat_map(|pixels| model.forward(pixels).unwrap()).collect()
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap()
}

#[test]
fn the_description_is_that_of_the_card() {
    let model = shipped();
    let info = model.info();
    assert_eq!(info.name, "resnet18-cifar10/f32");
    assert_eq!((info.height, info.width, info.image_len()), (32, 32, 3_072));
    assert_eq!(info.classes, cifar::classes());
    let aliases: Vec<_> =
        info.aliases.iter().map(|(alias, class)| (alias.as_str(), class.as_str())).collect();
    assert_eq!(aliases, [("car", "automobile"), ("plane", "airplane")]);
    assert_eq!(info.version, None);
    assert_eq!((info.mean, info.std), ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]));
}

#[test]
fn the_logits_equal_the_reference_in_any_batch() {
    let reference = reference();
    let mut model = shipped();
    for batch in [1, 7, 64] {
        let logits = logits_in_batches(&mut *model, batch, &reference.pixels);
        let difference = largest_difference(&logits, &reference.logits);
        eprintln!("batch {batch}: largest difference {difference:e}");
        assert!(difference < TOLERANCE, "batch {batch}: off by {difference}");
    }
}

#[test]
fn plain_candle_and_the_fast_path_agree() {
    let reference = reference();
    let network = Network::read(Weights::shipped().unwrap()).unwrap();
    let mut plain = PlainResNet::new(&network).unwrap();
    let pixels = &reference.pixels[..8 * 3_072];
    let difference = largest_difference(&plain.forward(pixels).unwrap(), &reference.logits[..80]);
    assert!(difference < TOLERANCE, "off by {difference}");
    assert_eq!(plain.info().name, "resnet18-cifar10/f32-plain");
}

#[test]
fn plain_candle_takes_what_its_device_has() {
    let network = Network::read(Weights::shipped().unwrap()).unwrap();
    let plain = PlainResNet::with_device(&network, Precision::F32, Device::Cpu).unwrap();
    assert_eq!(plain.info().name, "resnet18-cifar10/f32");
    assert_eq!(plain.bytes(), 4 * network.parameters());
    for precision in [Precision::Bf16, Precision::Int8] {
        let error = PlainResNet::with_device(&network, precision, Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(precision.name()) && error.contains("cpu"), "{error}");
    }
}

#[test]
fn the_imagenet_stem_is_told_from_the_weights() {
    let network = Network::read(Weights::parse("generated", "big", &imagenet_stem(64)).unwrap()).unwrap();
    assert!(network.pool);
    assert_eq!((network.stem.kernel, network.stem.stride), (7, 2));
    let (mut fast, mut plain) =
        (compile(&network, Precision::F32, Device::Cpu).unwrap(), PlainResNet::new(&network).unwrap());
    let pixels: Vec<u8> = (0..3 * 64 * 64 * 3_u32).map(|i| (i * 37 % 251).try_into().unwrap()).collect();
    let (a, b) = (fast.forward(&pixels).unwrap(), plain.forward(&pixels).unwrap());
    assert_eq!(a.len(), 30);
    let scale = b.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(scale > 1e-3, "the generated network says something: {b:?}");
    assert!(largest_difference(&a, &b) / scale < 1e-4, "{a:?}\n{b:?}");
    assert!(a[..10] != a[10..20], "other pictures, other logits");
}

#[test]
fn pixels_that_are_no_whole_images_are_an_error() {
    let mut model = shipped();
    for length in [0, 1, 3_071, 3_073] {
        let error = model.forward(&vec![0; length]).unwrap_err().to_string();
        assert!(error.contains("resnet18-cifar10/f32 was given"), "{error}");
    }
}

/// Our JPEG decoder is not the reference's, so single pixels differ by a little, and at most one name with them.
#[test]
fn the_names_survive_our_jpeg_decoder() {
    let reference = reference();
    let mut model = shipped();
    let pixels: Vec<u8> =
        rows(64).iter().flat_map(|(_, jpeg)| DECODER.decode(Encoding::Jpeg, jpeg).unwrap()).collect();
    let logits = model.forward(&pixels).unwrap();
    let names = |logits: &[f32]| logits.chunks(10).map(argmax).collect::<Vec<_>>();
    let (ours, theirs) = (names(&logits), names(&reference.logits));
    let differ = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
    assert!(differ <= 1, "{differ} of 64 names differ");
}

/// The card says 93.15 % of 10,000; over 256 rows that is 238 ± 4 (one standard deviation).
#[test]
fn the_accuracy_is_plausible() {
    let samples = samples(256);
    let found = evaluate(&mut *shipped(), &samples, 64).unwrap();
    eprintln!("{} of 256 right, {:.1} images/s", found.correct, found.images_per_second());
    assert_eq!(found.images, 256);
    assert!((226..=251).contains(&found.correct), "{} of 256", found.correct);
    assert_eq!(found.confusion.iter().flatten().sum::<u64>(), 256);
    let right: u64 = (0..10).map(|i| found.confusion[i][i]).sum();
    assert_eq!(right, found.correct as u64);
    assert!((found.accuracy() - found.correct as f64 / 256.0).abs() < 1e-12);
    assert!(found.class_accuracy().iter().all(|share| (0.3..=1.0).contains(share)));
}

#[test]
fn an_evaluation_refuses_a_sample_that_does_not_fit() {
    let mut wrong = samples(1);
    wrong[0].class = 10;
    let error = evaluate(&mut *shipped(), &wrong, 64).unwrap_err().to_string();
    assert!(error.contains("sample 0 with class 10"), "{error}");
}

/// The card's 93.15 % were measured with another JPEG decoder.
#[test]
#[ignore = "takes a minute or two; `firesteel evaluate` does the same"]
fn the_accuracy_over_the_whole_test_set_is_the_cards() {
    let found = evaluate(&mut *shipped(), &samples(10_000), 64).unwrap();
    eprintln!("{} of 10,000 right, {:.1} images/s", found.correct, found.images_per_second());
    assert!(found.correct.abs_diff(9_315) <= 20, "{} of 10,000", found.correct);
}

/// `cargo test --release -p firesteel-pipeline --test inference rates -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn rates_of_both_implementations() {
    let samples = samples(512);
    let network = Network::read(Weights::shipped().unwrap()).unwrap();
    let mut models: Vec<Box<dyn Model>> = vec![
        compile(&network, Precision::F32, Device::Cpu).unwrap(),
        Box::new(PlainResNet::new(&network).unwrap()),
    ];
    for batch in [1, 8, 64, 256] {
        for model in &mut models {
            let count = if batch < 64 { 64 } else { 512 };
            let best = (0..3)
                .map(|_| evaluate(model.as_mut(), &samples[..count], batch).unwrap().images_per_second())
                .fold(0.0, f64::max);
            eprintln!("{} at batch {batch}: {best:.1} images/s", model.info().name);
        }
    }
}
