//! `CREATE EXTERNAL TABLE name STORED AS IMAGES LOCATION '/data/photos/' OPTIONS (…)`.
//!
//! No folder is looked at here: a client need not have it. Whether it is there is seen when it is read.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::error::Result;
use datafusion::logical_expr::CreateExternalTable;

use super::table::ImageTable;
use crate::Error;
use crate::connectors::images::config::table_options;
use crate::connectors::images::context::Context;

/// Makes tables over folders of images.
#[derive(Debug)]
pub(crate) struct ImageTableFactory {
    context: Context,
}

impl ImageTableFactory {
    /// A factory whose tables are read with what `context` has.
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }
}

#[async_trait]
impl TableProviderFactory for ImageTableFactory {
    async fn create(&self, _: &dyn Session, table: &CreateExternalTable) -> Result<Arc<dyn TableProvider>> {
        let refused = |option: &str, message: &str| Err(Error::invalid_option(option, message).into());
        let [location] = table.locations.as_slice() else {
            return refused("LOCATION", "a table reads one folder");
        };
        if !table.schema.fields().is_empty() {
            return refused("columns", "they are path, label, size, modified and image, and not declared");
        }
        if !table.table_partition_cols.is_empty() {
            return refused("PARTITIONED BY", "the first subfolder is the column label");
        }
        if !table.order_exprs.is_empty() {
            return refused("WITH ORDER", "files of several partitions have no order");
        }
        if table.unbounded {
            return refused("UNBOUNDED", "a folder is read as it is when a query begins");
        }
        let options = table_options(location, &table.options)?;
        Ok(Arc::new(ImageTable::new(self.context.clone(), options)))
    }
}
