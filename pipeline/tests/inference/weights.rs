//! What a weights file may get wrong, and that each error names it.

use crate::assets::path;
use firesteel_pipeline::inference::{Device, Network, Precision, Weights, compile};
use firesteel_proto::Label;
use firesteel_testkit::cifar::label;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};

/// A safetensors file taken apart.
#[derive(Default)]
pub(crate) struct File {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl File {
    fn shipped() -> Self {
        let bytes = std::fs::read(path("resnet18-cifar10.safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, view)| {
            (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        });
        Self { tensors: tensors.collect(), metadata: header.metadata().clone().unwrap() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, data))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.tensors.remove(name).unwrap();
    }

    fn zeros(&mut self, name: &str, shape: &[usize]) {
        let data = vec![0; shape.iter().product::<usize>() * 2];
        self.tensors.insert(name.to_owned(), (Dtype::F16, shape.to_vec(), data));
    }

    pub(crate) fn f32(&mut self, name: &str, shape: &[usize], value: impl Fn(usize) -> f32) {
        let data = (0..shape.iter().product()).flat_map(|i| value(i).to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), (Dtype::F32, shape.to_vec(), data));
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.metadata.insert(key.to_owned(), value.to_owned());
    }

    pub(crate) fn error(&self) -> String {
        let weights = Weights::parse("w.safetensors", "w", &self.bytes());
        weights.and_then(Network::read).expect_err("a broken file").to_string()
    }
}

/// The shipped weights with the other stem, made up but lively, for square inputs of `edge`.
pub(crate) fn imagenet_stem(edge: usize) -> Vec<u8> {
    let mut file = File::shipped();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    file.f32("conv1.weight", &[64, 3, 7, 7], |i| ((i * 7_919 % 1_009) as f32 / 1_009.0 - 0.5) * 0.2);
    file.set("stem", "7x7");
    file.set("input", &format!("3x{edge}x{edge} rgb"));
    file.bytes()
}

fn check(expected: &str, break_it: impl FnOnce(&mut File)) {
    let mut file = File::shipped();
    break_it(&mut file);
    let error = file.error();
    assert_eq!(error, format!("w.safetensors: {expected}"));
}

#[test]
fn a_wrong_shape_names_the_tensor_and_both_shapes() {
    check("tensor \"layer2.0.conv1.weight\" has shape [128, 64, 5, 5], expected [128, 64, 3, 3]", |f| {
        f.zeros("layer2.0.conv1.weight", &[128, 64, 5, 5]);
    });
    check("tensor \"conv1.weight\" has shape [64, 1, 3, 3], expected [64, 3, 3, 3]", |f| {
        f.zeros("conv1.weight", &[64, 1, 3, 3]);
    });
    check("tensor \"fc.weight\" has shape [10, 2048], expected [10, 512]", |f| {
        f.zeros("fc.weight", &[10, 2_048])
    });
    check("tensor \"fc.bias\" has shape [11], expected [10]", |f| f.zeros("fc.bias", &[11]));
}

#[test]
fn a_missing_or_foreign_tensor_is_named() {
    check("tensor \"layer4.1.bn2.running_var\" is missing, expected with shape [512]", |f| {
        f.tensors.remove("layer4.1.bn2.running_var");
    });
    check("tensor \"layer1.2.bn1.weight\" is missing, expected with shape [64]", |f| {
        f.zeros("layer1.2.conv1.weight", &[64, 64, 3, 3]);
    });
    check("tensor \"layer1.1.conv1.bias\" with shape [64] is not part of resnet18", |f| {
        f.zeros("layer1.1.conv1.bias", &[64]);
    });
}

#[test]
fn values_that_cannot_be_are_named() {
    check("tensor \"fc.bias\" has dtype I16, expected F32, F16 or BF16", |f| {
        f.tensors.get_mut("fc.bias").unwrap().0 = Dtype::I16;
    });
    check("tensor \"fc.bias\" holds NaN at element 3: the file is damaged", |f| {
        f.f32("fc.bias", &[10], |i| if i == 3 { f32::NAN } else { 0.0 });
    });
    check("tensor \"bn1.running_var\" holds -1 at element 5: the file is damaged", |f| {
        f.f32("bn1.running_var", &[64], |i| if i == 5 { -1.0 } else { 1.0 });
    });
}

#[test]
fn metadata_has_to_be_there_and_fit() {
    check("metadata \"classes\" names 2 classes, but fc.weight has 10 rows", |f| f.set("classes", "cat,dog"));
    check("metadata \"classes\" names \"cat\" twice", |f| f.set("classes", "cat,cat"));
    check("metadata \"classes\" has no name for class 1", |f| f.set("classes", "cat,,dog"));
    check("metadata \"classes\" is missing, and there is no manifest beside the weights", |f| {
        drop(f.metadata.remove("classes"))
    });
    check("metadata \"mean\" is missing, and there is no manifest beside the weights", |f| {
        drop(f.metadata.remove("mean"))
    });
    check("metadata \"std\" is \"1,0,1\", expected three positive numbers, one a channel", |f| {
        f.set("std", "1,0,1")
    });
    check("metadata \"mean\" is \"1,x,1\", expected three numbers, one a channel", |f| {
        f.set("mean", "1,x,1")
    });
    check("metadata \"stem\" is \"7x7\", but conv1.weight is 3x3", |f| f.set("stem", "7x7"));
    check("metadata \"architecture\" is \"vgg\", but the tensors are those of \"resnet18\"", |f| {
        f.set("architecture", "vgg");
    });
    check("metadata \"input\" is \"1x28x28\", expected 3xHEIGHTxWIDTH with edges from 1 to 1024", |f| {
        f.set("input", "1x28x28");
    });
    check(
        "metadata \"resize\" is \"nearest\", expected \"none\", \"FILTER stretch\" or \"FILTER crop SHORTER\"; the filters are \
         box, bilinear, hamming, bicubic, lanczos, and SHORTER is a number from 1 to 16384",
        |f| f.set("resize", "nearest"),
    );
}

#[test]
fn a_rule_of_other_sizes_is_the_files_or_the_usual_one() {
    let mut file = File::shipped();
    let mut rule = |rule: Option<&str>| {
        rule.into_iter().for_each(|rule| file.set("resize", rule));
        Network::read(Weights::parse("w", "w", &file.bytes()).unwrap()).unwrap().info.resize.to_string()
    };
    assert_eq!(rule(None), "bilinear crop");
    assert_eq!(rule(Some("Bicubic crop 235")), "bicubic crop 235");
    assert_eq!(rule(Some("none")), "none");
}

#[test]
fn the_manifest_beside_the_weights_goes_before_their_metadata() {
    let mut file = File::shipped();
    file.set("name", "mine");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    std::fs::write(&path, file.bytes()).unwrap();
    let beside = Weights::manifest_path(&path);
    assert_eq!(beside, folder.path().join("w.safetensors.json"));
    let names: Vec<String> = (0..10).map(|n| format!("class, {n}")).collect();
    let manifest = serde_json::json!({
        "classes": names, "aliases": { "first": "class, 0" }, "version": "2.1-rc_3+x", "mean": [0.5, 0.25, 0], "resize": "none",
    });
    std::fs::write(&beside, manifest.to_string()).unwrap();
    let network = Network::read(Weights::load(Some(&path)).unwrap()).unwrap();
    let info = network.info_at("int8");
    assert_eq!(info.name, "mine@2.1-rc_3+x/int8");
    assert_eq!(info.classes.iter().map(Label::as_str).collect::<Vec<_>>(), names);
    assert_eq!(info.aliases, BTreeMap::from([(label("first"), label("class, 0"))]));
    assert_eq!((info.mean, info.std), ([0.5, 0.25, 0.0], [0.2470, 0.2435, 0.2616]), "one key each");

    // A file without metadata needs none.
    file.metadata.clear();
    std::fs::write(&path, file.bytes()).unwrap();
    let error = Network::read(Weights::load(Some(&path)).unwrap()).unwrap_err().to_string();
    assert!(error.contains("\"input\" is missing") && error.contains("w.safetensors.json"), "{error}");
    let mut whole = manifest;
    whole["input"] = "3x32x32".into();
    whole["std"] = serde_json::json!([1, 2, 3]);
    std::fs::write(&beside, whole.to_string()).unwrap();
    let network = Network::read(Weights::load(Some(&path)).unwrap()).unwrap();
    assert_eq!((network.info.name.as_str(), network.info.std), ("w@2.1-rc_3+x", [1.0, 2.0, 3.0]));

    whole["classess"] = 1.into();
    std::fs::write(&beside, whole.to_string()).unwrap();
    let error = Weights::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("w.safetensors.json") && error.contains("unknown field `classess`"), "{error}");
}

#[test]
fn f32_and_f16_storage_and_step_counters_load() {
    let mut file = File::shipped();
    file.f32("fc.bias", &[10], |_| 0.0);
    file.tensors.insert("bn1.num_batches_tracked".to_owned(), (Dtype::I64, vec![], vec![0; 8]));
    let network = Network::read(Weights::parse("w", "w", &file.bytes()).unwrap()).unwrap();
    compile(&network, Precision::F32, Device::Cpu).unwrap();
    assert_eq!(network.fc.bias, [0.0; 10]);
}

#[test]
fn a_file_that_is_none_is_named_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not weights.txt");
    let error = Weights::load(Some(&file)).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot read the weights {} (inference.model): ", file.display())),
        "{error}"
    );
    let shipped = File::shipped().bytes();
    for bytes in [&b""[..], b"hello", &[0xff; 64], &shipped[..shipped.len() / 2]] {
        std::fs::write(&file, bytes).unwrap();
        let error = Weights::load(Some(&file)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is not a safetensors file: ", file.display())), "{error}");
    }
}

#[test]
fn a_file_is_named_after_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.safetensors");
    std::fs::write(&file, File::shipped().bytes()).unwrap();
    assert_eq!(Weights::load(Some(&file)).unwrap().name(), "mine");
    assert_eq!(Weights::load(None).unwrap().name(), "resnet18-cifar10");
}
