//! The Kafka source: a topic as a table that is read as a batch, from one offset to another.
//!
//! ```text
//!  table ──scan()──▶ ends of the topic, bounds ──▶ ranges of offsets ──split──▶ parts
//!                                                                                │ one descriptor a partition
//!  batches ◀── decode ◀── messages ◀── reader (a consumer that joins no group) ◀── scan node
//! ```
//!
//! Guarantees, each with a test against a real broker: which offsets are read is decided once, when the query is
//! planned, so a task that is tried again reads the same; all scans of a query see one end of a topic; every message
//! of a range is read exactly once and the reading ends, also where offsets have gaps (compaction, deleted records,
//! transaction markers, aborted transactions); an offset that is no longer there is an error unless the table says
//! otherwise. No topic is ever created by reading, and no group's offsets are committed.
//!
//! Under `read_committed`, the default, a topic ends at its *last stable offset*: before the first message of a
//! transaction that is still open. Under `read_uncommitted` it ends at the high watermark, and messages of open and
//! aborted transactions are read too.

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
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;

use self::config::{Format, TableOptions};
use self::connection::{Connection, Connections};
use self::plan::factory::KafkaTableFactory;
use self::plan::table::KafkaTable;
use crate::config::Config;
use crate::connectors::connector::{
    BuiltinTable, Connector, Factory, NodeDecoder, NodeEncoder, ScanNode, TableDecoder, TableEncoder,
};
use crate::connectors::registry::Shared;

/// Reads the location and the options of a table, and keeps nothing.
pub(crate) fn check_options(location: &str, given: &HashMap<String, String>) -> crate::Result<()> {
    config::parse::table_options(location, given).map(drop)
}

/// The Kafka connector of a process.
#[derive(Debug)]
pub(crate) struct Kafka {
    connections: Connections,
    /// The tables that every session has.
    tables: [(&'static str, TableOptions); 3],
}

impl Kafka {
    /// The connector of this configuration. Nothing connects yet.
    pub(crate) fn new(config: &Config, shared: &Shared) -> Self {
        let topics = &config.topics;
        let tables = [
            ("images", TableOptions::new(&topics.images, Format::Images)),
            ("predictions_topic", TableOptions::new(&topics.predictions, Format::Predictions)),
            ("dead_letters", TableOptions::letters([topics.images.as_str(), &topics.predictions])),
        ];
        Self { connections: Connections::new(Connection::new(config), shared), tables }
    }

    /// The connection that a plan calls `name`.
    pub(crate) fn connection(&self, name: &str) -> crate::Result<Arc<Connection>> {
        self.connections.named(name)
    }
}

#[async_trait]
impl Connector for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn factories(&self) -> Vec<Factory> {
        vec![("KAFKA", Arc::new(KafkaTableFactory::new(self.connections.clone())))]
    }

    fn tables(&self) -> Result<Vec<BuiltinTable>> {
        let table = |(name, options): &(&'static str, TableOptions)| -> BuiltinTable {
            (*name, Arc::new(KafkaTable::new(self.connections.clone(), options.clone())))
        };
        Ok(self.tables.iter().map(table).collect())
    }

    fn encode_table(&self, table: &dyn TableProvider, _: &TableEncoder<'_>) -> Result<Option<Vec<u8>>> {
        Ok(codec::encode_table(table))
    }

    fn decode_table(
        &self,
        bytes: &[u8],
        _: SchemaRef,
        _: &TableDecoder<'_>,
    ) -> Result<Arc<dyn TableProvider>> {
        codec::decode_table(&self.connections, bytes)
    }

    fn encode_node(&self, node: &dyn ExecutionPlan, _: &NodeEncoder<'_>) -> Result<Option<Vec<u8>>> {
        Ok(codec::encode_node(node))
    }

    fn decode_node(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &NodeDecoder<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode_node(&self.connections, bytes, inputs)
    }

    fn connection_of(&self, table: &dyn TableProvider) -> Option<String> {
        table.downcast_ref::<KafkaTable>().map(|table| table.options.connection.clone())
    }

    async fn check(&self, connection: &str) -> crate::Result<()> {
        self.connection(connection)?.check().await
    }

    fn scans(&self) -> &'static [ScanNode] {
        &[ScanNode { name: "KafkaScanExec", label: "kafka" }]
    }
}
