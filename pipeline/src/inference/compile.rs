//! From a network to a model that runs: the one place that knows which implementation computes in which precision, on what.

use super::compiled::{Compiled, Isa, Options};
use super::device::Device;
use super::error::Result;
use super::model::Model;
use super::network::{Conv, Network};
use super::plain::PlainResNet;
use super::precision::Precision;

/// The fastest implementation of `network` in `precision` on `device`.
///
/// # Errors
/// [`Error::Device`](super::Error::Device) where the build or the machine has no such device,
/// [`Error::Precision`](super::Error::Precision) where it cannot compute in that: int8 without the ranges of the
/// activations, or on a GPU, or instructions that the processor lacks.
pub fn compile(network: &Network, precision: Precision, device: Device) -> Result<Box<dyn Model>> {
    let isa = match device {
        Device::Cpu => None,
        Device::CpuWith(isa) => Some(isa),
        Device::Cuda(index) => return on_cuda(network, precision, index),
        Device::Metal => return Ok(Box::new(PlainResNet::with_device(network, precision, device)?)),
    };
    // On a processor that no kernel is written for, candle's own operations are faster than the plain loops.
    if isa.is_none() && precision == Precision::F32 && Isa::detect(precision) == Isa::Portable {
        return Ok(Box::new(PlainResNet::with_device(network, precision, device)?));
    }
    Ok(Box::new(Compiled::new(network, Options { isa, ..Options::new(precision) })?))
}

#[cfg(feature = "cuda")]
fn on_cuda(network: &Network, precision: Precision, index: usize) -> Result<Box<dyn Model>> {
    Ok(Box::new(super::gpu::GpuResNet::new(network, precision, index)?))
}

#[cfg(not(feature = "cuda"))]
fn on_cuda(_: &Network, _: Precision, index: usize) -> Result<Box<dyn Model>> {
    Err(super::Error::not_built(Device::Cuda(index), "cuda"))
}

impl Network {
    /// Multiplications of the convolutions and the classifier for one image, counted as the definition has them.
    #[must_use]
    pub fn multiplications(&self) -> u64 {
        let conv = |conv: &Conv, (height, width): (usize, usize)| {
            let size = (height.div_ceil(conv.stride), width.div_ceil(conv.stride));
            let each = conv.inputs * conv.outputs * conv.kernel * conv.kernel;
            ((size.0 * size.1 * each) as u64, size)
        };
        let (mut sum, mut size) = conv(&self.stem, (self.info.height, self.info.width));
        if self.pool {
            size = (size.0.div_ceil(2), size.1.div_ceil(2));
        }
        for block in &self.blocks {
            sum += block.shortcut.as_ref().map_or(0, |shortcut| conv(shortcut, size).0);
            for of in &block.convs {
                let (each, after) = conv(of, size);
                (sum, size) = (sum + each, after);
            }
        }
        sum + self.fc.weight.len() as u64
    }

    /// Numbers that the network has learnt, biases of the folded batch norms included.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let conv = |conv: &Conv| conv.weight.len() + conv.bias.len();
        let blocks = self.blocks.iter().flat_map(|block| block.convs.iter().chain(&block.shortcut));
        conv(&self.stem) + blocks.map(conv).sum::<usize>() + self.fc.weight.len() + self.fc.bias.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::{Error, Weights};

    fn network() -> Network {
        Network::read(Weights::shipped().expect("weights")).expect("a network")
    }

    #[test]
    fn every_precision_is_computed_in_and_named() {
        let network = network();
        for precision in Precision::ALL {
            let model = compile(&network, precision, Device::Cpu).expect("a model");
            assert_eq!(model.info().name, format!("resnet18-cifar10/{precision}"));
        }
    }

    #[test]
    fn int8_needs_the_ranges_of_the_activations() {
        let network = Network { calibration: None, ..network() };
        let error = compile(&network, Precision::Int8, Device::Cpu).map(|_| ()).expect_err("no ranges");
        assert!(
            matches!(error, Error::Precision { .. }) && error.to_string().contains("calibration"),
            "{error}"
        );
        assert!(compile(&network, Precision::Bf16, Device::Cpu).is_ok());
    }

    #[test]
    fn int8_is_for_processors() {
        let error = compile(&network(), Precision::Int8, Device::Metal).map(|_| ()).expect_err("no kernel");
        assert!(matches!(error, Error::Precision { .. }) && error.to_string().contains("metal"), "{error}");
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn a_build_without_gpus_says_how_to_get_one_with() {
        for (device, feature) in [(Device::Cuda(1), "--features cuda"), (Device::Metal, "--features metal")] {
            let error = compile(&network(), Precision::F32, device).map(|_| ()).expect_err("not compiled in");
            let error = error.to_string();
            assert!(error.contains(&device.to_string()) && error.contains(feature), "{error}");
        }
    }

    /// Such as where a build with CUDA runs without a GPU: no panic, and the setting that is to blame.
    #[test]
    #[cfg(feature = "cuda")]
    fn a_gpu_that_is_not_there_is_an_error() {
        let error =
            compile(&network(), Precision::F32, Device::Cuda(99)).map(|_| ()).expect_err("no such GPU");
        assert!(matches!(error, Error::Device { .. }) && error.to_string().contains("cuda:99"), "{error}");
        let error =
            compile(&network(), Precision::Int8, Device::Cuda(99)).map(|_| ()).expect_err("no kernel");
        assert!(matches!(error, Error::Precision { .. }) && error.to_string().contains("cuda:99"), "{error}");
    }

    #[test]
    fn instructions_are_taken_as_they_are_named() {
        let kernels = |precision, isa| {
            compile(&network(), precision, Device::CpuWith(isa)).map(|model| model.kernels())
        };
        assert_eq!(kernels(Precision::Int8, Isa::Portable).expect("a model"), "int8 by portable");
        let error = kernels(Precision::F32, Isa::AvxVnni).expect_err("no kernel for f32");
        assert!(
            matches!(error, Error::Precision { .. }) && error.to_string().contains("avx-vnni"),
            "{error}"
        );
    }

    #[test]
    fn an_image_costs_half_a_billion_multiplications() {
        assert_eq!(network().multiplications(), 555_422_720);
    }

    /// Each of the weights is there, and no precision takes more than Winograd's 36 words for 9.
    #[test]
    fn a_model_tells_what_it_holds() {
        let network = network();
        let parameters = network.parameters();
        assert_eq!(parameters, 11_173_962 - 4_800);
        for precision in Precision::ALL {
            let mut model = compile(&network, precision, Device::Cpu).expect("a model");
            let weights = model.bytes();
            assert!(weights >= parameters * precision.bytes(), "{precision}: {weights}");
            // bf16 and int8 are kept in f32 where that is faster.
            assert!(weights <= 16 * parameters + (1 << 20), "{precision}: {weights}");
            let images = 2 * rayon::current_num_threads() * 4;
            model.forward(&vec![7; images * network.info.image_len()]).expect("logits");
            let working = model.bytes();
            // Candle's operations keep no buffers.
            let compiled = precision != Precision::F32 || Isa::detect(precision) != Isa::Portable;
            assert!(working > weights || !compiled, "{precision}: {working} after {weights}");
            model.forward(&vec![8; network.info.image_len()]).expect("logits");
            assert!(model.bytes() >= working, "buffers are kept");
        }
    }
}
