//! What a manifest may say, in the metadata and beside the weights, and how each mistake is told.

use super::*;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;

const METADATA: [(&str, &str); 4] =
    [("classes", "cat, dog"), ("input", "3x4x5 rgb"), ("mean", "0.5,0.25,0"), ("std", "1,2,3")];

fn label(name: &str) -> Label {
    Label::parse("label", name).expect("a label")
}

/// The weights of one tensor, with these metadata.
fn weights(metadata: &[(&str, &str)]) -> Weights {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let tensor = TensorView::new(Dtype::F32, vec![1], &[0; 4]).expect("a tensor");
    let bytes = safetensors::serialize([("fc.bias", tensor)], Some(metadata)).expect("a file");
    Weights::parse("w", "name", &bytes).expect("weights")
}

fn read(metadata: &[(&str, &str)], beside: Option<&str>) -> Result<Manifest> {
    let weights = weights(metadata);
    let weights = match beside {
        Some(text) => weights.with_manifest("w.json", text)?,
        None => weights,
    };
    Manifest::read(&weights, &[])
}

fn fails(metadata: &[(&str, &str)], beside: Option<&str>, expected: &str) {
    let error = read(metadata, beside).expect_err(expected).to_string();
    assert!(error.contains(expected), "{expected} in {error}");
}

#[test]
fn metadata_alone_are_a_manifest() {
    let manifest = read(&METADATA, None).expect("a manifest");
    let expected = Manifest {
        classes: ["cat", "dog"].map(label).to_vec(),
        aliases: BTreeMap::new(),
        version: None,
        height: 4,
        width: 5,
        mean: [0.5, 0.25, 0.0],
        std: [1.0, 2.0, 3.0],
        resize: Resize::DEFAULT,
        calibration: None,
        accuracy: Accuracy::default(),
    };
    assert_eq!(manifest, expected);
    let info = manifest.info("w", "resnet18".to_owned());
    assert_eq!((info.name.as_str(), info.height, info.width), ("w", 4, 5));

    let more = [
        ("aliases", r#"{"kitten": "cat"}"#),
        ("version", "7"),
        ("resize", "bicubic crop 256"),
        ("calibration", r#"{"stem": 2.5}"#),
        ("accuracy", r#"{"f32": 0.75, "int8": 0.5}"#),
        ("tolerance", "0.25"),
    ];
    let manifest = read(&[&METADATA[..], &more].concat(), None).expect("a manifest");
    assert_eq!(manifest.aliases, BTreeMap::from([(label("kitten"), label("cat"))]));
    assert_eq!(manifest.version.as_deref(), Some("7"));
    assert_eq!(manifest.resize.to_string(), "bicubic crop 256");
    assert_eq!(manifest.calibration.as_ref().and_then(|table| table.range("stem")), Some(2.5));
    let (accuracy, [f32, bf16, int8]) = (&manifest.accuracy, Precision::ALL.map(|p| manifest.accuracy.of(p)));
    assert_eq!((f32, bf16, int8, accuracy.tolerance()), (Some(0.75), None, Some(0.5), 0.25));
    assert_eq!(manifest.info("w", "resnet18".to_owned()).name, "w@7");
}

#[test]
fn a_file_beside_the_weights_supplies_and_overrides() {
    let all = r#"{"classes": ["a, b", "c"], "aliases": {"d": "c"}, "input": "3x7x9", "mean": [1, 2, 3],
        "std": [0.5, 0.5, 0.5], "version": "2", "resize": "lanczos stretch", "calibration": {"stem": 4},
        "accuracy": {"f32": 1, "bf16": 0.5}, "tolerance": 0.5}"#;
    let alone = read(&[], Some(all)).expect("a manifest");
    assert_eq!(read(&METADATA, Some(all)).expect("a manifest"), alone);
    assert_eq!(alone.classes, ["a, b", "c"].map(label));
    assert_eq!(alone.resize.to_string(), "lanczos stretch");
    assert_eq!((alone.height, alone.width, alone.mean, alone.std), (7, 9, [1.0, 2.0, 3.0], [0.5; 3]));
    assert_eq!(alone.calibration.as_ref().and_then(|table| table.range("stem")), Some(4.0));

    assert!(alone.accuracy.allows(Precision::Bf16) && !alone.accuracy.allows(Precision::Int8));

    let aliases = read(&METADATA, Some(r#"{"aliases": {"kitten": "cat"}}"#)).expect("a manifest");
    assert_eq!(aliases.classes, ["cat", "dog"].map(label));
    assert_eq!(aliases.aliases.len(), 1);
    assert_eq!(read(&METADATA, Some("{}")).expect("a manifest"), read(&METADATA, None).expect("a manifest"));
}

#[test]
fn what_is_no_manifest_is_told_with_its_place() {
    for (text, problem) in [
        ("", "EOF"),
        ("[]", "invalid length 0"),
        (r#"{"clases": ["a"]}"#, "unknown field `clases`, expected one of `classes`"),
        (r#"{"classes": "a,b"}"#, "invalid type: string"),
        (r#"{"classes": [1]}"#, "invalid type: integer"),
        (r#"{"mean": [1, 2]}"#, "invalid length 2"),
        (r#"{"version": 2}"#, "invalid type: integer"),
        (r#"{"aliases": ["plane"]}"#, "invalid type: sequence"),
        (r#"{"accuracy": {"f32": "93 %"}}"#, "invalid type: string"),
    ] {
        fails(&METADATA, Some(text), problem);
        fails(&METADATA, Some(text), "w.json is no manifest of weights");
    }
}

#[test]
fn what_a_manifest_may_not_say_is_told_with_its_file() {
    for (key, value, problem) in [
        ("classes", r#"[]"#, "names no class"),
        ("classes", r#"["a", "a"]"#, "names \"a\" twice"),
        ("classes", r#"["a", ""]"#, "has no name for class 1"),
        ("classes", r#"["a\n"]"#, "control character"),
        (
            "aliases",
            r#"{"plane": "airplane"}"#,
            "has \"plane\" mean \"airplane\", which is none of the classes",
        ),
        ("aliases", r#"{"dog": "cat"}"#, "has \"dog\" mean \"cat\", and it is a class itself"),
        ("aliases", r#"{"": "cat"}"#, "has a bad name"),
        ("input", r#""3x0x4""#, "expected 3xHEIGHTxWIDTH"),
        ("input", r#""3x4x1025""#, "expected 3xHEIGHTxWIDTH"),
        ("std", "[1, 0, 1]", "expected three positive numbers"),
        ("version", r#""""#, "expected 1 to 64 letters"),
        ("version", r#""1/2""#, "expected 1 to 64 letters"),
        ("version", r#""1@2""#, "expected 1 to 64 letters"),
        ("calibration", r#"{"stem": -1}"#, "range -1 for stem"),
        ("calibration", "[]", "not a table of ranges"),
        ("accuracy", r#"{"f32": 93.06}"#, "has 93.06 for f32, expected a share from 0 to 1"),
        ("accuracy", r#"{"f16": 0.9}"#, "has \"f16\" is no precision"),
        ("tolerance", "-0.1", "tolerance -0.1, expected a share from 0 to 1"),
    ] {
        fails(&METADATA, Some(&format!("{{{key:?}: {value}}}")), problem);
        fails(&METADATA, Some(&format!("{{{key:?}: {value}}}")), &format!("w.json: metadata {key:?}"));
    }
    for key in ["classes", "input", "mean", "std"] {
        let rest: Vec<_> = METADATA.into_iter().filter(|(name, _)| *name != key).collect();
        fails(
            &rest,
            None,
            &format!("w: metadata {key:?} is missing, and there is no manifest beside the weights"),
        );
        fails(
            &rest,
            Some("{}"),
            &format!("w: metadata {key:?} is missing, and w.json does not have it either"),
        );
    }
    fails(&[&METADATA[..], &[("aliases", "cat")]].concat(), None, "not an object of other names and classes");
    fails(&[&METADATA[..], &[("tolerance", "low")]].concat(), None, "expected a share from 0 to 1");
}

#[test]
fn words_of_other_programs_about_the_accuracy_are_no_figures() {
    for text in ["0.931", "93.1 % top-1", "", "[0.9]"] {
        let metadata = [&METADATA[..], &[("accuracy", text), ("tolerance", "0.25")]].concat();
        let manifest = read(&metadata, None).expect("a manifest");
        assert!(manifest.accuracy.figures().is_empty(), "{text}");
        assert_eq!(manifest.accuracy.tolerance(), 0.25, "{text}");
        let manifest = read(&metadata, Some(r#"{"accuracy": {"f32": 0.5}}"#)).expect("a manifest");
        assert_eq!(manifest.accuracy.of(Precision::F32), Some(0.5), "{text}");
    }
    fails(
        &[&METADATA[..], &[("accuracy", "{0.9}")]].concat(),
        None,
        "not an object of precisions and shares",
    );
}

#[test]
fn the_file_beside_the_weights_has_their_name_and_json_behind_it() {
    let path = Beside::path(Path::new("/models/mine.v2.safetensors"));
    assert_eq!(path, Path::new("/models/mine.v2.safetensors.json"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w");
    assert!(Beside::load(&path).expect("nothing is there").is_none());
    std::fs::create_dir(Beside::path(&path)).expect("a folder");
    let error = Beside::load(&path).expect_err("a folder is no file").to_string();
    assert!(error.contains("w.json"), "{error}");
}

#[test]
fn what_is_assumed_holds_only_where_nothing_is_said() {
    let assumed = [("input", "3x224x224"), ("mean", "0.1,0.2,0.3"), ("std", "4,5,6")];
    let read = |metadata: &[(&str, &str)], beside: &str| {
        Manifest::read(&weights(metadata).with_manifest("w.json", beside)?, &assumed)
    };
    let manifest =
        read(&[("classes", "cat, dog"), ("std", "1,2,3")], r#"{"mean": [0, 0, 0]}"#).expect("a manifest");
    assert_eq!((manifest.height, manifest.width), (224, 224));
    assert_eq!((manifest.mean, manifest.std), ([0.0; 3], [1.0, 2.0, 3.0]));
    let error = read(&[], "{}").expect_err("no classes").to_string();
    assert!(error.contains("\"classes\" is missing"), "{error}");
}
