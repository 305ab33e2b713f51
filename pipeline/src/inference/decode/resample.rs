//! Resampling with the very result of Pillow's `Image.resize` for RGB, as it is up to version 12.
//!
//! An output pixel is a weighted mean of the input pixels around its centre, first along x, then along y, each time
//! rounded to bytes. The weights are a filter's values at the distances of the pixels' centres, which lie at +0.5, stretched
//! by the scale when an image shrinks (so that every input pixel counts), normalised to a sum of 1 and rounded to 22
//! binary places: a product with a byte and a sign bit then still fit into 32 bits.
//!
//! Only what is kept is computed: the taps of the pixels inside the window, the rows and columns that they read. An
//! orientation costs nothing, because it needs no copy: a mirrored axis has its taps mirrored, and where axes are exchanged the first pass,
//! which is along the shown x, runs along the stored y.

use super::orientation::Orientation;
use super::resize::{Axis, Filter, Plan};
use std::f64::consts::PI;
use std::ops::Range;

/// Bytes of a pixel.
const RGB: usize = 3;
/// Binary places of a weight.
const PLACES: u32 = 32 - 8 - 2;
/// Pixels that the pass along rows reads together: their bytes are a whole number of vectors of 8.
const TOGETHER: usize = 8;
/// Bytes of columns that the other pass sums up together.
const COLUMNS: usize = 64;

/// Decoded pixels: u8 `[height, width, 3]`, RGB, rows from the top, as they are stored in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pixels {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) data: Vec<u8>,
}

/// The pixels of the plan's input size, u8 `[height, width, 3]`, of stored ones. `plan` is about the image as it is shown:
/// the sizes of its axes are those of `stored`, exchanged where the orientation is transposed.
pub(super) fn resample(stored: Pixels, orientation: Orientation, plan: &Plan) -> Vec<u8> {
    let [x, y] = plan.axes;
    if orientation == Orientation::default() && x.is_identity() && y.is_identity() {
        return stored.data;
    }
    let taps = |axis: Axis, mirrored| Taps::new(plan.filter, axis, mirrored);
    let (x_taps, y_taps) = (taps(x, orientation.mirrored[0]), taps(y, orientation.mirrored[1]));
    let Pixels { width, height, data } = stored;
    let kept = if orientation.transposed {
        let columns = y_taps.reads();
        let shown_rows = y_taps.from(columns.start);
        let first = along_columns(&data, width, columns.clone(), &x_taps);
        drop(data);
        transposed(&along_rows(&first, columns.len(), 0..x_taps.len(), &shown_rows), y_taps.len())
    } else {
        let rows = y_taps.reads();
        let shown_rows = y_taps.from(rows.start);
        let first = along_rows(&data, width, rows.clone(), &x_taps);
        drop(data);
        let _ = height;
        along_columns(&first, x_taps.len(), 0..x_taps.len(), &shown_rows)
    };
    on_black(kept, x, y)
}

/// The weights of the kept pixels of one axis. Pixel `i` reads the stored pixels from `first[i]` on, as many as it has
/// weights: `width` of them each, the rest of them 0.
#[derive(Debug, Clone)]
struct Taps {
    first: Vec<usize>,
    width: usize,
    weights: Vec<i32>,
}

impl Taps {
    #[expect(clippy::cast_precision_loss, reason = "pixels, below 2^33")]
    fn new(filter: Filter, axis: Axis, mirrored: bool) -> Self {
        let Axis { size, scaled, .. } = axis;
        let size_f = f64::from(size);
        let scale = size_f / f64::from(scaled);
        // An image that grows is interpolated: the filter keeps its own width.
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let per_pixel = 1.0 / stretch;
        let size = size as usize;
        let mut all: Vec<(usize, Vec<f64>)> = Vec::new();
        for at in kept(axis) {
            let centre = (at as f64 + 0.5) * scale;
            let begin = whole(centre - support + 0.5);
            let end = whole(centre + support + 0.5).min(size);
            let mut weights: Vec<f64> =
                (begin..end).map(|i| filter.at((i as f64 - centre + 0.5) * per_pixel)).collect();
            let sum: f64 = weights.iter().sum();
            if sum != 0.0 {
                for weight in &mut weights {
                    *weight /= sum;
                }
            }
            if mirrored {
                weights.reverse();
                all.push((size - end.max(begin), weights));
            } else {
                all.push((begin, weights));
            }
        }
        let most = all.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        // A row is read in whole vectors where it is long enough.
        let padded = most.next_multiple_of(TOGETHER);
        let width = if padded <= size { padded } else { most };
        let mut taps =
            Self { first: Vec::with_capacity(all.len()), width, weights: vec![0; all.len() * width] };
        for ((begin, weights), to) in all.iter().zip(taps.weights.chunks_exact_mut(width.max(1))) {
            let first = (*begin).min(size - width);
            taps.first.push(first);
            for (to, weight) in to[begin - first..].iter_mut().zip(weights) {
                *to = fixed(*weight);
            }
        }
        taps
    }

    fn len(&self) -> usize {
        self.first.len()
    }

    /// The stored pixels that are read.
    fn reads(&self) -> Range<usize> {
        let begin = self.first.iter().min().copied().unwrap_or(0);
        begin..self.first.iter().max().map_or(begin, |last| last + self.width)
    }

    /// The same taps, counted from `begin` on.
    fn from(&self, begin: usize) -> Self {
        Self { first: self.first.iter().map(|first| first - begin).collect(), ..self.clone() }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.first.iter().copied().zip(self.weights.chunks_exact(self.width.max(1)))
    }
}

/// The pixels of the scaled axis that are kept.
fn kept(axis: Axis) -> Range<i64> {
    axis.start.max(0)..(axis.start + i64::from(axis.input)).min(i64::from(axis.scaled))
}

/// A position, rounded down, and not before the first pixel.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "below 2^33, and a negative one is 0"
)]
fn whole(at: f64) -> usize {
    at as usize
}

/// A weight with [`PLACES`] binary places, rounded half away from zero.
#[expect(clippy::cast_possible_truncation, reason = "at most 2 in amount")]
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1_u32 << PLACES) + 0.5_f64.copysign(weight)) as i32
}

/// A sum of weighted bytes, rounded to a byte.
#[inline(always)]
#[expect(clippy::cast_sign_loss, clippy::inline_always, reason = "clamped; in the loops of both passes")]
fn byte(sum: i32) -> u8 {
    (sum.wrapping_add(1 << (PLACES - 1)) >> PLACES).clamp(0, 255) as u8
}

/// The pass along the rows `rows` of an image that is `width` pixels wide: as many rows, `taps.len()` pixels wide.
fn along_rows(data: &[u8], width: usize, rows: Range<usize>, taps: &Taps) -> Vec<u8> {
    let mut out = vec![0; rows.len() * taps.len() * RGB];
    if out.is_empty() {
        return out;
    }
    // A weight for each byte: three equal ones in a row.
    let weights: Vec<i32> = taps.weights.iter().flat_map(|weight| [*weight; RGB]).collect();
    let data = &data[rows.start * width * RGB..rows.end * width * RGB];
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, out) in data.chunks_exact(width * RGB).zip(out.chunks_exact_mut(taps.len() * RGB)) {
                along_row(row, out, &taps.first, &weights, taps.width * RGB);
            }
        },
    );
    out
}

#[inline(always)]
fn along_row(row: &[u8], out: &mut [u8], first: &[usize], weights: &[i32], bytes: usize) {
    const LANES: usize = TOGETHER * RGB;
    for ((pixel, first), weights) in
        out.as_chunks_mut::<RGB>().0.iter_mut().zip(first).zip(weights.chunks_exact(bytes))
    {
        let window = &row[first * RGB..first * RGB + bytes];
        let mut lanes = [0_i32; LANES];
        let (whole_window, window_rest) = window.as_chunks::<LANES>();
        let (whole_weights, weights_rest) = weights.as_chunks::<LANES>();
        for (window, weights) in whole_window.iter().zip(whole_weights) {
            for ((lane, byte), weight) in lanes.iter_mut().zip(window).zip(weights) {
                *lane = lane.wrapping_add(i32::from(*byte).wrapping_mul(*weight));
            }
        }
        for ((lane, byte), weight) in lanes.iter_mut().zip(window_rest).zip(weights_rest) {
            *lane = lane.wrapping_add(i32::from(*byte).wrapping_mul(*weight));
        }
        for (channel, to) in pixel.iter_mut().enumerate() {
            let sum =
                lanes.iter().skip(channel).step_by(RGB).fold(0_i32, |sum, lane| sum.wrapping_add(*lane));
            *to = byte(sum);
        }
    }
}

/// The pass along the columns `columns` of an image that is `width` pixels wide: `taps.len()` rows of as many pixels.
fn along_columns(data: &[u8], width: usize, columns: Range<usize>, taps: &Taps) -> Vec<u8> {
    let mut out = vec![0; columns.len() * taps.len() * RGB];
    if out.is_empty() {
        return out;
    }
    let columns = columns.start * RGB..columns.end * RGB;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for ((first, weights), out) in taps.iter().zip(out.chunks_exact_mut(columns.len())) {
                let rows = &data[first * width * RGB..(first + weights.len()) * width * RGB];
                let rows = || rows.chunks_exact(width * RGB).map(|row| &row[columns.clone()]).zip(weights);
                let whole = out.len() / COLUMNS * COLUMNS;
                for (block, out) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
                    let mut sums = [0_i32; COLUMNS];
                    for (row, weight) in rows() {
                        let row = &row[block * COLUMNS..(block + 1) * COLUMNS];
                        for (sum, byte) in sums.iter_mut().zip(row) {
                            *sum = sum.wrapping_add(i32::from(*byte).wrapping_mul(*weight));
                        }
                    }
                    for (to, sum) in out.iter_mut().zip(sums) {
                        *to = byte(sum);
                    }
                }
                for (column, to) in out.iter_mut().enumerate().skip(whole) {
                    let product = |(row, weight): (&[u8], &i32)| i32::from(row[column]).wrapping_mul(*weight);
                    *to = byte(rows().map(product).fold(0, i32::wrapping_add));
                }
            }
        },
    );
    out
}

/// An image, whose rows have `width` pixels, with its axes exchanged.
fn transposed(data: &[u8], width: usize) -> Vec<u8> {
    let pixels = data.as_chunks::<RGB>().0;
    (0..width).flat_map(|x| pixels.iter().skip(x).step_by(width)).flatten().copied().collect()
}

/// The kept pixels in an image of the input's size, black around them where they are fewer.
fn on_black(kept_pixels: Vec<u8>, x: Axis, y: Axis) -> Vec<u8> {
    let (columns, rows) = (kept(x), kept(y));
    let input = (x.input as usize, y.input as usize);
    if kept_pixels.len() == input.0 * input.1 * RGB {
        return kept_pixels;
    }
    let before = |axis: Axis| usize::try_from(-axis.start).unwrap_or(0);
    let mut out = vec![0; input.0 * input.1 * RGB];
    let width = usize::try_from(columns.end - columns.start).unwrap_or(0) * RGB;
    let count = usize::try_from(rows.end - rows.start).unwrap_or(0);
    if width > 0 {
        let to = out.chunks_exact_mut(input.0 * RGB).skip(before(y)).take(count);
        for (row, out) in kept_pixels.chunks_exact(width).zip(to) {
            out[before(x) * RGB..][..width].copy_from_slice(row);
        }
    }
    out
}

impl Filter {
    /// How far from its centre a filter reaches, in output pixels.
    const fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The value at a distance from the centre, in output pixels.
    fn at(self, x: f64) -> f64 {
        let distance = x.abs();
        match self {
            // Of two edges of a pixel one belongs to it.
            Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - distance).max(0.0),
            Self::Hamming if distance == 0.0 => 1.0,
            Self::Hamming if distance >= 1.0 => 0.0,
            Self::Hamming => {
                let (sin, cos) = (distance * PI).sin_cos();
                // Pillow has these two numbers in single precision.
                sin / (distance * PI) * (f64::from(0.54_f32) + f64::from(0.46_f32) * cos)
            }
            // Keys 1981, equation 15, with a = -1/2.
            Self::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
            Self::Bicubic if distance < 2.0 => (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Bicubic | Self::Lanczos => 0.0,
        }
    }
}

/// sin(πx) / πx.
fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

#[cfg(test)]
#[path = "resample_tests.rs"]
mod tests;
