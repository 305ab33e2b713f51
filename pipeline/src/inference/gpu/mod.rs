//! The model on a GPU of NVIDIA: a batch goes up as bytes, and its logits come down.
//!
//! ```text
//! u8 pixels ──▶ patches, normalised ──▶ product + bias + ReLU ──▶ patches ──▶ product + bias + sum + ReLU ──▶ … ──▶ means ──▶ logits
//! ```
//!
//! A convolution is two launches: a kernel of `kernels.cu` takes the patches of its input, and cuBLASLt multiplies them with
//! the weights, with everything that follows in the product (`product`). f32 is computed in f32, bf16 in bf16 with sums in f32; means
//! and classifier are f32. A batch is computed as one of a few sizes (`plan::padded`), so that all that a size needs is prepared once.
//!
//! Each model has a stream of its own. Two models on two threads overlap: while one's batch is computed, the other's is put
//! together, copied and answered.
//!
//! CUDA's libraries are opened when the first model is loaded: the driver, cuBLASLt, and NVRTC, which compiles the kernels. Neither
//! they nor a GPU are needed to build this, or to start a program that it is in.

#![cfg_attr(feature = "cuda", allow(unsafe_code, reason = "the one place that calls CUDA"))]

#[cfg(feature = "cuda")]
mod fault;
#[cfg(feature = "cuda")]
mod kernels;
#[cfg(feature = "cuda")]
mod model;
#[cfg(feature = "cuda")]
mod numbers;
mod plan;
#[cfg(feature = "cuda")]
mod product;

#[cfg(feature = "cuda")]
pub use model::GpuResNet;
