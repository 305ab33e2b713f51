//! The shipped model on a GPU of NVIDIA, where this machine has one and the build has feature `cuda`; otherwise each test says
//! that it is skipped.

use crate::assets::{reference, samples};
use crate::model::{largest_difference, logits_in_batches};
use crate::weights::imagenet_stem;
use firesteel_pipeline::inference::{Device, Error, Model, Network, Precision, Weights, compile, evaluate};

fn shipped() -> Network {
    Network::read(Weights::shipped().unwrap()).unwrap()
}

/// The model on the first GPU; `None` where there is none.
fn on_gpu(network: &Network, precision: Precision) -> Option<Box<dyn Model>> {
    match compile(network, precision, Device::Cuda(0)) {
        Ok(model) => Some(model),
        Err(Error::Device { problem, .. }) => {
            eprintln!("skipped: the first GPU {problem}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_logits_on_a_gpu_equal_the_reference_in_any_batch() {
    let (network, reference) = (shipped(), reference());
    for (precision, tolerance) in [(Precision::F32, 1e-3), (Precision::Bf16, 0.5)] {
        let Some(mut model) = on_gpu(&network, precision) else { return };
        assert_eq!(model.info().name, format!("resnet18-cifar10/{precision}"));
        // Larger ones after smaller ones, and smaller ones again.
        for batch in [1, 7, 64, 9] {
            let logits = logits_in_batches(&mut *model, batch, &reference.pixels);
            let difference = largest_difference(&logits, &reference.logits);
            eprintln!("{precision}, batch {batch}: largest difference {difference:e}");
            assert!(difference < tolerance, "{precision}, batch {batch}: off by {difference}");
        }
    }
}

#[test]
fn a_gpu_computes_the_larger_stem_and_batches_in_parts() {
    let network = Network::read(Weights::parse("generated", "big", &imagenet_stem(64)).unwrap()).unwrap();
    let Some(mut gpu) = on_gpu(&network, Precision::F32) else { return };
    let mut cpu = compile(&network, Precision::F32, Device::Cpu).unwrap();
    let pixels: Vec<u8> = (0..3 * 64 * 64 * 3_u32).map(|i| (i * 37 % 251).try_into().unwrap()).collect();
    let (found, expected) = (gpu.embed(&pixels).unwrap(), cpu.embed(&pixels).unwrap());
    assert_eq!(gpu.features(), cpu.features());
    let scale = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(largest_difference(&found, &expected) / scale < 1e-3, "{found:?}\n{expected:?}");
    let (found, expected) = (gpu.forward(&pixels).unwrap(), cpu.forward(&pixels).unwrap());
    let scale = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(largest_difference(&found, &expected) / scale < 1e-3, "{found:?}\n{expected:?}");
    // 1,200 images: more than go through the layers together.
    let many = pixels.repeat(400);
    let logits = gpu.forward(&many).unwrap();
    assert!(logits.chunks(30).all(|three| largest_difference(three, &expected) / scale < 1e-3));
}

#[test]
fn two_models_on_a_gpu_do_not_disturb_each_other() {
    let (network, samples) = (shipped(), samples(1_024));
    let Some(mut alone) = on_gpu(&network, Precision::Bf16) else { return };
    let expected = evaluate(&mut *alone, &samples, 64).unwrap();
    let run = || {
        let mut model = on_gpu(&network, Precision::Bf16).unwrap();
        (0..4).for_each(|_| {
            assert_eq!(evaluate(&mut *model, &samples, 64).unwrap().predicted, expected.predicted);
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(run);
        }
    });
}

#[test]
fn pixels_that_are_no_whole_images_are_an_error_on_a_gpu() {
    let Some(mut model) = on_gpu(&shipped(), Precision::F32) else { return };
    for length in [0, 1, 3_071, 3_073] {
        let error = model.forward(&vec![0; length]).unwrap_err().to_string();
        assert!(error.contains("resnet18-cifar10/f32 was given"), "{error}");
    }
}
