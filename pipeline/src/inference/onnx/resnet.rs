//! Whether the graph of an ONNX file is a ResNet that our own kernels compute.
//!
//! It is one where every node has its place: a stem of one convolution, residual blocks in four layers, the mean over all positions,
//! a matrix. Each operation, attribute and number of readers is held against what [`Network`](crate::inference::Network) computes; what is
//! not known leaves the graph to ONNX Runtime. So what exporters leave as it is (names, batch norms of their own or folded, the
//! stride of a bottleneck on one convolution or the other) makes no difference, and what changes the result is never passed over.

use super::graph::{Attributes, Interface, Nodes, is_standard};
use super::proto;
use super::tensor::Place;
use crate::inference::architecture::{Architecture, Kind};
use crate::inference::error::{Error, Result};
use crate::inference::network::{Block, Conv, Linear};

/// The versions of ONNX's operations that are known here: those in which the ones of a ResNet mean the same.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

/// The operations that a ResNet is made of.
const OPERATIONS: [&str; 14] = [
    "Conv",
    "BatchNormalization",
    "Relu",
    "Add",
    "MaxPool",
    "GlobalAveragePool",
    "ReduceMean",
    "Flatten",
    "Reshape",
    "Squeeze",
    "Gemm",
    "MatMul",
    "Softmax",
    "LogSoftmax",
];

/// What the graph has of a [`Network`](crate::inference::Network).
pub(super) struct Parts {
    pub(super) stem: Conv,
    pub(super) pool: bool,
    pub(super) blocks: Vec<Block>,
    pub(super) fc: Linear,
    kind: Kind,
    layers: [usize; 4],
}

impl Parts {
    /// Its name, as torchvision has it.
    pub(super) fn architecture(&self) -> String {
        let first = self.blocks.first().map_or(&[][..], |block| block.convs.as_slice());
        let hidden = first.first().map_or(0, |conv| conv.outputs);
        let outputs = first.last().map_or(0, |conv| conv.outputs);
        let widening = match self.kind {
            Kind::Basic => 1,
            Kind::Bottleneck => (4 * hidden).checked_div(outputs).unwrap_or(1),
        };
        let (stem, kind, blocks) = (self.stem.kernel, self.kind, self.layers);
        Architecture { stem, kind, blocks, widening }.name()
    }
}

/// Why a walk over a graph ends.
enum Stop {
    /// It is none of our networks; the rest of a sentence about the graph.
    Unknown(String),
    /// The file is damaged.
    Bad(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Bad(error)
    }
}

impl From<String> for Stop {
    fn from(problem: String) -> Self {
        Self::Unknown(problem)
    }
}

fn unknown<T>(problem: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Unknown(problem.into()))
}

/// The parts of the ResNet that `model` is, or why it is none, as the rest of a sentence about it.
///
/// # Errors
/// Tensors that cannot be read, or hold what is no finite number.
pub(super) fn recognise(
    model: &proto::Model,
    interface: &Interface,
    place: &Place,
) -> Result<Result<Parts, String>> {
    match walk(model, interface, place) {
        Ok(parts) => Ok(Ok(parts)),
        Err(Stop::Unknown(problem)) => Ok(Err(problem)),
        Err(Stop::Bad(error)) => Err(error),
    }
}

fn walk(model: &proto::Model, interface: &Interface, place: &Place) -> Result<Parts, Stop> {
    let opset =
        model.opset_import.iter().find(|opset| is_standard(&opset.domain)).map_or(0, |opset| opset.version);
    if !OPSETS.contains(&opset) {
        return unknown(format!("has version {opset} of ONNX's operations"));
    }
    if let Some(function) = model.functions.iter().find(|function| is_standard(&function.domain)) {
        return unknown(format!("has an operation {} of its own under ONNX's name", function.name));
    }
    let Some(graph) = &model.graph else { return unknown("has no graph") };
    let nodes = Nodes::of(graph);
    // Before any tensor is read: most of what is no ResNet shows here.
    let strange = nodes
        .all()
        .iter()
        .find(|node| !is_standard(&node.domain) || !OPERATIONS.contains(&node.op_type.as_str()));
    if let Some(node) = strange {
        return unknown(format!("has the operation {}", node.op_type));
    }
    let mut walk = Walk { nodes: &nodes, place, output: nodes.value(&interface.output), used: 0 };
    let mut at = nodes.value(&interface.input);
    let stem = walk.conv(&mut at, 3)?;
    walk.relu(&mut at)?;
    let pool = walk.pool(&mut at)?;
    if !matches!((stem.kernel, stem.stride, pool), (7, 2, true) | (3, 1, false)) {
        let Conv { kernel, stride, .. } = stem;
        let with = if pool { "a" } else { "no" };
        return unknown(format!(
            "begins with a convolution of {kernel}x{kernel} at stride {stride} and {with} pool"
        ));
    }
    let mut blocks: Vec<Block> = Vec::new();
    let (mut layers, mut layer) = ([0_usize; 4], 0);
    while let [_, _] = nodes.readers(at).as_slice() {
        let inputs = blocks.last().map_or(stem.outputs, Block::outputs);
        let (convs, shortcut) = walk.block(&mut at, inputs)?;
        let stride: usize = convs.iter().map(|conv| conv.stride).product();
        if stride != 1 && !blocks.is_empty() {
            layer += 1;
        }
        let Some(count) = layers.get_mut(layer) else { return unknown("has more than four layers") };
        let name = format!("layer{}.{count}", layer + 1);
        *count += 1;
        blocks.push(Block { name, convs, shortcut });
    }
    let Some(kind) = kind(&blocks) else {
        return unknown("has blocks that are none of a ResNet, or of several kinds");
    };
    if layers.contains(&0) {
        return unknown(format!("has {} layers of blocks, expected four", layer + 1));
    }
    let channels = blocks.last().map_or(stem.outputs, Block::outputs);
    walk.mean(&mut at, channels)?;
    let fc = walk.matrix(&mut at, channels)?;
    walk.ending(&mut at)?;
    if at != walk.output || walk.used != nodes.all().len() {
        return unknown("has nodes beside those of a ResNet");
    }
    Ok(Parts { stem, pool, blocks, fc, kind, layers })
}

/// The kind that all blocks are of.
fn kind(blocks: &[Block]) -> Option<Kind> {
    let of = |block: &Block| {
        let kernels: Vec<usize> = block.convs.iter().map(|conv| conv.kernel).collect();
        let stride: usize = block.convs.iter().map(|conv| conv.stride).product();
        let inputs = block.convs.first().map_or(0, |conv| conv.inputs);
        let fits = match &block.shortcut {
            Some(shortcut) => (shortcut.kernel, shortcut.stride) == (1, stride),
            None => stride == 1 && inputs == block.outputs(),
        };
        let kind = [Kind::Basic, Kind::Bottleneck].into_iter().find(|kind| {
            let convolutions = kind.convolutions(1);
            convolutions.iter().map(|(kernel, _)| kernel).eq(&kernels)
        });
        kind.filter(|_| fits && stride <= 2)
    };
    let first = of(blocks.first()?)?;
    blocks.iter().all(|block| of(block) == Some(first)).then_some(first)
}

/// A place in the graph. Each step begins at the value `at` and ends at the one that it makes.
struct Walk<'a, 'n> {
    nodes: &'n Nodes<'a>,
    place: &'n Place,
    output: &'a str,
    /// Nodes that have their place.
    used: usize,
}

impl<'a> Walk<'a, '_> {
    /// The one reader of `at`.
    fn reader(&self, at: &str) -> Result<&'a proto::Node, Stop> {
        match self.nodes.readers(at).as_slice() {
            [node] if at != self.output => Ok(node),
            _ => unknown(format!("reads the value {at:?} where a ResNet does not")),
        }
    }

    /// The reader of `at`, if it is one of the operations.
    fn if_reader(&self, at: &str, operations: &[&str]) -> Option<&'a proto::Node> {
        self.reader(at).ok().filter(|node| operations.contains(&node.op_type.as_str()))
    }

    /// Takes a node, which has to read `at` first; what it makes is the new place.
    fn take(&mut self, node: &'a proto::Node, at: &mut &'a str) -> Result<(), Stop> {
        let first = node.input.first().map(|input| self.nodes.value(input));
        match (first, node.output.split_first()) {
            // Further outputs that nobody asks for have no name.
            (Some(input), Some((output, rest))) if input == *at && rest.iter().all(String::is_empty) => {
                *at = self.nodes.value(output);
                self.used += 1;
                Ok(())
            }
            _ => unknown(format!("has {} with other inputs or outputs than a ResNet", node.op_type)),
        }
    }

    /// Shape and numbers of the tensor that is input `index` of a node.
    fn floats(&self, node: &'a proto::Node, index: usize) -> Result<(Vec<usize>, Vec<f32>), Stop> {
        match node.input.get(index).and_then(|name| self.nodes.tensor(name)) {
            Some(tensor) => Ok(self.place.floats(tensor)?),
            None => unknown(format!("has {} with weights that are computed", node.op_type)),
        }
    }

    /// A tensor of shape `[count]`, or one that is added to `[images, count]` as such.
    fn vector(&self, node: &'a proto::Node, index: usize, count: usize) -> Result<Vec<f32>, Stop> {
        let (shape, values) = self.floats(node, index)?;
        let flat = count == 1 || shape.last() == Some(&count);
        if flat && values.len() == count {
            Ok(values)
        } else {
            unknown(format!("has {} with a tensor of shape {shape:?}", node.op_type))
        }
    }

    /// The list of whole numbers that is input `index` of a node.
    fn integers(&self, node: &'a proto::Node, index: usize) -> Result<Option<Vec<i64>>, Stop> {
        match node.input.get(index).and_then(|name| self.nodes.tensor(name)) {
            Some(tensor) => Ok(self.place.integers(tensor)?),
            None => Ok(None),
        }
    }

    /// A convolution of `inputs` channels, with the batch norm behind it where there is one.
    fn conv(&mut self, at: &mut &'a str, inputs: usize) -> Result<Conv, Stop> {
        let node = self.reader(at)?;
        self.conv_at(node, at, inputs)
    }

    fn conv_at(&mut self, node: &'a proto::Node, at: &mut &'a str, inputs: usize) -> Result<Conv, Stop> {
        if node.op_type != "Conv" || node.input.len() > 3 {
            return unknown(format!("has {} where a ResNet has a convolution", node.op_type));
        }
        let (shape, weight) = self.floats(node, 1)?;
        let &[outputs, each, kernel, wide] = shape.as_slice() else {
            return unknown(format!("has a convolution of shape {shape:?}"));
        };
        let mut attributes = Attributes::of(node);
        let same = |found: Option<&[i64]>, count: usize, expected: usize, default: usize| match found {
            Some(found) => found.len() == count && found.iter().all(|v| usize::try_from(*v) == Ok(expected)),
            None => expected == default,
        };
        let stride = match attributes.ints("strides") {
            None | Some([1, 1]) => 1,
            Some([2, 2]) => 2,
            Some(other) => return unknown(format!("has a convolution with strides {other:?}")),
        };
        let plain = attributes.says("auto_pad", "NOTSET")
            && attributes.int("group", 1) == 1
            && same(attributes.ints("dilations"), 2, 1, 1)
            && same(attributes.ints("kernel_shape"), 2, kernel, kernel)
            && same(attributes.ints("pads"), 4, kernel / 2, 0);
        if !plain || wide != kernel || kernel % 2 == 0 || each != inputs || outputs == 0 {
            return unknown(format!(
                "has a convolution of shape {shape:?} for {inputs} channels, in groups, dilated, or with other borders than a ResNet's"
            ));
        }
        attributes.rest()?;
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(_) => self.vector(node, 2, outputs)?,
            None => vec![0.0; outputs],
        };
        self.take(node, at)?;
        let mut conv = Conv { inputs, outputs, kernel, stride, weight, bias };
        if let Some(norm) = self.if_reader(at, &["BatchNormalization"]) {
            self.norm(norm, at, &mut conv)?;
        }
        Ok(conv)
    }

    /// Folds a batch norm into the convolution before it.
    fn norm(&mut self, node: &'a proto::Node, at: &mut &'a str, conv: &mut Conv) -> Result<(), Stop> {
        let mut attributes = Attributes::of(node);
        let epsilon = attributes.float("epsilon", 1e-5);
        let plain = attributes.int("training_mode", 0) == 0 && attributes.int("spatial", 1) == 1;
        attributes.float("momentum", 0.9);
        let of = |index| self.vector(node, index, conv.outputs);
        let (gamma, beta, mean, var) = (of(1)?, of(2)?, of(3)?, of(4)?);
        if !plain || epsilon.is_nan() || epsilon < 0.0 || !var.iter().all(|v| v + epsilon > 0.0) {
            return unknown("has a batch norm in training, or with a variance that is none");
        }
        attributes.rest()?;
        conv.fold(&gamma, &beta, &mean, &var, epsilon);
        self.take(node, at)
    }

    fn relu(&mut self, at: &mut &'a str) -> Result<(), Stop> {
        match self.reader(at)? {
            node if node.op_type == "Relu" => {
                Attributes::of(node).rest()?;
                self.take(node, at)
            }
            node => unknown(format!("has {} where a ResNet has a ReLU", node.op_type)),
        }
    }

    /// The 3×3 max-pool at stride 2 behind the larger stem; whether it is there.
    fn pool(&mut self, at: &mut &'a str) -> Result<bool, Stop> {
        let Some(node) = self.if_reader(at, &["MaxPool"]) else { return Ok(false) };
        let mut attributes = Attributes::of(node);
        let plain = attributes.says("auto_pad", "NOTSET")
            && attributes.int("ceil_mode", 0) == 0
            && attributes.int("storage_order", 0) == 0
            && attributes.ints("dilations").is_none_or(|dilations| dilations == [1, 1])
            && attributes.ints("kernel_shape") == Some(&[3, 3])
            && attributes.ints("strides") == Some(&[2, 2])
            && attributes.ints("pads") == Some(&[1, 1, 1, 1]);
        if !plain {
            return unknown("has another max-pool than a ResNet");
        }
        attributes.rest()?;
        self.take(node, at)?;
        Ok(true)
    }

    /// The convolutions and the shortcut between `at` and the ReLU after their sum.
    fn block(&mut self, at: &mut &'a str, inputs: usize) -> Result<(Vec<Conv>, Option<Conv>), Stop> {
        let readers = self.nodes.readers(at);
        if *at == self.output || readers.iter().filter(|node| node.op_type == "Conv").count() == 0 {
            return unknown(format!("reads the value {at:?} where a ResNet does not"));
        }
        // The ends of the convolutions that begin here.
        let mut paths: Vec<(Vec<Conv>, &'a str)> = Vec::new();
        for node in readers.into_iter().filter(|node| node.op_type == "Conv") {
            let mut end = *at;
            let mut convs = vec![self.conv_at(node, &mut end, inputs)?];
            while let Some(relu) = self.if_reader(end, &["Relu"]) {
                Attributes::of(relu).rest()?;
                self.take(relu, &mut end)?;
                let inputs = convs.last().map_or(inputs, |conv| conv.outputs);
                convs.push(self.conv(&mut end, inputs)?);
            }
            paths.push((convs, end));
        }
        paths.sort_by_key(|(convs, _)| std::cmp::Reverse(convs.len()));
        let mut paths = paths.into_iter();
        let Some((convs, main)) = paths.next() else { return unknown("has a block of no convolution") };
        let (shortcut, other) = match paths.next() {
            Some((mut short, end)) if short.len() == 1 => (short.pop(), end),
            Some(_) => return unknown("has a block with two paths of several convolutions"),
            None => (None, *at),
        };
        let outputs = convs.last().map_or(inputs, |conv| conv.outputs);
        let sum = self.reader(main)?;
        let mut added: Vec<&str> = sum.input.iter().map(|input| self.nodes.value(input)).collect();
        let mut expected = vec![main, other];
        added.sort_unstable();
        expected.sort_unstable();
        let meets = shortcut.is_none() || self.nodes.readers(other).len() == 1;
        let shape = shortcut.as_ref().map_or(inputs, |conv| conv.outputs);
        if sum.op_type != "Add" || added != expected || !meets || shape != outputs || other == self.output {
            return unknown("has a block whose paths do not meet in one sum");
        }
        Attributes::of(sum).rest()?;
        *at = sum.input.first().map_or(main, |input| self.nodes.value(input));
        self.take(sum, at)?;
        self.relu(at)?;
        Ok((convs, shortcut))
    }

    /// The mean over all positions, as `[images, channels]`.
    fn mean(&mut self, at: &mut &'a str, channels: usize) -> Result<(), Stop> {
        let node = self.reader(at)?;
        let mut attributes = Attributes::of(node);
        let positions = |axes: Option<Vec<i64>>| {
            axes.is_some_and(|mut axes| {
                axes.iter_mut().for_each(|axis| *axis = axis.rem_euclid(4));
                axes.sort_unstable();
                axes == [2, 3]
            })
        };
        let flat = match node.op_type.as_str() {
            "GlobalAveragePool" => false,
            "ReduceMean" => {
                let axes = match attributes.ints("axes") {
                    Some(axes) => Some(axes.to_vec()),
                    None => self.integers(node, 1)?,
                };
                attributes.int("noop_with_empty_axes", 0);
                if !positions(axes) {
                    return unknown("has a mean over other axes than the positions");
                }
                attributes.int("keepdims", 1) == 0
            }
            other => return unknown(format!("has {other} where a ResNet has a mean or a block")),
        };
        attributes.rest()?;
        self.take(node, at)?;
        if flat {
            return Ok(());
        }
        let node = self.reader(at)?;
        let mut attributes = Attributes::of(node);
        let fits = match node.op_type.as_str() {
            "Flatten" => attributes.int("axis", 1) == 1,
            "Reshape" => {
                let channels = i64::try_from(channels).unwrap_or(i64::MAX);
                let shape = self.integers(node, 1)?;
                let zero = attributes.int("allowzero", 0) == 0;
                match shape.as_deref() {
                    Some([0, last]) if zero => [channels, -1].contains(last),
                    Some([-1, last]) => *last == channels,
                    _ => false,
                }
            }
            "Squeeze" => {
                let axes = match attributes.ints("axes") {
                    Some(axes) => Some(axes.to_vec()),
                    None => self.integers(node, 1)?,
                };
                positions(axes)
            }
            _ => false,
        };
        if !fits {
            return unknown(format!("has {} behind the mean", node.op_type));
        }
        attributes.rest()?;
        self.take(node, at)
    }

    /// The classifier.
    fn matrix(&mut self, at: &mut &'a str, channels: usize) -> Result<Linear, Stop> {
        let node = self.reader(at)?;
        let mut attributes = Attributes::of(node);
        let transposed = match node.op_type.as_str() {
            "Gemm" => {
                let one = |value: f32| value.to_bits() == 1.0_f32.to_bits();
                let plain = one(attributes.float("alpha", 1.0))
                    && one(attributes.float("beta", 1.0))
                    && attributes.int("transA", 0) == 0;
                if !plain {
                    return unknown("has Gemm with factors");
                }
                attributes.int("transB", 0) != 0
            }
            "MatMul" => false,
            other => return unknown(format!("has {other} where a ResNet has its classifier")),
        };
        attributes.rest()?;
        let (shape, mut weight) = self.floats(node, 1)?;
        let classes = match (shape.as_slice(), transposed) {
            (&[classes, each], true) | (&[each, classes], false) if each == channels && classes > 0 => {
                classes
            }
            _ => return unknown(format!("has a classifier of shape {shape:?} for {channels} channels")),
        };
        if !transposed {
            weight =
                (0..classes * channels).map(|at| weight[at % channels * classes + at / channels]).collect();
        }
        let there = node.op_type == "Gemm" && node.input.get(2).is_some_and(|name| !name.is_empty());
        let mut bias = if there { self.vector(node, 2, classes)? } else { vec![0.0; classes] };
        self.take(node, at)?;
        if let Some(sum) = self.if_reader(at, &["Add"]).filter(|_| node.op_type == "MatMul") {
            let second = usize::from(sum.input.first().is_some_and(|name| self.nodes.value(name) == *at));
            Attributes::of(sum).rest()?;
            bias = self.vector(sum, second, classes)?;
            *at = sum.input.first().map_or(*at, |input| self.nodes.value(input));
            self.take(sum, at)?;
        }
        Ok(Linear { weight, bias })
    }

    /// A softmax at the end, without which the logits are known as well.
    fn ending(&mut self, at: &mut &'a str) -> Result<(), Stop> {
        let Some(node) = self.if_reader(at, &["Softmax", "LogSoftmax"]) else { return Ok(()) };
        let mut attributes = Attributes::of(node);
        // Of two axes the last one is meant, whichever version it is.
        let axis = attributes.int("axis", -1);
        attributes.rest()?;
        if !matches!(axis, 1 | -1) {
            return unknown("has a softmax over the images");
        }
        self.take(node, at)
    }
}
