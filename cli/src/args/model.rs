//! The arguments that choose a model, and those of whoever runs it in batches.

use std::str::FromStr;

use anyhow::bail;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use firesteel_pipeline::inference::{self, BadModelSpec, Device, ModelSpec, Precision};

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
    /// A model: [NAME=]FILE[,precision=PRECISION][,share=N]. FILE is a ResNet as safetensors, with its manifest in the metadata or in
    /// FILE.json; `shipped` is the CIFAR-10 model inside this binary. May be given several times (in the environment one a line):
    /// the first model answers where none is asked for, unless shares split the images between them [default: shipped]
    #[arg(long = "model", visible_alias = "weights", value_name = "MODEL", env = "FIRESTEEL_MODEL")]
    pub(crate) models: Vec<Models>,
    /// The numbers that it computes in: less exact ones are faster. `firesteel evaluate` says what each is worth here
    #[arg(long, value_name = "PRECISION", env = "FIRESTEEL_INFERENCE_PRECISION",
          default_value_t = Precision::DEFAULT, value_parser = precision())]
    pub(crate) precision: Precision,
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
        classify::Config { models: self.specs(), precision: self.precision, device: self.device.device }
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
    /// The model: [NAME=]FILE, a ResNet as safetensors [default: the CIFAR-10 model inside this binary]
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
            models: self.model.specs(),
            precision: self.model.precision,
            max_batch: self.max_batch.map_or(default.max_batch, |images| images as usize),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

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
}
