//! The models of a process: which there are, which one a query means, and that each is loaded once, when it is first asked.

use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use firesteel_common::ConfigField;
use firesteel_engine::functions::Memory;
use firesteel_pipeline::chain;
use firesteel_pipeline::inference::spec::answers_to;
use firesteel_pipeline::inference::{
    self, Classifier, Device, Limits, ModelFile, ModelSpec, Precision, PrecisionSetting, Weights,
};
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
    /// NAME or NAME@VERSION, and the precision that it is computed in, once it was read.
    known: OnceLock<(String, Precision)>,
    /// Held by whoever reads the file for that.
    reading: Mutex<()>,
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
            let (known, reading, loaded) = (OnceLock::new(), Mutex::new(()), OnceLock::new());
            Lazy { spec, precision, device, known, reading, loaded }
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
        let known = model.resolve(&file);
        let compiled = known.and_then(|(_, precision)| file.compile(*precision, self.device));
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
        let whole = |(name, precision): &(String, Precision)| format!("{name}/{precision}");
        if let Some(known) = self.known.get() {
            return Ok(whole(known));
        }
        // Tasks ask concurrently, and one of them reads the file, which may be large.
        let _alone = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        match self.known.get() {
            Some(known) => Ok(whole(known)),
            None => self.resolve(&self.spec.open()?).map(whole),
        }
    }

    /// The name without the precision, and the precision: those that were known first, whatever is measured later.
    fn resolve(&self, file: &ModelFile) -> inference::Result<&(String, Precision)> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let precision = file.resolve(self.precision, self.device)?;
        Ok(self.known.get_or_init(|| (file.info().name.clone(), precision)))
    }

    /// The model's name for people, who did not find it.
    fn told(&self) -> String {
        self.whole().unwrap_or_else(|error| format!("{} ({})", self.spec, chain(&error)))
    }

    fn fingerprint(&self) -> String {
        let (name, precision) = (self.spec.name.clone(), self.precision);
        let Some(file) = &self.spec.file else {
            return format!("{} shipped {precision}", name.unwrap_or_default());
        };
        let mut files = ModelFile::files(file);
        files.push(Weights::manifest_path(file));
        let contents: Vec<String> = files.iter().map(|file| fingerprint_of(file)).collect();
        // What the file itself says counts, and how it is called only where that says nothing.
        let said = || match self.known.get() {
            Some((name, _)) => Some(name.clone()),
            None => self.spec.open().ok().map(|file| file.info().name.clone()),
        };
        let stem = || file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.or_else(said).or_else(stem);
        format!("{} {} {precision}", name.unwrap_or_default(), contents.join(" "))
    }
}

/// What a file's content is told by.
fn fingerprint_of(file: &Path) -> String {
    /// Bytes that are in memory at once: a file of tensors may be larger than that.
    const PART: u64 = 1 << 20;
    let digest = || -> std::io::Result<_> {
        let (mut file, mut part, mut digest) = (std::fs::File::open(file)?, Vec::new(), Sha256::new());
        while file.by_ref().take(PART).read_to_end(&mut part)? > 0 {
            digest.update(&part);
            part.clear();
        }
        Ok(digest.finalize())
    };
    match digest() {
        Ok(digest) => digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        // The first call says so, unless it is a manifest that is not needed.
        Err(error) => format!("unreadable: {}", error.kind()),
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

    /// An ONNX file of one tensor, whose numbers are in `m.data` beside it.
    const ONNX: &[u8] = b"\x08\x09\x3a\x18\x2a\x16\x6a\x12\x0a\x08location\x12\x06m.data\x70\x01";

    #[test]
    fn files_beside_an_onnx_file_are_in_its_fingerprint() {
        let folder = tempfile::tempdir().expect("a folder");
        let fingerprint = |name: &str, weights: &str| {
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).expect("made");
            std::fs::write(folder.join("m.onnx"), ONNX).expect("written");
            std::fs::write(folder.join("m.data"), weights).expect("written");
            models(config(&[&folder.join("m.onnx").to_string_lossy()])).fingerprint()
        };
        let first = fingerprint("first", "weights");
        assert_eq!(first, fingerprint("same", "weights"));
        assert_ne!(first, fingerprint("other", "others!"));
    }

    #[test]
    fn a_file_that_says_its_name_may_be_called_anything() {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline/assets/resnet18-cifar10.safetensors");
        let mut bytes = std::fs::read(shipped).expect("weights");
        let folder = tempfile::tempdir().expect("a folder");
        let fingerprint = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            models(config(&[&path.to_string_lossy()])).fingerprint()
        };
        assert_ne!(fingerprint("a.safetensors", &bytes), fingerprint("b.safetensors", &bytes));
        let (key, name) = (br#""format":"pt""#, br#""name":"mine""#);
        let at = bytes.windows(key.len()).position(|part| part == key).expect("a key of the same length");
        bytes[at..at + name.len()].copy_from_slice(name);
        assert_eq!(fingerprint("a.safetensors", &bytes), fingerprint("b.safetensors", &bytes));
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
