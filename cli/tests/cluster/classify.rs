//! `classify` and the functions beside it on a cluster: every executor has models of its own, which its memory accounts for, and the
//! rows are named as `firesteel evaluate` names them.

use std::path::Path;
use std::process::Command;

use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use firesteel_testkit::{Cluster, ClusterSettings, http};

const DATASET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline/assets/cifar10-test.parquet");
const FILES: usize = 6;
const ROWS: usize = 32;

/// The first images as a folder of files, each a partition.
async fn make_data(folder: &Path) -> anyhow::Result<()> {
    // In one partition rows come in the order of the file.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_parquet("cifar", DATASET, ParquetReadOptions::default()).await?;
    for file in 0..FILES {
        let sql = format!("SELECT class, jpeg FROM cifar LIMIT {ROWS} OFFSET {}", file * ROWS);
        let path = folder.join(format!("{file}.parquet"));
        let options = DataFrameWriteOptions::new().with_single_file_output(true);
        context.sql(&sql).await?.write_parquet(&path.to_string_lossy(), options, None).await?;
    }
    Ok(())
}

fn printed(mut command: Command) -> String {
    let ran = command.output().expect("the binary starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_executors_name_what_evaluate_names() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    make_data(folder.path()).await?;
    // No query here asks a server for anything.
    let settings = ClusterSettings::new(env!("CARGO_BIN_EXE_firesteel"), "mongodb://localhost:1", "unused");
    let settings = settings.with("FIRESTEEL_ALLOW_READ", &folder.path().to_string_lossy());
    let mut cluster = Cluster::start(settings, 2).await;

    let images = (FILES * ROWS).to_string();
    let arguments = ["evaluate", "--precision", "f32", "--images", &images, "--format", "json"];
    let expected: serde_json::Value = serde_json::from_str(&printed(cluster.firesteel(&arguments)))?;

    let table =
        format!("CREATE EXTERNAL TABLE cifar STORED AS PARQUET LOCATION '{}'", folder.path().display());
    let query = "SELECT count(*) AS images, sum(CASE WHEN (classify(jpeg)).label = class THEN 1 ELSE 0 END) AS correct \
                 FROM cifar";
    let partitions = format!("SET datafusion.execution.target_partitions = {FILES}");
    let arguments = ["sql", "--format", "csv", "-c", &partitions, "-c", &table, "-c", query];
    let correct = expected[0]["correct"].as_u64().expect("a count");
    assert_eq!(printed(cluster.firesteel(&arguments)), format!("images,correct\n{images},{correct}\n"));

    lists_and_maps_arrive(&mut cluster, &table)?;

    let (mut tasks, mut loaded) = (0.0, 0);
    for number in cluster.executors() {
        let metrics = http(cluster.health_address(number), "GET", "/metrics").await?;
        tasks += metrics.metric("firesteel_tasks_total{outcome=\"completed\"}").unwrap_or_default();
        // Nothing runs any more: what is used is the model.
        let used = metrics.metric("firesteel_memory_pool_used_bytes").unwrap_or_default();
        loaded += usize::from(used > 40e6);
    }
    assert!(
        tasks > FILES as f64,
        "a task a partition though there are two slots, and one that counts: {tasks}"
    );
    assert_eq!(loaded, 2, "both had a part in it");
    Ok(())
}

/// The other functions, by the model's name: their answers come from executors as nested columns, and fit together.
fn lists_and_maps_arrive(cluster: &mut Cluster, table: &str) -> anyhow::Result<()> {
    let query = "SELECT classify_top(jpeg, 2, 'resnet18-cifar10') AS best, class_probabilities(jpeg) AS shares, \
                 image_embedding(jpeg, 'resnet18-cifar10/f32') AS embedding, classify(jpeg) AS said FROM cifar LIMIT 40";
    let arguments = ["sql", "--format", "json", "-c", table, "-c", query];
    let text = printed(cluster.firesteel(&arguments));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    assert_eq!(rows.len(), 40);
    for row in rows {
        let shares = row["shares"].as_object().expect("a map is an object");
        let mut sorted: Vec<f64> = shares.values().map(|share| share.as_f64().expect("a number")).collect();
        assert_eq!(sorted.len(), 10);
        assert!((sorted.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{row}");
        sorted.sort_by(|a, b| b.total_cmp(a));
        let best = row["best"].as_array().expect("a list");
        assert_eq!(best.len(), 2);
        assert_eq!(best[0], row["said"]);
        for (one, share) in best.iter().zip(sorted) {
            assert_eq!(one["confidence"].as_f64(), Some(share), "{row}");
            assert_eq!(one["confidence"], shares[one["label"].as_str().expect("a name")], "{row}");
        }
        assert_eq!(row["embedding"].as_array().map(Vec::len), Some(512));
    }
    // Which models there are is known where they are: the client refuses no name.
    let ran = cluster.firesteel(&[
        "sql",
        "-c",
        table,
        "-c",
        "SELECT max((classify(jpeg, 'big')).label) FROM cifar",
    ]);
    let said = failed(ran);
    assert!(said.contains("no model \"big\"") && said.contains("resnet18-cifar10/f32"), "{said}");
    let said =
        failed(cluster.firesteel(&["sql", "-c", table, "-c", "SELECT classify_top(jpeg, 0) FROM cifar"]));
    assert!(said.contains("k is 0"), "{said}");
    Ok(())
}

fn failed(mut command: Command) -> String {
    let ran = command.output().expect("the binary starts");
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stdout));
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_without_room_for_the_model_says_so() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    make_data(folder.path()).await?;
    let settings = ClusterSettings::new(env!("CARGO_BIN_EXE_firesteel"), "mongodb://localhost:1", "unused");
    let settings = settings.with("FIRESTEEL_ALLOW_READ", &folder.path().to_string_lossy());
    let settings = settings.executor(&["--memory-pool-size", "16MiB"]);
    let cluster = Cluster::start(settings, 1).await;
    let table =
        format!("CREATE EXTERNAL TABLE cifar STORED AS PARQUET LOCATION '{}'", folder.path().display());
    let query = "SELECT max((classify(jpeg)).label) FROM cifar";
    let ran = cluster.firesteel(&["sql", "-c", &table, "-c", query]).output()?;
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.contains("classify") && said.contains("--memory-pool-size"), "{said}");
    Ok(())
}
