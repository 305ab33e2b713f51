//! What the kernels know of a network.

/// A convolution as the pipeline's `network.rs` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Conv {
    pub fn padding(&self) -> usize {
        self.kernel / 2
    }
}
