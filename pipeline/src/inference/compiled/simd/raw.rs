//! A convolution as pointers and strides: what the vector kernels take, when everything has been checked.

use crate::inference::compiled::tensor::Plane;

/// A convolution, or a matrix product, as pointers; made and checked by `conv` and `winograd`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw {
    pub(super) input: *const u32,
    /// Words of a position of the input.
    pub(super) input_words: usize,
    /// Positions of an image of the input.
    pub(super) input_plane: usize,
    /// Runs per output position, words from one run to the next, and words of a run.
    pub(super) rows: usize,
    pub(super) pitch: usize,
    pub(super) run: usize,
    /// `[panels][rows * run][PANEL]` words.
    pub(super) weights: *const u32,
    /// For each output position of an image: where its first run starts, and where it is stored, in positions.
    pub(super) inputs_at: *const u32,
    pub(super) outputs_at: *const u32,
    /// Output positions of an image.
    pub(super) positions: usize,
    pub(super) output: *mut u32,
    /// Words of a position of the output.
    pub(super) output_words: usize,
    /// Positions of an image of the output.
    pub(super) output_plane: usize,
    /// The output is f32 whatever the precision.
    pub(super) wide: bool,
    /// Per output channel; null for a bare product, which is stored as f32 without anything added.
    pub(super) bias: *const f32,
    /// Per output channel; null for 1.
    pub(super) scale: *const f32,
    /// Added before ReLU, in the output's geometry; null for none.
    pub(super) residual: *const u32,
    pub(super) residual_words: usize,
    pub(super) residual_wide: bool,
    pub(super) residual_scale: f32,
    pub(super) relu: bool,
}

impl Raw {
    /// Nothing at all.
    pub(super) const EMPTY: Self = Self {
        input: std::ptr::null(),
        input_words: 0,
        input_plane: 0,
        rows: 0,
        pitch: 0,
        run: 0,
        weights: std::ptr::null(),
        inputs_at: std::ptr::null(),
        outputs_at: std::ptr::null(),
        positions: 0,
        output: std::ptr::null_mut(),
        output_words: 0,
        output_plane: 0,
        wide: false,
        bias: std::ptr::null(),
        scale: std::ptr::null(),
        residual: std::ptr::null(),
        residual_words: 0,
        residual_wide: false,
        residual_scale: 0.0,
        relu: false,
    };
}

// SAFETY: `Raw` is a bundle of pointers that means nothing by itself; those who use them say why they may.
unsafe impl Sync for Raw {}

/// Output positions that a kernel works on at once.
pub(super) const ROWS: usize = 6;

/// Output positions that AMX's tiles work on at once.
pub(super) const TILES: usize = 32;

/// One block of tiles, as pointers.
pub(super) struct Block {
    /// Where the input comes from and what happens to the output; positions as in [`Raw`].
    pub(super) raw: Raw,
    pub(super) input_plane: Plane,
    pub(super) output_plane: Plane,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// The first tile, counted over all images.
    pub(super) first: usize,
    /// `[edge²][tiles][inputs / unit]`, `transformed_pitch` words from one matrix to the next.
    pub(super) transformed: *mut u32,
    pub(super) transformed_pitch: usize,
    /// `[edge²][tiles][outputs]` f32, `products_pitch` words from one matrix to the next.
    pub(super) products: *mut u32,
    pub(super) products_pitch: usize,
}

// SAFETY: a bundle of pointers that means nothing by itself; those who use them say why they may.
unsafe impl Sync for Block {}
