//! The arguments that choose a model, and those of whoever runs it in batches.

use std::str::FromStr;

use anyhow::bail;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use firesteel_common::ConfigField;
use firesteel_pipeline::inference::{self, BadModelSpec, Device, ModelSpec, PrecisionSetting};

use super::fields::Settings;
use crate::classify;

/// The models of one value: one, or in the environment one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Models(Vec<ModelSpec>);

impl FromStr for Models {
    type Err = BadModelSpec;

    fn from_str(text: &str) -> Result<Self, BadModelSpec> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let specs = lines.map(str::parse).collect::<Result<Vec<ModelSpec>, _>>()?;
        if specs.is_empty() { Err(BadModelSpec::NoFile { text: text.to_owned() }) } else { Ok(Self(specs)) }
    }
}

/// Which models they are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// A model: `[NAME=]FILE[,precision=PRECISION][,share=N]`. FILE is a ResNet as safetensors, or an ONNX file, with its manifest in
    /// the metadata or in FILE.json; `shipped` is the CIFAR-10 model inside this binary. May be given several times (in the environment one a line):
    /// the first model answers where none is asked for, unless shares split the images between them [default: shipped]
    #[arg(long = "model", visible_alias = "weights", value_name = "MODEL", env = "FIRESTEEL_MODEL")]
    pub(crate) models: Vec<Models>,
    /// The numbers that it computes in: less exact ones are faster, and `firesteel evaluate` says what each is worth here. auto
    /// takes the fastest on this machine whose accuracy the manifest allows, so that machines of several kinds may answer
    /// differently [default: f32; for inference-server and demo auto]
    #[arg(long, value_name = "PRECISION", env = "FIRESTEEL_INFERENCE_PRECISION", value_parser = precision())]
    pub(crate) precision: Option<PrecisionSetting>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

impl ModelArgs {
    /// The models, the default first: never none.
    pub(crate) fn specs(&self) -> Vec<ModelSpec> {
        let specs: Vec<ModelSpec> = self.models.iter().flat_map(|models| models.0.clone()).collect();
        if specs.is_empty() { vec![ModelSpec::default()] } else { specs }
    }

    /// The models of SQL's functions, where the first one answers those that name none.
    pub(crate) fn config(&self) -> classify::Config {
        classify::Config {
            models: self.specs(),
            precision: self.precision.unwrap_or_default(),
            device: self.device.device,
        }
    }

    /// Refuses to choose by the machine, for a process of a cluster: one query would be answered in several precisions.
    ///
    /// # Errors
    /// A sentence with the names of the setting.
    pub(crate) fn check_same_everywhere(&self, settings: &Settings) -> anyhow::Result<()> {
        let mut asked = self.specs().into_iter().map(|spec| spec.precision).chain([self.precision]);
        if asked.any(|precision| precision == Some(PrecisionSetting::Auto)) {
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

/// One model, for whoever has a use for no more.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct OneModelArgs {
    /// The model: [NAME=]FILE, a ResNet as safetensors, or an ONNX file [default: the CIFAR-10 model inside this binary]
    #[arg(long = "model", visible_alias = "weights", value_name = "MODEL", env = "FIRESTEEL_MODEL")]
    models: Vec<Models>,
}

impl OneModelArgs {
    /// The model.
    pub(crate) fn spec(&self) -> anyhow::Result<ModelSpec> {
        let mut specs = self.models.iter().flat_map(|models| &models.0);
        let spec = specs.next().cloned().unwrap_or_default();
        if let Some(other) = specs.next() {
            bail!(
                "this takes one model, and there are {spec} and {other}: name the one that is meant (--model)"
            );
        }
        Ok(spec)
    }
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
            models: self.model.specs(),
            precision: self.model.precision.unwrap_or(default.precision),
            max_batch: self.max_batch.map_or(default.max_batch, |images| images as usize),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};
    use firesteel_pipeline::inference::Precision;

    #[derive(Parser)]
    struct Many {
        #[command(flatten)]
        model: ModelArgs,
    }

    #[derive(Parser)]
    struct One {
        #[command(flatten)]
        model: OneModelArgs,
    }

    #[test]
    fn models_are_given_one_a_flag_or_one_a_line() {
        let many = |arguments: &[&str]| {
            let parsed = Many::try_parse_from([&["firesteel"], arguments].concat()).expect("models");
            parsed.model.specs().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(many(&[]), ["shipped"]);
        assert_eq!(many(&["--weights", "w.safetensors"]), ["w.safetensors"]);
        assert_eq!(many(&["--model", "a=m,share=1", "--model", "shipped"]), ["a=m,share=1", "shipped"]);
        assert_eq!(many(&["--model", "a=m\n  b=n\n\n"]), ["a=m", "b=n"]);
        let error =
            Many::try_parse_from(["firesteel", "--model", "m,size=3"]).map(|_| ()).expect_err("no option");
        assert!(error.to_string().contains("no option \"size\""), "{error}");
        assert!(Many::try_parse_from(["firesteel", "--model", " \n"]).is_err());
    }

    #[test]
    fn who_takes_one_model_does_not_choose_among_several() {
        let one = |arguments: &[&str]| {
            One::try_parse_from([&["firesteel"], arguments].concat()).expect("models").model.spec()
        };
        assert_eq!(one(&[]).expect("the shipped one"), ModelSpec::default());
        assert_eq!(one(&["--model", "m"]).expect("one"), ModelSpec::of("m"));
        let error = one(&["--model", "m\nn"]).expect_err("two").to_string();
        assert!(error.contains("m and n") && error.contains("--model"), "{error}");
    }

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
        let many =
            |model: &str| Many::try_parse_from(["firesteel", "--model", model]).expect("a model").model;
        assert!(many("shipped,precision=auto").check_same_everywhere(&settings).is_err());
        assert!(many("shipped,precision=int8").check_same_everywhere(&settings).is_ok());
    }
}
