//! The two ends of the network: pixels to the first buffer, and the last buffer to logits; and the max-pool.

use super::plan::Buffer;
use super::simd::{bf16_bits, bf16_value};
use crate::inference::model::ModelInfo;
use crate::inference::network::Linear;
use crate::inference::precision::Precision;

/// What a byte of a pixel is as an activation, per channel: the bits of a word or of half a word.
#[derive(Debug, Clone)]
pub(super) struct Normalise {
    precision: Precision,
    tables: Vec<[u32; 256]>,
}

impl Normalise {
    /// `(byte / 255 − mean) / std`; int8 takes the byte as it is.
    pub(super) fn new(info: &ModelInfo, precision: Precision) -> Self {
        let table = |channel: usize| {
            std::array::from_fn(|byte| {
                let value = (byte as f32 / 255.0 - info.mean[channel]) / info.std[channel];
                match precision {
                    Precision::F32 => value.to_bits(),
                    Precision::Bf16 => u32::from(bf16_bits(value)),
                    Precision::Int8 => byte as u32,
                }
            })
        };
        Self { precision, tables: (0..3).map(table).collect() }
    }

    /// Fills the first buffer with images, `pixels` u8 `[n, height, width, 3]`.
    pub(super) fn fill(&self, pixels: &[u8], buffer: &Buffer, to: &mut [u32]) {
        let (plane, words) = (buffer.plane, buffer.words);
        let [red, green, blue] = &self.tables[..] else { return };
        for (row, pixels) in pixels.chunks_exact(plane.width * 3).enumerate() {
            let (image, y) = (row / plane.height, row % plane.height);
            let start = (image * plane.positions() + plane.at(y, 0)) * words;
            let to = &mut to[start..start + plane.width * words];
            for (to, pixel) in to.chunks_exact_mut(words).zip(pixels.chunks_exact(3)) {
                let (r, g, b) = (red[pixel[0] as usize], green[pixel[1] as usize], blue[pixel[2] as usize]);
                match (self.precision, to) {
                    (Precision::F32, [x, y, z]) => (*x, *y, *z) = (r, g, b),
                    (Precision::Bf16, [x, y]) => (*x, *y) = (r | g << 16, b),
                    (Precision::Int8, [x]) => *x = r | g << 8 | b << 16,
                    _ => {}
                }
            }
        }
    }
}

/// What of the images in the last buffer is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Head<'a> {
    /// The mean over all positions: a number a channel.
    Features {
        /// How many channels there are.
        channels: usize,
    },
    /// That mean and then the matrix: a number a class.
    Logits(&'a Linear),
}

impl Head<'_> {
    /// Numbers of an image.
    pub(super) fn width(self) -> usize {
        match self {
            Self::Features { channels } => channels,
            Self::Logits(fc) => fc.bias.len(),
        }
    }
}

/// What `head` asks for of the images in the last buffer: `answers` is `[n, width]`.
pub(super) fn answer(
    (precision, buffer, from): (Precision, &Buffer, &[u32]),
    head: Head<'_>,
    answers: &mut [f32],
) {
    let plane = buffer.plane;
    let mut mean = vec![0.0_f32; buffer.words * precision.unit()];
    let images = from.chunks_exact(plane.positions() * buffer.words);
    let share = buffer.scale / (plane.height * plane.width) as f32;
    for (image, answer) in images.zip(answers.chunks_exact_mut(head.width().max(1))) {
        mean.fill(0.0);
        for y in 0..plane.height {
            let row = &image[plane.at(y, 0) * buffer.words..][..plane.width * buffer.words];
            for position in row.chunks_exact(buffer.words) {
                add(precision, position, &mut mean);
            }
        }
        mean.iter_mut().for_each(|m| *m *= share);
        match head {
            // Behind the channels the mean has those that fill the last word.
            Head::Features { .. } => answer.iter_mut().zip(&mean).for_each(|(to, from)| *to = *from),
            Head::Logits(fc) => classify(&mean, fc, answer),
        }
    }
}

/// The logits of an image whose features are the first of `mean`.
fn classify(mean: &[f32], fc: &Linear, logits: &mut [f32]) {
    let channels = fc.weight.len() / fc.bias.len().max(1);
    let rows = fc.weight.chunks_exact(channels.max(1)).zip(&fc.bias);
    for (logit, (row, bias)) in logits.iter_mut().zip(rows) {
        // Sixteen partial sums, so that it can be done in vectors.
        let mut sums = [0.0_f32; 16];
        for (w, m) in row.chunks(16).zip(mean.chunks(16)) {
            sums.iter_mut().zip(w).zip(m).for_each(|((sum, w), m)| *sum += w * m);
        }
        *logit = bias + sums.iter().sum::<f32>();
    }
}

fn add(precision: Precision, words: &[u32], sums: &mut [f32]) {
    match precision {
        Precision::F32 => sums.iter_mut().zip(words).for_each(|(sum, word)| *sum += f32::from_bits(*word)),
        Precision::Bf16 => {
            for (sums, word) in sums.chunks_exact_mut(2).zip(words) {
                sums[0] += bf16_value(*word as u16);
                sums[1] += bf16_value((*word >> 16) as u16);
            }
        }
        Precision::Int8 => {
            for (sums, word) in sums.chunks_exact_mut(4).zip(words) {
                sums.iter_mut().zip(word.to_le_bytes()).for_each(|(sum, byte)| *sum += f32::from(byte));
            }
        }
    }
}

/// A 3×3 max-pool with stride 2 and padding 1, of activations that are not negative.
pub(super) fn pool(
    precision: Precision,
    images: usize,
    (source, from): (&Buffer, &[u32]),
    (target, to): (&Buffer, &mut [u32]),
) {
    let words = source.words;
    for image in 0..images {
        let from = &from[image * source.plane.positions() * words..];
        for y in 0..target.plane.height {
            for x in 0..target.plane.width {
                let at = (image * target.plane.positions() + target.plane.at(y, x)) * words;
                let to = &mut to[at..at + words];
                to.fill(0);
                for row in 0..3 {
                    let at = source.plane.at(2 * y, 2 * x) - source.plane.columns() - 1;
                    let run = &from[(at + row * source.plane.columns()) * words..][..3 * words];
                    for position in run.chunks_exact(words) {
                        to.iter_mut().zip(position).for_each(|(a, b)| *a = larger(precision, *a, *b));
                    }
                }
            }
        }
    }
}

/// The larger of each activation of two words. Floats that are not negative compare as their bits do.
fn larger(precision: Precision, a: u32, b: u32) -> u32 {
    match precision {
        Precision::F32 => a.max(b),
        Precision::Bf16 => (a & 0xffff).max(b & 0xffff) | (a & 0xffff_0000).max(b & 0xffff_0000),
        Precision::Int8 => {
            let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
            u32::from_le_bytes(std::array::from_fn(|i| a[i].max(b[i])))
        }
    }
}
