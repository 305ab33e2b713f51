//! As the pipeline's module of this name, with what the kernels take of it.

pub mod compiled;
pub mod network;
#[path = "../../../../pipeline/src/inference/precision.rs"]
pub mod precision;
