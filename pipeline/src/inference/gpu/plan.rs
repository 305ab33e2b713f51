//! The order of the model's steps on a GPU, the tensors between them and the layout of the weights: plain data, nothing of
//! any GPU.
//!
//! Activations are channels-last, `[images, height, width, channels]`, and live in three slots. A convolution is a matrix
//! product: its patches, a row `[kernel, kernel, inputs]` for each output position, times its weights, a row of the same order
//! for each output channel. Bias, ReLU and the sum of a residual block are part of the product, which adds to what its slot
//! holds already.

use crate::inference::model::ModelInfo;
use crate::inference::network::{Conv, Network};

/// Values that a row of patches is a multiple of: 16 bytes of bf16, which matrix products on tensor cores need.
const ALIGNED: usize = 8;

/// Rows and columns.
pub(super) type Size = (usize, usize);

/// Where a step's input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// The images' bytes, which are normalised on the way.
    Pixels,
    /// A slot.
    Slot(usize),
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) work: Work,
    pub(super) from: Input,
    /// The slot of the output.
    pub(super) to: usize,
    /// The input's size, and the output's.
    pub(super) size: Size,
    pub(super) out: Size,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    /// Channels of the input and of the output.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// A convolution by the weights of this index.
    Conv {
        weights: usize,
        /// Adds what the output's slot holds.
        add: bool,
        relu: bool,
    },
    /// The largest value of each window.
    Largest,
}

impl Step {
    /// Values in a row of patches.
    pub(super) fn depth(&self) -> usize {
        depth(self.kernel, self.inputs)
    }

    /// Values of an image's input, and of its output.
    pub(super) fn values(&self) -> (usize, usize) {
        (self.size.0 * self.size.1 * self.inputs, self.out.0 * self.out.1 * self.outputs)
    }

    /// Whether the input is its own patches.
    pub(super) fn is_direct(&self) -> bool {
        (self.kernel, self.stride) == (1, 1) && matches!(self.from, Input::Slot(_))
    }

    /// Values of an image's patches that have to be written.
    fn patches(&self) -> usize {
        match self.work {
            Work::Conv { .. } if !self.is_direct() => self.out.0 * self.out.1 * self.depth(),
            _ => 0,
        }
    }
}

fn depth(kernel: usize, inputs: usize) -> usize {
    (kernel * kernel * inputs).next_multiple_of(ALIGNED)
}

/// A convolution's weights as the matrix product takes them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Matrix {
    /// `[outputs, depth]`: `[kernel, kernel, inputs]` of each output channel, then zeros up to `depth`.
    pub(super) rows: Vec<f32>,
    /// `[outputs]`.
    pub(super) bias: Vec<f32>,
}

impl Matrix {
    fn of(conv: &Conv) -> Self {
        let (taps, depth) = (conv.kernel * conv.kernel, depth(conv.kernel, conv.inputs));
        let mut rows = vec![0.0; conv.outputs * depth];
        for (row, filter) in rows.chunks_exact_mut(depth).zip(conv.weight.chunks_exact(conv.inputs * taps)) {
            for (input, plane) in filter.chunks_exact(taps).enumerate() {
                for (tap, value) in plane.iter().enumerate() {
                    row[tap * conv.inputs + input] = *value;
                }
            }
        }
        Self { rows, bias: conv.bias.clone() }
    }
}

/// A network's steps, and what they need.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The last of them: its output is what the mean is taken of.
    pub(super) last: Step,
    /// Values of one image that each slot has to hold.
    pub(super) slots: [usize; 3],
    /// Values of one image's patches, of the step that has most.
    pub(super) patches: usize,
}

impl Plan {
    /// The steps of `network` and the weights of its convolutions; says what cannot be computed.
    pub(super) fn new(network: &Network) -> Result<(Self, Vec<Matrix>), String> {
        let ModelInfo { height, width, .. } = network.info;
        let mut builder = Builder { steps: Vec::new(), matrices: Vec::new() };
        let mut size = builder.conv(&network.stem, Input::Pixels, 0, (height, width), false, true);
        let mut x = 0;
        if network.pool {
            size = builder.pool(x, 1, size, network.stem.outputs);
            x = 1;
        }
        for block in &network.blocks {
            (x, size) = builder.block(&block.convs, block.shortcut.as_ref(), x, size);
        }
        let Some(last) = builder.steps.last().copied() else { return Err("has no steps".to_owned()) };
        let unaligned = |step: &&Step| {
            !step.outputs.is_multiple_of(ALIGNED)
                || matches!(step.from, Input::Slot(_)) && !step.inputs.is_multiple_of(ALIGNED)
        };
        if let Some(Step { inputs, outputs, .. }) = builder.steps.iter().find(unaligned) {
            return Err(format!(
                "takes channels in multiples of {ALIGNED} on a GPU, and this network has a convolution from {inputs} to {outputs}"
            ));
        }
        let mut slots = [0; 3];
        for step in &builder.steps {
            slots[step.to] = slots[step.to].max(step.values().1);
        }
        let patches = builder.steps.iter().map(Step::patches).max().unwrap_or(0);
        let plan = Self { steps: builder.steps, last, slots, patches };
        Ok((plan, builder.matrices))
    }
}

struct Builder {
    steps: Vec<Step>,
    matrices: Vec<Matrix>,
}

impl Builder {
    fn conv(&mut self, conv: &Conv, from: Input, to: usize, size: Size, add: bool, relu: bool) -> Size {
        let Conv { kernel, stride, inputs, outputs, .. } = *conv;
        let padding = conv.padding();
        let out = after(size, kernel, stride, padding);
        let work = Work::Conv { weights: self.matrices.len(), add, relu };
        self.matrices.push(Matrix::of(conv));
        self.steps.push(Step { work, from, to, size, out, kernel, stride, padding, inputs, outputs });
        out
    }

    /// The 3×3 pool with stride 2 and padding 1 of the larger stem.
    fn pool(&mut self, from: usize, to: usize, size: Size, channels: usize) -> Size {
        let (kernel, stride, padding) = (3, 2, 1);
        let out = after(size, kernel, stride, padding);
        let (work, from, inputs, outputs) = (Work::Largest, Input::Slot(from), channels, channels);
        self.steps.push(Step { work, from, to, size, out, kernel, stride, padding, inputs, outputs });
        out
    }

    /// A residual block on slot `x`; the slot that its output is in, and its size.
    fn block(&mut self, convs: &[Conv], shortcut: Option<&Conv>, x: usize, size: Size) -> (usize, Size) {
        let free = [(x + 1) % 3, (x + 2) % 3];
        let (mut from, mut hidden) = (x, size);
        let Some((last, first)) = convs.split_last() else { return (x, size) };
        for (index, conv) in first.iter().enumerate() {
            let to = free[index % 2];
            hidden = self.conv(conv, Input::Slot(from), to, hidden, false, true);
            from = to;
        }
        let to = match shortcut {
            Some(conv) => {
                // The free slot that the last convolution does not read.
                let to = free[first.len() % 2];
                self.conv(conv, Input::Slot(x), to, size, false, false);
                to
            }
            None => x,
        };
        (to, self.conv(last, Input::Slot(from), to, hidden, true, true))
    }
}

/// The size of the output of a window.
fn after((height, width): Size, kernel: usize, stride: usize, padding: usize) -> Size {
    let edge = |edge: usize| (edge + 2 * padding - kernel) / stride + 1;
    (edge(height), edge(width))
}

/// The batch that `images` are computed in: the next number with at most three bits after its first. So there are few sizes
/// that matrix products have to be prepared for, and at most an eighth of the work is for nothing.
pub(super) fn padded(images: usize) -> usize {
    images.max(1).next_multiple_of(step_at(images))
}

/// The images that go through the layers together at most, so that their patches, of `patches` bytes each, have `bytes` at most.
/// One always does.
pub(super) fn largest_batch(patches: usize, bytes: usize) -> usize {
    let most = (bytes / patches.max(1)).max(1);
    most / step_at(most) * step_at(most)
}

/// The distance between the batches that there are, at this many images.
fn step_at(images: usize) -> usize {
    1 << images.max(1).ilog2().saturating_sub(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::network::{Block, Linear};
    use crate::inference::{Model as _, PlainResNet, Weights};
    use proptest::prelude::*;

    /// The steps as the GPU does them, one value at a time.
    fn logits(network: &Network, pixels: &[u8]) -> Vec<f32> {
        let (plan, matrices) = Plan::new(network).expect("a plan");
        let info = &network.info;
        let normal = |i: usize| (f32::from(pixels[i]) / 255.0 - info.mean[i % 3]) / info.std[i % 3];
        let image: Vec<f32> = (0..pixels.len()).map(normal).collect();
        let mut slots: Vec<Vec<f32>> = plan.slots.iter().map(|values| vec![f32::NAN; *values]).collect();
        for step in &plan.steps {
            let x = match step.from {
                Input::Pixels => &image,
                Input::Slot(slot) => &slots[slot],
            };
            let patches = patches(step, x);
            let to = &mut slots[step.to];
            match step.work {
                Work::Conv { weights, add, relu } => {
                    let Matrix { rows, bias } = &matrices[weights];
                    for (position, patch) in patches.iter().enumerate() {
                        for (o, (row, bias)) in rows.chunks_exact(step.depth()).zip(bias).enumerate() {
                            let product: f32 = row.iter().zip(patch).map(|(w, x)| w * x.unwrap_or(0.0)).sum();
                            let to = &mut to[position * step.outputs + o];
                            let sum = product + bias + if add { *to } else { 0.0 };
                            *to = if relu { sum.max(0.0) } else { sum };
                        }
                    }
                }
                Work::Largest => {
                    for (position, patch) in patches.iter().enumerate() {
                        for c in 0..step.outputs {
                            let window = patch[..9 * step.inputs].iter().skip(c).step_by(step.inputs);
                            let largest = window.flatten().copied().reduce(f32::max).expect("a value");
                            to[position * step.outputs + c] = largest;
                        }
                    }
                }
            }
        }
        let Step { to: slot, out: (height, width), outputs: channels, .. } = plan.last;
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let mean = |c| {
            let plane = slots[slot][..height * width * channels].iter().skip(c).step_by(channels);
            plane.sum::<f32>() / (height * width) as f32
        };
        let features: Vec<f32> = (0..channels).map(mean).collect();
        let rows = network.fc.weight.chunks_exact(channels).zip(&network.fc.bias);
        rows.map(|(row, bias)| row.iter().zip(&features).map(|(w, x)| w * x).sum::<f32>() + bias).collect()
    }

    /// A row for each position of the output; `None` is outside of the input.
    fn patches(step: &Step, x: &[f32]) -> Vec<Vec<Option<f32>>> {
        let positions = (0..step.out.0).flat_map(|y| (0..step.out.1).map(move |x| (y, x)));
        let patch = |(oy, ox): (usize, usize)| {
            (0..step.depth())
                .map(|column| {
                    let (tap, channel) = (column / step.inputs, column % step.inputs);
                    if tap >= step.kernel * step.kernel {
                        return Some(0.0);
                    }
                    let y = (oy * step.stride + tap / step.kernel).checked_sub(step.padding)?;
                    let x_ = (ox * step.stride + tap % step.kernel).checked_sub(step.padding)?;
                    let inside = y < step.size.0 && x_ < step.size.1;
                    inside.then(|| x[(y * step.size.1 + x_) * step.inputs + channel])
                })
                .collect()
        };
        positions.map(patch).collect()
    }

    fn check(network: &Network, pixels: &[u8]) {
        let expected = PlainResNet::new(network).expect("a model").forward(pixels).expect("logits");
        let found: Vec<f32> =
            pixels.chunks(network.info.image_len()).flat_map(|image| logits(network, image)).collect();
        assert_eq!(found.len(), expected.len());
        let scale = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(scale > 1e-3, "the network says something: {expected:?}");
        let difference = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference / scale < 1e-4, "{found:?}\n{expected:?}");
    }

    fn pictures(network: &Network, images: usize) -> Vec<u8> {
        (0..images * network.info.image_len()).map(|i| u8::try_from(i * 37 % 251).expect("small")).collect()
    }

    #[test]
    fn the_steps_give_the_logits_of_the_shipped_network() {
        let network = Network::read(Weights::shipped().expect("weights")).expect("a network");
        check(&network, &pictures(&network, 1));
    }

    fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let values = |count: usize, by: usize| {
            (0..count).map(|i| ((i * by % 17) as f32 - 8.0) / 40.0).collect::<Vec<f32>>()
        };
        let weight = values(outputs * inputs * kernel * kernel, 7);
        Conv { inputs, outputs, kernel, stride, weight, bias: values(outputs, 5) }
    }

    /// The larger stem with its pool, every kind of block, rows and columns that differ and are odd.
    fn small() -> Network {
        let shipped = Network::read(Weights::shipped().expect("weights")).expect("a network");
        let info = ModelInfo { height: 29, width: 23, ..shipped.info };
        let block = |inputs, outputs, stride, shortcut: bool| Block {
            name: "block".to_owned(),
            convs: vec![conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, 1)],
            shortcut: shortcut.then(|| conv(inputs, outputs, 1, stride)),
        };
        let bottleneck = Block {
            name: "bottleneck".to_owned(),
            convs: vec![conv(16, 8, 1, 1), conv(8, 8, 3, 2), conv(8, 24, 1, 1)],
            shortcut: Some(conv(16, 24, 1, 2)),
        };
        let blocks = vec![block(8, 8, 1, false), block(8, 16, 2, true), block(16, 16, 1, false), bottleneck];
        let head = conv(24, 10, 1, 1);
        let fc = Linear { weight: head.weight, bias: head.bias };
        Network {
            info,
            stem: conv(3, 8, 7, 2),
            pool: true,
            blocks,
            fc,
            calibration: None,
            accuracy: crate::inference::Accuracy::default(),
        }
    }

    #[test]
    fn the_steps_give_the_logits_of_the_larger_stem() {
        let network = small();
        check(&network, &pictures(&network, 2));
    }

    #[test]
    fn channels_that_no_vector_holds_are_refused() {
        let network = Network { stem: conv(3, 12, 7, 2), ..small() };
        let problem = Plan::new(&network).expect_err("12 channels");
        assert!(problem.contains("from 3 to 12"), "{problem}");
    }

    #[test]
    fn few_batches_are_prepared() {
        assert_eq!([1, 8, 9, 17, 65, 250].map(padded), [1, 8, 9, 18, 72, 256]);
        let sizes: std::collections::BTreeSet<usize> = (1..=1024).map(padded).collect();
        assert_eq!(sizes.len(), 64);
    }

    proptest! {
        #[test]
        fn a_padded_batch_wastes_an_eighth_at_most(images in 1_usize..100_000) {
            let padded = padded(images);
            prop_assert!(padded >= images && (padded - images) * 8 <= images);
            prop_assert_eq!(super::padded(padded), padded);
        }

        #[test]
        fn a_batch_has_its_patches_in_the_memory_given(bytes in 1_usize..1 << 40, patches in 1_usize..1 << 24) {
            let batch = largest_batch(patches, bytes);
            prop_assert_eq!(padded(batch), batch);
            prop_assert!(batch == 1 || batch * patches <= bytes);
        }
    }
}
