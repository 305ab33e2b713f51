//! Models as ONNX files.
//!
//! ```text
//! FILE.onnx ──▶ proto ──▶ Interface: input, output ──▶ resnet: is it one of ours? ──▶ yes: Network, our own kernels
//! FILE.onnx.json ──────▶ Manifest                                                 └─▶ no: runtime, the library of ONNX Runtime
//! ```
//!
//! A graph that is a ResNet, operation by operation and attribute by attribute, becomes a [`Network`], with every precision and
//! device that one from safetensors has. Anything else is computed in f32 by ONNX Runtime, whose library is opened then.
//! Tensors may be in other files of the model's own folder, as exporters put those of large models: [`files`] names them. What a file
//! says is checked before anything is allocated for it.

mod graph;
mod proto;
mod resnet;
mod runtime;
mod tensor;
#[cfg(test)]
mod tests;

use super::device::Device;
use super::error::{Error, Result};
use super::manifest::{Beside, Manifest};
use super::model::{Model, ModelInfo};
use super::network::{IMAGENET, Network};
use super::precision::Precision;
use super::weights::Weights;
use bytes::Bytes;
use graph::Interface;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tensor::{External, Place};

/// The most bytes of a file: as many as protobuf can have.
const MAX_BYTES: u64 = (1 << 31) - 1;

/// The most bytes of a batch for a graph that wants so many images at once.
const MAX_INPUT: usize = 1 << 30;

/// The domains of operations that ONNX Runtime has.
const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// What became of an ONNX file.
#[derive(Debug)]
pub(super) enum Opened {
    /// It is a ResNet.
    Network(Network),
    /// It is something else.
    Graph(Graph),
}

/// A network that is none of ours: computed by ONNX Runtime.
#[derive(Debug)]
pub(super) struct Graph {
    /// Its description; `name` has no precision yet.
    pub(super) info: ModelInfo,
    origin: String,
    interface: Interface,
    model: Contents,
    /// Bytes of its tensors, those in other files included.
    bytes: usize,
    /// What makes it none of ours.
    why: String,
}

/// Where ONNX Runtime reads the model.
#[derive(Debug)]
enum Contents {
    Memory(Bytes),
    /// Some tensors are in files beside it, which are looked for from there.
    File(PathBuf),
}

/// Whether the file at `path` is ONNX and not safetensors: told from its first bytes, and by the name where they leave it open.
///
/// # Errors
/// [`Error::ReadWeights`] for a file that cannot be read.
pub(super) fn is_onnx(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(9).read_to_end(&mut start))
        .map_err(|source| Error::ReadWeights { path: path.to_owned(), source })?;
    Ok(match start.as_slice() {
        // Eight bytes of length, and a JSON object.
        [.., 0, 0, b'{'] => false,
        // The version of the format, which every writer puts first.
        [0x08, ..] => true,
        _ => path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")),
    })
}

/// Reads the ONNX file at `path`, with the manifest beside it where there is one.
///
/// # Errors
/// A file that cannot be read or is no ONNX, a graph that takes no images or gives no classes, a manifest that does not fit.
pub(super) fn read(path: &Path) -> Result<Opened> {
    let (place, bytes) = load(path)?;
    let stem = path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy());
    parse(&place, &stem, bytes, Beside::load(path)?)
}

/// The files that hold tensors of the ONNX file at `path`, besides that one itself. None of them is read.
///
/// # Errors
/// A file that cannot be read or is no ONNX, tensors in a file that is not there or may not be read.
pub(super) fn files(path: &Path) -> Result<BTreeSet<PathBuf>> {
    let (place, bytes) = load(path)?;
    Ok(outside(&decode(&place, bytes)?, &place)?.into_keys().collect())
}

/// The bytes of an ONNX file, and where its other files may be.
fn load(path: &Path) -> Result<(Place, Bytes)> {
    let cannot = |source| Error::ReadWeights { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(cannot)?.len();
    let origin = path.display().to_string();
    if length > MAX_BYTES {
        let problem = format!(
            "has {length} bytes, more than an ONNX file can have: export it with its tensors in a file beside it"
        );
        return Err(Error::Architecture { origin, problem });
    }
    let bytes = std::fs::read(path).map_err(cannot)?;
    let target = path.canonicalize().map_err(cannot)?;
    let mut paths = Vec::new();
    if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        paths.push(folder.canonicalize().map_err(cannot)?.join(name));
    }
    if !paths.contains(&target) {
        paths.push(target);
    }
    Ok((Place { origin, paths }, bytes.into()))
}

fn decode(place: &Place, bytes: Bytes) -> Result<proto::Model> {
    proto::Model::decode(bytes).map_err(|source| Error::NotOnnx { origin: place.origin.clone(), source })
}

fn parse(place: &Place, name: &str, bytes: Bytes, beside: Option<Beside>) -> Result<Opened> {
    let origin = &place.origin;
    let model = decode(place, bytes.clone())?;
    let Some(graph) = &model.graph else { return Err(place.bad("has no graph".to_owned())) };
    let interface = Interface::of(graph, place)?;
    foreign(&model, graph, place)?;
    let mut metadata: HashMap<String, String> =
        model.metadata_props.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    if let (Some(height), Some(width)) = (interface.height, interface.width) {
        metadata.entry("input".to_owned()).or_insert_with(|| format!("3x{height}x{width}"));
    }
    let weights = Weights::described(origin, name, metadata, beside);
    let recognised = resnet::recognise(&model, &interface, place)?;
    let assumed: &[_] = if matches!(&recognised, Ok(parts) if parts.pool) { &IMAGENET } else { &[] };
    let manifest = Manifest::read(&weights, assumed)?;
    let size = (manifest.height, manifest.width);
    let fits = |said: Option<usize>, edge| said.is_none_or(|said| said == edge);
    if !fits(interface.height, size.0) || !fits(interface.width, size.1) {
        let edge = |edge: Option<usize>| edge.map_or_else(|| "?".to_owned(), |edge| edge.to_string());
        let (height, width) = (edge(interface.height), edge(interface.width));
        let problem = format!("is 3x{}x{}, but the graph takes 3x{height}x{width}", size.0, size.1);
        return Err(weights.bad("input", problem));
    }
    let classes = manifest.classes.len();
    let outputs = recognised.as_ref().map_or(interface.classes, |parts| Some(parts.fc.bias.len()));
    if let Some(outputs) = outputs.filter(|outputs| *outputs != classes) {
        return Err(
            weights.bad("classes", format!("names {classes} classes, but the graph gives {outputs} numbers"))
        );
    }
    match recognised {
        Ok(parts) => {
            let info = manifest.info(weights.name(), parts.architecture());
            Ok(Opened::Network(Network {
                info,
                stem: parts.stem,
                pool: parts.pool,
                blocks: parts.blocks,
                fc: parts.fc,
                calibration: manifest.calibration,
                accuracy: manifest.accuracy,
            }))
        }
        Err(why) => {
            tracing::info!(weights = weights.origin(), %why, "no network of our kernels, so ONNX Runtime computes it");
            let input = interface.batch.unwrap_or(1) * 3 * size.0 * size.1 * size_of::<f32>();
            if input > MAX_INPUT {
                return Err(place.bad(format!(
                    "takes {} images of 3x{}x{} at once, {input} bytes: export it for fewer, or for any number",
                    interface.batch.unwrap_or(1),
                    size.0,
                    size.1
                )));
            }
            // The files beside it are checked as well, which ONNX Runtime will open.
            let outside = outside(&model, place)?;
            let mut all = bytes.len();
            for file in outside.keys() {
                let there = std::fs::metadata(file)
                    .map_err(|source| Error::ReadWeights { path: file.clone(), source })?;
                all = all.saturating_add(usize::try_from(there.len()).unwrap_or(usize::MAX));
            }
            let model = match outside.into_values().next() {
                Some(path) => Contents::File(path.to_owned()),
                None => Contents::Memory(bytes),
            };
            let info = manifest.info(weights.name(), "onnx".to_owned());
            Ok(Opened::Graph(Graph { info, origin: origin.clone(), interface, model, bytes: all, why }))
        }
    }
}

/// The files that hold tensors of `model` besides its own, each with the path of the model beside which it was found.
fn outside<'a>(model: &proto::Model, place: &'a Place) -> Result<BTreeMap<PathBuf, &'a Path>> {
    let mut tensors = Vec::new();
    model.graph.iter().for_each(|graph| of_graph(graph, &mut tensors));
    model.functions.iter().flat_map(|function| &function.node).for_each(|node| of_node(node, &mut tensors));
    let mut files = BTreeMap::new();
    for tensor in tensors {
        if let Some(External { file, model }) = place.external(tensor)? {
            files.insert(file, model);
        }
    }
    Ok(files)
}

/// Puts all tensors of a graph into the list, those of the bodies in it as well. How deep it goes, the reader of the file has bounded.
fn of_graph<'a>(graph: &'a proto::Graph, tensors: &mut Vec<&'a proto::Tensor>) {
    tensors.extend(&graph.initializer);
    for sparse in &graph.sparse_initializer {
        tensors.extend(sparse.values.iter().chain(&sparse.indices));
    }
    graph.node.iter().for_each(|node| of_node(node, tensors));
}

/// As [`of_graph`], of the attributes of a node.
fn of_node<'a>(node: &'a proto::Node, tensors: &mut Vec<&'a proto::Tensor>) {
    for attribute in &node.attribute {
        tensors.extend(attribute.t.iter().chain(&attribute.tensors));
        attribute.g.iter().chain(&attribute.graphs).for_each(|graph| of_graph(graph, tensors));
    }
}

/// Refuses operations that neither ONNX Runtime nor the file itself has.
fn foreign(model: &proto::Model, graph: &proto::Graph, place: &Place) -> Result<()> {
    let own = |node: &proto::Node| {
        model.functions.iter().any(|function| function.domain == node.domain && function.name == node.op_type)
    };
    match graph.node.iter().find(|node| !DOMAINS.contains(&node.domain.as_str()) && !own(node)) {
        None => Ok(()),
        Some(node) => Err(place.bad(format!(
            "node {:?} is the operation {}::{}, which is none of ONNX's",
            node.name, node.domain, node.op_type
        ))),
    }
}

impl Graph {
    /// The error of whoever needs a network of our own kernels; `what` is computed for these alone.
    pub(super) fn not_ours(&self, what: &str) -> Error {
        let problem = format!(
            "is no network of Firesteel's own kernels, since it {}; {what} is for those alone, ONNX Runtime computes this one",
            self.why
        );
        Error::Architecture { origin: self.origin.clone(), problem }
    }

    /// A model that ONNX Runtime computes.
    ///
    /// # Errors
    /// [`Error::Precision`] for another precision than f32, [`Error::Device`] for another device than the processor,
    /// [`Error::OnnxRuntime`] where there is no library of it, or it refuses the file.
    pub(super) fn compile(&self, precision: Precision, device: Device) -> Result<Box<dyn Model>> {
        if precision != Precision::F32 {
            let problem = format!(
                "is not for networks that ONNX Runtime computes, and {} {}: take f32, with a file that is quantised already \
                 if it should be faster",
                self.origin, self.why
            );
            return Err(Error::Precision { model: self.info.name.clone(), precision, problem });
        }
        if device != Device::Cpu {
            let problem = format!(
                "is not for networks that ONNX Runtime computes, and {} {}: take cpu",
                self.origin, self.why
            );
            return Err(Error::Device { device, problem });
        }
        Ok(Box::new(runtime::OnnxModel::new(self)?))
    }
}
