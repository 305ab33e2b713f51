//! The arguments that choose a model, and those of whoever runs it in batches.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use firesteel_common::ConfigField;
use firesteel_pipeline::inference::{self, Device, PrecisionSetting};

use super::fields::Settings;
use crate::classify;

/// Which model it is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Weights of a ResNet as safetensors, with their manifest in the metadata or in FILE.json [default: the CIFAR-10 model inside
    /// this binary]
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// The numbers that it computes in: less exact ones are faster, and `firesteel evaluate` says what each is worth here. auto
    /// takes the fastest on this machine whose accuracy the manifest allows, so that machines of several kinds may answer
    /// differently [default: f32; for inference-server and demo auto]
    #[arg(long, value_name = "PRECISION", env = "FIRESTEEL_INFERENCE_PRECISION", value_parser = precision())]
    pub(crate) precision: Option<PrecisionSetting>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

impl ModelArgs {
    /// The model of the function `classify`.
    pub(crate) fn config(&self) -> classify::Config {
        classify::Config {
            weights: self.weights.clone(),
            precision: self.precision.unwrap_or_default(),
            device: self.device.device,
        }
    }

    /// Refuses to choose by the machine, for a process of a cluster: one query would be answered in several precisions.
    ///
    /// # Errors
    /// A sentence with the names of the setting.
    pub(crate) fn check_same_everywhere(&self, settings: &Settings) -> anyhow::Result<()> {
        if self.precision == Some(PrecisionSetting::Auto) {
            bail!(
                "auto would let each process of a cluster choose by its own processor, and one query could be answered in several \
                 precisions: name one, the same for all: {}",
                settings.words(ConfigField::InferencePrecision)
            );
        }
        Ok(())
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

/// Reads a precision, or the wish for the fastest.
pub(crate) fn precision() -> impl TypedValueParser<Value = PrecisionSetting> {
    PossibleValuesParser::new(PrecisionSetting::NAMES).try_map(|name| name.parse::<PrecisionSetting>())
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
            precision: self.model.precision.unwrap_or(default.precision),
            max_batch: self.max_batch.map_or(default.max_batch, |images| images as usize),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use firesteel_pipeline::inference::Precision;

    #[test]
    fn who_serves_alone_chooses_and_who_answers_queries_does_not() {
        let model = ModelArgs::default();
        assert_eq!(model.config().precision, Precision::F32.into());
        assert_eq!(InferenceArgs { model, max_batch: None }.config().precision, PrecisionSetting::Auto);
        let model = ModelArgs { precision: Some(Precision::Bf16.into()), ..ModelArgs::default() };
        assert_eq!(model.config().precision, Precision::Bf16.into());
        assert_eq!(InferenceArgs { model, max_batch: None }.config().precision, Precision::Bf16.into());
    }

    #[test]
    fn processes_of_a_cluster_compute_in_one_precision() {
        let settings = Settings::new(crate::cli::Cli::command(), Some("executor"));
        let check =
            |precision| ModelArgs { precision, ..ModelArgs::default() }.check_same_everywhere(&settings);
        let error = check(Some(PrecisionSetting::Auto)).expect_err("it is refused").to_string();
        assert!(error.contains("--precision") && error.contains("FIRESTEEL_INFERENCE_PRECISION"), "{error}");
        assert!(check(None).is_ok() && check(Some(Precision::Int8.into())).is_ok());
    }
}
