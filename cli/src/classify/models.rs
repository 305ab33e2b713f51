//! The models of a process: which there are, which one a query means, and that each is loaded once, when it is first asked.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use firesteel_common::ConfigField;
use firesteel_engine::functions::Memory;
use firesteel_pipeline::chain;
use firesteel_pipeline::inference::spec::answers_to;
use firesteel_pipeline::inference::{self, Classifier, Device, Limits, ModelSpec, PrecisionSetting, Weights};
use sha2::{Digest as _, Sha256};

use crate::args::fields::Settings;

/// The largest batch of images for a model.
const BATCH: usize = 64;

/// Which models a process has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// The models. The first one answers where a query names none; where there is none, that is the model inside this binary.
    pub(crate) models: Vec<ModelSpec>,
    /// The numbers that those compute in that name none; [`PrecisionSetting::Auto`] is for an engine within one process.
    pub(crate) precision: PrecisionSetting,
    /// What they compute on.
    pub(crate) device: Device,
}

/// The models, of which each is loaded when it is first asked.
pub(super) struct Models {
    models: Vec<Lazy>,
    device: Device,
    /// Names settings in errors.
    settings: Arc<Settings>,
    memory: Memory,
    /// Held by whoever loads a model, so that there is room for one before the next is loaded.
    loading: Mutex<()>,
    fingerprint: OnceLock<String>,
    /// Set once this process has warned of bytes that are no image.
    pub(super) warned: AtomicBool,
}

/// A model that is perhaps loaded.
struct Lazy {
    spec: ModelSpec,
    precision: PrecisionSetting,
    device: Device,
    /// NAME/PRECISION, or NAME@VERSION/PRECISION, once it was read.
    name: OnceLock<String>,
    loaded: OnceLock<Classifier>,
}

impl Models {
    /// Reads nothing yet. `memory` is the account of what the models hold.
    pub(super) fn new(config: Config, settings: Arc<Settings>, memory: Memory) -> Self {
        let Config { mut models, precision, device } = config;
        if models.is_empty() {
            models.push(ModelSpec::default());
        }
        let lazy = |spec: ModelSpec| {
            let precision = spec.precision.unwrap_or(precision);
            Lazy { spec, precision, device, name: OnceLock::new(), loaded: OnceLock::new() }
        };
        Self {
            models: models.into_iter().map(lazy).collect(),
            device,
            settings,
            memory,
            loading: Mutex::new(()),
            fingerprint: OnceLock::new(),
            warned: AtomicBool::new(false),
        }
    }

    /// The result of `ask` with the model of this name, or with the first model; loads it where that has not been done.
    pub(super) fn with<T>(
        &self,
        name: Option<&str>,
        ask: impl FnOnce(&Classifier) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let said = ask(self.get(self.find(name)?)?);
        // The buffers of the model may have grown.
        self.memory.hold(self.bytes());
        said
    }

    /// The model that a query means by `name`: NAME, NAME@VERSION, either with /PRECISION; the first of several.
    fn find(&self, name: Option<&str>) -> anyhow::Result<&Lazy> {
        let Some(name) = name else {
            return self.models.first().context("there is no model");
        };
        if let Some(meant) = self.models.iter().find(|model| model.is_called(name)) {
            return Ok(meant);
        }
        let names: Vec<String> = self.models.iter().map(Lazy::told).collect();
        bail!(
            "there is no model {name:?}, but {}: {}",
            names.join(", "),
            self.settings.words(ConfigField::InferenceModel)
        );
    }

    fn get<'a>(&self, model: &'a Lazy) -> anyhow::Result<&'a Classifier> {
        if let Some(loaded) = model.loaded.get() {
            return Ok(loaded);
        }
        // Tasks start concurrently, and one of them loads. After a failed load the next call tries again.
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = model.loaded.get() {
            return Ok(loaded);
        }
        let classifier = self.load(model)?;
        let (name, device) = (&classifier.info().name, self.device);
        tracing::info!(model = %name, %device, "loaded a model of SQL");
        Ok(model.loaded.get_or_init(|| classifier))
    }

    fn load(&self, model: &Lazy) -> anyhow::Result<Classifier> {
        let file = model.spec.open();
        let file = file.map_err(said).with_context(|| self.settings.words(ConfigField::InferenceModel))?;
        let compiled = file.resolve(model.precision, self.device);
        let compiled = compiled.and_then(|precision| file.compile(precision, self.device));
        let compiled = compiled.map_err(|error| {
            let field = match error {
                inference::Error::Device { .. } => ConfigField::InferenceDevice,
                inference::Error::OnnxRuntime { .. } => ConfigField::InferenceModel,
                _ => ConfigField::InferencePrecision,
            };
            said(error).context(self.settings.words(field))
        })?;
        let classifier = Classifier::new(compiled, BATCH, Limits::DEFAULT).map_err(said)?;
        self.memory.try_hold(self.bytes() + classifier.bytes()).with_context(|| {
            format!(
                "no room for the model {}: {}",
                classifier.info().name,
                self.settings.words(ConfigField::ExecutorMemory)
            )
        })?;
        Ok(classifier)
    }

    /// What the models hold that are loaded.
    fn bytes(&self) -> usize {
        self.models.iter().filter_map(|model| model.loaded.get()).map(Classifier::bytes).sum()
    }

    /// What the models' answers depend on: names, weights, their manifests, precisions and the device. A file counts by its content.
    pub(super) fn fingerprint(&self) -> String {
        // A client that asks a cluster needs none, so no file is read before it is asked for.
        let told = || {
            let models: Vec<String> = self.models.iter().map(Lazy::fingerprint).collect();
            format!("{} {}", models.join("; "), self.device)
        };
        self.fingerprint.get_or_init(told).clone()
    }
}

impl Lazy {
    /// Whether `asked` means this model. The file is read where its name is not given, or the version matters; one that cannot
    /// be read is not meant.
    fn is_called(&self, asked: &str) -> bool {
        if let Some(given) = &self.spec.name {
            match asked.strip_prefix(given.as_str()) {
                Some("") => return true,
                Some(rest) if rest.starts_with(['@', '/']) => {}
                _ => return false,
            }
        }
        self.whole().is_ok_and(|whole| answers_to(&whole, asked))
    }

    /// NAME/PRECISION, or NAME@VERSION/PRECISION.
    fn whole(&self) -> inference::Result<String> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded.info().name.clone());
        }
        if let Some(name) = self.name.get() {
            return Ok(name.clone());
        }
        let file = self.spec.open()?;
        let precision = file.resolve(self.precision, self.device)?;
        Ok(self.name.get_or_init(|| format!("{}/{precision}", file.info().name)).clone())
    }

    /// The model's name for people, who did not find it.
    fn told(&self) -> String {
        self.whole().unwrap_or_else(|error| format!("{} ({})", self.spec, chain(&error)))
    }

    fn fingerprint(&self) -> String {
        let of = |file: &Path| match std::fs::read(file) {
            Ok(bytes) => Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
            // The first call says so, unless it is a manifest that is not needed.
            Err(error) => format!("unreadable: {}", error.kind()),
        };
        let ModelSpec { name, file, .. } = &self.spec;
        let (weights, stem) = match file {
            None => ("shipped".to_owned(), None),
            Some(file) => (format!("{} {}", of(file), of(&Weights::manifest_path(file))), file.file_stem()),
        };
        let name = name.clone().or_else(|| stem.map(|stem| stem.to_string_lossy().into_owned()));
        format!("{} {weights} {}", name.unwrap_or_default(), self.precision)
    }
}

/// The error with its causes in one line.
pub(super) fn said(error: inference::Error) -> anyhow::Error {
    anyhow!(chain(&error))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;
    use firesteel_pipeline::inference::Precision;
    use firesteel_pipeline::inference::compiled::Isa;

    use super::*;

    fn settings() -> Arc<Settings> {
        Arc::new(Settings::new(crate::cli::Cli::command(), Some("executor")))
    }

    fn config(models: &[&str]) -> Config {
        let models = models.iter().map(|text| text.parse().expect("a model")).collect();
        Config { models, ..Config::default() }
    }

    fn models(config: Config) -> Models {
        Models::new(config, settings(), Memory::new())
    }

    #[test]
    fn another_model_has_another_fingerprint() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "weights").expect("written");
        let path = file.path().to_string_lossy();
        let configs = [
            config(&[]),
            Config { precision: Precision::Int8.into(), ..Config::default() },
            Config { precision: PrecisionSetting::Auto, ..Config::default() },
            Config { device: Device::Cuda(0), ..Config::default() },
            config(&[&path]),
            config(&["/nowhere"]),
            config(&["a=shipped"]),
            config(&["a=shipped", "b=shipped"]),
            config(&["b=shipped", "a=shipped"]),
            config(&["a=shipped", "b=shipped,precision=int8"]),
        ];
        let fingerprint = |config: &Config| models(config.clone()).fingerprint();
        let distinct: BTreeSet<String> = configs.iter().map(fingerprint).collect();
        assert_eq!(distinct.len(), configs.len(), "{distinct:?}");
        let shipped = fingerprint(&Config::default());
        assert_eq!(shipped, fingerprint(&config(&["shipped"])));
        assert_eq!(
            fingerprint(&config(&["shipped,precision=f32"])),
            shipped,
            "it is what it computes in anyway"
        );
        let manifest = Weights::manifest_path(file.path());
        std::fs::write(&manifest, "{}").expect("written");
        assert!(!distinct.contains(&fingerprint(&configs[4])), "its manifest counts, too");
        std::fs::remove_file(manifest).expect("removed");
    }

    #[test]
    fn a_name_finds_its_model_without_loading_any() {
        let several = models(config(&[
            "shipped",
            "small=shipped,precision=int8",
            "twin=shipped,precision=bf16",
            "twin=shipped,precision=int8",
            "lost=/nowhere/x.safetensors",
        ]));
        let found = |name: Option<&str>| {
            let model = several.find(name)?;
            anyhow::Ok(several.models.iter().position(|other| std::ptr::eq(other, model)))
        };
        for (name, expected) in [
            (None, 0),
            (Some("resnet18-cifar10"), 0),
            (Some("resnet18-cifar10/f32"), 0),
            (Some("small"), 1),
            (Some("small/int8"), 1),
            (Some("twin"), 2),
            (Some("twin/int8"), 3),
            (Some("lost"), 4),
        ] {
            assert_eq!(found(name).expect("a model"), Some(expected), "{name:?}");
        }
        for name in ["", "smal", "small/f32", "small@2", "resnet18-cifar10/bf16", "lost/int8"] {
            let error = found(Some(name)).expect_err(name).to_string();
            for words in ["resnet18-cifar10/f32", "small/int8", "lost=", "/nowhere/x.safetensors", "--"] {
                assert!(error.contains(words), "{words} in {error}");
            }
        }
        assert!(several.models.iter().all(|model| model.loaded.get().is_none()));
        assert_eq!(several.memory.bytes(), 0);
    }

    #[test]
    fn a_model_that_cannot_be_loaded_names_the_setting() {
        let failed = |models: &Models| {
            format!("{:#}", models.with(None, |_| Ok(())).expect_err("it cannot be loaded"))
        };
        let missing = models(config(&["/nowhere/x.safetensors"]));
        let error = failed(&missing);
        assert!(error.contains("FIRESTEEL_MODEL") && error.contains("/nowhere/x.safetensors"), "{error}");
        assert_eq!(missing.memory.bytes(), 0);
        let elsewhere = models(Config { device: Device::Cuda(99), ..Config::default() });
        let error = failed(&elsewhere);
        assert!(error.contains("FIRESTEEL_INFERENCE_DEVICE") && error.contains("cuda:99"), "{error}");
    }

    #[test]
    fn each_model_is_loaded_once_and_counts_in_memory() {
        let two = models(config(&["shipped", "small=shipped,precision=int8"]));
        let address = |name| {
            let address = |classifier: &Classifier| Ok(std::ptr::from_ref(classifier));
            two.with(name, address).expect("the model")
        };
        let first = address(None);
        let bytes = two.memory.bytes();
        assert!(bytes > 40_000_000, "{bytes}");
        assert_eq!(first, address(None), "it is loaded once");
        assert_eq!(first, address(Some("resnet18-cifar10/f32")), "by its name, too");
        assert_eq!(two.memory.bytes(), bytes);
        let second = address(Some("small"));
        assert_ne!(first, second);
        let both = two.memory.bytes();
        assert!(both > bytes + 10_000_000, "{both} after {bytes}");

        let image = [7_u8; 3_072];
        let classes = two.with(None, |classifier| classifier.classify(&[image.as_slice()]).map_err(said));
        assert!(classes.expect("an answer")[0].is_ok());
        // Where candle computes there are none; the remembered answer takes some bytes in any case.
        let buffers = Isa::detect(Precision::DEFAULT) != Isa::Portable;
        let grown = two.memory.bytes() - both;
        assert_eq!(grown > 100_000, buffers, "its buffers count, too: {grown}");
    }
}
