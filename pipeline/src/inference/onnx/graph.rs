//! The graph of an ONNX file, with who makes and who reads each value, and what it takes and gives as a whole.

use super::proto::{self, data_type};
use super::tensor::Place;
use crate::inference::error::Result;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The most images that a graph may want at once.
const MAX_BATCH: usize = 1_024;

/// What the numbers of the output are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Logits, or logarithms of probabilities, which are as good.
    Logits,
    /// Probabilities, by a softmax in the graph.
    Probabilities,
}

/// What a graph takes and gives: f32 `[batch, 3, height, width]` and f32 `[batch, classes]`. What it leaves open is none.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) input: String,
    pub(super) batch: Option<usize>,
    pub(super) height: Option<usize>,
    pub(super) width: Option<usize>,
    pub(super) output: String,
    pub(super) classes: Option<usize>,
    pub(super) ending: Ending,
}

impl Interface {
    /// That of `graph`.
    ///
    /// # Errors
    /// [`Error::Architecture`](crate::inference::Error::Architecture) where it is none of images and classes.
    pub(super) fn of(graph: &proto::Graph, place: &Place) -> Result<Self> {
        // Before version 4 of the format, tensors were inputs as well.
        let tensors: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        let inputs: Vec<_> =
            graph.input.iter().filter(|input| !tensors.contains(&input.name.as_str())).collect();
        let [input] = inputs.as_slice() else {
            return Err(place.bad(format!("has {} inputs, expected one, the images", inputs.len())));
        };
        let [output] = graph.output.as_slice() else {
            return Err(place
                .bad(format!("has {} outputs, expected one, a number for each class", graph.output.len())));
        };
        let name = &input.name;
        if name.is_empty() || output.name.is_empty() {
            return Err(place.bad("has an input or an output without a name".to_owned()));
        }
        let shape = shape(input);
        let sizes = match shape.as_deref() {
            None => [None; 4],
            Some(&[batch, channels, height, width]) if channels.is_none_or(|channels| channels == 3) => {
                [batch, channels, height, width]
            }
            Some(other) => {
                return Err(place.bad(format!(
                    "input {name:?} has shape {}, expected [images, 3, height, width]",
                    words(other)
                )));
            }
        };
        for value in [*input, output] {
            let found = element(value);
            if found.is_some_and(|found| found != data_type::FLOAT) {
                return Err(place.bad(format!("{:?} is not of f32, which is expected", value.name)));
            }
        }
        let [batch, _, height, width] = sizes;
        if let Some(batch) = batch.filter(|batch| !(1..=MAX_BATCH).contains(batch)) {
            return Err(
                place.bad(format!("input {name:?} is for {batch} images at once, expected 1 to {MAX_BATCH}"))
            );
        }
        let classes = match self::shape(output).as_deref() {
            None => None,
            Some(&[_, classes]) => classes,
            Some(other) => {
                let (name, shape) = (&output.name, words(other));
                return Err(
                    place.bad(format!("output {name:?} has shape {shape}, expected [images, classes]"))
                );
            }
        };
        let ending = match last(graph, &output.name) {
            "Softmax" | "QLinearSoftmax" => Ending::Probabilities,
            op @ ("Sigmoid" | "QLinearSigmoid" | "ArgMax" | "TopK") => {
                return Err(place.bad(format!(
                    "ends in {op}, expected a number for each class, of which one is right: logits or a softmax"
                )));
            }
            _ => Ending::Logits,
        };
        let (input, output) = (input.name.clone(), output.name.clone());
        Ok(Self { input, batch, height, width, output, classes, ending })
    }
}

/// The operation that makes the numbers of `output`: the last one but for those that pass numbers on, in another type or shape.
/// Empty where there is none.
fn last<'a>(graph: &'a proto::Graph, output: &str) -> &'a str {
    const PASSING: [&str; 9] = [
        "Cast",
        "Dropout",
        "Flatten",
        "Identity",
        "QuantizeLinear",
        "DequantizeLinear",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
    ];
    /// No exporter writes more of them in a row; a damaged file may have a circle of them.
    const MOST: usize = 16;
    let (mut value, mut found) = (output, "");
    for _ in 0..MOST {
        let Some(node) = graph.node.iter().rfind(|node| node.output.iter().any(|made| made == value)) else {
            break;
        };
        found = &node.op_type;
        match node.input.first() {
            Some(input) if PASSING.contains(&found) => value = input,
            _ => break,
        }
    }
    found
}

/// Whether `domain` is that of ONNX's own operations.
pub(super) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn element(value: &proto::ValueInfo) -> Option<i32> {
    Some(value.r#type.as_ref()?.tensor_type.as_ref()?.elem_type)
}

/// The shape of an input or output, if it has one; a free edge is none.
fn shape(value: &proto::ValueInfo) -> Option<Vec<Option<usize>>> {
    let shape = value.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    let edge = |dim: &proto::Dimension| usize::try_from(dim.dim_value?).ok().filter(|edge| *edge > 0);
    Some(shape.dim.iter().map(edge).collect())
}

fn words(shape: &[Option<usize>]) -> String {
    let edges: Vec<String> =
        shape.iter().map(|edge| edge.map_or_else(|| "?".to_owned(), |edge| edge.to_string())).collect();
    format!("[{}]", edges.join(", "))
}

/// A graph to walk through.
pub(super) struct Nodes<'a> {
    /// All nodes but constants and those that change nothing.
    nodes: Vec<&'a proto::Node>,
    /// The nodes that read a value, once for each time.
    readers: HashMap<&'a str, Vec<usize>>,
    tensors: HashMap<&'a str, &'a proto::Tensor>,
    /// The value that a name is another one for.
    same: HashMap<&'a str, &'a str>,
}

impl<'a> Nodes<'a> {
    pub(super) fn of(graph: &'a proto::Graph) -> Self {
        let mut tensors: HashMap<_, _> =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut same: HashMap<&str, &str> = HashMap::new();
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in &graph.node {
            let operation = if is_standard(&node.domain) { node.op_type.as_str() } else { "" };
            match (operation, node.input.as_slice(), node.output.as_slice()) {
                ("Identity", [input], [output]) => {
                    // Nodes stand in the order in which they are computed, so there is no circle.
                    let source = same.get(input.as_str()).copied().unwrap_or(input);
                    same.insert(output, source);
                }
                ("Constant", [], [output]) => match node.attribute.as_slice() {
                    [proto::Attribute { name, t: Some(tensor), .. }] if name == "value" => {
                        tensors.insert(output, tensor);
                    }
                    _ => nodes.push(node),
                },
                _ => nodes.push(node),
            }
        }
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for input in node.input.iter().map(String::as_str).filter(|input| !input.is_empty()) {
                readers.entry(same.get(input).copied().unwrap_or(input)).or_default().push(index);
            }
        }
        Self { nodes, readers, tensors, same }
    }

    /// The nodes.
    pub(super) fn all(&self) -> &[&'a proto::Node] {
        &self.nodes
    }

    /// The value that `name` means.
    pub(super) fn value(&self, name: &'a str) -> &'a str {
        self.same.get(name).copied().unwrap_or(name)
    }

    /// The nodes that read a value.
    pub(super) fn readers(&self, value: &str) -> Vec<&'a proto::Node> {
        let readers = self.readers.get(value).map_or(&[][..], Vec::as_slice);
        readers.iter().map(|index| self.nodes[*index]).collect()
    }

    /// The tensor that `name` means, if it is one.
    pub(super) fn tensor(&self, name: &'a str) -> Option<&'a proto::Tensor> {
        self.tensors.get(self.value(name)).copied()
    }
}

/// The attributes of a node that nobody has asked for yet.
pub(super) struct Attributes<'a> {
    node: &'a proto::Node,
    left: BTreeMap<&'a str, &'a proto::Attribute>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a proto::Node) -> Self {
        let left = node.attribute.iter().map(|attribute| (attribute.name.as_str(), attribute)).collect();
        Self { node, left }
    }

    pub(super) fn int(&mut self, name: &str, default: i64) -> i64 {
        self.left.remove(name).map_or(default, |attribute| attribute.i)
    }

    pub(super) fn float(&mut self, name: &str, default: f32) -> f32 {
        self.left.remove(name).map_or(default, |attribute| attribute.f)
    }

    pub(super) fn ints(&mut self, name: &str) -> Option<&'a [i64]> {
        self.left.remove(name).map(|attribute| attribute.ints.as_slice())
    }

    /// Whether the text of an attribute is `text`, or it is not there.
    pub(super) fn says(&mut self, name: &str, text: &str) -> bool {
        self.left.remove(name).is_none_or(|attribute| attribute.s == text.as_bytes())
    }

    /// The problem with an attribute that nobody has asked for, as the rest of a sentence.
    pub(super) fn rest(self) -> Result<(), String> {
        match self.left.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("has {} with the attribute {name:?}", self.node.op_type)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a graph of these operations, one behind the other.
    fn ending(operations: &[&str]) -> Result<Ending> {
        let named = |name: String| proto::ValueInfo { name, ..proto::ValueInfo::default() };
        let value = |index: usize| format!("v{index}");
        let node = |(index, operation): (usize, &&str)| proto::Node {
            input: vec![value(index)],
            output: vec![value(index + 1)],
            op_type: (*operation).to_owned(),
            ..proto::Node::default()
        };
        let graph = proto::Graph {
            node: operations.iter().enumerate().map(node).collect(),
            input: vec![named(value(0))],
            output: vec![named(value(operations.len()))],
            ..proto::Graph::default()
        };
        let place = Place { origin: "m".into(), paths: vec![] };
        Interface::of(&graph, &place).map(|interface| interface.ending)
    }

    #[test]
    fn a_softmax_is_seen_behind_what_passes_numbers_on() {
        for operations in [
            &["Gemm", "Softmax"][..],
            &["Gemm", "Softmax", "Cast"],
            &["Softmax", "Identity", "Reshape"],
            &["Softmax", "QuantizeLinear", "DequantizeLinear"],
            &["QLinearSoftmax", "DequantizeLinear"],
        ] {
            assert_eq!(ending(operations).expect("classes"), Ending::Probabilities, "{operations:?}");
        }
        for operations in
            [&[][..], &["Cast"], &["Softmax", "Gemm"], &["Softmax", "Log", "Cast"], &["LogSoftmax", "Cast"]]
        {
            assert_eq!(ending(operations).expect("classes"), Ending::Logits, "{operations:?}");
        }
        for operations in
            [&["Sigmoid", "Cast"][..], &["QLinearSigmoid", "DequantizeLinear"], &["ArgMax", "Cast"]]
        {
            let error = ending(operations).expect_err("no classes").to_string();
            assert!(error.contains(&format!("ends in {}", operations[0])), "{error}");
        }
    }

    #[test]
    fn operations_that_make_themselves_end() {
        let values = || vec!["v".to_owned()];
        let node = proto::Node {
            input: values(),
            output: values(),
            op_type: "Cast".to_owned(),
            ..proto::Node::default()
        };
        let graph = proto::Graph { node: vec![node], ..proto::Graph::default() };
        assert_eq!(last(&graph, "v"), "Cast");
    }
}
