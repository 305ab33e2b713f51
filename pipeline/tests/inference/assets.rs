//! The files of `assets/`: how tests read them, and that they are what the README says.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int8Type;
use firesteel_pipeline::inference::{Decoder, Sample};
use firesteel_proto::Encoding;
use firesteel_testkit::cifar::CLASSES;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Decodes to the shipped model's input size.
pub(crate) const DECODER: Decoder = Decoder::new(32, 32);

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// The first 64 test images and what PyTorch makes of them.
pub(crate) struct Reference {
    pub(crate) pixels: Vec<u8>,
    pub(crate) logits: Vec<f32>,
    pub(crate) labels: Vec<usize>,
}

pub(crate) fn reference() -> Reference {
    let bytes = std::fs::read(path("reference.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: &str, shape: &[usize]| {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.shape(), shape, "{name}");
        view.data()
    };
    Reference {
        pixels: data("pixels", &[64, 32, 32, 3]).to_vec(),
        logits: data("logits", &[64, 10])
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect(),
        labels: data("labels", &[64])
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| usize::try_from(i64::from_le_bytes(*bytes)).unwrap())
            .collect(),
    }
}

/// The first rows of the test set: label and JPEG.
pub(crate) fn rows(count: usize) -> Vec<(usize, Vec<u8>)> {
    let file = std::fs::File::open(path("cifar10-test.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let mut rows = Vec::new();
    for batch in reader.with_limit(count).build().unwrap() {
        let batch = batch.unwrap();
        let label = batch.column_by_name("label").unwrap();
        let label = label.as_primitive_opt::<Int8Type>().unwrap_or_else(|| panic!("{:?}", label.data_type()));
        let jpeg =
            arrow::compute::cast(batch.column_by_name("jpeg").unwrap(), &arrow::datatypes::DataType::Binary);
        let jpeg = jpeg.unwrap();
        let jpeg = jpeg.as_binary::<i32>();
        rows.extend(
            (0..batch.num_rows()).map(|i| (usize::try_from(label.value(i)).unwrap(), jpeg.value(i).to_vec())),
        );
    }
    assert_eq!(rows.len(), count);
    rows
}

pub(crate) fn samples(count: usize) -> Vec<Sample> {
    let decode = |(class, jpeg): (usize, Vec<u8>)| Sample {
        pixels: DECODER.decode(Encoding::Jpeg, &jpeg).unwrap(),
        class,
    };
    rows(count).into_iter().map(decode).collect()
}

fn sha256(name: &str) -> String {
    let digest = Sha256::digest(std::fs::read(path(name)).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_asset_has_the_checksum_that_the_readme_gives() {
    let readme = text("README.md");
    let card = text("MODEL_CARD.md");
    for name in [
        "cifar10-test.parquet",
        "resnet18-cifar10.safetensors",
        "resnet18-cifar10.safetensors.json",
        "reference.safetensors",
        "evaluation.json",
        "train.py",
    ] {
        let sum = sha256(name);
        let line =
            readme.lines().find(|l| l.starts_with(&format!("| `{name}`"))).expect("a line in README.md");
        assert!(line.contains(&sum), "README.md has another checksum than {name}: {sum}");
        let in_card = card.lines().filter(|l| l.contains(&format!("`{name}`")) && l.contains("sha256 of"));
        assert!(in_card.clone().all(|l| l.contains(&sum)), "MODEL_CARD.md has another checksum than {name}");
    }
    assert!(card.contains(&sha256("resnet18-cifar10.safetensors")));
    assert!(card.contains(&sha256("reference.safetensors")));
    assert!(card.contains(&sha256("cifar10-test.parquet")));
}

#[test]
fn the_card_quotes_the_evaluation() {
    let evaluation: serde_json::Value = serde_json::from_str(&text("evaluation.json")).unwrap();
    let card = text("MODEL_CARD.md");
    assert!(card.contains(&format!("**{} %**", evaluation["accuracy"])));
    let confusion = evaluation["confusion"].as_array().unwrap();
    let right: u64 = (0..10).map(|i| confusion[i][i].as_u64().unwrap()).sum();
    assert_eq!(Some(right as f64 / 100.0), evaluation["accuracy"].as_f64());
    for name in CLASSES {
        assert!(card.contains(&format!("{name} {}", evaluation["per_class"][name])), "{name}");
    }
}

#[test]
fn the_first_rows_are_those_of_the_reference() {
    let labels: Vec<usize> = rows(64).into_iter().map(|(label, _)| label).collect();
    assert_eq!(labels, reference().labels);
}
