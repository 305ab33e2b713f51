//! A ResNet compiled for the processor at hand: f32, bf16 or int8, on AMX, AVX-512, AVX-VNNI, AVX2, NEON or plain Rust.
//!
//! [`Compiled::new`] measures which instructions are the fastest for each layer (`choice`), packs the weights and
//! plans the buffers (`plan`, `pack`); its forward pass normalises and lays out the pixels in one pass and runs the
//! steps with the kernels of `simd`, bias, residual and ReLU included in each. A large batch is cut into pieces which the threads take in turn, each with its own buffers; the
//! layers of a small one are cut instead, so that all threads work on the same images.
//!
//! The result for an image is the same, bit for bit, whatever the batch and the number of threads.

mod calibration;
mod choice;
mod forward;
mod head;
mod pack;
mod plan;
mod simd;
mod slots;
mod tensor;

pub use calibration::Calibration;
pub(super) use choice::cheapest;
pub use forward::{Compiled, Options};
#[cfg(feature = "cuda")]
pub(super) use simd::bf16_bits;
pub use simd::{Isa, peak};
