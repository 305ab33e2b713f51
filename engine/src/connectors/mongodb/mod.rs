//! The MongoDB source: a collection as a table that is scanned in partitions, at one snapshot.
//!
//! ```text
//!  table ──scan()──▶ partition: size, boundaries (see `Partitioner`) ────▶ ranges of `_id`, or of records
//!                                                                            │ one descriptor a partition
//!  batches ◀── decode ◀── raw BSON batches ◀── reader ◀── find command ◀── scan node
//! ```
//!
//! Guarantees, each with a test against a real server: every document is read exactly once, whatever the BSON
//! type of its `_id`; on a replica set all partitions of all scans of a query read at one cluster time; a filter is
//! evaluated by the server only where that gives what DataFusion would. That holds for documents that fit the schema,
//! and in the modes PERMISSIVE and DROPMALFORMED for any ([`schema::mode`]). In the mode FAILFAST the server compares a value
//! of another type as it is, and a query may succeed where reading the field would have failed.
//!
//! A standalone server has no cluster time: there the partitions are plain reads, and a document that is written
//! meanwhile may or may not be seen.

mod codec;
mod config;
mod connection;
mod error;
mod plan;
mod read;
mod schema;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use self::config::TableOptions;
use self::config::location::Location;
use self::connection::{Connection, Connections};
use self::plan::aggregate::rule::AggregatePushdown;
use self::plan::factory::{MongoTableFactory, open};
pub(crate) use self::plan::filter::conjunction;
use self::plan::table::MongoTable;
pub(crate) use self::read::decode::Decoder;
pub(crate) use self::schema::mode::DecodeOptions;
pub use self::schema::predictions_schema;
use crate::config::{Config, DEFAULT_CONNECTION, ScanConfig, WriteConfig};
use crate::connectors::connector::{
    BuiltinTable, ClusterTime, Connector, Factory, NodeDecoder, NodeEncoder, ScanNode, TableDecoder,
    TableEncoder,
};
use crate::connectors::per_query::query_key;
use crate::connectors::registry::Shared;

/// Reads the options of a table, and keeps nothing.
pub(crate) fn check_options(given: &HashMap<String, String>) -> crate::Result<()> {
    config::parse(given, TableOptions::new(ScanConfig::default(), WriteConfig::default())).map(drop)
}

/// The MongoDB connector of a process.
#[derive(Debug)]
pub(crate) struct MongoDb {
    connections: Connections,
    scan: ScanConfig,
    write: WriteConfig,
}

impl MongoDb {
    /// The connector of this configuration. Nothing connects yet.
    pub(crate) fn new(config: &Config, shared: &Shared) -> Self {
        let connection = Connection::new(config, shared.runtime.clone());
        let connection = connection.writing_under(shared.lease.clone(), shared.fence.clone());
        let connections = Connections::new(connection, shared);
        Self { connections, scan: config.scan.clone(), write: config.write.clone() }
    }

    /// The connection that a plan calls `name`.
    pub(crate) fn connection(&self, name: &str) -> crate::Result<Arc<Connection>> {
        self.connections.named(name)
    }

    /// A table over a collection of the default database, read and written as the configuration says.
    pub(crate) fn table(&self, collection: &str, schema: SchemaRef) -> crate::Result<MongoTable> {
        let connection = self.connection(DEFAULT_CONNECTION)?;
        let (connections, scan) = (self.connections.clone(), self.scan.clone());
        let database = connection.default_database();
        let table = MongoTable::new(connections, DEFAULT_CONNECTION, database, collection, schema, scan)?;
        Ok(table.with_write(self.write.clone()))
    }

    /// A table over a collection, with a schema inferred from a sample.
    pub(crate) async fn infer(&self, collection: &str) -> crate::Result<MongoTable> {
        let location = Location { database: None, collection: collection.to_owned() };
        open(&self.connections, &location, self.table_options(), None).await
    }

    /// How collections are read and written whose tables do not say so themselves.
    fn table_options(&self) -> TableOptions {
        TableOptions::new(self.scan.clone(), self.write.clone())
    }
}

#[async_trait]
impl Connector for MongoDb {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn factories(&self) -> Vec<Factory> {
        vec![("MONGODB", Arc::new(MongoTableFactory::new(self.connections.clone(), self.table_options())))]
    }

    fn tables(&self) -> Result<Vec<BuiltinTable>> {
        Ok(vec![("predictions", Arc::new(self.table("predictions", predictions_schema())?))])
    }

    fn encode_table(&self, table: &dyn TableProvider, _: &TableEncoder<'_>) -> Result<Option<Vec<u8>>> {
        Ok(codec::encode_table(table))
    }

    fn decode_table(
        &self,
        bytes: &[u8],
        schema: SchemaRef,
        _: &TableDecoder<'_>,
    ) -> Result<Arc<dyn TableProvider>> {
        codec::decode_table(&self.connections, bytes, schema)
    }

    fn encode_node(&self, node: &dyn ExecutionPlan, encoder: &NodeEncoder<'_>) -> Result<Option<Vec<u8>>> {
        codec::encode_node(node, encoder)
    }

    fn decode_node(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        decoder: &NodeDecoder<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode_node(&self.connections, bytes, inputs, decoder)
    }

    fn rules(&self) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
        vec![Arc::new(AggregatePushdown)]
    }

    fn connection_of(&self, table: &dyn TableProvider) -> Option<String> {
        table.downcast_ref::<MongoTable>().map(|table| table.connection.clone())
    }

    async fn check(&self, connection: &str) -> crate::Result<()> {
        self.connection(connection)?.check().await
    }

    async fn cluster_time(
        &self,
        connection: &str,
        planning: &dyn Session,
    ) -> crate::Result<Option<ClusterTime>> {
        let time = self.connection(connection)?.read_time(query_key(planning)).await?;
        Ok(time.map(|time| (time.time, time.increment)))
    }

    fn scans(&self) -> &'static [ScanNode] {
        &[
            ScanNode { name: "MongoScanExec", label: "mongodb" },
            ScanNode { name: "MongoGroupExec", label: "mongodb_group" },
        ]
    }
}
