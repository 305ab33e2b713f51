//! The loop that all vector kernels share: a few output positions times a panel of output channels.
//!
//! The generic functions here have no target features of their own. Each kernel file instantiates [`item`] inside a
//! function that has them; everything is inlined into that, so that the accumulators stay in registers.

use super::raw::{ROWS, Raw};
use super::vector::Vector;
use super::{LANES, PANEL};

/// One precision on one instruction set: what to do with a word, a line and 16 sums.
///
/// # Safety of all methods
/// The processor has the instruction set, and pointers are valid for what the method says it reads or writes.
pub(super) trait Kernel {
    /// Sixteen sums, one an output channel.
    type Sums: Copy;
    /// The sums as f32.
    type Floats: Vector;
    /// A line of weights, or a word broadcast to one.
    type Line: Copy;
    /// Channels of a word.
    const UNIT: usize;
    /// Output positions at once, [`ROWS`] at most: as many as there are registers for.
    const POSITIONS: usize = ROWS;

    /// Sums of zero.
    unsafe fn zero() -> Self::Sums;
    /// Sixteen words of weights; 64 bytes, aligned.
    unsafe fn line(weights: *const u32) -> Self::Line;
    /// A word in all 16 places.
    unsafe fn broadcast(word: *const u32) -> Self::Line;
    /// `sums + word · line`.
    unsafe fn dot(sums: Self::Sums, word: Self::Line, line: Self::Line) -> Self::Sums;
    /// A word whose products with the weights are in every position's sums beside its own, if there is one.
    #[inline(always)]
    unsafe fn excess() -> Option<Self::Line> {
        None
    }
    /// `a - b`, where there is an excess.
    #[inline(always)]
    unsafe fn subtract(a: Self::Sums, _b: Self::Sums) -> Self::Sums {
        a
    }
    /// The sums as f32.
    unsafe fn floats(sums: Self::Sums) -> Self::Floats;

    /// Sixteen activations as f32: reads `16 / UNIT` words.
    unsafe fn read(from: *const u32) -> Self::Floats;
    /// Rounds and stores sixteen activations: `16 / UNIT` words.
    unsafe fn write(to: *mut u32, values: Self::Floats);
}

/// Computes output positions `start..end`, counted over all images, of one panel.
///
/// # Safety
/// The processor has `D`'s instructions; `t` is valid for these positions and this panel, and no one else accesses
/// what is written.
#[inline(always)]
pub(super) unsafe fn item<D: Kernel, const K: usize>(t: &Raw, panel: usize, start: usize, end: usize) {
    const { assert!(D::POSITIONS == ROWS || D::POSITIONS == 4) };
    let mut at = Cursor { image: start / t.positions, index: start % t.positions };
    let mut left = end - start;
    // SAFETY: handed on to the caller.
    unsafe {
        while left >= D::POSITIONS {
            // One of the two: the other is not even compiled.
            if D::POSITIONS == ROWS {
                block::<D, ROWS, K>(t, panel, &mut at);
            } else {
                block::<D, 4, K>(t, panel, &mut at);
            }
            left -= D::POSITIONS;
        }
        match left {
            1 => block::<D, 1, K>(t, panel, &mut at),
            2 => block::<D, 2, K>(t, panel, &mut at),
            3 => block::<D, 3, K>(t, panel, &mut at),
            4 => block::<D, 4, K>(t, panel, &mut at),
            5 => block::<D, 5, K>(t, panel, &mut at),
            _ => {}
        }
    }
}

/// An output position.
struct Cursor {
    image: usize,
    index: usize,
}

/// `P` positions of one panel.
#[inline(always)]
unsafe fn block<D: Kernel, const P: usize, const K: usize>(t: &Raw, panel: usize, at: &mut Cursor) {
    let mut sources = [t.input; P];
    let mut targets = [0; P];
    for (source, target) in sources.iter_mut().zip(&mut targets) {
        // SAFETY: the cursor is within the positions for which `t` is valid.
        unsafe {
            let position = at.image * t.input_plane + *t.inputs_at.add(at.index) as usize;
            *source = t.input.add(position * t.input_words);
            *target = at.image * t.output_plane + *t.outputs_at.add(at.index) as usize;
        }
        at.index += 1;
        if at.index == t.positions {
            (at.image, at.index) = (at.image + 1, 0);
        }
    }
    let steps = t.rows * t.run;
    for column in (0..PANEL / LANES).step_by(K) {
        let channel = panel * PANEL + column * LANES;
        // SAFETY: `t` is valid for this panel: `steps * PANEL` words of weights, and the outputs at `targets`.
        unsafe {
            let sums =
                accumulate::<D, P, K>(t, &sources, t.weights.add(panel * steps * PANEL + column * LANES));
            if t.bias.is_null() {
                for (target, row) in targets.iter().zip(&sums) {
                    let to = t.output.add(target * t.output_words + channel);
                    for (k, sums) in row.iter().enumerate() {
                        D::Floats::store(to.add(k * LANES).cast(), D::floats(*sums));
                    }
                }
            } else {
                // Through memory, so that the long code below exists once and not for every accumulator.
                let mut floats = [[[0.0_f32; LANES]; K]; P];
                for (to, row) in floats.iter_mut().zip(&sums) {
                    for (to, sums) in to.iter_mut().zip(row) {
                        D::Floats::store(to.as_mut_ptr(), D::floats(*sums));
                    }
                }
                finish::<D, K>(t, channel, &targets, &floats);
            }
        }
    }
}

/// The sums of `P` positions and `K` lines.
#[inline(always)]
unsafe fn accumulate<D: Kernel, const P: usize, const K: usize>(
    t: &Raw,
    sources: &[*const u32; P],
    weights: *const u32,
) -> [[D::Sums; K]; P] {
    // SAFETY: the caller's: every source has `rows` runs, and there are as many lines.
    unsafe {
        let mut sums = [[D::zero(); K]; P];
        let (excess, mut beyond) = (D::excess(), [D::zero(); K]);
        let mut weights = weights;
        for row in 0..t.rows {
            let mut from = *sources;
            for source in &mut from {
                *source = source.add(row * t.pitch);
            }
            for i in 0..t.run {
                let mut lines = [D::line(weights); K];
                for (k, line) in lines.iter_mut().enumerate().skip(1) {
                    *line = D::line(weights.add(k * LANES));
                }
                if let Some(excess) = excess {
                    for k in 0..K {
                        beyond[k] = D::dot(beyond[k], excess, lines[k]);
                    }
                }
                for p in 0..P {
                    let word = D::broadcast(from[p].add(i));
                    for k in 0..K {
                        sums[p][k] = D::dot(sums[p][k], word, lines[k]);
                    }
                }
                weights = weights.add(PANEL);
            }
        }
        if excess.is_some() {
            for row in &mut sums {
                for k in 0..K {
                    row[k] = D::subtract(row[k], beyond[k]);
                }
            }
        }
        sums
    }
}

/// Scale, bias, residual and ReLU, and the store.
///
/// # Safety
/// The processor has `D`'s instructions; bias, scale, residual and output cover the channels and the targets.
#[inline(always)]
pub(super) unsafe fn finish<D: Kernel, const K: usize>(
    t: &Raw,
    channel: usize,
    targets: &[usize],
    floats: &[[[f32; LANES]; K]],
) {
    for k in 0..K {
        let channel = channel + k * LANES;
        // SAFETY: the caller's: bias, scale, residual and output cover this channel and these targets.
        unsafe {
            let bias = D::Floats::load(t.bias.add(channel));
            for (target, row) in targets.iter().zip(floats) {
                let mut v = D::Floats::load(row[k].as_ptr());
                if !t.scale.is_null() {
                    v = D::Floats::mul(v, D::Floats::load(t.scale.add(channel)));
                }
                v = D::Floats::add(v, bias);
                if !t.residual.is_null() {
                    v = D::Floats::add(v, residual::<D>(t, *target, channel));
                }
                if t.relu {
                    v = D::Floats::relu(v);
                }
                let to = t.output.add(target * t.output_words);
                if t.wide {
                    D::Floats::store(to.add(channel).cast(), v);
                } else {
                    D::write(to.add(channel / D::UNIT), v);
                }
            }
        }
    }
}

/// The residual of sixteen channels of an output position, scaled.
#[inline(always)]
pub(super) unsafe fn residual<D: Kernel>(t: &Raw, target: usize, channel: usize) -> D::Floats {
    // SAFETY: the caller's: the residual covers this channel and this target.
    unsafe {
        let from = t.residual.add(target * t.residual_words);
        if t.residual_wide {
            D::Floats::load(from.add(channel).cast())
        } else {
            let v = D::read(from.add(channel / D::UNIT));
            if D::UNIT == 4 { D::Floats::mul(v, D::Floats::splat(t.residual_scale)) } else { v }
        }
    }
}
