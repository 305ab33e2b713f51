//! A network as a list of steps over numbered buffers.
//!
//! Buffer 0 is the input, and every step writes a buffer of its own, whose memory it shares with buffers that are not
//! needed at the same time ([`slots`]). The steps of a block: its shortcut where the shape changes (in int8
//! as f32), then its convolutions in turn, the last of which adds the shortcut.

use super::Options;
use super::calibration::Calibration;
use super::choice::{Choice, Kind};
use super::pack::{self, Packed};
use super::simd::{Isa, PANEL, Positions, Words, byte};
use super::slots::{self, Layout, Need, Place};
use super::tensor::Plane;
use crate::inference::network::{Block, Conv, Network};
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
    /// What one unit of a u8 is worth. 1 except in int8.
    pub(super) scale: f32,
    /// Where it is in memory.
    pub(super) place: Place,
}

impl Buffer {
    /// The rows of an image, without its border.
    pub(super) fn rows<'a>(&self, image: &'a [u32]) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let (plane, words) = (self.plane, self.words.max(self.wide));
        (0..plane.height).map(move |y| &image[plane.at(y, 0) * words..][..plane.width * words])
    }

    /// How it lies in memory.
    pub(super) fn layout(&self) -> Layout {
        Layout { plane: self.plane, words: self.words.max(self.wide), fill: self.fill }
    }
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

impl Step {
    /// The buffer that it writes.
    pub(super) fn target(&self) -> usize {
        match self {
            Self::Conv(layer) => layer.target,
            Self::Pool { target, .. } => *target,
        }
    }
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
    /// Edge of the kernel.
    pub(super) kernel: usize,
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
    /// Words of an image in each slot of memory.
    pub(super) slots: Vec<usize>,
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
        let mut plan = Maker::run(network, target)?.plan;
        plan.place();
        Ok(plan)
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

    /// Gives every buffer its memory. Time is counted in steps: the input is written at 0, the result of step `i` at
    /// `i + 1`, and the classifier reads last.
    fn place(&mut self) {
        let need = |(written, buffer): (usize, &Buffer)| {
            let layout = buffer.layout();
            Need { layout, border: false, written, read: written }
        };
        let mut needs: Vec<Need> = self.buffers.iter().enumerate().map(need).collect();
        for (step, now) in self.steps.iter().zip(1..) {
            debug_assert_eq!(
                step.target(),
                now,
                "buffers are numbered in the order in which they are written"
            );
            let mut read = |buffer: usize, border: bool| {
                let need = &mut needs[buffer];
                (need.read, need.border) = (now, need.border || border);
            };
            match step {
                Step::Pool { source, .. } => read(*source, true),
                Step::Conv(layer) => {
                    read(layer.source, layer.kernel > 1);
                    layer.residual.iter().for_each(|addend| read(addend.buffer, false));
                }
            }
        }
        needs[self.result].read = self.steps.len() + 1;
        let (places, slots) = slots::share(&needs);
        self.buffers.iter_mut().zip(places).for_each(|(buffer, place)| buffer.place = place);
        self.slots = slots;
    }

    /// Bytes of the activations of an image.
    pub(super) fn activations(&self) -> usize {
        self.slots.iter().sum::<usize>() * size_of::<u32>()
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
        let plan = Plan { buffers: vec![], steps: vec![], slots: vec![], result: 0, channels: 0 };
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
        let place = Place::default();
        self.plan.buffers.push(Buffer { plane: input, words, wide: 0, fill, scale: 1.0, place });
        let after = input.strided(stem.stride, 1);
        let stem = if precision == Precision::Int8 { on_bytes(network) } else { stem.clone() };
        let mut current = self.buffer(after, stem.outputs, "stem")?;
        self.conv("stem", &stem, 0, current, None, true);
        if network.pool {
            let target = self.buffer(after.strided(2, 1), stem.outputs, "stem")?;
            self.plan.steps.push(Step::Pool { source: current, target });
            current = target;
        }
        self.plan.channels = stem.outputs;
        for block in &network.blocks {
            current = self.block(block, current)?;
            self.plan.channels = block.outputs();
        }
        self.plan.result = current;
        Ok(())
    }

    /// The steps of `block`, from buffer `source` to the one that is returned.
    fn block(&mut self, block: &Block, source: usize) -> Result<usize, String> {
        let name = &block.name;
        let stride = block.convs.iter().map(|conv| conv.stride).product();
        let plane = self.plan.buffers[source].plane.strided(stride, 1);
        // In int8 the shortcut, which is not positive, is f32 in units of the block's result.
        let wide = self.target.precision == Precision::Int8;
        let addend = match &block.shortcut {
            None => Addend { buffer: source, wide: false, scale: 1.0 },
            Some(shortcut) => {
                let buffer = self.buffer(plane, shortcut.outputs, name)?;
                if wide {
                    self.plan.buffers[buffer].wide = shortcut.outputs.next_multiple_of(PANEL);
                }
                self.conv(&format!("{name}.downsample"), shortcut, source, buffer, None, false);
                Addend { buffer, wide, scale: 1.0 }
            }
        };
        let mut current = source;
        for (conv, number) in block.convs.iter().zip(1..) {
            let plane = self.plan.buffers[current].plane.strided(conv.stride, 1);
            if number == block.convs.len() {
                let out = self.buffer(plane, conv.outputs, name)?;
                let [from, to] = [source, out].map(|buffer| self.plan.buffers[buffer].scale);
                let scale = if block.shortcut.is_some() { 1.0 } else { from / to };
                self.conv(name, conv, current, out, Some(Addend { scale, ..addend }), true);
                current = out;
            } else {
                let name = format!("{name}.conv{number}");
                let out = self.buffer(plane, conv.outputs, &name)?;
                self.conv(&name, conv, current, out, None, true);
                current = out;
            }
        }
        Ok(current)
    }

    /// A buffer for the tensor `name`.
    fn buffer(&mut self, plane: Plane, channels: usize, name: &str) -> Result<usize, String> {
        let words = channels.next_multiple_of(PANEL) / self.target.precision.unit();
        let mut scale = 1.0;
        if self.target.precision == Precision::Int8 {
            let range = self.target.calibration.and_then(|c| c.range(name));
            let range = range.ok_or_else(|| {
                format!(
                    "needs the range of {name}, which metadata `calibration` of the weights does not tell"
                )
            })?;
            scale = range / 255.0;
        }
        let place = Place::default();
        self.plan.buffers.push(Buffer { plane, words, wide: 0, fill: 0, scale, place });
        Ok(self.plan.buffers.len() - 1)
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
            kernel: conv.kernel,
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
