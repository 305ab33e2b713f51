//! The 22 queries of TPC-H at scale factor 0.1, from Parquet, on a cluster of two executors: each gives what one
//! DataFusion context gives over the same files.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use firesteel_engine::{Config, Session};
use firesteel_testkit::{Cluster, ClusterSettings};
use tpchgen::csv::{
    CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

use crate::rows::{difference, sorted};

const SCALE_FACTOR: f64 = 0.1;

/// The tables and the types of their columns.
const TABLES: [(&str, &str); 8] = [
    ("nation", "n_nationkey BIGINT, n_name TEXT, n_regionkey BIGINT, n_comment TEXT"),
    ("region", "r_regionkey BIGINT, r_name TEXT, r_comment TEXT"),
    (
        "part",
        "p_partkey BIGINT, p_name TEXT, p_mfgr TEXT, p_brand TEXT, p_type TEXT, p_size INT, p_container TEXT, \
         p_retailprice DECIMAL(15, 2), p_comment TEXT",
    ),
    (
        "supplier",
        "s_suppkey BIGINT, s_name TEXT, s_address TEXT, s_nationkey BIGINT, s_phone TEXT, s_acctbal DECIMAL(15, 2), \
         s_comment TEXT",
    ),
    (
        "customer",
        "c_custkey BIGINT, c_name TEXT, c_address TEXT, c_nationkey BIGINT, c_phone TEXT, c_acctbal DECIMAL(15, 2), \
         c_mktsegment TEXT, c_comment TEXT",
    ),
    (
        "partsupp",
        "ps_partkey BIGINT, ps_suppkey BIGINT, ps_availqty INT, ps_supplycost DECIMAL(15, 2), ps_comment TEXT",
    ),
    (
        "orders",
        "o_orderkey BIGINT, o_custkey BIGINT, o_orderstatus TEXT, o_totalprice DECIMAL(15, 2), o_orderdate DATE, \
         o_orderpriority TEXT, o_clerk TEXT, o_shippriority INT, o_comment TEXT",
    ),
    (
        "lineitem",
        "l_orderkey BIGINT, l_partkey BIGINT, l_suppkey BIGINT, l_linenumber INT, l_quantity DECIMAL(15, 2), \
         l_extendedprice DECIMAL(15, 2), l_discount DECIMAL(15, 2), l_tax DECIMAL(15, 2), l_returnflag TEXT, \
         l_linestatus TEXT, l_shipdate DATE, l_commitdate DATE, l_receiptdate DATE, l_shipinstruct TEXT, l_shipmode \
         TEXT, l_comment TEXT",
    ),
];

fn write_csv(path: &Path, header: &str, rows: impl Iterator<Item = impl Display>) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "{header}")?;
    for row in rows {
        writeln!(file, "{row}")?;
    }
    Ok(file.flush()?)
}

fn generate(table: &str, path: &Path) -> anyhow::Result<()> {
    macro_rules! rows {
        ($generator:ident, $csv:ident) => {
            write_csv(path, $csv::header(), $generator::new(SCALE_FACTOR, 1, 1).iter().map($csv::new))
        };
    }
    match table {
        "nation" => rows!(NationGenerator, NationCsv),
        "region" => rows!(RegionGenerator, RegionCsv),
        "part" => rows!(PartGenerator, PartCsv),
        "supplier" => rows!(SupplierGenerator, SupplierCsv),
        "customer" => rows!(CustomerGenerator, CustomerCsv),
        "partsupp" => rows!(PartSuppGenerator, PartSuppCsv),
        "orders" => rows!(OrderGenerator, OrderCsv),
        "lineitem" => rows!(LineItemGenerator, LineItemCsv),
        other => anyhow::bail!("TPC-H has no table {other}"),
    }
}

/// Writes every table as a folder of Parquet files, so that scans have several partitions.
async fn make_data(folder: &Path) -> anyhow::Result<()> {
    let context = SessionContext::new();
    for (table, columns) in TABLES {
        let csv = folder.join(format!("{table}.csv"));
        generate(table, &csv)?;
        let ddl =
            format!("CREATE EXTERNAL TABLE {table} ({columns}) STORED AS CSV LOCATION '{}'", csv.display());
        context.sql(&format!("{ddl} OPTIONS ('format.has_header' 'true')")).await?;
        let parquet = folder.join(table);
        let options = DataFrameWriteOptions::new();
        context.table(table).await?.write_parquet(&parquet.to_string_lossy(), options, None).await?;
        std::fs::remove_file(&csv)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_gives_what_a_single_context_gives() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    make_data(folder.path()).await?;
    let oracle = SessionContext::new();
    for (table, _) in TABLES {
        let path = folder.path().join(table);
        oracle.register_parquet(table, path.to_string_lossy(), ParquetReadOptions::default()).await?;
    }
    // No query here asks a server for anything.
    let settings = ClusterSettings::new(env!("CARGO_BIN_EXE_firesteel"), "mongodb://localhost:1", "unused");
    let settings = settings.with("FIRESTEEL_ALLOW_READ", &folder.path().to_string_lossy());
    let settings = ClusterSettings { vcores: 1, ..settings };
    let cluster = Cluster::start(settings, 2).await;
    let session = Session::connect(&cluster.url(), Config::default()).await?;
    for (table, _) in TABLES {
        let path = folder.path().join(table);
        let _ = session
            .execute(&format!(
                "CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}'",
                path.display()
            ))
            .await?;
    }
    let mut wrong = Vec::new();
    for number in 1..=22 {
        let path = format!("{}/../benches/tpch/q{number:02}.sql", env!("CARGO_MANIFEST_DIR"));
        let query = std::fs::read_to_string(path)?;
        let expected = sorted(&oracle.sql(&query).await?.collect().await?);
        match session.sql(&query).await {
            Ok(found) => match found.batches().await {
                Ok(batches) => {
                    if let Some(difference) = difference(&sorted(&batches), &expected) {
                        wrong.push(format!("q{number:02}: {difference}"));
                    }
                }
                Err(error) => wrong.push(format!("q{number:02}: {error}")),
            },
            Err(error) => wrong.push(format!("q{number:02}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
