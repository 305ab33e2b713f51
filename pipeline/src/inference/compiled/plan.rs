//! A network as a list of steps over numbered buffers.
//!
//! Buffer 0 is the input, then perhaps the stem's result before pooling, then three for each resolution: a block
//! reads one, keeps its hidden activations in the second and writes the third; the next block swaps the first and
//! the third. A block that changes the resolution reads the last one's, and puts its shortcut where its input would
//! be (in int8 into a fourth, as f32). So each buffer keeps its geometry, and with it the zeros of its border, for ever.

use super::Options;
use super::calibration::Calibration;
use super::choice::{Choice, Kind};
use super::pack::{self, Packed};
use super::simd::{Isa, PANEL, Positions, Words, byte};
use super::tensor::Plane;
use crate::inference::network::{Conv, Network};
use crate::inference::precision::Precision;

/// One image's worth of a buffer.
#[derive(Debug, Clone)]
pub(super) struct Buffer {
    pub(super) plane: Plane,
    /// Words of a position.
    pub(super) words: usize,
    /// Words of a position if it holds f32 (an int8 shortcut), else 0.
    pub(super) wide: usize,
    /// What the border is filled with.
    pub(super) fill: u32,
    /// The name of its scale and the scale: what one unit of a u8 is worth. 1 except in int8.
    pub(super) scale: f32,
}

/// A step.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A convolution.
    Conv(Box<Layer>),
    /// A 3×3 max-pool with stride 2.
    Pool {
        /// Buffer read.
        source: usize,
        /// Buffer written.
        target: usize,
    },
}

/// A convolution between buffers.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// As in the weights' file: "layer1.0.conv1"; a block's last convolution has the block's name, "layer1.0".
    pub(super) name: String,
    pub(super) source: usize,
    pub(super) target: usize,
    /// Buffer added before ReLU.
    pub(super) residual: Option<Addend>,
    pub(super) relu: bool,
    /// The result is f32 whatever the precision: an int8 shortcut.
    pub(super) wide: bool,
    pub(super) packed: Packed,
    /// Of the epilogue: int8 only, else empty.
    pub(super) scale: Vec<f32>,
    pub(super) positions: Positions,
    pub(super) isa: Isa,
    pub(super) winograd: Option<Filters>,
}

/// What is added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addend {
    pub(super) buffer: usize,
    pub(super) wide: bool,
    /// Units of the output that one of its units is worth.
    pub(super) scale: f32,
}

/// Transformed filters.
#[derive(Debug, Clone)]
pub(super) struct Filters {
    pub(super) edge: usize,
    pub(super) words: Words,
    /// Tiles of a block.
    pub(super) block: usize,
}

/// The steps and buffers of a network in one precision.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) buffers: Vec<Buffer>,
    pub(super) steps: Vec<Step>,
    /// Buffer of the last block's result.
    pub(super) result: usize,
    /// Channels of the result.
    pub(super) channels: usize,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// The numbers of buffers and weights.
    pub(super) precision: Precision,
    /// Instructions by layer; without them the layers are only listed.
    choice: Option<&'a Choice>,
    /// Edge of Winograd's input tiles, or 0 for none.
    edge: usize,
    /// Ranges of the activations; read in int8 only.
    calibration: Option<&'a Calibration>,
}

impl Plan {
    /// Plans `network` with the instructions of `choice`.
    ///
    /// # Errors
    /// As the rest of a sentence: the calibration lacks a layer.
    pub(super) fn new(network: &Network, choice: &Choice, options: &Options) -> Result<Self, String> {
        let calibration = network.calibration.as_ref();
        let target =
            Target { precision: choice.storage, choice: Some(choice), edge: options.edge, calibration };
        Ok(Maker::run(network, target)?.plan)
    }

    /// The kinds of the layers of `network` if it is kept in `precision`, one for each layer.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(super) fn kinds(
        network: &Network,
        precision: Precision,
        options: &Options,
    ) -> Result<Vec<Kind>, String> {
        let calibration = network.calibration.as_ref();
        Ok(Maker::run(network, Target { precision, choice: None, edge: options.edge, calibration })?.kinds)
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self) -> usize {
        let step = |step: &Step| match step {
            Step::Conv(layer) => {
                layer.packed.bytes() + layer.winograd.as_ref().map_or(0, |filters| filters.words.bytes())
            }
            Step::Pool { .. } => 0,
        };
        self.steps.iter().map(step).sum()
    }
}

struct Maker<'a> {
    target: Target<'a>,
    plan: Plan,
    kinds: Vec<Kind>,
}

impl<'a> Maker<'a> {
    fn run(network: &Network, target: Target<'a>) -> Result<Self, String> {
        let plan = Plan { buffers: vec![], steps: vec![], result: 0, channels: 0 };
        let mut maker = Self { target, plan, kinds: vec![] };
        maker.network(network)?;
        Ok(maker)
    }

    fn network(&mut self, network: &Network) -> Result<(), String> {
        let (precision, stem) = (self.target.precision, &network.stem);
        let input = Plane { height: network.info.height, width: network.info.width, border: stem.padding() };
        let fill = match precision {
            Precision::Int8 => {
                let [r, g, b] = network.info.mean.map(|m| byte(255.0 * m));
                u32::from_le_bytes([r, g, b, 0])
            }
            _ => 0,
        };
        let words = 3_usize.div_ceil(precision.unit());
        self.plan.buffers.push(Buffer { plane: input, words, wide: 0, fill, scale: 1.0 });
        let after = input.strided(stem.stride, 1);
        let stem = if precision == Precision::Int8 { on_bytes(network) } else { stem.clone() };
        let mut free = self.stage(if network.pool { after.strided(2, 1) } else { after }, stem.outputs);
        let mut current = free[0];
        self.scale(current, "stem")?;
        if network.pool {
            let before = self.buffer(after, stem.outputs);
            self.scale(before, "stem")?;
            self.conv("stem", &stem, 0, before, None, true);
            self.plan.steps.push(Step::Pool { source: before, target: current });
        } else {
            self.conv("stem", &stem, 0, current, None, true);
        }
        for (i, block) in network.blocks.iter().enumerate() {
            let name = format!("layer{}.{}", i / 2 + 1, i % 2);
            let hidden_name = format!("{name}.conv1");
            let (hidden, addend, out);
            if let Some(shortcut) = &block.shortcut {
                let plane = self.plan.buffers[current].plane.strided(block.conv1.stride, 1);
                free = self.stage(plane, block.conv1.outputs);
                (hidden, out) = (free[1], free[2]);
                self.scale(out, &name)?;
                // In int8 the shortcut, which is not positive, is f32 in units of the block's result.
                let wide = precision == Precision::Int8;
                let short = if wide { self.buffer(plane, shortcut.outputs) } else { free[0] };
                if wide {
                    self.plan.buffers[short].wide = shortcut.outputs.next_multiple_of(PANEL);
                    self.scale(short, &name)?;
                }
                self.conv(&format!("{name}.downsample"), shortcut, current, short, None, false);
                addend = Addend { buffer: short, wide, scale: 1.0 };
            } else {
                hidden = free[1];
                out = if current == free[0] { free[2] } else { free[0] };
                let from = self.plan.buffers[current].scale;
                self.scale(out, &name)?;
                let scale = from / self.plan.buffers[out].scale;
                addend = Addend { buffer: current, wide: false, scale };
            }
            self.scale(hidden, &hidden_name)?;
            self.conv(&hidden_name, &block.conv1, current, hidden, None, true);
            self.conv(&name, &block.conv2, hidden, out, Some(addend), true);
            current = out;
            self.plan.channels = block.conv2.outputs;
        }
        self.plan.result = current;
        Ok(())
    }

    /// Three buffers.
    fn stage(&mut self, plane: Plane, channels: usize) -> [usize; 3] {
        std::array::from_fn(|_| self.buffer(plane, channels))
    }

    fn buffer(&mut self, plane: Plane, channels: usize) -> usize {
        let words = channels.next_multiple_of(PANEL) / self.target.precision.unit();
        self.plan.buffers.push(Buffer { plane, words, wide: 0, fill: 0, scale: 1.0 });
        self.plan.buffers.len() - 1
    }

    /// From here on `buffer` holds the tensor `name`.
    fn scale(&mut self, buffer: usize, name: &str) -> Result<(), String> {
        if self.target.precision == Precision::Int8 {
            let range = self.target.calibration.and_then(|c| c.range(name));
            let range = range.ok_or_else(|| {
                format!(
                    "needs the range of {name}, which metadata `calibration` of the weights does not tell"
                )
            })?;
            self.plan.buffers[buffer].scale = range / 255.0;
        }
        Ok(())
    }

    fn conv(
        &mut self,
        name: &str,
        conv: &Conv,
        from: usize,
        to: usize,
        residual: Option<Addend>,
        relu: bool,
    ) {
        let precision = self.target.precision;
        let (source, target) = (&self.plan.buffers[from], &self.plan.buffers[to]);
        let inputs = source.words * precision.unit();
        let &Conv { kernel, stride, outputs, .. } = conv;
        let kind = Kind { kernel, stride, inputs, outputs, input: source.plane };
        self.kinds.push(kind);
        let Some(choice) = self.target.choice else { return };
        let isa = choice.isa(&kind);
        let mut packed = pack::direct(conv, precision, inputs);
        let mut scale = Vec::new();
        if precision == Precision::Int8 {
            scale = packed.scale.iter().map(|s| s * source.scale / target.scale).collect();
            packed.bias.iter_mut().for_each(|b| *b /= target.scale);
        }
        let positions = Positions::new(source.plane, target.plane, kernel, stride);
        let winograd = kind.edge(precision, isa, self.target.edge).map(|edge| {
            packed.words = Words::default();
            Filters { edge, words: pack::winograd(conv, precision, inputs, edge), block: block(inputs) }
        });
        self.plan.steps.push(Step::Conv(Box::new(Layer {
            name: name.to_owned(),
            source: from,
            target: to,
            residual,
            relu,
            wide: target.wide > 0,
            packed,
            scale,
            positions,
            isa,
            winograd,
        })));
    }
}

/// Tiles that go through Winograd's three loops together: their transforms stay in the cache of a core.
pub(super) fn block(inputs: usize) -> usize {
    if inputs >= 256 { 48 } else { 24 }
}

/// The stem for pixels as they are, 0 to 255: the normalisation `(p / 255 − mean) / std` goes into the weights. Its
/// border is the mean to the nearest integer, in place of the exact zero.
fn on_bytes(network: &Network) -> Conv {
    let mut conv = network.stem.clone();
    let area = conv.kernel * conv.kernel;
    for (filter, bias) in conv.weight.chunks_exact_mut(3 * area).zip(&mut conv.bias) {
        for (channel, weights) in filter.chunks_exact_mut(area).enumerate() {
            let (mean, std) = (network.info.mean[channel], network.info.std[channel]);
            *bias -= weights.iter().sum::<f32>() * mean / std;
            weights.iter_mut().for_each(|w| *w /= 255.0 * std);
        }
    }
    conv
}
