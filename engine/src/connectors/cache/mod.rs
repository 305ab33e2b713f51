//! Cached tables: the content of a table, kept as Spark's `CACHE TABLE` keeps it.
//!
//! ```text
//!  CACHE TABLE t ──▶ job: scan of t at one cluster time ──▶ Parquet files in the cache folder
//!                                                             │ names and rows come back to the session
//!  SELECT … FROM t ──▶ CachedTable: one descriptor a row group┘
//!                        │ executor: memory, else file, decoded once; text with few values as a dictionary
//!                        └─ GROUP BY text: CachedAggregateExec counts by the dictionary's keys
//! ```
//!
//! What is kept is a snapshot: it carries the cluster time that it holds, and stays as it is until `REFRESH TABLE` reads
//! the table anew. It belongs to the session that made it, and lives in files that every executor sees, so any executor
//! serves any part of it and a lost one takes nothing with it. The memory of an executor is only a copy of what it read,
//! within a budget; the least recently used part goes first.
//!
//! A plan names a session's folder and a file in it, never a path: each process has the folder from its own settings.

mod codec;
mod config;
mod connection;
mod error;
mod plan;
mod read;
mod schema;
mod write;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

pub(crate) use self::connection::{CacheStore, Folder};
use self::plan::rule::CachedAggregateRule;
pub(crate) use self::plan::table::CachedTable;
pub(crate) use self::read::spec::Stamp;
pub(crate) use self::write::{Action, CacheJob, outcome_of};
use crate::Config;
use crate::connectors::connector::{
    Connector, NodeDecoder, NodeEncoder, ScanNode, TableDecoder, TableEncoder,
};

/// The connector of cached tables.
#[derive(Debug)]
pub(crate) struct Cache {
    store: Arc<CacheStore>,
}

impl Cache {
    /// The connector of this configuration.
    pub(crate) fn new(config: &Config) -> Self {
        Self { store: Arc::new(CacheStore::new(&config.cache)) }
    }

    /// The files and columns of this process.
    pub(crate) fn store(&self) -> Arc<CacheStore> {
        Arc::clone(&self.store)
    }
}

#[async_trait]
impl Connector for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn encode_table(&self, table: &dyn TableProvider, encoder: &TableEncoder<'_>) -> Result<Option<Vec<u8>>> {
        codec::encode_table(table, encoder)
    }

    fn decode_table(
        &self,
        bytes: &[u8],
        schema: SchemaRef,
        decoder: &TableDecoder<'_>,
    ) -> Result<Arc<dyn TableProvider>> {
        codec::decode_table(self.store(), bytes, schema, decoder)
    }

    fn encode_node(&self, node: &dyn ExecutionPlan, _: &NodeEncoder<'_>) -> Result<Option<Vec<u8>>> {
        Ok(codec::encode_node(node)?)
    }

    fn decode_node(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &NodeDecoder<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode_node(self.store(), bytes, inputs)
    }

    fn rules(&self) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
        vec![Arc::new(CachedAggregateRule)]
    }

    fn scans(&self) -> &'static [ScanNode] {
        &[ScanNode { name: "CachedScanExec", label: "cache" }]
    }
}
