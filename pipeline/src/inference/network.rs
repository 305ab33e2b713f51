//! A ResNet as plain data: every convolution with its batch norm folded in, nothing of any tensor library.
//!
//! [`Network::read`] tells depth, blocks and widths from the tensors (`architecture`), then checks them name by name and
//! shape by shape. The stem is told from `conv1.weight`, too: 3×3 at stride 1 without pooling for small pictures (CIFAR),
//! or 7×7 at stride 2 with a 3×3 max-pool at stride 2 (ImageNet). Every implementation of a forward pass starts from here.
//!
//! In eval mode batch norm is `γ (x − μ) / √(σ² + ε) + β`, ε = 1e-5 (Ioffe and Szegedy 2015, algorithm 2), so with
//! `s = γ / √(σ² + ε)` a convolution `w` followed by it is the convolution `s w` with bias `β − s μ`.

use super::accuracy::Accuracy;
use super::architecture::{Architecture, Kind};
use super::compiled::Calibration;
use super::error::{Error, Result};
use super::manifest::Manifest;
use super::model::ModelInfo;
use super::weights::Weights;

/// PyTorch's default, which the training used.
const EPSILON: f32 = 1e-5;

/// What weights with the ImageNet stem were trained with unless their manifest says otherwise: size, mean and standard
/// deviation of the images that torchvision's and timm's models see.
pub(super) const IMAGENET: [(&str, &str); 3] =
    [("input", "3x224x224"), ("mean", "0.485,0.456,0.406"), ("std", "0.229,0.224,0.225")];

/// A ResNet, ready to be compiled by some implementation.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its description; `name` has no precision yet.
    pub info: ModelInfo,
    /// The first convolution, followed by ReLU.
    pub stem: Conv,
    /// Whether a 3×3 max-pool with stride 2 and padding 1 follows the stem.
    pub pool: bool,
    /// The residual blocks, in order; at least one.
    pub blocks: Vec<Block>,
    /// The classifier after the mean over all positions.
    pub fc: Linear,
    /// Ranges of the activations, which int8 needs; from the manifest's `calibration`.
    pub calibration: Option<Calibration>,
    /// The accuracy by precision, which [`auto`](super::auto) looks at; from the manifest's `accuracy`.
    pub accuracy: Accuracy,
}

/// `relu(f(x) + shortcut(x))`, where `f` is the convolutions in turn with a ReLU after each but the last.
#[derive(Debug, Clone)]
pub struct Block {
    /// As in the weights: "layer1.0".
    pub name: String,
    /// At least one: two 3×3 in a basic block, 1×1, 3×3 and 1×1 in a bottleneck. One of them carries the block's stride.
    pub convs: Vec<Conv>,
    /// 1×1 where the shape changes, otherwise the identity.
    pub shortcut: Option<Conv>,
}

impl Block {
    /// Channels out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.convs.last().map_or(0, |conv| conv.outputs)
    }
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

    /// Folds in the batch norm after it, of which each value is there for every output: γ, β, μ and σ².
    pub(super) fn fold(&mut self, gamma: &[f32], beta: &[f32], mean: &[f32], var: &[f32], epsilon: f32) {
        let filter = self.inputs * self.kernel * self.kernel;
        for (o, filter) in self.weight.chunks_exact_mut(filter.max(1)).enumerate() {
            let scale = gamma[o] / (var[o] + epsilon).sqrt();
            filter.iter_mut().for_each(|v| *v *= scale);
            self.bias[o] = beta[o] - scale * (mean[o] - self.bias[o]);
        }
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
    /// [`Error::Architecture`] for another kind of network; the first tensor that is missing, of another shape or not
    /// part of it; metadata that is missing or does not match the tensors. With the ImageNet stem `input`, `mean` and
    /// `std` may be missing: then they are ImageNet's.
    pub fn read(mut weights: Weights) -> Result<Self> {
        let w = &mut weights;
        let architecture = Architecture::tell(w)?;
        let (kernel, pool) = (architecture.stem, architecture.stem == 7);
        let stem = conv(w, ("conv1", "bn1"), 3, kernel, if pool { 2 } else { 1 })?;
        let mut blocks: Vec<Block> = Vec::new();
        for (layer, count) in architecture.blocks.into_iter().enumerate() {
            for index in 0..count {
                let stride = if layer > 0 && index == 0 { 2 } else { 1 };
                let inputs = blocks.last().map_or(stem.outputs, Block::outputs);
                blocks.push(block(
                    w,
                    format!("layer{}.{index}", layer + 1),
                    architecture.kind,
                    inputs,
                    stride,
                )?);
            }
        }
        let channels = blocks.last().map_or(stem.outputs, Block::outputs);
        let manifest = Manifest::read(w, if pool { &IMAGENET } else { &[] })?;
        let classes = manifest.classes.len();
        let count = w.shape("fc.weight").and_then(|shape| shape.first().copied()).unwrap_or(classes);
        if count != classes {
            let problem = format!("names {classes} classes, but fc.weight has {count} rows");
            return Err(w.bad("classes", problem));
        }
        let fc =
            Linear { weight: w.take("fc.weight", &[count, channels])?, bias: w.take("fc.bias", &[count])? };
        let architecture = architecture.name();
        // timm's names have the recipe of the training after a dot.
        let said = w.metadata("architecture").filter(|a| a.split('.').next() != Some(architecture.as_str()));
        if let Some(said) = said {
            return Err(
                w.bad("architecture", format!("is {said:?}, but the tensors are those of {architecture:?}"))
            );
        }
        if let Some(said) = w.metadata("stem").filter(|s| *s != format!("{kernel}x{kernel}")) {
            return Err(w.bad("stem", format!("is {said:?}, but conv1.weight is {kernel}x{kernel}")));
        }
        let info = manifest.info(w.name(), architecture);
        weights.finish(&info.architecture)?;
        let Manifest { calibration, accuracy, .. } = manifest;
        Ok(Self { info, stem, pool, blocks, fc, calibration, accuracy })
    }

    /// The description of an implementation that computes in `precision`.
    #[must_use]
    pub fn info_at(&self, precision: &str) -> ModelInfo {
        ModelInfo { name: format!("{}/{precision}", self.info.name), ..self.info.clone() }
    }
}

fn block(w: &mut Weights, name: String, kind: Kind, inputs: usize, stride: usize) -> Result<Block> {
    let mut convs: Vec<Conv> = Vec::new();
    for (i, (kernel, stride)) in (1..).zip(kind.convolutions(stride)) {
        let (of, norm) = (format!("{name}.conv{i}"), format!("{name}.bn{i}"));
        let inputs = convs.last().map_or(inputs, |conv| conv.outputs);
        grouped(w, &of, inputs)?;
        convs.push(conv(w, (&of, &norm), inputs, *kernel, *stride)?);
    }
    let outputs = convs.last().map_or(inputs, |conv| conv.outputs);
    let (of, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
    let there = w.shape(&format!("{of}.weight")).is_some();
    let shortcut = if there || stride != 1 || inputs != outputs {
        let shortcut = conv_to(w, (&of, &norm), [inputs, outputs, 1, stride])?;
        Some(shortcut)
    } else {
        None
    };
    Ok(Block { name, convs, shortcut })
}

/// Refuses a convolution in groups: each of its filters sees a part of the channels.
fn grouped(w: &Weights, name: &str, inputs: usize) -> Result<()> {
    let name = format!("{name}.weight");
    match w.shape(&name) {
        Some(shape @ [_, each, _, _]) if *each > 0 && *each < inputs && inputs.is_multiple_of(*each) => {
            let groups = inputs / each;
            let problem = format!(
                "tensor {name:?} with shape {shape:?} is a convolution in {groups} groups, as in ResNeXt, which is not supported"
            );
            Err(Error::Architecture { origin: w.origin().to_owned(), problem })
        }
        _ => Ok(()),
    }
}

/// A convolution and its batch norm, with as many outputs as its weights have.
fn conv(w: &mut Weights, names: (&str, &str), inputs: usize, kernel: usize, stride: usize) -> Result<Conv> {
    let name = format!("{}.weight", names.0);
    match w.shape(&name) {
        Some([0, ..]) => {
            let problem = format!("tensor {name:?} is empty");
            Err(Error::Architecture { origin: w.origin().to_owned(), problem })
        }
        // Where there is none, taking it says so.
        shape => {
            let outputs = shape.and_then(|shape| shape.first().copied()).unwrap_or(inputs);
            conv_to(w, names, [inputs, outputs, kernel, stride])
        }
    }
}

fn conv_to(w: &mut Weights, (conv, norm): (&str, &str), shape: [usize; 4]) -> Result<Conv> {
    let [inputs, outputs, kernel, stride] = shape;
    let weight = w.take(&format!("{conv}.weight"), &[outputs, inputs, kernel, kernel])?;
    let mut of = |name: &str| w.take(&format!("{norm}.{name}"), &[outputs]);
    let (gamma, beta, mean, var) = (of("weight")?, of("bias")?, of("running_mean")?, of("running_var")?);
    if let Some(index) = var.iter().position(|v| *v < 0.0) {
        let (origin, name) = (w.origin().to_owned(), format!("{norm}.running_var"));
        return Err(Error::BadValue { origin, name, index, value: var[index] });
    }
    let mut conv = Conv { inputs, outputs, kernel, stride, weight, bias: vec![0.0; outputs] };
    conv.fold(&gamma, &beta, &mean, &var, EPSILON);
    Ok(conv)
}
