//! The network in candle's own operations, channels-first: slow, short, and obviously right.
//!
//! It is the oracle that faster implementations are tested against, "candle as it comes" in the benchmarks, and the
//! model on a GPU of Apple, where candle's operations are not slow.

use super::device::Device;
use super::error::{Error, Result};
use super::model::{Model, ModelInfo};
use super::network::{Conv, Network};
use super::precision::Precision;
use candle_core::{DType, Module, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear};

/// The network in `conv2d`, `relu`, `mean` and `Linear`.
#[derive(Debug, Clone)]
pub struct PlainResNet {
    info: ModelInfo,
    device: candle_core::Device,
    dtype: DType,
    stem: Conv2d,
    pool: bool,
    blocks: Vec<(Vec<Conv2d>, Option<Conv2d>)>,
    fc: Linear,
    bytes: usize,
}

impl PlainResNet {
    /// The reference: in f32, on the processor.
    ///
    /// # Errors
    /// [`Error::Compute`] when candle fails.
    pub fn new(network: &Network) -> Result<Self> {
        Self::build(network, "f32-plain", DType::F32, &candle_core::Device::Cpu)
    }

    /// Hands the weights to candle's modules, on `device`; the convolutions compute in `precision`, the mean and the
    /// classifier in f32.
    ///
    /// # Errors
    /// [`Error::Precision`] for a precision that candle has no convolution in: int8, and bf16 on the processor;
    /// [`Error::Device`] for a device that is not there; [`Error::Compute`] when candle fails.
    pub fn with_device(network: &Network, precision: Precision, device: Device) -> Result<Self> {
        let dtype = match (precision, device) {
            (Precision::F32, _) => DType::F32,
            (Precision::Bf16, Device::Metal) => DType::BF16,
            (Precision::Bf16 | Precision::Int8, _) => {
                let problem = format!("is none of those that candle computes in on {device}");
                return Err(Error::Precision { model: network.info.name.clone(), precision, problem });
            }
        };
        Self::build(network, precision.name(), dtype, &open(device)?)
    }

    fn build(network: &Network, precision: &str, dtype: DType, device: &candle_core::Device) -> Result<Self> {
        let info = network.info_at(precision);
        let build = || -> candle_core::Result<Self> {
            let conv = |of: &Conv| conv(of, dtype, device);
            let blocks = network.blocks.iter().map(|block| {
                let convs = block.convs.iter().map(conv).collect::<candle_core::Result<_>>()?;
                Ok((convs, block.shortcut.as_ref().map(conv).transpose()?))
            });
            let (classes, inputs) =
                (network.fc.bias.len(), network.fc.weight.len() / network.fc.bias.len().max(1));
            let weight = Tensor::from_slice(&network.fc.weight, (classes, inputs), device)?;
            let bias = Tensor::from_slice(&network.fc.bias, classes, device)?;
            Ok(Self {
                stem: conv(&network.stem)?,
                pool: network.pool,
                blocks: blocks.collect::<candle_core::Result<_>>()?,
                fc: Linear::new(weight, Some(bias)),
                bytes: if device.is_cpu() { network.parameters() * size_of::<f32>() } else { 0 },
                device: device.clone(),
                dtype,
                info: info.clone(),
            })
        };
        build().map_err(|source| Error::Compute { model: info.name.clone(), source })
    }

    /// The mean over all positions of what the last block gives, f32 `[n, channels]`.
    fn features_of(&self, pixels: &[u8]) -> candle_core::Result<Tensor> {
        let ModelInfo { height, width, .. } = self.info;
        let table = normalised(&self.info);
        let values: Vec<f32> =
            pixels.iter().enumerate().map(|(i, p)| table[i % 3][usize::from(*p)]).collect();
        let count = pixels.len() / self.info.image_len();
        let x = Tensor::from_vec(values, (count, height, width, 3), &self.device)?.to_dtype(self.dtype)?;
        let mut x = self.stem.forward(&x.permute((0, 3, 1, 2))?.contiguous()?)?.relu()?;
        if self.pool {
            x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?.max_pool2d_with_stride(3, 2)?;
        }
        for (convs, shortcut) in &self.blocks {
            let mut hidden = x.clone();
            for (i, conv) in convs.iter().enumerate() {
                hidden = conv.forward(&if i == 0 { hidden } else { hidden.relu()? })?;
            }
            let short = shortcut.as_ref().map_or_else(|| Ok(x.clone()), |conv| conv.forward(&x))?;
            x = (hidden + short)?.relu()?;
        }
        x.to_dtype(DType::F32)?.mean((2, 3))
    }

    fn failed(&self, source: candle_core::Error) -> Error {
        Error::Compute { model: self.info.name.clone(), source }
    }
}

impl Model for PlainResNet {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        let logits = || self.fc.forward(&self.features_of(pixels)?)?.flatten_all()?.to_vec1();
        logits().map_err(|source| self.failed(source))
    }

    fn features(&self) -> Option<usize> {
        self.fc.weight().dim(1).ok()
    }

    fn embed(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        let features = || self.features_of(pixels)?.flatten_all()?.to_vec1();
        features().map_err(|source| self.failed(source))
    }

    /// The weights: on the processor candle's operations keep nothing between calls.
    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The device for candle.
///
/// # Errors
/// [`Error::Device`] when this build has no support for it, or this machine no such device.
fn open(device: Device) -> Result<candle_core::Device> {
    let opened = match device {
        Device::Cpu | Device::CpuWith(_) => Ok(candle_core::Device::Cpu),
        Device::Cuda(index) => candle_core::Device::new_cuda(index),
        Device::Metal => candle_core::Device::new_metal(0),
    };
    opened.map_err(|source| match device {
        Device::Metal if !cfg!(feature = "metal") => Error::not_built(device, "metal"),
        _ => Error::Device { device, problem: format!("cannot be used: {source}") },
    })
}

fn conv(conv: &Conv, dtype: DType, device: &candle_core::Device) -> candle_core::Result<Conv2d> {
    let shape = (conv.outputs, conv.inputs, conv.kernel, conv.kernel);
    let weight = Tensor::from_slice(&conv.weight, shape, device)?.to_dtype(dtype)?;
    let bias = Tensor::from_slice(&conv.bias, conv.outputs, device)?.to_dtype(dtype)?;
    let config = Conv2dConfig { padding: conv.padding(), stride: conv.stride, ..Conv2dConfig::default() };
    Ok(Conv2d::new(weight, Some(bias), config))
}

/// `(v / 255 - mean) / std` of every byte, for each channel.
pub(super) fn normalised(info: &ModelInfo) -> Vec<[f32; 256]> {
    let channel = |c: usize| {
        std::array::from_fn(|v| {
            let byte = u8::try_from(v).unwrap_or(u8::MAX);
            (f32::from(byte) / 255.0 - info.mean[c]) / info.std[c]
        })
    };
    (0..3).map(channel).collect()
}
