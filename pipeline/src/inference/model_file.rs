//! A model's file, of whichever kind: what every command opens that takes `--model`.
//!
//! safetensors and those ONNX files that hold a ResNet become a [`Network`], which has every precision and device. Another ONNX
//! file is computed by ONNX Runtime, in f32 on the processor.

use super::compile::compile;
use super::device::Device;
use super::error::Result;
use super::model::{Model, ModelInfo};
use super::network::Network;
use super::onnx;
use super::precision::{Precision, PrecisionSetting};
use super::weights::Weights;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A model that has been read and checked, and is not compiled yet.
#[derive(Debug)]
pub struct ModelFile(Kind);

#[derive(Debug)]
enum Kind {
    Network(Network),
    Graph(onnx::Graph),
}

impl ModelFile {
    /// Reads the model in the file `path`, safetensors or ONNX, with the manifest beside it where there is one, or the model inside
    /// this binary. The content tells which kind of file it is.
    ///
    /// # Errors
    /// A file that cannot be read or is of neither kind, tensors or a graph that cannot be computed, a manifest that does not fit.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let kind = match path {
            Some(path) if onnx::is_onnx(path)? => match onnx::read(path)? {
                onnx::Opened::Network(network) => Kind::Network(network),
                onnx::Opened::Graph(graph) => Kind::Graph(graph),
            },
            _ => Kind::Network(Network::read(Weights::load(path)?)?),
        };
        Ok(Self(kind))
    }

    /// The files that the model in the file `path` is read from: that one, and those that hold tensors of an ONNX file. Which they
    /// are is not known where it cannot be read, so it is then that one alone. The manifest is not among them.
    #[must_use]
    pub fn files(path: &Path) -> Vec<PathBuf> {
        let others = onnx::is_onnx(path)
            .and_then(|is_onnx| if is_onnx { onnx::files(path) } else { Ok(BTreeSet::new()) });
        std::iter::once(path.to_owned()).chain(others.unwrap_or_default()).collect()
    }

    /// Its description; `name` has no precision yet.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        match &self.0 {
            Kind::Network(network) => &network.info,
            Kind::Graph(graph) => &graph.info,
        }
    }

    pub(super) fn info_mut(&mut self) -> &mut ModelInfo {
        match &mut self.0 {
            Kind::Network(network) => &mut network.info,
            Kind::Graph(graph) => &mut graph.info,
        }
    }

    /// The precision that `setting` is for this model on `device`, as [`PrecisionSetting::resolve`] has it. A graph that ONNX
    /// Runtime computes has f32 alone.
    ///
    /// # Errors
    /// As [`auto::choose`](super::auto::choose).
    pub fn resolve(&self, setting: PrecisionSetting, device: Device) -> Result<Precision> {
        match (&self.0, setting) {
            (_, PrecisionSetting::Named(precision)) => Ok(precision),
            (Kind::Network(network), PrecisionSetting::Auto) => setting.resolve(network, device),
            (Kind::Graph(_), PrecisionSetting::Auto) => Ok(Precision::F32),
        }
    }

    /// The network, where it is one of our own kernels; `what` is said to need that in the error where it is none.
    ///
    /// # Errors
    /// [`Error::Architecture`](super::Error::Architecture) for a graph that ONNX Runtime computes.
    pub fn network(&self, what: &str) -> Result<&Network> {
        match &self.0 {
            Kind::Network(network) => Ok(network),
            Kind::Graph(graph) => Err(graph.not_ours(what)),
        }
    }

    /// The fastest implementation in `precision` on `device`.
    ///
    /// # Errors
    /// As [`compile()`]; [`Error::OnnxRuntime`](super::Error::OnnxRuntime) where ONNX Runtime is needed and not there, or
    /// refuses the graph.
    pub fn compile(&self, precision: Precision, device: Device) -> Result<Box<dyn Model>> {
        match &self.0 {
            Kind::Network(network) => compile(network, precision, device),
            Kind::Graph(graph) => graph.compile(precision, device),
        }
    }
}

impl From<Network> for ModelFile {
    fn from(network: Network) -> Self {
        Self(Kind::Network(network))
    }
}
