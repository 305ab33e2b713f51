//! The loop over AMX's tiles: 32 output positions times 32 output channels, 16 words of input a step.
//!
//! The weights are packed as the instructions want them: 16 words of input times 16 output channels are a tile of 16
//! rows. A tile of activations has a row for each of 16 output positions. Where those lie evenly in memory (16
//! neighbours of one row of the image, whole tiles of channels) it is loaded in place; elsewhere the words of the 16
//! positions are copied together first. Four tiles hold sums, two hold activations and two weights, so that each load serves
//! two products.
//!
//! What happens to the sums is the other kernels' code ([`finish`]); it runs one pair of columns behind, so that the processor
//! has products to work on meanwhile. The loop is generic over the instructions: tests run it over a model of them.

use super::raw::{Raw, TILES};
use super::tile::{Kernel, finish};
use super::{LANES, PANEL, Words};
use std::cell::Cell;

/// Rows of a tile, and its columns in words.
const EDGE: usize = 16;

/// Words of a tile.
const TILE: usize = EDGE * EDGE;

/// The tile instructions on eight registers of 16 rows of 64 bytes; a value exists while they are configured.
///
/// # Safety of all methods
/// The processor has the instructions, the process may use them, and `from` and `to` are valid for 16 rows of 64 bytes,
/// `pitch` bytes apart.
pub(super) trait Tiles {
    /// Configures the registers of this thread, until the value is dropped.
    unsafe fn open() -> Self;
    /// Register `T` becomes zero.
    unsafe fn zero<const T: usize>(&mut self);
    /// Register `T` from memory.
    unsafe fn load<const T: usize>(&mut self, from: *const u32, pitch: usize);
    /// Register `T` to memory.
    unsafe fn store<const T: usize>(&mut self, to: *mut u32, pitch: usize);
    /// Adds to row m, column n of register `C`, over all words k, the product of row m's word k of register `A` with column n
    /// of row k of register `B`; a product of words is that of the bytes u8 × i8, or of the bf16 in them.
    unsafe fn dot<const C: usize, const A: usize, const B: usize>(&mut self);
}

/// Activations of 16 output positions, or a copy of them.
#[derive(Clone, Copy)]
struct Rows {
    /// The first tile.
    at: *const u32,
    /// Bytes from one position to the next.
    pitch: usize,
    /// Words from a tile to the next in a run, and from behind a run to the next one.
    next: usize,
    skip: usize,
}

/// Sums of a pair of columns, until they are finished.
#[repr(C, align(64))]
struct Sums {
    floats: [[[f32; LANES]; 2]; TILES],
    targets: [usize; TILES],
    count: usize,
    channel: usize,
}

impl Sums {
    const EMPTY: Self =
        Self { floats: [[[0.0; LANES]; 2]; TILES], targets: [0; TILES], count: 0, channel: 0 };
}

/// The last rows of a panel's weights, filled up with zeros.
#[repr(C, align(64))]
struct Last([u32; EDGE * PANEL]);

thread_local! {
    /// Copied activations: kept, since each thread needs as much again and again.
    static COPIES: Cell<Words> = Cell::new(Words::default());
}

/// Computes output positions `start..end`, counted over all images, of one panel.
///
/// # Safety
/// The processor has the instructions of `T` and of `D`; `t` is valid for these positions and this panel, it has a bias,
/// and no one else accesses what is written.
#[inline(always)]
pub(super) unsafe fn item<T: Tiles, D: Kernel>(t: &Raw, panel: usize, start: usize, end: usize) {
    let steps = t.rows * t.run;
    let (whole, tail) = (steps / EDGE, steps % EDGE);
    let mut copies = COPIES.take();
    copies.grow(2 * steps.next_multiple_of(EDGE) * EDGE, 0);
    let mut last = Last([0; EDGE * PANEL]);
    let mut sums = [Sums::EMPTY, Sums::EMPTY];
    let mut turn = 0;
    // SAFETY: the caller's for the instructions. The panel has `steps` rows of weights, of which `tail` are copied;
    // `copies` has room for two times 16 positions.
    unsafe {
        let mut tiles = T::open();
        let weights = t.weights.add(panel * steps * PANEL);
        std::ptr::copy_nonoverlapping(weights.add(whole * EDGE * PANEL), last.0.as_mut_ptr(), tail * PANEL);
        let mut first = start;
        while first < end {
            let count = (end - first).min(TILES);
            let copies = copies.as_mut_slice().as_mut_ptr();
            let (sources, targets) = positions(t, first, count);
            let upper = rows(t, &sources[..count.min(EDGE)], copies);
            let lower = match count.checked_sub(EDGE) {
                Some(more @ 1..) => Some(rows(
                    t,
                    &sources[EDGE..EDGE + more],
                    copies.add(steps.next_multiple_of(EDGE) * EDGE),
                )),
                _ => None,
            };
            for pair in 0..PANEL / LANES / 2 {
                let column = pair * 2 * LANES;
                let to = &mut sums[turn];
                let (weights, last) = (weights.add(column), last.0.as_ptr().add(column));
                products(&mut tiles, t, (upper, lower), weights, last, to.floats.as_mut_ptr().cast());
                (to.targets, to.count, to.channel) = (targets, count, panel * PANEL + column);
                turn = 1 - turn;
                settle::<D>(t, &mut sums[turn]);
            }
            first += count;
        }
        settle::<D>(t, &mut sums[1 - turn]);
    }
    COPIES.set(copies);
}

/// For `count` output positions from `first`: where the input starts, and where the output is.
#[inline(always)]
unsafe fn positions(t: &Raw, first: usize, count: usize) -> ([*const u32; TILES], [usize; TILES]) {
    let (mut sources, mut targets) = ([t.input; TILES], [0; TILES]);
    let (mut image, mut index) = (first / t.positions, first % t.positions);
    for (source, target) in sources.iter_mut().zip(&mut targets).take(count) {
        // SAFETY: the caller's: `t` is valid for these positions.
        unsafe {
            let position = image * t.input_plane + *t.inputs_at.add(index) as usize;
            *source = t.input.add(position * t.input_words);
            *target = image * t.output_plane + *t.outputs_at.add(index) as usize;
        }
        index += 1;
        if index == t.positions {
            (image, index) = (image + 1, 0);
        }
    }
    (sources, targets)
}

/// The activations of at most 16 positions: in place where they can be loaded so, else copied to `copies`.
#[inline(always)]
unsafe fn rows(t: &Raw, sources: &[*const u32], copies: *mut u32) -> Rows {
    let bytes = |i: usize| (sources[i] as usize).wrapping_sub(sources[0] as usize);
    if sources.len() == EDGE && t.run.is_multiple_of(EDGE) {
        let pitch = bytes(1);
        if (2..EDGE).all(|i| bytes(i) == i.wrapping_mul(pitch)) {
            return Rows { at: sources[0], pitch, next: EDGE, skip: t.pitch - t.run };
        }
    }
    for (row, source) in sources.iter().enumerate() {
        // SAFETY: the caller's: each source has `rows` runs, and `copies` room for 16 positions of whole tiles.
        unsafe { copy(t, *source, copies.add(row * EDGE)) }
    }
    Rows { at: copies, pitch: 4 * EDGE, next: TILE, skip: 0 }
}

/// Copies all runs of an output position to its row of successive tiles, and zeros up to a whole tile.
#[inline(always)]
unsafe fn copy(t: &Raw, source: *const u32, to: *mut u32) {
    // SAFETY: the caller's: `source` has `rows` runs; `to` is a row of as many tiles as they fill.
    unsafe {
        if t.run.is_multiple_of(EDGE) {
            let mut to = to;
            for row in 0..t.rows {
                let from = source.add(row * t.pitch);
                for word in (0..t.run).step_by(EDGE) {
                    std::ptr::copy_nonoverlapping(from.add(word), to, EDGE);
                    to = to.add(TILE);
                }
            }
            return;
        }
        let place = |word: usize| to.add(word / EDGE * TILE + word % EDGE);
        let mut word = 0;
        for row in 0..t.rows {
            let from = source.add(row * t.pitch);
            for i in 0..t.run {
                *place(word) = *from.add(i);
                word += 1;
            }
        }
        while !word.is_multiple_of(EDGE) {
            *place(word) = 0;
            word += 1;
        }
    }
}

/// The sums of 16 or 32 positions and a pair of columns, to `to`: 32 words a position.
///
/// Rows that belong to no position have the sums of whatever was copied there before. No other row sees them.
#[inline(always)]
unsafe fn products<T: Tiles>(
    tiles: &mut T,
    t: &Raw,
    (mut upper, lower): (Rows, Option<Rows>),
    mut weights: *const u32,
    last: *const u32,
    to: *mut u32,
) {
    const PITCH: usize = 4 * 2 * LANES;
    let steps = t.rows * t.run;
    // Runs of whole tiles are gone through as they lie in memory. Others have been copied, one behind the other.
    let (runs, run) = if t.run.is_multiple_of(EDGE) { (t.rows, t.run / EDGE) } else { (1, steps / EDGE) };
    // SAFETY: the caller's: both rows have `steps` words, and so many rows of weights there are; `last` has 16 rows.
    unsafe {
        tiles.zero::<0>();
        tiles.zero::<1>();
        if let Some(mut lower) = lower {
            tiles.zero::<2>();
            tiles.zero::<3>();
            for _ in 0..runs {
                for _ in 0..run {
                    step2(tiles, upper, lower, weights);
                    upper.at = upper.at.add(upper.next);
                    lower.at = lower.at.add(lower.next);
                    weights = weights.add(EDGE * PANEL);
                }
                upper.at = upper.at.wrapping_add(upper.skip);
                lower.at = lower.at.wrapping_add(lower.skip);
            }
            if !steps.is_multiple_of(EDGE) {
                step2(tiles, upper, lower, last);
            }
            tiles.store::<0>(to, PITCH);
            tiles.store::<1>(to.add(LANES), PITCH);
            tiles.store::<2>(to.add(EDGE * 2 * LANES), PITCH);
            tiles.store::<3>(to.add(EDGE * 2 * LANES + LANES), PITCH);
        } else {
            for _ in 0..runs {
                for _ in 0..run {
                    step1(tiles, upper, weights);
                    upper.at = upper.at.add(upper.next);
                    weights = weights.add(EDGE * PANEL);
                }
                upper.at = upper.at.wrapping_add(upper.skip);
            }
            if !steps.is_multiple_of(EDGE) {
                step1(tiles, upper, last);
            }
            tiles.store::<0>(to, PITCH);
            tiles.store::<1>(to.add(LANES), PITCH);
        }
    }
}

/// 16 positions times 32 channels.
#[inline(always)]
unsafe fn step1<T: Tiles>(tiles: &mut T, upper: Rows, weights: *const u32) {
    // SAFETY: the caller's: a tile of activations and two of weights are there.
    unsafe {
        tiles.load::<4>(upper.at, upper.pitch);
        tiles.load::<6>(weights, 4 * PANEL);
        tiles.dot::<0, 4, 6>();
        tiles.load::<7>(weights.add(LANES), 4 * PANEL);
        tiles.dot::<1, 4, 7>();
    }
}

/// 32 positions times 32 channels.
#[inline(always)]
unsafe fn step2<T: Tiles>(tiles: &mut T, upper: Rows, lower: Rows, weights: *const u32) {
    // SAFETY: the caller's: two tiles of activations and two of weights are there.
    unsafe {
        tiles.load::<4>(upper.at, upper.pitch);
        tiles.load::<6>(weights, 4 * PANEL);
        tiles.dot::<0, 4, 6>();
        tiles.load::<5>(lower.at, lower.pitch);
        tiles.dot::<2, 5, 6>();
        tiles.load::<7>(weights.add(LANES), 4 * PANEL);
        tiles.dot::<1, 4, 7>();
        tiles.dot::<3, 5, 7>();
    }
}

/// Finishes sums, if there are any.
#[inline(always)]
unsafe fn settle<D: Kernel>(t: &Raw, sums: &mut Sums) {
    let count = std::mem::take(&mut sums.count);
    if D::UNIT == 4 {
        for sum in sums.floats[..count].as_flattened_mut().as_flattened_mut() {
            #[expect(clippy::cast_precision_loss, reason = "rounded as the vector instruction rounds")]
            let float = sum.to_bits().cast_signed() as f32;
            *sum = float;
        }
    }
    // SAFETY: the caller's: bias, scale, residual and output cover these channels and targets.
    unsafe { finish::<D, 2>(t, sums.channel, &sums.targets[..count], &sums.floats) }
}
