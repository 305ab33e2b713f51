//! `classify(image)`: the model of `pipeline` as an SQL function of `engine`. Neither crate knows the other.
//!
//! ```text
//! a column of bytes ──▶ nulls aside ──▶ pipeline's Classifier ──▶ struct(label, confidence), or null
//! ```
//!
//! Client, scheduler and executors register the same function, each with its own model: weights, precision and device are
//! settings of the process that computes. A process loads the model at the first call; its memory counts against the memory
//! pool of the tasks. The result is null for a null and for bytes that are no readable image, because one damaged
//! file must not end a query over millions. Any other failure ends the query.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, anyhow, bail};
use arrow::array::{Array, ArrayRef, AsArray, Float32Array, StringArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use firesteel_common::ConfigField;
use firesteel_engine::functions::{Functions, Memory, Vectorized};
use firesteel_pipeline::chain;
use firesteel_pipeline::inference::{
    self, Classification, Classifier, Device, Limits, ModelFile, Precision, Weights,
};

use firesteel_proto::Label;
use sha2::{Digest as _, Sha256};

use crate::args::fields::Settings;

/// The largest batch of images for the model.
const BATCH: usize = 64;

/// Which model it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// A file of weights. None: the model inside this binary.
    pub(crate) weights: Option<PathBuf>,
    /// The numbers that it computes in.
    pub(crate) precision: Precision,
    /// What it computes on.
    pub(crate) device: Device,
}

/// The functions that SQL can call besides those of DataFusion. `settings` names settings in errors.
pub(crate) fn functions(model: Config, settings: Arc<Settings>) -> Functions {
    let (memory, told) = (Memory::new(), model.clone());
    // A client that asks a cluster needs none, so the file is not read before it is asked for.
    let fingerprint = OnceLock::new();
    let fingerprint = move || fingerprint.get_or_init(|| told.fingerprint()).clone();
    let lazy =
        Lazy { model, settings, memory: memory.clone(), loaded: OnceLock::new(), loading: Mutex::new(()) };
    let garbage = AtomicBool::new(false);
    let apply = move |column: &ArrayRef| -> Result<ArrayRef, String> {
        lazy.classify(column, &garbage).map_err(|error| format!("{error:#}"))
    };
    let accepts = [DataType::Binary, DataType::LargeBinary, DataType::BinaryView];
    let function = Vectorized::new("classify", accepts, DataType::Struct(fields()), apply)
        .documented(
            "classify(image)",
            "What is in an image (JPEG, PNG, raw RGB): struct of label and confidence; null for what is no image",
        )
        .holding(memory);
    Functions::new().vectorized(function).fingerprint("classify", fingerprint)
}

impl Config {
    /// What the model's answers depend on: weights, their manifest, precision and device. A file counts by its content.
    fn fingerprint(&self) -> String {
        let of = |file: &Path| match std::fs::read(file) {
            Ok(bytes) => Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
            // The first call says so, unless it is a manifest that is not needed.
            Err(error) => format!("unreadable: {}", error.kind()),
        };
        let weights = match &self.weights {
            None => "shipped".to_owned(),
            Some(file) => format!("{} {}", of(file), of(&Weights::manifest_path(file))),
        };
        format!("{weights} {} {}", self.precision, self.device)
    }
}

/// The fields of the result: the class, and its probability from 0 to 1.
fn fields() -> Fields {
    vec![Field::new("label", DataType::Utf8, true), Field::new("confidence", DataType::Float32, true)].into()
}

/// A model that is loaded at its first use.
struct Lazy {
    model: Config,
    settings: Arc<Settings>,
    memory: Memory,
    loaded: OnceLock<Classifier>,
    loading: Mutex<()>,
}

impl Lazy {
    fn classify(&self, column: &ArrayRef, garbage: &AtomicBool) -> anyhow::Result<ArrayRef> {
        let classifier = self.get()?;
        let said = classify(classifier, column, garbage);
        // The buffers of the model may have grown.
        self.memory.hold(classifier.bytes());
        said
    }

    fn get(&self) -> anyhow::Result<&Classifier> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        // Tasks start concurrently, and one of them loads. After a failed load the next call tries again.
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let classifier = self.load()?;
        let (model, device) = (&classifier.info().name, self.model.device);
        tracing::info!(%model, %device, "loaded the model of classify");
        Ok(self.loaded.get_or_init(|| classifier))
    }

    fn load(&self) -> anyhow::Result<Classifier> {
        let Config { weights, precision, device } = &self.model;
        let words = || self.settings.words(ConfigField::Weights);
        let file = ModelFile::open(weights.as_deref()).map_err(said).with_context(words)?;
        let model = file.compile(*precision, *device).map_err(|error| {
            let field = match error {
                inference::Error::Device { .. } => ConfigField::InferenceDevice,
                inference::Error::OnnxRuntime { .. } => ConfigField::Weights,
                _ => ConfigField::InferencePrecision,
            };
            said(error).context(self.settings.words(field))
        })?;
        let classifier = Classifier::new(model, BATCH, Limits::DEFAULT).map_err(said)?;
        self.memory.try_hold(classifier.bytes()).with_context(|| {
            format!("no room for the model: {}", self.settings.words(ConfigField::ExecutorMemory))
        })?;
        Ok(classifier)
    }
}

/// The error with its causes in one line.
fn said(error: inference::Error) -> anyhow::Error {
    anyhow!(chain(&error))
}

/// Returns one struct per row. `garbage` is set once this process has warned of bytes that are not an image.
fn classify(classifier: &Classifier, column: &ArrayRef, garbage: &AtomicBool) -> anyhow::Result<ArrayRef> {
    let values = values(column)?;
    let images: Vec<&[u8]> = values.iter().copied().flatten().collect();
    let answers = classifier.classify(&images).map_err(said)?;
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    if let Some(why) = answers.iter().find_map(|answer| answer.as_ref().err()) {
        let (images, first) = (images.len(), why);
        if garbage.swap(true, Ordering::Relaxed) {
            tracing::debug!(refused, images, %first, "classify gives null for what is no image");
        } else {
            tracing::warn!(refused, images, %first, "classify gives null for what is no image, said once");
        }
    }
    let mut answers = answers.into_iter();
    let rows: Vec<Option<Classification>> =
        values.iter().map(|value| value.and_then(|_| answers.next()).and_then(Result::ok)).collect();
    let classes = &classifier.info().classes;
    let label =
        |row: &Option<Classification>| row.and_then(|said| classes.get(said.class)).map(Label::as_str);
    let labels: StringArray = rows.iter().map(label).collect();
    let confidences: Float32Array = rows.iter().map(|row| row.map(|said| said.confidence)).collect();
    let there = NullBuffer::from(rows.iter().map(Option::is_some).collect::<Vec<bool>>());
    let columns: Vec<ArrayRef> = vec![Arc::new(labels), Arc::new(confidences)];
    Ok(Arc::new(StructArray::try_new(fields(), columns, Some(there))?))
}

/// The bytes of each row.
fn values(column: &ArrayRef) -> anyhow::Result<Vec<Option<&[u8]>>> {
    Ok(match column.data_type() {
        DataType::Binary => column.as_binary::<i32>().iter().collect(),
        DataType::LargeBinary => column.as_binary::<i64>().iter().collect(),
        DataType::BinaryView => column.as_binary_view().iter().collect(),
        other => bail!("it takes bytes and got {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BinaryArray, BinaryViewArray, LargeBinaryArray};
    use clap::CommandFactory as _;
    use firesteel_pipeline::inference::compiled::Isa;
    use firesteel_pipeline::inference::{Model, ModelInfo};

    /// Names the class that an image's first byte says: images are 1 x 2 pixels, raw.
    struct Fake(ModelInfo);

    impl Model for Fake {
        fn info(&self) -> &ModelInfo {
            &self.0
        }

        fn forward(&mut self, pixels: &[u8]) -> inference::Result<Vec<f32>> {
            if pixels.contains(&99) {
                let problem = "was told to fail".to_owned();
                return Err(inference::Error::Output { model: self.0.name.clone(), problem });
            }
            let images = pixels.chunks_exact(6);
            Ok(images.flat_map(|image| [0, 1].map(|class| f32::from(u8::from(image[0] == class)))).collect())
        }

        fn bytes(&self) -> usize {
            0
        }
    }

    fn settings() -> Arc<Settings> {
        Arc::new(Settings::new(crate::cli::Cli::command(), Some("executor")))
    }

    fn classifier() -> Classifier {
        let info = ModelInfo {
            name: "fake/u8".to_owned(),
            architecture: "fake".to_owned(),
            classes: ["cat", "dog"].map(|name| Label::parse("classes", name).expect("a label")).to_vec(),
            aliases: std::collections::BTreeMap::new(),
            version: None,
            height: 1,
            width: 2,
            mean: [0.0; 3],
            std: [1.0; 3],
            resize: inference::Resize::DEFAULT,
        };
        Classifier::new(Box::new(Fake(info)), 2, Limits { max_bytes: 1 << 10, ..Limits::DEFAULT })
            .expect("a classifier")
    }

    fn classified(column: ArrayRef) -> anyhow::Result<Vec<Option<(String, f32)>>> {
        let said = classify(&classifier(), &column, &AtomicBool::new(false))?;
        assert_eq!(said.data_type(), &DataType::Struct(fields()));
        assert_eq!(said.len(), column.len());
        let said = said.as_struct();
        let labels = said.column(0).as_string::<i32>();
        let confidences = said.column(1).as_primitive::<arrow::datatypes::Float32Type>();
        Ok((0..said.len())
            .map(|row| {
                assert_eq!(said.is_null(row), labels.is_null(row), "a field of nothing is nothing");
                assert_eq!(said.is_null(row), confidences.is_null(row));
                said.is_valid(row).then(|| (labels.value(row).to_owned(), confidences.value(row)))
            })
            .collect())
    }

    #[test]
    fn nulls_and_garbage_are_null_wherever_they_stand() {
        let (cat, dog) = ([0_u8; 6], [1_u8; 6]);
        let rows: [Option<&[u8]>; 7] =
            [None, Some(&cat), Some(b"garbage"), Some(&dog), Some(b""), None, Some(&dog)];
        let expected = [None, Some("cat"), None, Some("dog"), None, None, Some("dog")];
        let columns: [ArrayRef; 3] = [
            Arc::new(BinaryArray::from_iter(rows)),
            Arc::new(LargeBinaryArray::from_iter(rows)),
            Arc::new(BinaryViewArray::from_iter(rows)),
        ];
        for column in columns {
            let kind = column.data_type().clone();
            let said = classified(column).expect("answers");
            let labels: Vec<_> =
                said.iter().map(|row| row.as_ref().map(|(label, _)| label.as_str())).collect();
            assert_eq!(labels, expected, "{kind}");
            // e / (e + 1)
            assert!(
                said.iter().flatten().all(|(_, confidence)| (confidence - 0.731).abs() < 1e-3),
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_slice_and_nothing_are_columns_too() {
        let rows: [Option<&[u8]>; 3] = [Some(&[0; 6]), None, Some(&[1; 6])];
        let column: ArrayRef = Arc::new(BinaryArray::from_iter(rows));
        let said = classified(column.slice(1, 2)).expect("answers");
        assert_eq!(said.len(), 2);
        assert!(said[0].is_none() && said[1].as_ref().is_some_and(|(label, _)| label == "dog"), "{said:?}");
        assert!(classified(column.slice(0, 0)).expect("nothing").is_empty());
        let nulls: [Option<&[u8]>; 2] = [None, None];
        assert_eq!(classified(Arc::new(BinaryArray::from_iter(nulls))).expect("nulls"), [None, None]);
    }

    #[test]
    fn what_no_image_is_to_blame_for_is_an_error() {
        let error =
            classified(Arc::new(BinaryArray::from(vec![[99_u8; 6].as_slice()]))).expect_err("it failed");
        assert!(error.to_string().contains("fake/u8 was told to fail"), "{error:#}");
        let error = classified(Arc::new(StringArray::from(vec!["text"]))).expect_err("no bytes");
        assert!(error.to_string().contains("Utf8"), "{error:#}");
    }

    #[test]
    fn another_model_has_another_fingerprint() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "weights").expect("written");
        let configs = [
            Config::default(),
            Config { precision: Precision::Int8, ..Config::default() },
            Config { device: Device::Cuda(0), ..Config::default() },
            Config { weights: Some(file.path().to_owned()), ..Config::default() },
            Config { weights: Some("/nowhere".into()), ..Config::default() },
        ];
        let distinct: std::collections::BTreeSet<String> = configs.iter().map(Config::fingerprint).collect();
        assert_eq!(distinct.len(), configs.len(), "{distinct:?}");
        assert_eq!(Config::default().fingerprint(), Config::default().fingerprint());
        let manifest = Weights::manifest_path(file.path());
        std::fs::write(&manifest, "{}").expect("written");
        assert!(!distinct.contains(&configs[3].fingerprint()), "its manifest counts, too");
        std::fs::remove_file(manifest).expect("removed");
    }

    #[test]
    fn a_model_that_cannot_be_loaded_names_the_setting() {
        let lazy = |weights: Option<&str>, device| Lazy {
            model: Config { weights: weights.map(Into::into), device, ..Config::default() },
            settings: settings(),
            memory: Memory::new(),
            loaded: OnceLock::new(),
            loading: Mutex::new(()),
        };
        let missing = lazy(Some("/nowhere/x.safetensors"), Device::Cpu);
        let error = format!("{:#}", missing.get().expect_err("no file"));
        assert!(error.contains("FIRESTEEL_WEIGHTS") && error.contains("/nowhere/x.safetensors"), "{error}");
        assert_eq!(missing.memory.bytes(), 0);
        let elsewhere = lazy(None, Device::Cuda(99));
        let error = format!("{:#}", elsewhere.get().expect_err("no such GPU"));
        assert!(error.contains("FIRESTEEL_INFERENCE_DEVICE") && error.contains("cuda:99"), "{error}");
        let shipped = lazy(None, Device::Cpu);
        let first: *const Classifier = shipped.get().expect("the shipped model");
        let bytes = shipped.memory.bytes();
        assert!(bytes > 40_000_000, "{bytes}");
        assert!(std::ptr::eq(first, shipped.get().expect("it is there")), "it is loaded once");
        assert_eq!(shipped.memory.bytes(), bytes);
        let column: ArrayRef = Arc::new(BinaryArray::from(vec![[7_u8; 3_072].as_slice()]));
        shipped.classify(&column, &AtomicBool::new(false)).expect("an answer");
        // Where candle computes there are none; the remembered answer takes some bytes in any case.
        let buffers = Isa::detect(Precision::DEFAULT) != Isa::Portable;
        let grown = shipped.memory.bytes() - bytes;
        assert_eq!(grown > 100_000, buffers, "its buffers count, too: {grown}");
    }

    /// The statement of the documentation, through DataFusion's planner with the settings of an engine.
    #[tokio::test(flavor = "multi_thread")]
    async fn sql_classifies_and_takes_fields() {
        let functions = functions(Config::default(), settings());
        assert_eq!(functions.names().collect::<Vec<_>>(), ["classify"]);
        let config = firesteel_engine::Config { functions, ..firesteel_engine::Config::default() };
        let session = firesteel_engine::Session::embedded(config).await.expect("an engine");
        let listed = session.functions().into_iter().find(|function| function.name == "classify");
        assert!(listed.is_some_and(|function| function.syntax == "classify(image)"));
        let rows: Vec<(Option<String>, Option<f64>)> = session
            .sql(
                "SELECT (classify(data)).label AS label, CAST((classify(data)).confidence AS DOUBLE) AS confidence \
                 FROM (VALUES (1, NULL), (2, x'ffd8ff00'), (3, arrow_cast(repeat('a', 3072), 'Binary'))) AS t(id, data) \
                 ORDER BY id",
            )
            .await
            .expect("it plans")
            .collect_as()
            .await
            .expect("rows");
        session.shutdown().await;
        assert_eq!(rows[..2], [(None, None), (None, None)]);
        let (label, confidence) = &rows[2];
        assert!(label.is_some() && confidence.is_some_and(|c| (0.1..=1.0).contains(&c)), "{rows:?}");
    }
}
