//! Images without a true class, and with names of classes that only the model's aliases know, go all the way to the report.

use crate::support::{World, output, stderr, stdout};
use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use datafusion::parquet::arrow::ArrowWriter;
use firesteel_pipeline::dataset::Dataset;
use firesteel_testkit::cifar::CLASSES;
use mongodb::bson::doc;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Writes the first images of the shipped data set, with the names that `class` gives to their classes.
fn dataset(path: &Path, images: usize, class: impl Fn(&str) -> Option<String>) {
    let images = Dataset::load(None).and_then(|shipped| shipped.first(images)).expect("shipped");
    let name = |image: &firesteel_pipeline::dataset::Image| image.label.clone().expect("a class").to_string();
    let number = |name: &str| CLASSES.iter().position(|class| *class == name).map(|number| number as i64);
    let numbers = images.iter().map(|image| class(&name(image)).and_then(|_| number(&name(image))));
    let columns: [(&str, ArrayRef); 4] = [
        ("name", Arc::new(images.iter().map(|image| Some(image.name.as_str())).collect::<StringArray>())),
        ("label", Arc::new(numbers.collect::<Int64Array>())),
        ("class", Arc::new(images.iter().map(|image| class(&name(image))).collect::<StringArray>())),
        ("jpeg", Arc::new(images.iter().map(|image| Some(&image.data[..])).collect::<BinaryArray>())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    );
    let batch = batch.expect("columns of one length");
    let file = std::fs::File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

/// The report of a run of the demo.
fn run(world: &World, producers: &str, images: &str, dataset: Option<&str>) -> Value {
    // Named, because the figures of two runs are compared.
    let mut arguments = vec!["demo", "--precision", "f32", "--producers", producers, "--images", images];
    arguments.extend(["--report", "r.json"]);
    arguments.extend(dataset.iter().flat_map(|file| ["--dataset", file]));
    let ran = output(world.firesteel(&arguments));
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains(" -> resnet18-cifar10/"), "the model is named: {}", stderr(&ran));
    let unlabelled = stdout(&ran).contains("unlabelled images ");
    let report = std::fs::read_to_string(world.folder.path().join("r.json")).expect("the report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["totals"].get("unlabelled").is_some(), unlabelled, "{report}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn unlabelled_images_are_documents_with_nulls_and_change_no_rate() {
    let Some(world) = World::new("unlabelled") else { return };
    let labelled = run(&world, "2", "20", None);
    dataset(&world.folder.path().join("unlabelled.parquet"), 100, |_| None);
    let report = run(&world, "1", "100", Some("unlabelled.parquet"));
    let producer = &report["producers"][0];
    assert_eq!(producer["unlabelled"].as_u64(), Some(100), "{report}");
    assert_eq!(producer["total_inferences"].as_u64(), Some(0), "{report}");
    assert_eq!(producer["wrong_inference_count"].as_u64(), Some(0), "{report}");
    assert_eq!(report["classes"].as_array().map(Vec::len), Some(0), "{report}");
    let collection = world.collection().await;
    let nulls = doc! { "label": { "$type": "null" }, "correct": { "$type": "null" }, "predicted": { "$type": "string" } };
    assert_eq!(collection.count_documents(nulls).await.expect("a count"), 100);

    let all = output(world.firesteel(&["report", "--format", "json"]));
    assert!(all.status.success(), "{}", stderr(&all));
    let all: Value = serde_json::from_str(&stdout(&all)).expect("JSON");
    assert_eq!(all["classes"], labelled["classes"]);
    assert_eq!(all["totals"]["accuracy"], labelled["totals"]["accuracy"]);
    assert_eq!(all["totals"]["average_error_rate"], labelled["totals"]["average_error_rate"]);
    assert_eq!(
        (all["totals"]["images"].as_u64(), all["totals"]["unlabelled"].as_u64()),
        (Some(140), Some(100))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_says_plane_and_car_is_right_where_the_model_says_airplane_and_automobile() {
    let Some(world) = World::new("aliases") else { return };
    let known = run(&world, "1", "40", None);
    dataset(&world.folder.path().join("aliases.parquet"), 40, |class| {
        Some(match class {
            "airplane" => "plane".to_owned(),
            "automobile" => "car".to_owned(),
            other => other.to_owned(),
        })
    });
    let renamed = run(&world, "1", "40", Some("aliases.parquet"));
    assert_eq!(renamed["classes"], known["classes"]);
    assert_eq!(renamed["totals"]["accuracy"], known["totals"]["accuracy"]);
}
