//! What a convolution reads and writes, and the check that all of it lies within the slices.

use super::raw::Raw;
use super::{Isa, LANES, PANEL};
use crate::inference::compiled::tensor::Plane;
use crate::inference::precision::Precision;

/// Where each output position reads and is stored; distinct and in bounds by construction.
#[derive(Debug, Clone)]
pub(in crate::inference::compiled) struct Positions {
    /// Index of the first position that is read, within an image of the input.
    pub(super) inputs: Vec<u32>,
    /// Index within an image of the output.
    pub(super) outputs: Vec<u32>,
    pub(super) input: Plane,
    pub(super) output: Plane,
    kernel: usize,
}

impl Positions {
    /// The positions of a `kernel`×`kernel` convolution with `stride`, padded by half the kernel.
    ///
    /// # Panics
    /// When `input`'s border is too small, or `output` has another size than the convolution's result.
    pub(in crate::inference::compiled) fn new(
        input: Plane,
        output: Plane,
        kernel: usize,
        stride: usize,
    ) -> Self {
        assert!(kernel % 2 == 1 && input.border >= kernel / 2 && input.positions() <= u32::MAX as usize);
        assert!(input.strided(stride, output.border) == output && output.positions() <= u32::MAX as usize);
        let mut inputs = Vec::with_capacity(output.height * output.width);
        let mut outputs = Vec::with_capacity(inputs.capacity());
        let corner = input.border - kernel / 2;
        for y in 0..output.height {
            for x in 0..output.width {
                inputs.push(((y * stride + corner) * input.columns() + x * stride + corner) as u32);
                outputs.push(output.at(y, x) as u32);
            }
        }
        let last = inputs.last().map_or(0, |last| *last as usize);
        assert!(last + (kernel - 1) * input.columns() + kernel <= input.positions(), "runs leave the image");
        Self { inputs, outputs, input, output, kernel }
    }
}

/// What is added to the sums before ReLU.
#[derive(Debug, Clone, Copy)]
pub(in crate::inference::compiled) enum Residual<'a> {
    /// Nothing.
    None,
    /// A tensor of this precision in the output's geometry, times a factor (int8 only).
    Own(&'a [u32], f32),
    /// A tensor of f32 in the output's geometry.
    Wide(&'a [u32]),
}

/// What happens to the sums: `relu(sums * scale + bias + residual)`.
#[derive(Debug, Clone, Copy)]
pub(in crate::inference::compiled) struct Epilogue<'a> {
    /// A factor per output channel; int8 only, otherwise empty.
    pub(in crate::inference::compiled) scale: &'a [f32],
    /// Per output channel.
    pub(in crate::inference::compiled) bias: &'a [f32],
    pub(in crate::inference::compiled) residual: Residual<'a>,
    pub(in crate::inference::compiled) relu: bool,
    /// Store f32 whatever the precision.
    pub(in crate::inference::compiled) wide: bool,
}

/// A convolution over `images` images.
#[derive(Debug, Clone, Copy)]
pub(in crate::inference::compiled) struct Job<'a> {
    pub(in crate::inference::compiled) isa: Isa,
    pub(in crate::inference::compiled) precision: Precision,
    /// `[images][input plane][input_words]`.
    pub(in crate::inference::compiled) input: &'a [u32],
    pub(in crate::inference::compiled) input_words: usize,
    pub(in crate::inference::compiled) positions: &'a Positions,
    pub(in crate::inference::compiled) images: usize,
    /// `[panels][kernel][kernel * input_words][PANEL]`.
    pub(in crate::inference::compiled) weights: &'a [u32],
    /// Output channels / [`PANEL`].
    pub(in crate::inference::compiled) panels: usize,
    pub(in crate::inference::compiled) epilogue: Epilogue<'a>,
}

impl Job<'_> {
    /// Words of one output position.
    pub(in crate::inference::compiled) fn output_words(&self) -> usize {
        self.panels * PANEL / if self.epilogue.wide { 1 } else { self.precision.unit() }
    }

    /// Runs per output position, words from run to run, words of a run.
    pub(super) fn runs(&self) -> (usize, usize, usize) {
        let kernel = self.positions.kernel;
        (kernel, self.positions.input.columns() * self.input_words, kernel * self.input_words)
    }

    /// Asserts that all that a kernel accesses lies within the slices.
    pub(super) fn check(&self, output: &[u32]) {
        let (rows, _, run) = self.runs();
        let (images, positions) = (self.images, self.positions);
        let input = product(&[images, positions.input.positions(), self.input_words]);
        assert!(self.input.len() >= input, "input");
        assert!(self.weights.len() >= product(&[self.panels, rows, run, PANEL]), "weights");
        assert!(self.weights.as_ptr().align_offset(4 * LANES) == 0, "weights not on a cache line");
        let positions = product(&[images, positions.output.positions()]);
        self.epilogue.check(self.precision, positions, self.panels, output);
    }
}

/// The product, or more than any slice's length.
pub(super) fn product(factors: &[usize]) -> usize {
    factors.iter().fold(1, |product: usize, factor| product.saturating_mul(*factor))
}

impl Epilogue<'_> {
    /// Asserts that `positions` output positions lie within the output and the residual.
    pub(super) fn check(&self, precision: Precision, positions: usize, panels: usize, output: &[u32]) {
        let channels = product(&[panels, PANEL]);
        let (own, wide) =
            (product(&[positions, channels / precision.unit()]), product(&[positions, channels]));
        assert!(output.len() >= if self.wide { wide } else { own }, "output");
        assert!(self.bias.len() >= channels, "bias");
        assert!(self.scale.len() >= channels || self.scale.is_empty(), "scale");
        match self.residual {
            Residual::None => {}
            Residual::Own(values, _) => assert!(values.len() >= own, "residual"),
            Residual::Wide(values) => assert!(values.len() >= wide, "wide residual"),
        }
    }

    /// The fields of [`Raw`] that the epilogue and the output decide.
    pub(super) fn raw(&self, precision: Precision, panels: usize, output: &mut [u32], start: Raw) -> Raw {
        let (channels, own) = (panels * PANEL, panels * PANEL / precision.unit());
        let (residual, residual_wide, residual_scale) = match self.residual {
            Residual::None => (std::ptr::null(), false, 0.0),
            Residual::Own(values, scale) => (values.as_ptr(), false, scale),
            Residual::Wide(values) => (values.as_ptr(), true, 1.0),
        };
        Raw {
            output: output.as_mut_ptr(),
            output_words: if self.wide { channels } else { own },
            wide: self.wide,
            bias: self.bias.as_ptr(),
            scale: if self.scale.is_empty() { std::ptr::null() } else { self.scale.as_ptr() },
            residual,
            residual_words: if residual_wide { channels } else { own },
            residual_wide,
            residual_scale,
            relu: self.relu,
            ..start
        }
    }
}
