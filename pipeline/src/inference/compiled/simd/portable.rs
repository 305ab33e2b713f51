//! The kernels in plain, safe Rust: the same results as the vector ones, bit for bit in int8.

use super::job::{Job, Residual};
use super::{LANES, PANEL};
use crate::inference::precision::Precision;

/// Sixteen f32.
type Floats = [f32; LANES];

/// bf16 bits of `value`, rounded to nearest even; NaN stays NaN.
pub(in crate::inference) fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        (bits >> 16) as u16 | 0x40
    } else {
        ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
    }
}

/// The value of bf16 `bits`.
pub(in crate::inference::compiled) fn bf16_value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// What [`super::conv()`] computes, on one thread.
pub(super) fn conv(job: &Job<'_>, output: &mut [u32]) {
    let (rows, pitch, run) = job.runs();
    let (positions, unit, words) = (job.positions, job.precision.unit(), job.output_words());
    for image in 0..job.images {
        let input = &job.input[image * positions.input.positions() * job.input_words..];
        for (from, to) in positions.inputs.iter().zip(&positions.outputs) {
            let from = *from as usize * job.input_words;
            let to = image * positions.output.positions() + *to as usize;
            for panel in 0..job.panels {
                let weights = &job.weights[panel * rows * run * PANEL..(panel + 1) * rows * run * PANEL];
                for lane in (0..PANEL).step_by(LANES) {
                    let runs = (0..rows).map(|row| &input[from + row * pitch..][..run]);
                    let sums = sums(job.precision, runs, weights, lane);
                    let channel = panel * PANEL + lane;
                    let values = finish(job, sums, to, channel);
                    if job.epilogue.wide {
                        write(Precision::F32, &mut output[to * words + channel..], &values);
                    } else {
                        write(job.precision, &mut output[to * words + channel / unit..], &values);
                    }
                }
            }
        }
    }
}

/// The sums of sixteen channels of a panel.
fn sums<'a>(
    precision: Precision,
    runs: impl Iterator<Item = &'a [u32]>,
    weights: &[u32],
    lane: usize,
) -> Floats {
    let steps = runs.flatten().zip(weights.chunks_exact(PANEL)).map(|(word, step)| (*word, &step[lane..]));
    if precision == Precision::Int8 {
        let mut sums = [0_i32; LANES];
        for (word, line) in steps {
            let word = word.to_le_bytes();
            for (sum, weight) in sums.iter_mut().zip(line) {
                let weight = weight.to_le_bytes();
                for (a, w) in word.iter().zip(weight) {
                    *sum = sum.wrapping_add(i32::from(*a) * i32::from(w.cast_signed()));
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "rounded as the vector instruction rounds")]
        return sums.map(|sum| sum as f32);
    }
    let mut sums = [0.0; LANES];
    for (word, line) in steps {
        for (sum, weight) in sums.iter_mut().zip(line) {
            if precision == Precision::F32 {
                *sum += f32::from_bits(word) * f32::from_bits(*weight);
            } else {
                let ((a0, a1), (w0, w1)) = (halves(word), halves(*weight));
                *sum += a0 * w0 + a1 * w1;
            }
        }
    }
    sums
}

/// The two bf16 of a word.
fn halves(word: u32) -> (f32, f32) {
    (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000))
}

/// Scale, bias, residual and ReLU. Products and sums are rounded each, as in the vector kernels.
fn finish(job: &Job<'_>, sums: Floats, to: usize, channel: usize) -> Floats {
    let (epilogue, unit) = (&job.epilogue, job.precision.unit());
    let channels = job.panels * PANEL;
    let mut values = sums;
    if !epilogue.scale.is_empty() {
        values.iter_mut().zip(&epilogue.scale[channel..]).for_each(|(v, scale)| *v *= scale);
    }
    values.iter_mut().zip(&epilogue.bias[channel..]).for_each(|(v, bias)| *v += bias);
    let residual = match epilogue.residual {
        Residual::None => None,
        Residual::Wide(from) => Some((read(Precision::F32, &from[to * channels + channel..]), 1.0)),
        Residual::Own(from, scale) => {
            let values = read(job.precision, &from[(to * channels + channel) / unit..]);
            Some((values, if job.precision == Precision::Int8 { scale } else { 1.0 }))
        }
    };
    if let Some((residual, scale)) = residual {
        values.iter_mut().zip(residual).for_each(|(v, r)| *v += r * scale);
    }
    if epilogue.relu {
        values.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { 0.0 });
    }
    values
}

/// Sixteen activations.
fn read(precision: Precision, from: &[u32]) -> Floats {
    std::array::from_fn(|i| match precision {
        Precision::F32 => f32::from_bits(from[i]),
        Precision::Bf16 if i % 2 == 0 => halves(from[i / 2]).0,
        Precision::Bf16 => halves(from[i / 2]).1,
        Precision::Int8 => f32::from(from[i / 4].to_le_bytes()[i % 4]),
    })
}

/// Rounds and stores sixteen activations.
fn write(precision: Precision, to: &mut [u32], values: &Floats) {
    for (word, values) in to.iter_mut().zip(values.chunks_exact(precision.unit())) {
        *word = match *values {
            [a] => a.to_bits(),
            [a, b] => u32::from(bf16_bits(a)) | u32::from(bf16_bits(b)) << 16,
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d].map(byte)),
            _ => *word,
        };
    }
}

/// The nearest integer, halves to even, of a value below 2^22 in size: `round_ties_even`, which is a call of the C
/// library where the target lacks SSE 4.1, in two additions.
pub(in crate::inference::compiled) fn nearest(value: f32) -> f32 {
    /// From here to twice this, floats are the integers.
    const INTEGERS: f32 = 12_582_912.0;
    (value + INTEGERS) - INTEGERS
}

/// The nearest u8, halves to even; NaN is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
pub(in crate::inference::compiled) fn byte(value: f32) -> u8 {
    let value = if value > 0.0 { value } else { 0.0 };
    nearest(value.min(255.0)) as u8
}
