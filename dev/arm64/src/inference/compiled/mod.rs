//! The kernels, and how tensors and weights lie in memory.

#[path = "../../../../../pipeline/src/inference/compiled/pack.rs"]
mod pack;
#[path = "../../../../../pipeline/src/inference/compiled/simd/mod.rs"]
mod simd;
#[path = "../../../../../pipeline/src/inference/compiled/tensor.rs"]
mod tensor;
