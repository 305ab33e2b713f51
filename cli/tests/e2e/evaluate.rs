//! `firesteel evaluate`, and the SQL function `classify` on an engine inside the shell's process: the same model, so the
//! same images are named rightly. Neither needs a server.

use crate::support::{firesteel, output, stderr, stdout};
use arrow::array::AsArray as _;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use std::path::Path;
use std::process::{Command, Output};

const DATASET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline/assets/cifar10-test.parquet");

/// Runs to a good end; what it printed.
fn succeeded(command: Command) -> String {
    let ran = output(command);
    assert!(ran.status.success(), "{}", stderr(&ran));
    stdout(&ran)
}

fn sql(arguments: &[&str]) -> Output {
    output(firesteel(&[&["sql", "--format", "csv"], arguments].concat()))
}

/// The figures of the first images, in f32.
fn evaluated(images: &str) -> serde_json::Value {
    let arguments = ["evaluate", "--precision", "f32", "--images", images, "--format", "json"];
    let mut all: Vec<serde_json::Value> =
        serde_json::from_str(&succeeded(firesteel(&arguments))).expect("JSON");
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn the_model_is_evaluated_on_the_first_images() {
    let found = evaluated("64");
    assert_eq!(found["precision"], "f32");
    assert_eq!(found["batch"], 64);
    assert_eq!(found["images"], 64);
    assert_eq!(found["model"], "resnet18-cifar10/f32");
    let (accuracy, rate) =
        (found["accuracy"].as_f64().expect("a number"), found["images_per_second"].as_f64());
    let correct = found["correct"].as_f64().expect("a number");
    assert!((accuracy - 100.0 * correct / 64.0).abs() < 1e-9 && accuracy > 75.0, "{found}");
    assert!(rate.is_some_and(|rate| rate > 0.0), "{found}");
    let confusion: Vec<Vec<u64>> = serde_json::from_value(found["confusion"].clone()).expect("a matrix");
    assert_eq!(confusion.iter().flatten().sum::<u64>(), 64);
    let classes = found["classes"].as_array().expect("classes");
    assert_eq!((classes.len(), classes[0]["class"].as_str()), (10, Some("airplane")));
    for (index, class) in classes.iter().enumerate() {
        assert_eq!(class["total"].as_u64(), Some(confusion[index].iter().sum()), "{class}");
        assert_eq!(class["correct"].as_u64(), Some(confusion[index][index]), "{class}");
    }
}

/// Whichever it takes on this machine: it is one, and both commands say the same of it.
#[test]
fn auto_takes_one_precision_and_says_why() {
    let ran = output(firesteel(&["evaluate", "--precision", "auto", "--images", "16", "--format", "json"]));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let all: Vec<serde_json::Value> = serde_json::from_str(&stdout(&ran)).expect("JSON");
    assert_eq!((all.len(), all[0]["auto"].as_bool()), (1, Some(true)), "{all:?}");
    let taken = all[0]["precision"].as_str().expect("a name");
    assert_eq!(all[0]["model"], format!("resnet18-cifar10/{taken}"));
    let said = stderr(&ran);
    assert!(
        said.contains(&format!("--precision auto takes {taken}: ")) && said.contains("int8 92.97 %"),
        "{said}"
    );
    assert_eq!(evaluated("16")["auto"], serde_json::Value::Null, "nobody asked");
}

/// f32 gives each image the class that the reference in candle's own operations does.
#[test]
fn the_reference_is_counted_against() {
    let arguments = ["evaluate", "--reference", "--precision", "f32", "--images", "128", "--format", "json"];
    let all: Vec<serde_json::Value> = serde_json::from_str(&succeeded(firesteel(&arguments))).expect("JSON");
    let said: Vec<_> =
        all.iter().map(|one| (one["precision"].as_str(), one["disagreements"].as_u64())).collect();
    assert_eq!(said, [(Some("reference"), None), (Some("f32"), Some(0))]);
    assert_eq!(all[0]["correct"], all[1]["correct"]);
    assert_eq!(all[0]["model"], "resnet18-cifar10/f32-plain");
}

#[test]
fn every_format_is_printed_and_bad_input_is_named() {
    let table = succeeded(firesteel(&["evaluate", "--images", "16", "--batch", "16", "--dataset", DATASET]));
    for part in ["| f32 ", "Accuracy by Class:", "Confusion in f32", "| airplane "] {
        assert!(table.contains(part), "{part} in {table}");
    }
    let csv = succeeded(firesteel(&["evaluate", "--images", "16", "--precision", "f32", "--format", "csv"]));
    assert!(
        csv.starts_with(
            "precision,accuracy,images_per_second,batch,images,correct,model,disagreements\nf32,"
        ),
        "{csv}"
    );
    for (arguments, code, words) in [
        (["--precision", "f33"], 2, "bf16"),
        (["--device", "gpu"], 2, "cuda:INDEX"),
        (["--device", "cuda:1"], 1, "--features cuda"),
        (["--device", "metal"], 1, "--features metal"),
        (["--images", "0"], 2, "--images"),
        (["--images", "10001"], 1, "--images"),
        (["--weights", "/nowhere/w.safetensors"], 1, "/nowhere/w.safetensors"),
        (["--dataset", "/nowhere/d.parquet"], 1, "/nowhere/d.parquet"),
    ] {
        let ran = output(firesteel(&[&["evaluate"], arguments.as_slice()].concat()));
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(words), "{arguments:?}: {}", stderr(&ran));
    }
}

/// `class/name` of the first images, as a list of SQL.
async fn first(count: usize) -> String {
    // In one partition rows come in the order of the file.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_parquet("cifar", DATASET, ParquetReadOptions::default()).await.expect("the data set");
    let sql = format!("SELECT CAST(class AS VARCHAR) || '/' || name AS id FROM cifar LIMIT {count}");
    let batches = context.sql(&sql).await.expect("a plan").collect().await.expect("rows");
    let mut ids = Vec::new();
    for batch in &batches {
        let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).expect("text");
        ids.extend(column.as_string::<i32>().iter().map(|id| format!("'{}'", id.expect("an id"))));
    }
    assert_eq!(ids.len(), count);
    ids.join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn classify_names_rightly_what_evaluate_does() {
    let expected = evaluated("64");
    let table = format!("CREATE EXTERNAL TABLE cifar STORED AS PARQUET LOCATION '{DATASET}'");
    let rows = format!(
        "SELECT class AS label, (classify(jpeg)).label AS predicted, (classify(jpeg)).confidence AS confidence \
         FROM cifar WHERE CAST(class AS VARCHAR) || '/' || name IN ({})",
        first(64).await
    );
    let assets = Path::new(DATASET).parent().expect("a folder").to_string_lossy();
    let ran = sql(&["--allow-read", &assets, "-c", &table, "-c", &rows]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let text = stdout(&ran);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("label,predicted,confidence"));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 64, "{text}");
    let correct = rows.iter().filter(|row| row[0] == row[1]).count() as u64;
    assert_eq!(Some(correct), expected["correct"].as_u64());
    let probable = |row: &Vec<&str>| row[2].parse::<f32>().is_ok_and(|c| (0.1..=1.0).contains(&c));
    assert!(rows.iter().all(probable), "{text}");
}

#[test]
fn classify_gives_null_for_what_is_no_image_and_errors_name_the_setting() {
    let ran = sql(&[
        "-c",
        "SELECT classify(x'00') IS NULL AS a, classify(NULL) IS NULL AS b",
        "-c",
        "\\df classify",
    ]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let text = stdout(&ran);
    assert!(text.starts_with("a,b\ntrue,true\n"), "{text}");
    assert!(text.contains("\nclassify,scalar,\"classify(image[, model])\","), "{text}");

    let ran = sql(&["--weights", "/nowhere/w.safetensors", "-c", "SELECT classify(x'00')"]);
    assert_eq!(ran.status.code(), Some(1));
    let said = stderr(&ran);
    assert!(said.contains("FIRESTEEL_MODEL") && said.contains("/nowhere/w.safetensors"), "{said}");
    assert_eq!(sql(&["-c", "SELECT classify('text', 1)"]).status.code(), Some(1));
}

/// Every format has a form for lists, structs and maps; the first class is what `classify` says.
#[test]
fn the_best_classes_and_all_probabilities_are_printed_in_every_format() {
    let query = "SELECT classify_top(data, 2) AS best, class_probabilities(data, 'resnet18-cifar10') AS shares, \
                 array_length(image_embedding(data)) AS numbers, (classify(data)).label AS label \
                 FROM (VALUES (arrow_cast(repeat('a', 3072), 'Binary'))) AS t(data)";
    let printed = |format: &str| succeeded(firesteel(&["sql", "--format", format, "-c", query]));
    let rows: serde_json::Value = serde_json::from_str(&printed("json")).expect("JSON");
    let label = rows[0]["label"].as_str().expect("a label");
    assert_eq!(rows[0]["best"][0]["label"], label);
    assert_eq!(rows[0]["best"].as_array().map(Vec::len), Some(2));
    assert_eq!(rows[0]["shares"][label], rows[0]["best"][0]["confidence"]);
    assert_eq!(rows[0]["shares"].as_object().map(serde_json::Map::len), Some(10));
    assert_eq!(rows[0]["numbers"], 512);
    for format in ["csv", "table"] {
        let text = printed(format);
        let (best, shares) = (format!("[{{label: {label}, confidence: "), "{airplane: ");
        assert!(text.contains(&best) && text.contains(shares), "{text}");
    }
    let listed = succeeded(firesteel(&["sql", "--format", "csv", "-c", "SHOW FUNCTIONS LIKE 'class%'"]));
    for syntax in
        ["classify(image[, model])", "classify_top(image, k[, model])", "class_probabilities(image[, model])"]
    {
        assert!(listed.contains(syntax), "{syntax} in {listed}");
    }
}

#[test]
fn a_model_that_there_is_not_is_told_with_those_that_there_are() {
    let rows = "FROM (VALUES (arrow_cast(repeat('a', 3072), 'Binary'))) AS t(data)";
    for (call, words) in [
        ("classify(data, 'big')", "no model \"big\", but resnet18-cifar10/f32"),
        ("classify(data, 'resnet18-cifar10/int8')", "but resnet18-cifar10/f32"),
        ("classify_top(data, 0)", "k is 0, expected a whole number from 1 on"),
        ("image_embedding(data, arrow_cast(data, 'Utf8'))", "model has to be a literal"),
    ] {
        let ran = sql(&["-c", &format!("SELECT {call} IS NULL {rows}")]);
        assert_eq!(ran.status.code(), Some(1), "{call}: {}", stdout(&ran));
        assert!(stderr(&ran).contains(words), "{call}: {}", stderr(&ran));
    }
}

/// Two models of one process: the same network, once in int8 under a name of its own.
#[test]
fn a_statement_asks_each_model_by_its_name() {
    let models = ["--model", "shipped", "--model", "small=shipped,precision=int8"];
    let query = "SELECT array_distance(image_embedding(data), image_embedding(data, 'resnet18-cifar10')) = 0 AS same, \
                 cosine_distance(image_embedding(data), image_embedding(data, 'small/int8')) < 0.05 AS near \
                 FROM (VALUES (arrow_cast(repeat('firesteel ', 307) || 'ab', 'Binary'))) AS t(data)";
    let ran = sql(&[&models[..], &["-c", query]].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    let text = stdout(&ran);
    assert_eq!(text, "same,near\ntrue,true\n");
    let query =
        "SELECT classify(data, 'large') FROM (VALUES (arrow_cast(repeat('a', 3072), 'Binary'))) AS t(data)";
    let ran = sql(&[&models[..], &["-c", query]].concat());
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("resnet18-cifar10/f32, small/int8"), "{}", stderr(&ran));
}
