//! Inference: a server that names what is in a picture, and the client that the image consumer uses.
//!
//! bytes → `decode` → `batcher` (a batch is whatever queued while the model was busy) → a [`Model`] on its own
//! thread → answer. [`server`] puts gRPC in front of it, [`Client`] is the other end. A [`ModelFile`] is safetensors
//! ([`Weights`]) or ONNX; either becomes a [`Network`] (plain data, batch norm already folded), so a faster [`Model`] replaces
//! only the last step, [`compile()`], which also chooses by [`Precision`] and [`Device`]. An ONNX file of another network is computed by
//! ONNX Runtime. [`Classifier`] is the same model for whoever has images in memory and a thread to wait on.

mod architecture;
pub mod batcher;
pub mod classifier;
pub mod client;
pub mod compile;
pub mod compiled;
pub mod decode;
pub mod device;
mod error;
pub mod evaluate;
#[cfg(any(test, feature = "cuda"))]
mod gpu;
pub mod manifest;
mod metrics;
pub mod model;
mod model_file;
pub mod network;
mod onnx;
pub mod plain;
pub mod precision;
mod queue;
pub mod server;
mod service;
pub mod stats;
pub mod vocabulary;
pub mod weights;

pub use classifier::Classifier;
pub use client::{Answer, Client, ClientError, ClientOptions};
pub use compile::compile;
pub use decode::{Decoder, Limits, Rejection, Resize};
pub use device::{Device, UnknownDevice};
pub use error::{Error, Result};
pub use evaluate::{Evaluation, Sample, evaluate, evaluate_watched, pixels, samples};
#[cfg(feature = "cuda")]
pub use gpu::GpuResNet;
pub use manifest::Manifest;
pub use metrics::Metrics;
pub use model::{Classification, Model, ModelInfo};
pub use model_file::ModelFile;
pub use network::Network;
pub use plain::PlainResNet;
pub use precision::{Precision, UnknownPrecision};
pub use server::{Config, Ready, Server, run};
pub use stats::Stats;
pub use vocabulary::Vocabulary;
pub use weights::Weights;
