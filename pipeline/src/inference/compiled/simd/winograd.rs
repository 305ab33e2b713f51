//! 3×3 convolutions with stride 1 by Winograd's minimal filtering (Lavin and Gray 2015): fewer products.
//!
//! An output tile of `m`×`m` comes from an input tile of `n`×`n`, `n = m + 2`. Both the input tile and the filter
//! are transformed (`V = Bᵀ d B`, `U = G g Gᵀ`), multiplied position by position, which over all channels is
//! `n²` matrix products, and transformed back (`Y = Aᵀ M A`): `n²` products a tile and channel pair instead of
//! `9 m²`: 4 times fewer for `m` = 4, 2.25 times for `m` = 2. A block of tiles at a time goes through three loops,
//! each shared by the team: transform, multiply, transform back.

use super::conv::{Item, kernel};
use super::job::product;
use super::raw::{Block, Raw};
use super::{Driver, Epilogue, Isa, PANEL, Words};
use crate::inference::compiled::tensor::Plane;
use crate::inference::precision::Precision;

/// A 3×3 convolution with stride 1, f32 or bf16.
#[derive(Debug, Clone, Copy)]
pub(in crate::inference::compiled) struct Winograd<'a> {
    /// Not [`Isa::Portable`].
    pub(in crate::inference::compiled) isa: Isa,
    pub(in crate::inference::compiled) precision: Precision,
    /// Edge of an input tile: 4 or 6.
    pub(in crate::inference::compiled) edge: usize,
    /// `[images][input plane][inputs / unit]`.
    pub(in crate::inference::compiled) input: &'a [u32],
    pub(in crate::inference::compiled) input_plane: Plane,
    /// Channels in, a multiple of 16.
    pub(in crate::inference::compiled) inputs: usize,
    pub(in crate::inference::compiled) output_plane: Plane,
    pub(in crate::inference::compiled) images: usize,
    /// `[panels][edge²][inputs / unit][PANEL]`: `U`.
    pub(in crate::inference::compiled) weights: &'a [u32],
    /// Output channels / [`PANEL`].
    pub(in crate::inference::compiled) panels: usize,
    /// Tiles in a block.
    pub(in crate::inference::compiled) block: usize,
    pub(in crate::inference::compiled) epilogue: Epilogue<'a>,
}

/// `V` and `M` of a block, kept between calls.
#[derive(Debug, Clone, Default)]
pub(in crate::inference::compiled) struct WinogradScratch {
    transformed: Words,
    products: Words,
    /// 0, 1, 2, …: the matrices' rows.
    rows: Vec<u32>,
}

impl WinogradScratch {
    /// Bytes of memory.
    pub(in crate::inference::compiled) fn bytes(&self) -> usize {
        self.transformed.bytes() + self.products.bytes() + size_of_val(self.rows.as_slice())
    }
}

/// The transforms of one kernel, for a range of a block's tiles.
///
/// # Safety
/// The processor has the instructions, and `Block` is valid for the tiles.
type Transform = unsafe fn(&Block, usize, usize);

fn transforms(isa: Isa, precision: Precision, edge: usize) -> Option<(Transform, Transform)> {
    match (isa, precision, edge) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx512, Precision::F32, 6) => Some((super::f32::forth_6, super::f32::back_6)),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx512, Precision::F32, 4) => Some((super::f32::forth_4, super::f32::back_4)),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx512, Precision::Bf16, 6) => Some((super::bf16::forth_6, super::bf16::back_6)),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx512, Precision::Bf16, 4) => Some((super::bf16::forth_4, super::bf16::back_4)),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx2, Precision::F32, 6) => Some((super::avx2::forth_6, super::avx2::back_6)),
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        (Isa::Avx2, Precision::F32, 4) => Some((super::avx2::forth_4, super::avx2::back_4)),
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        (Isa::Neon, Precision::F32, 6) => Some((super::neon::forth_6, super::neon::back_6)),
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        (Isa::Neon, Precision::F32, 4) => Some((super::neon::forth_4, super::neon::back_4)),
        _ => None,
    }
}

impl Winograd<'_> {
    fn tiles_per_image(&self) -> usize {
        let m = self.edge - 2;
        self.output_plane.height.div_ceil(m) * self.output_plane.width.div_ceil(m)
    }

    /// Asserts that all that is accessed lies within the slices.
    fn check(&self, output: &[u32]) {
        let (input, unit) = (self.input_plane, self.precision.unit());
        assert!(self.edge == 4 || self.edge == 6, "edge {}", self.edge);
        assert!(input.border >= 1 && self.block > 0 && self.inputs.is_multiple_of(super::LANES));
        // A plane has room up to a multiple of four positions, so that the last tile's edge is in it.
        assert!(input.strided(1, self.output_plane.border) == self.output_plane, "planes differ");
        let words = self.inputs / unit;
        assert!(self.input.len() >= product(&[self.images, input.positions(), words]), "input");
        assert!(self.weights.len() >= product(&[self.edge, self.edge, self.panels, words, PANEL]), "weights");
        assert!(self.weights.as_ptr().align_offset(4 * super::LANES) == 0, "weights not on a cache line");
        assert!(!self.epilogue.wide && self.epilogue.scale.is_empty(), "own precision only");
        let positions = product(&[self.images, self.output_plane.positions()]);
        self.epilogue.check(self.precision, positions, self.panels, output);
    }
}

/// Computes `job` into `output`, `[images][output plane][words]`; positions of the border are left alone.
///
/// # Panics
/// When a slice is too short, or there is no such kernel on this processor.
pub(in crate::inference::compiled) fn winograd(
    driver: &mut Driver<'_>,
    job: &Winograd<'_>,
    scratch: &mut WinogradScratch,
    output: &mut [u32],
) {
    job.check(output);
    let (kernel, transforms) = (kernel(job.isa, job.precision), transforms(job.isa, job.precision, job.edge));
    let (Some(kernel), Some((forth, back))) = (kernel, transforms) else {
        assert!(job.images == 0, "no Winograd for {:?} in {}", job.isa, job.precision);
        return;
    };
    let (words, outputs) = (job.inputs / job.precision.unit(), job.panels * PANEL);
    let total = job.images * job.tiles_per_image();
    // A team has the cache of several cores, and fewer blocks are fewer loops to start together.
    let block = (job.block * if driver.threads() == 1 { 1 } else { 2 * driver.threads() }).min(total);
    // A line more than a power of two, or all matrices of a tile would compete for one set of the cache.
    let (transformed_pitch, products_pitch) = (block * words + 16, block * outputs + 16);
    let matrices = job.edge * job.edge;
    scratch.transformed.grow(matrices * transformed_pitch, 0);
    scratch.products.grow(matrices * products_pitch, 0);
    if scratch.rows.len() < block {
        scratch.rows = (0..block as u32).collect();
    }
    let raw = Raw {
        input: job.input.as_ptr(),
        input_words: words,
        input_plane: job.input_plane.positions(),
        output_plane: job.output_plane.positions(),
        weights: job.weights.as_ptr(),
        ..Raw::EMPTY
    };
    let mut at = Block {
        raw: job.epilogue.raw(job.precision, job.panels, output, raw),
        input_plane: job.input_plane,
        output_plane: job.output_plane,
        inputs: job.inputs,
        outputs,
        first: 0,
        transformed: scratch.transformed.as_mut_slice().as_mut_ptr(),
        transformed_pitch,
        products: scratch.products.as_mut_slice().as_mut_ptr(),
        products_pitch,
    };
    while at.first < total {
        let tiles = block.min(total - at.first);
        run_block(driver, &at, tiles, matrices, (forth, kernel, back), &scratch.rows);
        at.first += tiles;
    }
}

/// The three loops of one block.
fn run_block(
    driver: &mut Driver<'_>,
    at: &Block,
    tiles: usize,
    matrices: usize,
    (forth, kernel, back): (Transform, Item, Transform),
    rows: &[u32],
) {
    let piece = if driver.threads() == 1 { tiles } else { tiles.div_ceil(4 * driver.threads()) };
    let pieces = tiles.div_ceil(piece);
    driver.run(pieces, &|i| {
        // SAFETY: `check` has shown that the input covers all tiles of all images; the scratch has been grown to
        // `matrices` of `block` tiles. Every item writes its own tiles' rows of `transformed`.
        unsafe { forth(at, i * piece, ((i + 1) * piece).min(tiles)) }
    });
    let panels = at.outputs / PANEL;
    driver.run(matrices * panels, &|i| {
        let (matrix, panel) = (i / panels, i % panels);
        // SAFETY: matrix `matrix` of both scratch buffers and of the weights, which `check` has measured; `rows`
        // has an index for each tile. Every item writes its own panel of its own matrix.
        unsafe {
            let product = Raw {
                input: at.transformed.add(matrix * at.transformed_pitch),
                input_words: at.raw.input_words,
                rows: 1,
                run: at.raw.input_words,
                weights: at.raw.weights.add((panel * matrices + matrix) * at.raw.input_words * PANEL),
                inputs_at: rows.as_ptr(),
                outputs_at: rows.as_ptr(),
                positions: tiles,
                output: at.products.add(matrix * at.products_pitch + panel * PANEL),
                output_words: at.outputs,
                ..Raw::EMPTY
            };
            kernel(&product, 0, 0, tiles);
        }
    });
    driver.run(pieces, &|i| {
        // SAFETY: `check` has shown that output, bias and residual cover all positions of all images. Every item
        // writes the output positions of its own tiles.
        unsafe { back(at, i * piece, ((i + 1) * piece).min(tiles)) }
    });
}
