//! Weights as the kernels read them, packed once when a network is compiled.
//!
//! A panel is 64 output channels. For each word of input (a position of the kernel and one, two or four channels)
//! it has 64 words, one an output channel, each with the weights of those input channels: the order in which the
//! kernel's loops come by. Channels are padded to whole words and panels with zeros.

use super::simd::{PANEL, Words, bf16_bits, nearest};
use crate::inference::network::Conv;
use crate::inference::precision::Precision;
use rayon::prelude::*;

/// A convolution's weights for one precision.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// `[panels][kernel²][inputs / unit][PANEL]` words.
    pub(super) words: Words,
    /// Output channels / [`PANEL`], rounded up.
    pub(super) panels: usize,
    /// int8: what one unit of a weight is worth, per output channel; otherwise empty.
    pub(super) scale: Vec<f32>,
    /// Per output channel.
    pub(super) bias: Vec<f32>,
}

impl Packed {
    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.words.bytes() + size_of_val(self.scale.as_slice()) + size_of_val(self.bias.as_slice())
    }
}

/// Packs `conv` for an input with `inputs` channels, padding included.
pub(super) fn direct(conv: &Conv, precision: Precision, inputs: usize) -> Packed {
    let area = conv.kernel * conv.kernel;
    let mut scale = Vec::new();
    if precision == Precision::Int8 {
        scale = conv.weight.chunks_exact(conv.inputs * area).map(step).collect();
        scale.resize(conv.outputs.next_multiple_of(PANEL), 0.0);
    }
    let words = pack(conv, precision, inputs, area, |filter, output, values| {
        let scale = scale.get(output).copied().unwrap_or(1.0);
        values.iter_mut().zip(filter).for_each(|(value, w)| *value = w / scale);
    });
    let mut bias = conv.bias.clone();
    bias.resize(conv.outputs.next_multiple_of(PANEL), 0.0);
    Packed { words, panels: conv.outputs.div_ceil(PANEL), scale, bias }
}

/// Packs the transformed filters `U = G g Gᵀ` of a 3×3 `conv`: `[panels][edge²][inputs / unit][PANEL]` words.
pub(super) fn winograd(conv: &Conv, precision: Precision, inputs: usize, edge: usize) -> Words {
    let rows: &[[f64; 3]] = if edge == 4 {
        &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]
    } else {
        const SIXTH: f64 = 1.0 / 6.0;
        const TWELFTH: f64 = 1.0 / 12.0;
        const TWENTY_FOURTH: f64 = 1.0 / 24.0;
        &[
            [0.25, 0.0, 0.0],
            [-SIXTH, -SIXTH, -SIXTH],
            [-SIXTH, SIXTH, -SIXTH],
            [TWENTY_FOURTH, TWELFTH, SIXTH],
            [TWENTY_FOURTH, -TWELFTH, SIXTH],
            [0.0, 0.0, 1.0],
        ]
    };
    pack(conv, precision, inputs, edge * edge, |filter, _, values| {
        for (g0, values) in rows.iter().zip(values.chunks_exact_mut(edge)) {
            // A row of `G g`, then of `G g Gᵀ`.
            let half: [f64; 3] = std::array::from_fn(|j| {
                g0.iter().enumerate().map(|(i, a)| a * f64::from(filter[3 * i + j])).sum()
            });
            for (g1, value) in rows.iter().zip(values) {
                *value = g1.iter().zip(half).map(|(a, b)| a * b).sum::<f64>() as f32;
            }
        }
    })
}

/// What one unit of an i8 is worth, so that the largest weight of `filter` is 127 of them.
fn step(filter: &[f32]) -> f32 {
    let largest = filter.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    if largest > 0.0 { largest / 127.0 } else { 1.0 }
}

/// `[panels][positions][inputs / unit][PANEL]`. `values(filter, output, to)` makes the `positions` values from the
/// weights `[kernel²]` of an input and output channel.
fn pack(
    conv: &Conv,
    precision: Precision,
    inputs: usize,
    positions: usize,
    values: impl Fn(&[f32], usize, &mut [f32]) + Sync,
) -> Words {
    let (unit, area) = (precision.unit(), conv.kernel * conv.kernel);
    let words = inputs / unit;
    let size = positions * words * PANEL;
    let mut packed = Words::new(conv.outputs.div_ceil(PANEL) * size, 0);
    packed.as_mut_slice().par_chunks_exact_mut(size).enumerate().for_each(|(panel, packed)| {
        let mut to = vec![0.0; positions];
        for output in panel * PANEL..((panel + 1) * PANEL).min(conv.outputs) {
            let filters = conv.weight[output * conv.inputs * area..].chunks_exact(area);
            for (input, filter) in filters.take(conv.inputs).enumerate() {
                values(filter, output, &mut to);
                for (position, value) in to.iter().enumerate() {
                    let at = (position * words + input / unit) * PANEL + output % PANEL;
                    packed[at] |= bits(precision, *value) << (32 / unit * (input % unit));
                }
            }
        }
    });
    packed
}

/// A weight's bits in a word.
#[expect(clippy::cast_possible_truncation, reason = "within ±127")]
fn bits(precision: Precision, value: f32) -> u32 {
    match precision {
        Precision::F32 => value.to_bits(),
        Precision::Bf16 => u32::from(bf16_bits(value)),
        Precision::Int8 => u32::from((nearest(value).clamp(-127.0, 127.0) as i8).cast_unsigned()),
    }
}
