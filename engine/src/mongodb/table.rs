//! A collection as a table provider.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::mode::{self, ReadMode, Reading};
use super::scan::{MongoScanExec, ScanSpec};
use super::{filter, planning, schema};
use crate::config::ScanConfig;
use crate::connections::{Connections, query_key};

/// Where a collection is, and how it is read. It holds a connection's name, never its address.
#[derive(Clone, Debug)]
pub(crate) struct MongoTable {
    pub(crate) connections: Arc<Connections>,
    pub(crate) connection: String,
    pub(crate) database: String,
    pub(crate) collection: String,
    pub(crate) schema: SchemaRef,
    pub(crate) scan: ScanConfig,
}

impl MongoTable {
    /// A table over `collection` with an explicit schema.
    pub(crate) fn new(
        connections: Arc<Connections>,
        connection: &str,
        database: &str,
        collection: &str,
        schema: SchemaRef,
        scan: ScanConfig,
    ) -> crate::Result<Self> {
        let schema = Arc::new(mode::table_schema(&scan, &schema));
        schema::validate(collection, &schema)?;
        mode::check_corrupt_record(collection, &scan, &schema)?;
        Ok(Self {
            connections,
            connection: connection.to_owned(),
            database: database.to_owned(),
            collection: collection.to_owned(),
            schema,
            scan,
        })
    }

    fn support(&self, filter: &Expr) -> TableProviderFilterPushDown {
        let unsupported = TableProviderFilterPushDown::Unsupported;
        if !self.scan.filter_pushdown {
            return unsupported;
        }
        let support = filter::support(filter, &mode::document_columns(&self.scan, &self.schema));
        match (self.scan.mode, support) {
            (ReadMode::Permissive, _) if !mode::rejects_nulls(filter) => unsupported,
            (ReadMode::Permissive, TableProviderFilterPushDown::Exact) => {
                TableProviderFilterPushDown::Inexact
            }
            (_, support) => support,
        }
    }
}

#[async_trait]
impl TableProvider for MongoTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| self.support(filter)).collect())
    }

    /// Runs where the query is planned: in the scheduler.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let connection = self.connections.mongodb(&self.connection)?;
        let cluster_time = connection.read_time(query_key(state)).await?;
        // A caller may hand over more than was promised to be taken.
        let taken = |filter: &&Expr| self.support(filter) != TableProviderFilterPushDown::Unsupported;
        let pushed: Vec<Expr> = filters.iter().filter(taken).cloned().collect();
        let filter = filter::conjunction(&pushed, &self.schema);
        let partitions = if filter.as_ref().is_some_and(filter::constrains_id) {
            1
        } else {
            self.scan.max_partitions.unwrap_or_else(|| state.config().target_partitions())
        };
        let database = connection.database(&self.database).await?;
        let layout = planning::layout(&database, &self.collection, partitions, &self.scan).await?;
        let reading = Reading::of(&self.scan, &self.schema, &schema);
        // The server would count documents that are dropped afterwards.
        let limit = limit.filter(|_| self.scan.mode != ReadMode::DropMalformed);
        let spec = ScanSpec {
            connection: self.connection.clone(),
            database: self.database.clone(),
            collection: self.collection.clone(),
            schema,
            filter,
            cluster_time,
            limit: limit.and_then(|limit| u64::try_from(limit).ok()),
            batch_rows: self.scan.batch_rows.max(1),
            clustered: layout.clustered,
            reading,
            aggregate_pushdown: self.scan.aggregate_pushdown,
        };
        Ok(Arc::new(MongoScanExec::over(spec, connection, &layout.ranges)?))
    }
}
