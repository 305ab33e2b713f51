//! Graphs that are written here from networks, and what becomes of them: recognised, left to ONNX Runtime, or refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::proto::{
    Attribute, Dimension, Entry, Function, Graph, Model, Node, Opset, Shape, Tensor, Type, ValueInfo,
    data_type,
};
use super::tensor::Place;
use super::{Opened, is_onnx, parse};
use crate::inference::accuracy::Accuracy;
use crate::inference::manifest::{Beside, Manifest};
use crate::inference::network::{Block, Conv, Linear, Network};
use crate::inference::{Device, Error, Model as _, ModelFile, PlainResNet, Precision, Weights};
use proptest::prelude::*;
use prost::Message as _;
use std::sync::LazyLock;

const MANIFEST: &str = r#"{"classes": ["a", "b", "c"], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}"#;

/// Numbers from -1 to 1 that look random.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + 31 * seed) * 7_919 % 2_003) as f32 / 1_001.5 - 1.0).collect()
}

fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Conv {
    let size = (2.0 / (inputs * kernel * kernel) as f32).sqrt();
    let weight = numbers(outputs * inputs * kernel * kernel, 1).into_iter().map(|v| v * size).collect();
    Conv { inputs, outputs, kernel, stride, weight, bias: numbers(outputs, 2) }
}

/// A network of four layers with two blocks in the first; `inner` is where the stride of a bottleneck is, a basic block if none.
fn network(pool: bool, inner: Option<usize>) -> Network {
    let beside = Beside::parse("m.json", MANIFEST).unwrap();
    let metadata = [("input".to_owned(), "3x32x32".to_owned())].into();
    let manifest = Manifest::read(&Weights::described("m", "m", metadata, Some(beside)), &[]).unwrap();
    let info = manifest.info("m", "resnet".to_owned());
    let stem = if pool { conv(3, 4, 7, 2) } else { conv(3, 4, 3, 1) };
    let mut blocks = Vec::new();
    let mut inputs = 4;
    for (layer, index) in [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)] {
        let stride = if layer > 0 && index == 0 { 2 } else { 1 };
        let outputs = 4 << layer;
        let convs = match inner {
            None => vec![conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, 1)],
            Some(at) => {
                let of = |i| if i == at { stride } else { 1 };
                vec![conv(inputs, 2, 1, of(0)), conv(2, 2, 3, of(1)), conv(2, outputs, 1, 1)]
            }
        };
        let shortcut = (stride != 1 || inputs != outputs).then(|| conv(inputs, outputs, 1, stride));
        blocks.push(Block { name: format!("layer{}.{index}", layer + 1), convs, shortcut });
        inputs = outputs;
    }
    let fc = Linear { weight: numbers(3 * 32, 4), bias: numbers(3, 5) };
    Network { info, stem, pool, blocks, fc, calibration: None, accuracy: Accuracy::default() }
}

/// How a network is written.
#[derive(Clone, Copy)]
struct Style {
    /// Mean, reshape and matrix as newer exporters write them.
    new: bool,
    /// Batch norms of their own.
    norms: bool,
    softmax: bool,
}

const PLAIN: Style = Style { new: false, norms: false, softmax: false };

fn ints(name: &str, ints: &[i64]) -> Attribute {
    Attribute { name: name.into(), ints: ints.to_vec(), r#type: 7, ..Attribute::default() }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, r#type: 2, ..Attribute::default() }
}

fn value(name: &str, dims: &[i64]) -> ValueInfo {
    let dim = dims.iter().map(|d| Dimension { dim_value: (*d > 0).then_some(*d) }).collect();
    let tensor_type = super::proto::TensorType { elem_type: data_type::FLOAT, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type: Some(tensor_type) }) }
}

struct Writer {
    graph: Graph,
    style: Style,
}

impl Writer {
    fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let name = format!("t{}", self.graph.initializer.len());
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = dims.iter().map(|d| *d as i64).collect();
        let data_type = data_type::FLOAT;
        self.graph.initializer.push(Tensor {
            name: name.clone(),
            dims,
            data_type,
            raw_data: raw.into(),
            ..Tensor::default()
        });
        name
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = format!("t{}", self.graph.initializer.len());
        let (dims, int64_data) = (vec![values.len() as i64], values.to_vec());
        let data_type = data_type::INT64;
        self.graph.initializer.push(Tensor {
            name: name.clone(),
            dims,
            data_type,
            int64_data,
            ..Tensor::default()
        });
        name
    }

    fn node(&mut self, op: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        let output = format!("v{}", self.graph.node.len());
        self.graph.node.push(Node {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.clone()],
            name: format!("node of {output}"),
            op_type: op.into(),
            attribute,
            ..Node::default()
        });
        output
    }

    fn conv(&mut self, at: &str, conv: &Conv) -> String {
        let Conv { inputs, outputs, kernel, stride, weight, bias } = conv;
        let (k, s, p) = (*kernel as i64, *stride as i64, conv.padding() as i64);
        let attributes = vec![
            ints("dilations", &[1, 1]),
            int("group", 1),
            ints("kernel_shape", &[k, k]),
            ints("pads", &[p; 4]),
            ints("strides", &[s, s]),
        ];
        let w = self.floats(&[*outputs, *inputs, *kernel, *kernel], weight);
        if !self.style.norms {
            let b = self.floats(&[*outputs], bias);
            return self.node("Conv", &[at, &w, &b], attributes);
        }
        // One whose folding gives the same numbers again: the square root of 4 over 2, and nothing to add.
        let at = self.node("Conv", &[at, &w], attributes);
        let all = |value: f32| vec![value; *outputs];
        let gamma = self.floats(&[*outputs], &all(2.0));
        let beta = self.floats(&[*outputs], bias);
        let (mean, var) = (self.floats(&[*outputs], &all(0.0)), self.floats(&[*outputs], &all(3.0)));
        let epsilon = Attribute { name: "epsilon".into(), f: 1.0, r#type: 1, ..Attribute::default() };
        self.node("BatchNormalization", &[&at, &gamma, &beta, &mean, &var], vec![epsilon])
    }
}

fn written(network: &Network, style: Style) -> Model {
    let mut w = Writer { graph: Graph::default(), style };
    let mut at = w.conv("pixels", &network.stem);
    at = w.node("Relu", &[&at], vec![]);
    if network.pool {
        let attributes = vec![
            ints("kernel_shape", &[3, 3]),
            ints("pads", &[1; 4]),
            ints("strides", &[2, 2]),
            int("ceil_mode", 0),
        ];
        at = w.node("MaxPool", &[&at], attributes);
    }
    for block in &network.blocks {
        let mut main = at.clone();
        for (i, conv) in block.convs.iter().enumerate() {
            if i > 0 {
                main = w.node("Relu", &[&main], vec![]);
            }
            main = w.conv(&main, conv);
        }
        let short = block.shortcut.as_ref().map_or(at.clone(), |conv| w.conv(&at, conv));
        let sum = if style.new { [&short, &main] } else { [&main, &short] };
        at = w.node("Add", &sum.map(String::as_str), vec![]);
        at = w.node("Relu", &[&at], vec![]);
    }
    let (classes, channels) = (network.fc.bias.len(), network.fc.weight.len() / network.fc.bias.len());
    if style.new {
        let axes = w.integers(&[-1, -2]);
        at = w.node("ReduceMean", &[&at, &axes], vec![int("keepdims", 1)]);
        let shape = w.integers(&[-1, channels as i64]);
        at = w.node("Reshape", &[&at, &shape], vec![int("allowzero", 0)]);
        let turned: Vec<f32> = (0..classes * channels)
            .map(|i| network.fc.weight[i % classes * channels + i / classes])
            .collect();
        let (matrix, bias) =
            (w.floats(&[channels, classes], &turned), w.floats(&[classes], &network.fc.bias));
        at = w.node("MatMul", &[&at, &matrix], vec![]);
        at = w.node("Add", &[&bias, &at], vec![]);
    } else {
        at = w.node("GlobalAveragePool", &[&at], vec![]);
        at = w.node("Flatten", &[&at], vec![int("axis", 1)]);
        let matrix = w.floats(&[classes, channels], &network.fc.weight);
        let bias = w.floats(&[classes], &network.fc.bias);
        at = w.node("Gemm", &[&at, &matrix, &bias], vec![int("transB", 1)]);
    }
    if style.softmax {
        at = w.node("Softmax", &[&at], vec![int("axis", -1)]);
    }
    w.graph.input = vec![value("pixels", &[0, 3, 32, 32])];
    w.graph.output = vec![value(&at, &[0, classes as i64])];
    let opset_import = vec![Opset { domain: String::new(), version: 18 }];
    Model { ir_version: 9, graph: Some(w.graph), opset_import, ..Model::default() }
}

fn opened(model: &Model) -> Result<Opened, Error> {
    let place = Place { origin: "m.onnx".into(), paths: vec![] };
    let beside = Beside::parse("m.onnx.json", MANIFEST).unwrap();
    parse(&place, "m", model.encode_to_vec().into(), Some(beside))
}

fn recognised(model: &Model) -> Network {
    match opened(model).unwrap() {
        Opened::Network(network) => network,
        Opened::Graph(graph) => panic!("{}", graph.not_ours("this")),
    }
}

fn graph(model: &mut Model) -> &mut Graph {
    model.graph.as_mut().unwrap()
}

#[test]
fn a_resnet_is_the_same_network_however_it_is_written() {
    for (pool, inner, name) in [
        (false, None, "resnet12"),
        (true, None, "resnet12"),
        (true, Some(1), "resnet17"),
        (true, Some(0), "resnet17"),
    ] {
        let expected = network(pool, inner);
        let pixels: Vec<u8> = (0..2 * expected.info.image_len()).map(|i| (i * 37 % 251) as u8).collect();
        for (new, norms, softmax) in
            [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
        {
            let found = recognised(&written(&expected, Style { new, norms, softmax }));
            assert!(found.info.architecture.contains(name), "{}", found.info.architecture);
            let names = |network: &Network| -> Vec<String> {
                network.blocks.iter().map(|block| block.name.clone()).collect()
            };
            assert_eq!((names(&found), found.pool), (names(&expected), pool));
            let said = Network { info: found.info.clone(), ..expected.clone() };
            let logits = |network| PlainResNet::new(network).unwrap().forward(&pixels).unwrap();
            let (found, said) = (logits(&found), logits(&said));
            assert!(said.iter().any(|v| v.abs() > 0.1), "it says something: {said:?}");
            assert_eq!(found, said, "{name}, pool {pool}, {new}, {norms}, {softmax}");
        }
        // Our own kernels know the stride on either convolution, too.
        let said = PlainResNet::new(&expected).unwrap().forward(&pixels).unwrap();
        let mut compiled = ModelFile::from(expected).compile(Precision::F32, Device::Cpu).unwrap();
        for (found, said) in compiled.forward(&pixels).unwrap().into_iter().zip(said) {
            assert!((found - said).abs() < 1e-4, "{name}, pool {pool}: {found}, {said}");
        }
    }
}

#[test]
fn what_computes_something_else_is_left_to_onnx_runtime() {
    let plain = written(&network(true, None), PLAIN);
    let left = |why: &str, change: &dyn Fn(&mut Model)| {
        let mut model = plain.clone();
        change(&mut model);
        match opened(&model).unwrap() {
            Opened::Network(_) => panic!("taken: {why}"),
            Opened::Graph(graph) => {
                let error = graph.not_ours("calibration").to_string();
                assert!(error.contains(why) && error.contains("calibration is for those alone"), "{error}");
            }
        }
    };
    let set = |op: &'static str, attribute: Attribute| {
        move |model: &mut Model| {
            let node = graph(model).node.iter_mut().rfind(|node| node.op_type == op).unwrap();
            node.attribute.retain(|other| other.name != attribute.name);
            node.attribute.push(attribute.clone());
        }
    };
    left("dilated", &set("Conv", ints("dilations", &[2, 2])));
    left("in groups", &set("Conv", int("group", 2)));
    left("borders", &set("Conv", ints("pads", &[1, 0, 1, 0])));
    left("strides [3, 3]", &set("Conv", ints("strides", &[3, 3])));
    left("\"news\"", &set("Conv", int("news", 0)));
    left("\"alpha\"", &set("Relu", int("alpha", 0)));
    left("max-pool", &set("MaxPool", int("ceil_mode", 1)));
    left("max-pool", &set("MaxPool", ints("kernel_shape", &[2, 2])));
    left("factors", &set("Gemm", Attribute { name: "alpha".into(), f: 2.0, ..Attribute::default() }));
    left("behind the mean", &set("Flatten", int("axis", 2)));
    left("version 6", &|model| model.opset_import[0].version = 6);
    left("version 0", &|model| model.opset_import.clear());
    left("operation Clip", &|model| graph(model).node[1].op_type = "Clip".into());
    left("operation Identity", &|model| {
        let node = &mut graph(model).node[1];
        (node.op_type, node.domain) = ("Identity".into(), "com.microsoft".into());
    });
    left("operation Relu of its own", &|model| {
        model.functions.push(Function { name: "Relu".into(), ..Function::default() });
    });
    left("Gemm with a tensor of shape [3, 1]", &|model| {
        graph(model).initializer.last_mut().unwrap().dims = vec![3, 1];
    });
    left("operation Gelu", &|model| graph(model).node[1].op_type = "Gelu".into());
    left("a ResNet", &|model| {
        // A block's inner ReLU is skipped by the sum.
        let sum = graph(model).node.iter().position(|node| node.op_type == "Add").unwrap();
        graph(model).node[sum].input[1] = "v4".into();
    });
    left("beside", &|model| {
        let (input, output) = (vec!["pixels2".into()], vec!["nobody".into()]);
        graph(model).node.push(Node { op_type: "Relu".into(), input, output, ..Node::default() });
    });
    left("where a ResNet does not", &|model| {
        let (input, output) = (vec!["v3".into()], vec!["nobody".into()]);
        graph(model).node.push(Node { op_type: "Relu".into(), input, output, ..Node::default() });
    });
    left("computed", &|model| {
        let tensor = graph(model).initializer.remove(0);
        let output = vec![tensor.name];
        graph(model).node.push(Node {
            op_type: "Relu".into(),
            input: vec!["t1".into()],
            output,
            ..Node::default()
        });
    });
}

#[test]
fn what_takes_no_images_or_gives_no_classes_is_refused() {
    let plain = written(&network(false, None), PLAIN);
    let refused = |expected: &str, change: &dyn Fn(&mut Model)| {
        let mut model = plain.clone();
        change(&mut model);
        let error = opened(&model).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("m.onnx") && error.contains(expected), "{error}");
    };
    refused("has no graph", &|model| model.graph = None);
    refused("has 0 inputs", &|model| graph(model).input.clear());
    refused("has 2 inputs", &|model| graph(model).input.push(value("more", &[1])));
    refused("has 0 outputs", &|model| graph(model).output.clear());
    refused("[?, 32, 32, 3]", &|model| graph(model).input[0] = value("pixels", &[0, 32, 32, 3]));
    refused("[?, 10, 4]", &|model| graph(model).output[0] = value("v1", &[0, 10, 4]));
    refused("5000 images at once", &|model| graph(model).input[0] = value("pixels", &[5_000, 3, 32, 32]));
    refused("not of f32", &|model| {
        let tensor = graph(model).input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
        tensor.elem_type = 2;
    });
    refused("\"input\" is \"3x2000x32\"", &|model| {
        graph(model).input[0] = value("pixels", &[0, 3, 2_000, 32])
    });
    refused("but the graph takes 3x32x32", &|model| {
        model.metadata_props = vec![Entry { key: "input".into(), value: "3x64x32".into() }];
    });
    refused("names 3 classes, but the graph gives 7 numbers", &|model| {
        graph(model).node[1].op_type = "Clip".into();
        graph(model).output[0] = value("v1", &[0, 7]);
    });
    refused("the operation acme::Magic", &|model| {
        let node = &mut graph(model).node[1];
        (node.op_type, node.domain) = ("Magic".into(), "acme".into());
    });
    refused("ends in Sigmoid", &|model| graph(model).node.last_mut().unwrap().op_type = "Sigmoid".into());
    refused("1024 images of 3x1024x1024 at once", &|model| {
        graph(model).node[1].op_type = "Clip".into();
        graph(model).input[0] = value("pixels", &[1_024, 3, 1_024, 1_024]);
    });
    refused("holds NaN at element 1", &|model| {
        let raw: Vec<u8> = [0.0, f32::NAN].into_iter().chain([0.0; 106]).flat_map(f32::to_le_bytes).collect();
        graph(model).initializer[0].raw_data = raw.into();
    });
    refused("in another file", &|model| {
        graph(model).initializer[0].data_location = super::proto::EXTERNAL;
    });
}

#[test]
fn onnx_runtime_computes_f32_on_the_processor_alone() {
    let mut model = written(&network(false, None), PLAIN);
    graph(&mut model).node[1].op_type = "Elu".into();
    let Opened::Graph(graph) = opened(&model).unwrap() else { panic!("it is no ResNet") };
    for precision in [Precision::Bf16, Precision::Int8] {
        let error = graph.compile(precision, Device::Cpu).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("operation Elu") && error.contains("take f32"), "{error}");
    }
    let error = graph.compile(Precision::F32, Device::Cuda(0)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("cuda:0") && error.contains("take cpu"), "{error}");
    let pixels: Vec<u8> = (0..12 * 3_072).map(|i| (i * 37 % 251) as u8).collect();
    let mut said: Vec<Vec<f32>> = Vec::new();
    for (images, softmax) in [(0, false), (5, false), (0, true)] {
        let mut model = written(&network(false, None), Style { softmax, ..PLAIN });
        self::graph(&mut model).node[1].op_type = "Elu".into();
        self::graph(&mut model).input = vec![value("pixels", &[images, 3, 32, 32])];
        let Opened::Graph(graph) = opened(&model).unwrap() else { panic!("it is no ResNet") };
        match graph.compile(Precision::F32, Device::Cpu) {
            Ok(mut model) => {
                assert_eq!(model.info().name, "m/f32");
                said.push(model.forward(&pixels).unwrap());
            }
            // The library is not part of what a test needs.
            Err(error) => {
                assert!(error.to_string().contains("ONNX Runtime 1.17 or later is needed"), "{error}");
                return;
            }
        }
    }
    let open = said[0].chunks_exact(3);
    assert_eq!(open.len(), 12);
    for ((open, fixed), softmax) in open.zip(said[1].chunks_exact(3)).zip(said[2].chunks_exact(3)) {
        for class in 0..3 {
            assert!((open[class] - fixed[class]).abs() < 1e-4, "{open:?}, {fixed:?}");
            // Logits are as good with a constant added.
            let (a, b) = (open[class] - open[0], softmax[class] - softmax[0]);
            assert!((a - b).abs() < 1e-4, "{open:?}, {softmax:?}");
        }
    }
}

#[test]
fn a_file_is_told_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let bytes = written(&network(false, None), PLAIN).encode_to_vec();
    for name in ["mine.onnx", "mine.safetensors", "mine"] {
        std::fs::write(path(name), &bytes).unwrap();
        std::fs::write(path(&format!("{name}.json")), MANIFEST).unwrap();
        let model = ModelFile::open(Some(&path(name))).unwrap();
        assert_eq!((model.info().name.as_str(), model.info().classes.len()), ("mine", 3), "{name}");
        assert_eq!((model.info().height, model.info().width), (32, 32), "the graph says so");
        assert!(model.compile(Precision::Int8, Device::Cpu).is_err(), "no calibration");
        assert!(model.network("this").is_ok());
    }
    let safetensors = include_bytes!("../../../assets/resnet18-cifar10.safetensors");
    std::fs::write(path("other.onnx"), safetensors).unwrap();
    assert!(!is_onnx(&path("other.onnx")).unwrap());
    assert!(ModelFile::open(Some(&path("other.onnx"))).is_ok());
    for (name, content) in
        [("empty.onnx", &b""[..]), ("text.onnx", b"hello"), ("cut.onnx", &bytes[..bytes.len() / 2])]
    {
        std::fs::write(path(name), content).unwrap();
        let error = ModelFile::open(Some(&path(name))).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(ModelFile::open(Some(&path("nowhere.onnx"))).is_err());
    assert_eq!(ModelFile::open(None).unwrap().info().name, "resnet18-cifar10");
}

static INTACT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    written(&network(true, Some(1)), Style { new: true, norms: true, softmax: true }).encode_to_vec()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A damaged file is an error or a model, and never the end of the process.
    #[test]
    fn damage_is_no_panic(
        cut in any::<Option<proptest::sample::Index>>(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0_u8..8), 0..6),
        front in any::<bool>(),
    ) {
        let mut bytes = INTACT.clone();
        // Most of a file is weights, and most that can go wrong is before them.
        let within = if front { bytes.len().min(4_096) } else { bytes.len() };
        for (at, bit) in flips {
            bytes[at.index(within)] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let place = Place { origin: "m".into(), paths: vec![] };
        let beside = Beside::parse("m.json", MANIFEST).unwrap();
        let _ = parse(&place, "m", bytes.into(), Some(beside));
    }
}
