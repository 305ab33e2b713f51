//! Reads a safetensors file into plain f32 tensors, checking everything that can be wrong with it.
//!
//! The shipped weights are part of the binary, so one file is the whole server; `--model FILE` reads another, and `FILE.json`
//! where there is one: see [`Manifest`](super::Manifest).
//! Whatever the storage type (f32, f16, bf16), what comes out is f32. A network takes its tensors out by name and
//! shape ([`Weights::take`]) and calls [`Weights::finish`], which refuses what is left over.

use super::error::{Error, Result};
use super::manifest::Beside;
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The shipped weights; see `assets/MODEL_CARD.md`.
const SHIPPED: &[u8] = include_bytes!("../../assets/resnet18-cifar10.safetensors");

/// What their metadata do not say.
const MANIFEST: &str = include_str!("../../assets/resnet18-cifar10.safetensors.json");

/// The ranges of their activations, measured on training images.
const CALIBRATION: &str = include_str!("../../assets/int8-calibration.json");

/// The tensors of one file that nobody has taken yet, and its metadata.
#[derive(Debug)]
pub struct Weights {
    origin: String,
    name: String,
    metadata: HashMap<String, String>,
    beside: Option<Beside>,
    tensors: BTreeMap<String, Array>,
}

/// A tensor as plain data, row-major.
#[derive(Debug, Clone, PartialEq)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Weights {
    /// The weights inside this binary.
    ///
    /// # Errors
    /// None while the binary is intact.
    pub fn shipped() -> Result<Self> {
        let shipped = Self::parse("the built-in weights", "resnet18-cifar10", SHIPPED)?;
        let mut shipped = shipped.with_manifest("the built-in manifest", MANIFEST)?;
        shipped.metadata.entry("calibration".to_owned()).or_insert_with(|| CALIBRATION.to_owned());
        Ok(shipped)
    }

    /// The weights in the file `path`, with the manifest beside it where there is one, or those inside this binary.
    ///
    /// # Errors
    /// An unreadable file, one that is no safetensors file of floats, or a manifest that is none.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Self::shipped() };
        let bytes =
            std::fs::read(path).map_err(|source| Error::ReadWeights { path: path.to_owned(), source })?;
        let stem = path.file_stem().map_or_else(|| "weights".into(), |s| s.to_string_lossy());
        let weights = Self::parse(&path.display().to_string(), &stem, &bytes)?;
        Ok(Self { beside: Beside::load(path)?, ..weights })
    }

    /// The name of the file beside the weights in `path` that may hold their manifest.
    #[must_use]
    pub fn manifest_path(path: &Path) -> PathBuf {
        Beside::path(path)
    }

    /// The same weights with the manifest `text`, a JSON object; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Manifest`] for a text that is none, or has a key that there is not.
    pub fn with_manifest(self, origin: &str, text: &str) -> Result<Self> {
        Ok(Self { beside: Some(Beside::parse(origin, text)?), ..self })
    }

    pub(super) fn beside(&self) -> Option<&Beside> {
        self.beside.as_ref()
    }

    /// Weights from memory: `origin` names them in errors, `name` in predictions unless the metadata has a `name`.
    ///
    /// # Errors
    /// As [`Weights::load`].
    pub fn parse(origin: &str, name: &str, bytes: &[u8]) -> Result<Self> {
        let broken = |source| Error::NotSafetensors { origin: origin.to_owned(), source };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let file = SafeTensors::deserialize(bytes).map_err(broken)?;
        let mut tensors = BTreeMap::new();
        for (tensor, view) in file.iter() {
            // PyTorch's count of training steps: an integer that no forward pass reads.
            if tensor.ends_with(".num_batches_tracked") {
                continue;
            }
            let values = floats(origin, tensor, &view)?;
            finite(origin, tensor, &values)?;
            tensors.insert(tensor.to_owned(), Array { shape: view.shape().to_vec(), values });
        }
        let metadata = header.metadata().clone().unwrap_or_default();
        let name = metadata.get("name").map_or(name, String::as_str).to_owned();
        Ok(Self { origin: origin.to_owned(), name, metadata, beside: None, tensors })
    }

    /// Weights without tensors: what is said of a model whose tensors are in a file of another kind.
    pub(super) fn described(
        origin: &str,
        name: &str,
        metadata: HashMap<String, String>,
        beside: Option<Beside>,
    ) -> Self {
        let name = metadata.get("name").map_or(name, String::as_str).to_owned();
        Self { origin: origin.to_owned(), name, metadata, beside, tensors: BTreeMap::new() }
    }

    /// The name of these weights in predictions.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The origin of the weights, for errors.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The shape of a tensor that has not been taken.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|array| array.shape.as_slice())
    }

    /// Names and shapes of the tensors that have not been taken, in alphabetical order.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, array)| (name.as_str(), array.shape.as_slice()))
    }

    /// Takes out tensor `name`, which has to have shape `expected`; row-major values.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or [`Error::Shape`] with both shapes.
    pub fn take(&mut self, name: &str, expected: &[usize]) -> Result<Vec<f32>> {
        let (origin, expected) = (self.origin.clone(), expected.to_vec());
        match self.tensors.remove(name) {
            None => Err(Error::MissingTensor { origin, name: name.to_owned(), expected }),
            Some(Array { shape: found, .. }) if found != expected => {
                Err(Error::Shape { origin, name: name.to_owned(), found, expected })
            }
            Some(array) => Ok(array.values),
        }
    }

    /// Ends the reading of `network`: whatever has not been taken does not belong to it.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensor`] with the first such tensor in alphabetical order.
    pub fn finish(self, network: &str) -> Result<()> {
        match self.tensors.into_iter().next() {
            None => Ok(()),
            Some((name, Array { shape, .. })) => {
                Err(Error::UnexpectedTensor { origin: self.origin, name, shape, network: network.to_owned() })
            }
        }
    }

    /// The metadata under `key`, if the file has it.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// An error about metadata `key`; `problem` ends the sentence that starts with the key.
    #[must_use]
    pub fn bad(&self, key: &'static str, problem: String) -> Error {
        Error::Metadata { origin: self.origin.clone(), key, problem }
    }
}

fn floats(origin: &str, name: &str, view: &safetensors::tensor::TensorView<'_>) -> Result<Vec<f32>> {
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        other => {
            let found = format!("{other:?}");
            return Err(Error::Dtype { origin: origin.to_owned(), name: name.to_owned(), found });
        }
    };
    to_f32(origin, name, view.data(), dtype, view.shape())
}

/// The numbers of tensor `name`, in little-endian bytes of a type of floats, as f32.
pub(super) fn to_f32(
    origin: &str,
    name: &str,
    data: &[u8],
    dtype: DType,
    shape: &[usize],
) -> Result<Vec<f32>> {
    Tensor::from_raw_buffer(data, dtype, shape, &Device::Cpu)
        .and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1())
        .map_err(|source| Error::Compute { model: format!("{origin}: reading tensor {name:?}"), source })
}

/// Refuses a tensor that holds an infinity or a NaN.
pub(super) fn finite(origin: &str, name: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let (origin, name, value) = (origin.to_owned(), name.to_owned(), values[index]);
            Err(Error::BadValue { origin, name, index, value })
        }
    }
}
