//! ResNet-18 as plain data: every convolution with its batch norm folded in, nothing of any tensor library.
//!
//! [`Network::read`] checks a file of weights name by name and shape by shape (torchvision's names) and tells the
//! stem from `conv1.weight`: 3×3 at stride 1 without pooling for small pictures (CIFAR), or 7×7 at stride 2 with a
//! 3×3 max-pool at stride 2 (ImageNet). Every implementation of a forward pass starts from here.
//!
//! In eval mode batch norm is `γ (x − μ) / √(σ² + ε) + β`, ε = 1e-5 (Ioffe and Szegedy 2015, algorithm 2), so with
//! `s = γ / √(σ² + ε)` a convolution `w` followed by it is the convolution `s w` with bias `β − s μ`.

use super::compiled::Calibration;
use super::decode::Resize;
use super::error::{Error, Result};
use super::model::ModelInfo;
use super::weights::Weights;

/// PyTorch's default, which the training used.
const EPSILON: f32 = 1e-5;

/// Largest input edge taken: what one image may cost has a bound.
const MAX_EDGE: usize = 1_024;

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
    /// Ranges of the activations, which int8 needs; from metadata `calibration`.
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
        let classes = classes(w)?;
        let count = w.shape("fc.weight").and_then(|shape| shape.first().copied()).unwrap_or(classes.len());
        if count != classes.len() {
            let problem = format!("names {} classes, but fc.weight has {count} rows", classes.len());
            return Err(w.bad("classes", problem));
        }
        let fc = Linear { weight: w.take("fc.weight", &[count, 512])?, bias: w.take("fc.bias", &[count])? };
        if let Some(said) = w.metadata("architecture").filter(|a| *a != "resnet18") {
            return Err(w.bad("architecture", format!("is {said:?}, expected \"resnet18\"")));
        }
        if let Some(said) = w.metadata("stem").filter(|s| *s != format!("{kernel}x{kernel}")) {
            return Err(w.bad("stem", format!("is {said:?}, but conv1.weight is {kernel}x{kernel}")));
        }
        let (height, width) = input(w)?;
        let calibration = w.metadata("calibration").map(Calibration::parse).transpose();
        let calibration = calibration.map_err(|problem| w.bad("calibration", problem))?;
        let info = ModelInfo {
            name: w.name().to_owned(),
            classes,
            height,
            width,
            mean: triple(w, "mean", false)?,
            std: triple(w, "std", true)?,
            resize: resize(w)?,
        };
        weights.finish()?;
        Ok(Self { info, stem, pool, blocks, fc, calibration })
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

/// The class names: separated by commas, or a JSON list where a name has a comma in it.
fn classes(w: &Weights) -> Result<Vec<String>> {
    let text = w.require("classes")?;
    let classes: Vec<String> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|e| w.bad("classes", format!("is not a list of names: {e}")))?
    } else {
        text.split(',').map(|name| name.trim().to_owned()).collect()
    };
    if let Some(empty) = classes.iter().position(String::is_empty) {
        return Err(w.bad("classes", format!("has no name for class {empty}")));
    }
    let mut sorted: Vec<&String> = classes.iter().collect();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(w.bad("classes", format!("names {:?} twice", twice[0])));
    }
    Ok(classes)
}

/// `3xHEIGHTxWIDTH`, and perhaps words after it.
fn input(w: &Weights) -> Result<(usize, usize)> {
    let text = w.require("input")?;
    let shape: Option<Vec<usize>> =
        text.split_whitespace().next().unwrap_or_default().split('x').map(|n| n.parse().ok()).collect();
    match shape.as_deref() {
        Some([3, height, width]) if (1..=MAX_EDGE).contains(height) && (1..=MAX_EDGE).contains(width) => {
            Ok((*height, *width))
        }
        _ => Err(
            w.bad("input", format!("is {text:?}, expected 3xHEIGHTxWIDTH with edges from 1 to {MAX_EDGE}"))
        ),
    }
}

/// The rule of images of other sizes; the usual one where nothing is said.
fn resize(w: &Weights) -> Result<Resize> {
    let rule = w.metadata("resize").map_or(Ok(Resize::DEFAULT), Resize::parse);
    rule.map_err(|problem| w.bad("resize", problem))
}

fn triple(w: &Weights, key: &'static str, positive: bool) -> Result<[f32; 3]> {
    let text = w.require(key)?;
    let values: Option<Vec<f32>> = text.split(',').map(|v| v.trim().parse().ok()).collect();
    match values.as_deref() {
        Some([r, g, b]) if [r, g, b].iter().all(|v| v.is_finite() && (!positive || **v > 0.0)) => {
            Ok([*r, *g, *b])
        }
        _ => {
            let kind = if positive { "positive " } else { "" };
            Err(w.bad(key, format!("is {text:?}, expected three {kind}numbers, one a channel")))
        }
    }
}
