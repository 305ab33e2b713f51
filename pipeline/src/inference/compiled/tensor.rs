//! The geometry of an activation tensor: channels-last, with a border that stays as it was filled.
//!
//! A convolution reads its padding from the border, so that it needs no bounds tests. To the right and below there
//! is room up to a multiple of four positions more, which Winograd's 4×4 tiles read past the end of odd sizes.

/// Positions of one image of a tensor, in rows, border included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Plane {
    /// Rows without border.
    pub(super) height: usize,
    /// Columns without border.
    pub(super) width: usize,
    /// Rows and columns of border on each side.
    pub(super) border: usize,
}

impl Plane {
    /// Rows with border.
    pub(super) fn rows(self) -> usize {
        self.height.next_multiple_of(4) + 2 * self.border
    }

    /// Columns with border.
    pub(super) fn columns(self) -> usize {
        self.width.next_multiple_of(4) + 2 * self.border
    }

    /// Positions of an image with border.
    pub(super) fn positions(self) -> usize {
        self.rows() * self.columns()
    }

    /// The index of position (`y`, `x`) of the image.
    pub(super) fn at(self, y: usize, x: usize) -> usize {
        (y + self.border) * self.columns() + x + self.border
    }

    /// The plane of the result of a convolution with an odd kernel padded by half of it: `ceil(size / stride)`.
    pub(super) fn strided(self, stride: usize, border: usize) -> Self {
        Self { height: self.height.div_ceil(stride), width: self.width.div_ceil(stride), border }
    }
}
