//! Errors of a model, its weights, or the server around it. A bad *image* is not an error of
//! this kind: it is a [`Rejection`](super::Rejection), an answer like any other.

use super::client::ClientError;
use super::device::Device;
use super::precision::Precision;
use firesteel_common::ConfigField::{
    self, InferenceDevice, InferenceListen, InferenceModel, InferencePrecision,
};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The model, its weights, the inference server or its client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The weights file cannot be read.
    #[error("cannot read the weights {} ({}): {source}", path.display(), InferenceModel)]
    ReadWeights {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The bytes are no safetensors file.
    #[error("{origin} is not a safetensors file: {source}")]
    NotSafetensors {
        /// The file, or "the built-in weights".
        origin: String,
        /// The error of the format's reader.
        source: safetensors::SafeTensorError,
    },
    /// The bytes are no ONNX file.
    #[error("{origin} is not an ONNX file: {source}")]
    NotOnnx {
        /// The file.
        origin: String,
        /// The error of the format's reader.
        source: prost::DecodeError,
    },
    /// ONNX Runtime is not there, or it refuses the file or fails.
    #[error("{model}: ONNX Runtime {problem}")]
    OnnxRuntime {
        /// The model.
        model: String,
        /// The problem, as the rest of a sentence.
        problem: String,
    },
    /// The metadata, or the manifest beside the file, lack a key, or say something that cannot be.
    #[error("{origin}: metadata {key:?} {problem}")]
    Metadata {
        /// The file that says it, or "the built-in weights".
        origin: String,
        /// The metadata's key.
        key: &'static str,
        /// The problem, as the rest of a sentence.
        problem: String,
    },
    /// The tensors are those of a network that cannot be computed here.
    #[error("{origin}: {problem}")]
    Architecture {
        /// The file, or "the built-in weights".
        origin: String,
        /// The problem, with the tensor that gives it away.
        problem: String,
    },
    /// The manifest beside the weights is no JSON object of known keys and right types.
    #[error("{origin} is no manifest of weights ({}): {source}", InferenceModel)]
    Manifest {
        /// The file, or "the built-in manifest".
        origin: String,
        /// The error of the reader, with the line and the column.
        source: serde_json::Error,
    },
    /// A model of the settings that cannot be computed here.
    #[error("cannot use the model {model}: {source}")]
    Load {
        /// The model, as the settings name it.
        model: String,
        /// The reason.
        source: Box<Error>,
    },
    /// Two models that no request could tell apart.
    #[error(
        "two models are called {name}: give one of them another name, as in NAME=FILE ({}), or name their \
         precisions (--precision auto may take the same for both)",
        InferenceModel
    )]
    SameName {
        /// The name that both have.
        name: String,
    },
    /// A tensor that the network needs is not there.
    #[error("{origin}: tensor {name:?} is missing, expected with shape {expected:?}")]
    MissingTensor {
        /// The file, or "the built-in weights".
        origin: String,
        /// The tensor.
        name: String,
        /// Its shape in this network.
        expected: Vec<usize>,
    },
    /// A tensor that this network does not have.
    #[error("{origin}: tensor {name:?} with shape {shape:?} is not part of {network}")]
    UnexpectedTensor {
        /// The file, or "the built-in weights".
        origin: String,
        /// The tensor.
        name: String,
        /// Its shape in the file.
        shape: Vec<usize>,
        /// The network that the other tensors are those of, such as "resnet18".
        network: String,
    },
    /// A tensor of another shape.
    #[error("{origin}: tensor {name:?} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The file, or "the built-in weights".
        origin: String,
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Its shape in this network.
        expected: Vec<usize>,
    },
    /// A tensor of a type that cannot be read as f32.
    #[error("{origin}: tensor {name:?} has dtype {found}, expected F32, F16 or BF16")]
    Dtype {
        /// The file, or "the built-in weights".
        origin: String,
        /// The tensor.
        name: String,
        /// Its type in the file.
        found: String,
    },
    /// A tensor that holds an infinity, a NaN, or a negative variance.
    #[error("{origin}: tensor {name:?} holds {value} at element {index}: the file is damaged")]
    BadValue {
        /// The file, or "the built-in weights".
        origin: String,
        /// The tensor.
        name: String,
        /// The first such element.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A precision that this build or this device cannot compute in.
    #[error("{model}: precision {precision} {problem} ({})", InferencePrecision)]
    Precision {
        /// The model.
        model: String,
        /// The value that was asked for.
        precision: Precision,
        /// The reason, as the rest of a sentence.
        problem: String,
    },
    /// A device that this build or this machine does not have.
    #[error("device {device} {problem} ({})", InferenceDevice)]
    Device {
        /// The value that was asked for.
        device: Device,
        /// The reason, as the rest of a sentence.
        problem: String,
    },
    /// The tensor library failed.
    #[error("{model} failed: {source}")]
    Compute {
        /// The model.
        model: String,
        /// The error of candle.
        source: candle_core::Error,
    },
    /// The GPU failed, or a library that drives it.
    #[error("{model} failed on the GPU: {source}")]
    Gpu {
        /// The model.
        model: String,
        /// The call that failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model's output cannot be used.
    #[error("{model} {problem}")]
    Output {
        /// The model.
        model: String,
        /// The problem, as the rest of a sentence.
        problem: String,
    },
    /// The model's code panicked: its state is unknown, so the server stops.
    #[error("{model} panicked: {message}")]
    Panicked {
        /// The model.
        model: String,
        /// The panic's message.
        message: String,
    },
    /// A number in the configuration that cannot work.
    #[error("inference server: {setting} is {value}, expected {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The value that was given.
        value: String,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// The server cannot have its address.
    #[error("inference server: cannot listen on {address} ({}): {source}", InferenceListen)]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A thread of the server cannot be started.
    #[error("inference server: cannot start a thread: {source}")]
    Thread {
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// gRPC reflection refused the service's own description.
    #[error("inference server: reflection: {source}")]
    Reflection {
        /// The error of tonic.
        source: tonic_reflection::server::Error,
    },
    /// The client's side.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Error {
    /// This build has no support for `device`, one with `feature` would.
    pub(super) fn not_built(device: Device, feature: &str) -> Self {
        let problem = format!("needs a build with --features {feature}, which this is not");
        Self::Device { device, problem }
    }

    /// The field of the configuration that the error points at, whose name its message contains.
    #[must_use]
    pub fn field(&self) -> Option<ConfigField> {
        match self {
            Self::ReadWeights { .. } | Self::Manifest { .. } | Self::SameName { .. } => Some(InferenceModel),
            Self::Load { source, .. } => source.field(),
            Self::Precision { .. } => Some(InferencePrecision),
            Self::Device { .. } => Some(InferenceDevice),
            Self::Bind { .. } => Some(InferenceListen),
            Self::Client(error) => error.field(),
            _ => None,
        }
    }
}

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;
