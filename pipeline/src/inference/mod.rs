//! Inference: a server that names what is in a picture, and the client that the image consumer uses.
//!
//! bytes → `decode` → `batcher` (a batch is whatever queued while the model was busy) → a [`Model`] on its own
//! thread → answer. [`server`] puts gRPC in front of it, [`Client`] is the other end. A [`ModelFile`] is safetensors
//! ([`Weights`]) or ONNX; either becomes a [`Network`] (plain data, batch norm already folded), so a faster [`Model`] replaces
//! only the last step, [`compile()`], which also chooses by [`Precision`] and [`Device`]; [`auto`] finds the precision where none is
//! named. An ONNX file of another network is computed by ONNX Runtime. [`Classifier`] is the same model for whoever has images in memory and a thread to wait on.

pub mod accuracy;
mod architecture;
pub mod auto;
pub mod batcher;
mod batches;
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
mod open;
pub mod plain;
pub mod precision;
mod queue;
mod served;
pub mod server;
mod service;
pub mod spec;
pub mod split;
pub mod stats;
mod threads;
pub mod vocabulary;
pub mod weights;

pub use accuracy::Accuracy;
pub use auto::Decision;
pub use classifier::Classifier;
pub use client::{Answer, Client, ClientError, ClientOptions, Question};
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
pub use precision::{Precision, PrecisionSetting, UnknownPrecision, UnknownPrecisionSetting};
pub use server::{Config, Loaded, Ready, Server, run};
pub use spec::{BadModelSpec, ModelSpec};
pub use split::Split;
pub use stats::{ServerStats, Stats};
pub use vocabulary::Vocabulary;
pub use weights::Weights;
