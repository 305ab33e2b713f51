//! ResNet-18 as plain data: every convolution with its batch norm folded in, nothing of any tensor library.
//!
//! [`Network::read`] checks a file of weights name by name and shape by shape (torchvision's names) and tells the
//! stem from `conv1.weight`: 3×3 at stride 1 without pooling for small pictures (CIFAR), or 7×7 at stride 2 with a
//! 3×3 max-pool at stride 2 (ImageNet). Every implementation of a forward pass starts from here.
//!
//! In eval mode batch norm is `γ (x − μ) / √(σ² + ε) + β`, ε = 1e-5 (Ioffe and Szegedy 2015, algorithm 2), so with
//! `s = γ / √(σ² + ε)` a convolution `w` followed by it is the convolution `s w` with bias `β − s μ`.

use super::compiled::Calibration;
use super::error::{Error, Result};
use super::manifest::Manifest;
use super::model::ModelInfo;
use super::weights::Weights;

/// PyTorch's default, which the training used.
const EPSILON: f32 = 1e-5;

/// A ResNet-18, ready to be compiled by some implementation.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its description; `name` has no precision yet.
    pub info: ModelInfo,
    /// The first convolution, followed by ReLU.
    pub stem: Conv,
    /// Whether a 3×3 max-pool with stride 2 and padding 1 follows the stem.
    pub pool: bool,
    /// The eight residual blocks, in order.
    pub blocks: Vec<Block>,
    /// The classifier after the mean over all positions.
    pub fc: Linear,
    /// Ranges of the activations, which int8 needs; from the manifest's `calibration`.
    pub calibration: Option<Calibration>,
}

/// `relu(conv2(relu(conv1(x))) + shortcut(x))`.
#[derive(Debug, Clone)]
pub struct Block {
    /// 3×3; carries the block's stride.
    pub conv1: Conv,
    /// 3×3, stride 1.
    pub conv2: Conv,
    /// 1×1 where the shape changes, otherwise the identity.
    pub shortcut: Option<Conv>,
}

/// A square convolution with bias, batch norm folded in, padded by half the kernel.
#[derive(Debug, Clone)]
pub struct Conv {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Edge of the kernel.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// `[outputs, inputs, kernel, kernel]`, row-major.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

impl Conv {
    /// Rows and columns of zeros around the input.
    #[must_use]
    pub fn padding(&self) -> usize {
        self.kernel / 2
    }
}

/// A matrix and a bias.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[outputs, inputs]`, row-major.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

impl Network {
    /// Builds the network from `weights`, which must hold exactly its tensors.
    ///
    /// # Errors
    /// The first tensor that is missing, of another shape or not part of it; metadata that is missing or does not
    /// match the tensors.
    pub fn read(mut weights: Weights) -> Result<Self> {
        let w = &mut weights;
        let kernel = match w.shape("conv1.weight") {
            Some([_, _, 7, 7]) => 7,
            _ => 3,
        };
        let pool = kernel == 7;
        let stem = conv(w, "conv1", "bn1", [3, 64, kernel, if pool { 2 } else { 1 }])?;
        let mut blocks = Vec::with_capacity(8);
        for (layer, inputs, outputs, stride) in
            [(1, 64, 64, 1), (2, 64, 128, 2), (3, 128, 256, 2), (4, 256, 512, 2)]
        {
            blocks.push(block(w, &format!("layer{layer}.0"), inputs, outputs, stride)?);
            blocks.push(block(w, &format!("layer{layer}.1"), outputs, outputs, 1)?);
        }
        let manifest = Manifest::read(w)?;
        let classes = manifest.classes.len();
        let count = w.shape("fc.weight").and_then(|shape| shape.first().copied()).unwrap_or(classes);
        if count != classes {
            let problem = format!("names {classes} classes, but fc.weight has {count} rows");
            return Err(w.bad("classes", problem));
        }
        let fc = Linear { weight: w.take("fc.weight", &[count, 512])?, bias: w.take("fc.bias", &[count])? };
        if let Some(said) = w.metadata("architecture").filter(|a| *a != "resnet18") {
            return Err(w.bad("architecture", format!("is {said:?}, expected \"resnet18\"")));
        }
        if let Some(said) = w.metadata("stem").filter(|s| *s != format!("{kernel}x{kernel}")) {
            return Err(w.bad("stem", format!("is {said:?}, but conv1.weight is {kernel}x{kernel}")));
        }
        let info = manifest.info(w.name());
        weights.finish()?;
        Ok(Self { info, stem, pool, blocks, fc, calibration: manifest.calibration })
    }

    /// The description of an implementation that computes in `precision`.
    #[must_use]
    pub fn info_at(&self, precision: &str) -> ModelInfo {
        ModelInfo { name: format!("{}/{precision}", self.info.name), ..self.info.clone() }
    }
}

fn block(w: &mut Weights, at: &str, inputs: usize, outputs: usize, stride: usize) -> Result<Block> {
    let part = |name: &str| format!("{at}.{name}");
    Ok(Block {
        conv1: conv(w, &part("conv1"), &part("bn1"), [inputs, outputs, 3, stride])?,
        conv2: conv(w, &part("conv2"), &part("bn2"), [outputs, outputs, 3, 1])?,
        shortcut: if inputs == outputs && stride == 1 {
            None
        } else {
            Some(conv(w, &part("downsample.0"), &part("downsample.1"), [inputs, outputs, 1, stride])?)
        },
    })
}

fn conv(w: &mut Weights, conv: &str, norm: &str, shape: [usize; 4]) -> Result<Conv> {
    let [inputs, outputs, kernel, stride] = shape;
    let mut weight = w.take(&format!("{conv}.weight"), &[outputs, inputs, kernel, kernel])?;
    let mut of = |name: &str| w.take(&format!("{norm}.{name}"), &[outputs]);
    let (gamma, beta, mean, var) = (of("weight")?, of("bias")?, of("running_mean")?, of("running_var")?);
    if let Some(index) = var.iter().position(|v| *v < 0.0) {
        let (origin, name) = (w.origin().to_owned(), format!("{norm}.running_var"));
        return Err(Error::BadValue { origin, name, index, value: var[index] });
    }
    let mut bias = Vec::with_capacity(outputs);
    for (o, filter) in weight.chunks_exact_mut(inputs * kernel * kernel).enumerate() {
        let scale = gamma[o] / (var[o] + EPSILON).sqrt();
        filter.iter_mut().for_each(|v| *v *= scale);
        bias.push(beta[o] - scale * mean[o]);
    }
    Ok(Conv { inputs, outputs, kernel, stride, weight, bias })
}
