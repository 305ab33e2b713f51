//! Winograd's transforms of the activations, sixteen channels at a time.
//!
//! `N` is the edge of an input tile; the output tile's is `N - 2`. The matrices are those of Lavin and Gray 2015
//! ("Fast Algorithms for Convolutional Neural Networks", section 4): points 0, ±1, ∞ for `N` = 4, and ±2 more for 6.

use super::LANES;
use super::raw::Block;
use super::tile::{Kernel, residual};
use super::vector::Vector;

/// `Bᵀ x`.
#[inline(always)]
unsafe fn input<V: Vector, const N: usize>(x: &[V; N]) -> [V; N] {
    // SAFETY: the caller's: the processor has the instructions.
    unsafe {
        let mut y = *x;
        if N == 4 {
            y[0] = V::sub(x[0], x[2]);
            y[1] = V::add(x[1], x[2]);
            y[2] = V::sub(x[2], x[1]);
            y[3] = V::sub(x[1], x[3]);
        } else {
            let (two, four) = (V::splat(2.0), V::splat(4.0));
            let (minus_four, minus_five) = (V::splat(-4.0), V::splat(-5.0));
            let (even, odd) = (V::mul_add(minus_four, x[2], x[4]), V::mul_add(minus_four, x[1], x[3]));
            let (near, far) = (V::sub(x[4], x[2]), V::mul(two, V::sub(x[3], x[1])));
            y[0] = V::mul_add(four, x[0], V::mul_add(minus_five, x[2], x[4]));
            y[1] = V::add(even, odd);
            y[2] = V::sub(even, odd);
            y[3] = V::add(near, far);
            y[4] = V::sub(near, far);
            y[5] = V::mul_add(four, x[1], V::mul_add(minus_five, x[3], x[5]));
        }
        y
    }
}

/// `Aᵀ x`; the last two are not meaningful.
#[inline(always)]
unsafe fn output<V: Vector, const N: usize>(x: &[V; N]) -> [V; N] {
    // SAFETY: the caller's: the processor has the instructions.
    unsafe {
        let mut y = *x;
        let (sum, difference) = (V::add(x[1], x[2]), V::sub(x[1], x[2]));
        if N == 4 {
            y[0] = V::add(x[0], sum);
            y[1] = V::sub(difference, x[3]);
        } else {
            let (far, apart) = (V::add(x[3], x[4]), V::sub(x[3], x[4]));
            y[0] = V::add(V::add(x[0], sum), far);
            y[1] = V::mul_add(V::splat(2.0), apart, difference);
            y[2] = V::mul_add(V::splat(4.0), far, sum);
            y[3] = V::add(V::mul_add(V::splat(8.0), apart, difference), x[5]);
        }
        y
    }
}

/// `V` of tiles `start..end` of a block.
///
/// # Safety
/// The processor has `D`'s instructions, and `b` is valid for these tiles.
#[inline(always)]
pub(super) unsafe fn forth<D: Kernel, const N: usize>(b: &Block, start: usize, end: usize) {
    let (plane, words) = (b.input_plane, b.raw.input_words);
    let across = b.output_plane.width.div_ceil(N - 2);
    let per_image = across * b.output_plane.height.div_ceil(N - 2);
    for tile in start..end {
        let (image, index) = ((b.first + tile) / per_image, (b.first + tile) % per_image);
        let (y, x) = (index / across * (N - 2), index % across * (N - 2));
        let corner = plane.at(y, x) - plane.columns() - 1;
        for channel in (0..b.inputs).step_by(LANES) {
            let word = channel / D::UNIT;
            // SAFETY: the tile lies in the input's plane, and the scratch has a row for it.
            unsafe {
                let from = b.raw.input.add((image * b.raw.input_plane + corner) * words + word);
                let mut half = [[D::Floats::splat(0.0); N]; N];
                for (i, half) in half.iter_mut().enumerate() {
                    let row = from.add(i * plane.columns() * words);
                    let mut x = [D::Floats::splat(0.0); N];
                    for (j, x) in x.iter_mut().enumerate() {
                        *x = D::read(row.add(j * words));
                    }
                    *half = input(&x);
                }
                let to = b.transformed.add(tile * words + word);
                for j in 0..N {
                    let mut x = [D::Floats::splat(0.0); N];
                    for (x, half) in x.iter_mut().zip(&half) {
                        *x = half[j];
                    }
                    for (i, y) in input(&x).into_iter().enumerate() {
                        D::write(to.add((i * N + j) * b.transformed_pitch), y);
                    }
                }
            }
        }
    }
}

/// The output of tiles `start..end` of a block, from `M`.
///
/// # Safety
/// The processor has `D`'s instructions, and `b` is valid for these tiles.
#[inline(always)]
pub(super) unsafe fn back<D: Kernel, const N: usize>(b: &Block, start: usize, end: usize) {
    let plane = b.output_plane;
    let across = plane.width.div_ceil(N - 2);
    let per_image = across * plane.height.div_ceil(N - 2);
    for tile in start..end {
        let (image, index) = ((b.first + tile) / per_image, (b.first + tile) % per_image);
        let (y, x) = (index / across * (N - 2), index % across * (N - 2));
        for channel in (0..b.outputs).step_by(LANES) {
            // SAFETY: the scratch has a row for the tile, and only positions inside the plane are written.
            unsafe {
                let from = b.products.add(tile * b.outputs + channel).cast::<f32>();
                let mut half = [[D::Floats::splat(0.0); N]; N];
                for (i, half) in half.iter_mut().enumerate() {
                    let mut x = [D::Floats::splat(0.0); N];
                    for (j, x) in x.iter_mut().enumerate() {
                        *x = D::Floats::load(from.add((i * N + j) * b.products_pitch));
                    }
                    *half = output(&x);
                }
                let bias = D::Floats::load(b.raw.bias.add(channel));
                for j in 0..(N - 2).min(plane.width - x) {
                    let mut column = [D::Floats::splat(0.0); N];
                    for (x, half) in column.iter_mut().zip(&half) {
                        *x = half[j];
                    }
                    let column = output(&column);
                    for (i, v) in column.into_iter().enumerate().take((N - 2).min(plane.height - y)) {
                        let target = image * b.raw.output_plane + plane.at(y + i, x + j);
                        let mut v = D::Floats::add(v, bias);
                        if !b.raw.residual.is_null() {
                            v = D::Floats::add(v, residual::<D>(&b.raw, target, channel));
                        }
                        if b.raw.relu {
                            v = D::Floats::relu(v);
                        }
                        D::write(b.raw.output.add(target * b.raw.output_words + channel / D::UNIT), v);
                    }
                }
            }
        }
    }
}
