//! ResNet-18 on candle, in f32, channels-last.
//!
//! Activations are `[n, h, w, c]`. A convolution gathers its patches (`Patches`, a run of memory copies because
//! the channels lie together) and is then one matrix product with the bias, the residual and ReLU applied while
//! the result is still in the cache (`Finish`). The batch is cut into pieces of some `ROWS` output positions,
//! which rayon spreads over the cores, so that a piece's patches stay in the cache as well.
//!
//! candle's own `conv2d` computes the same (`plain`, the oracle of the tests) at a third to a half of the speed.

use super::error::{Error, Result};
use super::model::{Model, ModelInfo};
use super::network::{Block, Conv, Network};
use candle_core::{
    CpuStorage, CustomOp1, Device, InplaceOp2, InplaceOp3, Layout, Module, Shape, Tensor, bail,
};
use rayon::prelude::*;

/// Output positions of one piece: enough to amortise packing the weights, few enough for the cache.
const ROWS: usize = 1_024;

/// The candle network. Clones share the weights.
#[derive(Debug, Clone)]
pub struct ResNet {
    info: ModelInfo,
    /// Byte value to normalised value, a channel a row.
    normalised: Vec<[f32; 256]>,
    stem: Layer,
    pool: bool,
    blocks: Vec<Residual>,
    fc: candle_nn::Linear,
}

#[derive(Debug, Clone)]
struct Residual {
    conv1: Layer,
    conv2: Layer,
    shortcut: Option<Layer>,
}

#[derive(Debug, Clone)]
struct Layer {
    patches: Patches,
    /// `[kernel * kernel * inputs, outputs]`.
    matrix: Tensor,
    /// `[outputs]`.
    bias: Tensor,
}

impl ResNet {
    /// Lays the weights out for this implementation.
    ///
    /// # Errors
    /// [`Error::Compute`] when candle fails.
    pub fn new(network: &Network) -> Result<Self> {
        let info = network.info_at("f32");
        let build = || -> candle_core::Result<Self> {
            let (classes, inputs) =
                (network.fc.bias.len(), network.fc.weight.len() / network.fc.bias.len().max(1));
            let weight = Tensor::from_slice(&network.fc.weight, (classes, inputs), &Device::Cpu)?;
            let bias = Tensor::from_slice(&network.fc.bias, classes, &Device::Cpu)?;
            Ok(Self {
                normalised: normalised(&info),
                stem: Layer::new(&network.stem)?,
                pool: network.pool,
                blocks: network.blocks.iter().map(Residual::new).collect::<candle_core::Result<_>>()?,
                fc: candle_nn::Linear::new(weight, Some(bias)),
                info: info.clone(),
            })
        };
        build().map_err(|source| Error::Compute { model: info.name.clone(), source })
    }

    fn run(&self, pixels: &[u8]) -> candle_core::Result<Vec<f32>> {
        let ModelInfo { height, width, .. } = self.info;
        let count = pixels.len() / self.info.image_len();
        if count == 0 || pixels.len() != count * self.info.image_len() {
            bail!("{} bytes are not whole images of {height}x{width}", pixels.len());
        }
        let table = &self.normalised;
        let values: Vec<f32> =
            pixels.iter().enumerate().map(|(i, p)| table[i % 3][usize::from(*p)]).collect();
        let mut x = Tensor::from_vec(values, (count, height, width, 3), &Device::Cpu)?;
        x = self.stem.apply(&x, None, true)?;
        if self.pool {
            x = max_pool(&x)?;
        }
        for block in &self.blocks {
            let hidden = block.conv1.apply(&x, None, true)?;
            let short = block.shortcut.as_ref().map(|conv| conv.apply(&x, None, false)).transpose()?;
            x = block.conv2.apply(&hidden, Some(short.as_ref().unwrap_or(&x)), true)?;
        }
        self.fc.forward(&x.mean((1, 2))?)?.flatten_all()?.to_vec1()
    }
}

impl Model for ResNet {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, pixels: &[u8]) -> Result<Vec<f32>> {
        self.run(pixels).map_err(|source| Error::Compute { model: self.info.name.clone(), source })
    }
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

/// 3×3, stride 2, padding 1. The input comes out of a ReLU, so padding by 0 is padding by −∞.
fn max_pool(x: &Tensor) -> candle_core::Result<Tensor> {
    x.permute((0, 3, 1, 2))?
        .pad_with_zeros(2, 1, 1)?
        .pad_with_zeros(3, 1, 1)?
        .max_pool2d_with_stride(3, 2)?
        .permute((0, 2, 3, 1))?
        .contiguous()
}

impl Residual {
    fn new(block: &Block) -> candle_core::Result<Self> {
        Ok(Self {
            conv1: Layer::new(&block.conv1)?,
            conv2: Layer::new(&block.conv2)?,
            shortcut: block.shortcut.as_ref().map(Layer::new).transpose()?,
        })
    }
}

impl Layer {
    fn new(conv: &Conv) -> candle_core::Result<Self> {
        let Conv { inputs, outputs, kernel, stride, .. } = *conv;
        let weight = Tensor::from_slice(&conv.weight, (outputs, inputs, kernel, kernel), &Device::Cpu)?;
        Ok(Self {
            patches: Patches { kernel, stride, padding: conv.padding() },
            matrix: weight
                .permute((2, 3, 1, 0))?
                .reshape((kernel * kernel * inputs, outputs))?
                .contiguous()?,
            bias: Tensor::from_slice(&conv.bias, outputs, &Device::Cpu)?,
        })
    }

    /// The convolution of `x` `[n, h, w, inputs]`, plus `residual` `[n, oh, ow, outputs]`, then ReLU.
    fn apply(&self, x: &Tensor, residual: Option<&Tensor>, relu: bool) -> candle_core::Result<Tensor> {
        let (n, h, w, _) = x.dims4()?;
        let (oh, ow) = (self.patches.size(h), self.patches.size(w));
        let images = (ROWS / (oh * ow)).max(1);
        let piece = |first: usize| -> candle_core::Result<Tensor> {
            let take = images.min(n - first);
            let rows = x.narrow(0, first, take)?.apply_op1_no_bwd(&self.patches)?;
            let y = rows.matmul(&self.matrix)?;
            match residual {
                Some(r) => {
                    let r = r.narrow(0, first, take)?.reshape(y.shape())?;
                    y.inplace_op3(&self.bias, &r, &Finish { relu })?;
                }
                None => y.inplace_op2(&self.bias, &Finish { relu })?,
            }
            Ok(y)
        };
        let pieces: Vec<usize> = (0..n).step_by(images).collect();
        let done = pieces.into_par_iter().map(piece).collect::<candle_core::Result<Vec<_>>>()?;
        let y = if let [only] = done.as_slice() { only.clone() } else { Tensor::cat(&done, 0)? };
        y.reshape((n, oh, ow, self.bias.dim(0)?))
    }
}

/// `[n, h, w, c]` to `[n * oh * ow, kernel * kernel * c]`: beside each output position the inputs that it sees.
#[derive(Debug, Clone)]
struct Patches {
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Patches {
    /// Output rows (or columns) of so many input rows (or columns).
    fn size(&self, edge: usize) -> usize {
        (edge + 2 * self.padding - self.kernel) / self.stride + 1
    }
}

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = contiguous(storage, layout)?;
        let (n, h, w, c) = layout.shape().dims4()?;
        let (oh, ow, k, pad) = (self.size(h), self.size(w), self.kernel, self.padding);
        let width = k * k * c;
        let mut out = vec![0.0_f32; n * oh * ow * width];
        for (row, patch) in out.chunks_exact_mut(width).enumerate() {
            let (image, oy, ox) = (row / (oh * ow), row / ow % oh, row % ow);
            // The columns of the kernel that fall inside the picture; the rest stays zero.
            let left = (ox * self.stride).saturating_sub(pad);
            let right = (ox * self.stride + k).saturating_sub(pad).min(w);
            let skip = left + pad - ox * self.stride;
            for ky in 0..k {
                let y = oy * self.stride + ky;
                if y < pad || y >= h + pad || left >= right {
                    continue;
                }
                let from = ((image * h + y - pad) * w + left) * c;
                let to = (ky * k + skip) * c;
                let len = (right - left) * c;
                patch[to..to + len].copy_from_slice(&x[from..from + len]);
            }
        }
        Ok((CpuStorage::F32(out), (n * oh * ow, width).into()))
    }
}

/// Adds the bias, then the residual if there is one, then applies ReLU if asked.
#[derive(Debug, Clone, Copy)]
struct Finish {
    relu: bool,
}

impl Finish {
    fn apply(
        self,
        y: (&mut CpuStorage, &Layout),
        bias: (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<()> {
        let bias = contiguous(bias.0, bias.1)?;
        let residual = residual.map(|(s, l)| contiguous(s, l)).transpose()?;
        let (Some((start, end)), CpuStorage::F32(y)) = (y.1.contiguous_offsets(), y.0) else {
            bail!("finish expects a contiguous f32 tensor")
        };
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        for (i, row) in y[start..end].chunks_exact_mut(bias.len()).enumerate() {
            match residual {
                Some(r) => {
                    let r = &r[i * bias.len()..(i + 1) * bias.len()];
                    for ((v, b), r) in row.iter_mut().zip(bias).zip(r) {
                        *v = (*v + b + r).max(floor);
                    }
                }
                None => row.iter_mut().zip(bias).for_each(|(v, b)| *v = (*v + b).max(floor)),
            }
        }
        Ok(())
    }
}

impl InplaceOp2 for Finish {
    fn name(&self) -> &'static str {
        "bias-relu"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        yl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> candle_core::Result<()> {
        self.apply((y, yl), (b, bl), None)
    }
}

impl InplaceOp3 for Finish {
    fn name(&self) -> &'static str {
        "bias-residual-relu"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        yl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
        r: &CpuStorage,
        rl: &Layout,
    ) -> candle_core::Result<()> {
        self.apply((y, yl), (b, bl), Some((r, rl)))
    }
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("expected a contiguous f32 tensor"),
    }
}
