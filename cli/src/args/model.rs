//! The arguments that choose a model, and those of whoever runs it in batches.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use firesteel_pipeline::inference::{self, Device, Precision};

use crate::classify;

/// Which model it is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Weights of a ResNet as safetensors, or an ONNX file, with their manifest in the metadata or in FILE.json [default: the
    /// CIFAR-10 model inside this binary]
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// The numbers that it computes in: less exact ones are faster. `firesteel evaluate` says what each is worth here
    #[arg(long, value_name = "PRECISION", env = "FIRESTEEL_INFERENCE_PRECISION",
          default_value_t = Precision::DEFAULT, value_parser = precision())]
    pub(crate) precision: Precision,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

impl ModelArgs {
    /// The model of the function `classify`.
    pub(crate) fn config(&self) -> classify::Config {
        classify::Config {
            weights: self.weights.clone(),
            precision: self.precision,
            device: self.device.device,
        }
    }
}

/// What a model computes on.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct DeviceArgs {
    /// What it computes on: cpu, or cuda, cuda:INDEX, metal, in a build with feature cuda or metal; cpu:avx512 (avx2, avx-vnni,
    /// amx, neon, neon-i8mm, portable) leaves no choice of instructions
    #[arg(long, value_name = "DEVICE", env = "FIRESTEEL_INFERENCE_DEVICE", default_value_t = Device::Cpu)]
    pub(crate) device: Device,
}

/// Reads a precision.
pub(crate) fn precision() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::NAMES).try_map(|name| name.parse::<Precision>())
}

/// A model, and how it is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct InferenceArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The largest batch [default: 64, on a GPU of NVIDIA 256]
    #[arg(long, value_name = "N", env = "FIRESTEEL_MAX_BATCH", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_batch: Option<u32>,
}

impl InferenceArgs {
    /// The configuration of an inference server; the rest has its default.
    pub(crate) fn config(&self) -> inference::Config {
        let default = inference::Config::on(self.model.device.device);
        inference::Config {
            weights: self.model.weights.clone(),
            precision: self.model.precision,
            max_batch: self.max_batch.map_or(default.max_batch, |images| images as usize),
            ..default
        }
    }
}
