//! `CREATE EXTERNAL TABLE name STORED AS KAFKA LOCATION 'topic' OPTIONS (…)`.
//!
//! Nothing connects here: whether the topic exists is seen when it is read.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::error::Result;
use datafusion::logical_expr::CreateExternalTable;

use super::table::KafkaTable;
use crate::Error;
use crate::connectors::kafka::config::parse::table_options;
use crate::connectors::kafka::connection::Connections;

/// Makes tables over topics.
#[derive(Debug)]
pub(crate) struct KafkaTableFactory {
    connections: Connections,
}

impl KafkaTableFactory {
    /// A factory whose tables are read through `connections`.
    pub(crate) fn new(connections: Connections) -> Self {
        Self { connections }
    }
}

#[async_trait]
impl TableProviderFactory for KafkaTableFactory {
    async fn create(&self, _: &dyn Session, table: &CreateExternalTable) -> Result<Arc<dyn TableProvider>> {
        let refused = |option: &str, message: &str| Err(Error::invalid_option(option, message).into());
        let [location] = table.locations.as_slice() else {
            return refused("LOCATION", "a table reads one topic");
        };
        if !table.schema.fields().is_empty() {
            return refused("columns", "they are those of the option value.format, and not declared");
        }
        if !table.table_partition_cols.is_empty() {
            return refused("PARTITIONED BY", "a topic has its partitions already");
        }
        if !table.order_exprs.is_empty() {
            return refused("WITH ORDER", "messages of several partitions have no order");
        }
        if table.unbounded {
            return refused("UNBOUNDED", "a topic is read as a batch, up to where it ends now");
        }
        let options = table_options(location, &table.options)?;
        Ok(Arc::new(KafkaTable::new(self.connections.clone(), options)))
    }
}
