//! With one, two and three executor processes, and with pushdown on and off, every query gives what one DataFusion
//! context gives over the same rows in memory.

mod data;
mod queries;

use arrow::record_batch::RecordBatch;
use firesteel_engine::{Config, Session, report};
use firesteel_testkit::{
    Cluster, ClusterSettings, Services, TempDatabase, TempTopics, fill_collection, unique,
};
use mongodb::bson::Document;

use crate::rows::{difference, sorted};

/// The collections, filled with the same documents.
async fn fill(database: &TempDatabase, rows: &[data::Row]) -> anyhow::Result<()> {
    let database = database.open().await?;
    let documents: Vec<Document> = rows.iter().map(data::Row::document).collect();
    for (collection, clustered) in [("predictions", true), ("plain", false)] {
        fill_collection(&database, collection, clustered, &documents).await?;
    }
    Ok(())
}

async fn answer(session: &Session, query: &str) -> Result<Vec<RecordBatch>, firesteel_engine::Error> {
    session.sql(query).await?.batches().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_any_size_gives_what_one_context_gives() -> anyhow::Result<()> {
    let Some(services) = Services::from_env() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let database = TempDatabase::new(&services.mongodb_uri, "equality");
    let topic = unique("equality");
    let _topics = TempTopics::new(&services.kafka_bootstrap, [topic.clone()]);

    let rows = data::rows();
    fill(&database, &rows).await?;
    firesteel_testkit::publish(&services.kafka_bootstrap, &topic, 3, &data::records(&rows)).await?;
    let files = data::parquet(folder.path());
    let oracle = data::oracle(&rows);
    let mut expected = Vec::new();
    for query in queries::QUERIES {
        expected.push(sorted(&oracle.sql(query).await?.collect().await?));
    }

    let mut wrong = Vec::new();
    let mut reports = Vec::new();
    for executors in 1..=3 {
        let settings =
            ClusterSettings::new(env!("CARGO_BIN_EXE_firesteel"), &services.mongodb_uri, &database.name)
                .with("FIRESTEEL_KAFKA_BOOTSTRAP", &services.kafka_bootstrap)
                .with("FIRESTEEL_ALLOW_READ", &folder.path().to_string_lossy());
        let settings = ClusterSettings { vcores: 1, ..settings };
        let cluster = Cluster::start(settings, executors).await;
        for pushdown in [true, false] {
            let mut config = Config::new(&services.mongodb_uri, &database.name);
            config.scan.filter_pushdown = pushdown;
            config.scan.aggregate_pushdown = pushdown;
            // Six thousand documents are several partitions here.
            config.scan.min_documents_per_partition = 500;
            let session = Session::connect(&cluster.url(), config).await?;
            let _ = session.execute("CREATE EXTERNAL TABLE plain STORED AS MONGODB LOCATION 'plain'").await?;
            let ddl = format!(
                "CREATE EXTERNAL TABLE topic STORED AS KAFKA LOCATION '{topic}' OPTIONS ('value.format' 'predictions')"
            );
            let _ = session.execute(&ddl).await?;
            for (name, path) in &files {
                let ddl =
                    format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}'", path.display());
                let _ = session.execute(&ddl).await?;
            }
            for (query, expected) in queries::QUERIES.iter().zip(&expected) {
                let difference = match answer(&session, query).await {
                    Ok(batches) => difference(&sorted(&batches), expected),
                    Err(error) => Some(error.to_string()),
                };
                if let Some(difference) = difference {
                    wrong
                        .push(format!("{executors} executors, pushdown {pushdown}: {query}\n  {difference}"));
                }
            }
            let mut report = report::run(&session, None).await?;
            report.totals.job_seconds = 0.0;
            reports.push(report);
            session.shutdown().await;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        6 * queries::QUERIES.len(),
        wrong.join("\n")
    );
    for report in &reports {
        assert_eq!(report, &reports[0]);
        assert_eq!(report.totals.images, data::ROWS as u64);
        assert_eq!(report.totals.unlabelled, data::ROWS.div_ceil(17) as u64);
    }
    Ok(())
}
