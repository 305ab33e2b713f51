//! A folder of images on a cluster: two executors classify its files, and say of each what `firesteel evaluate` says.

use std::path::Path;
use std::process::Command;

use arrow::array::AsArray as _;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use firesteel_testkit::{Cluster, ClusterSettings, SOON, http, wait_until};

const DATASET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline/assets/cifar10-test.parquet");
const IMAGES: usize = 192;

/// The first images of the data set, each a file in the folder of its class.
async fn make_folder(folder: &Path) -> anyhow::Result<()> {
    // In one partition rows come in the order of the file.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_parquet("cifar", DATASET, ParquetReadOptions::default()).await?;
    let sql = format!(
        "SELECT arrow_cast(class, 'Utf8') AS class, arrow_cast(jpeg, 'Binary') AS jpeg FROM cifar LIMIT {IMAGES}"
    );
    let mut number = 0;
    for batch in context.sql(&sql).await?.collect().await? {
        let (classes, images) = (batch.column(0).as_string::<i32>(), batch.column(1).as_binary::<i32>());
        for (class, image) in classes.iter().flatten().zip(images.iter().flatten()) {
            std::fs::create_dir_all(folder.join(class))?;
            std::fs::write(folder.join(class).join(format!("{number}.jpg")), image)?;
            number += 1;
        }
    }
    assert_eq!(number, IMAGES);
    Ok(())
}

fn printed(mut command: Command) -> String {
    let ran = command.output().expect("the binary starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_executors_classify_a_folder() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    make_folder(folder.path()).await?;
    // No query here asks a server for anything.
    let settings = ClusterSettings::new(env!("CARGO_BIN_EXE_firesteel"), "mongodb://localhost:1", "unused");
    let settings = settings.with("FIRESTEEL_ALLOW_READ", &folder.path().to_string_lossy());
    let mut cluster = Cluster::start(settings, 2).await;

    let images = IMAGES.to_string();
    let arguments = ["evaluate", "--precision", "f32", "--images", &images, "--format", "json"];
    let expected: serde_json::Value = serde_json::from_str(&printed(cluster.firesteel(&arguments)))?;
    let correct = expected[0]["correct"].as_u64().expect("a count");

    let table =
        format!("CREATE EXTERNAL TABLE photos STORED AS IMAGES LOCATION '{}'", folder.path().display());
    let query = "SELECT sum(n) AS images, sum(CASE WHEN label = predicted THEN n ELSE 0 END) AS correct FROM \
                 (SELECT label, (classify(image)).label AS predicted, count(*) AS n FROM photos GROUP BY 1, 2)";
    let arguments = ["sql", "--format", "csv", "-c", &table, "-c", query];
    assert_eq!(printed(cluster.firesteel(&arguments)), format!("images,correct\n{images},{correct}\n"));

    let numbers = cluster.executors();
    let addresses: Vec<_> = numbers.into_iter().map(|number| cluster.health_address(number)).collect();
    // A task is counted when it has ended, which may be after its rows have arrived.
    let counted = async || {
        let (mut read, mut busy) = (0.0, 0);
        for address in &addresses {
            let Ok(metrics) = http(*address, "GET", "/metrics").await else { return false };
            let rows = metrics.metric("firesteel_scan_rows_total{source=\"images\"}").unwrap_or_default();
            read += rows;
            busy += usize::from(rows > 0.0);
        }
        read >= IMAGES as f64 && busy == addresses.len()
    };
    wait_until("all rows are counted, and both executors have read some", SOON, counted).await;

    // What the scheduler may not have, nobody lists.
    let outside = tempfile::tempdir()?;
    let table =
        format!("CREATE EXTERNAL TABLE secrets STORED AS IMAGES LOCATION '{}'", outside.path().display());
    let ran = cluster.firesteel(&["sql", "-c", &table, "-c", "SELECT count(*) FROM secrets"]).output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && said.contains("--allow-read"), "{said}");
    Ok(())
}
