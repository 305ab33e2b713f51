//! A collection as a table provider.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bson::{Document, Timestamp};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;

use super::filter;
use super::partition;
use super::partition::facts::{Facts, Target};
use super::partition::{Layout, Wanted};
use crate::Error;
use crate::config::{ReadMode, ScanConfig, WriteConfig};
use crate::connectors::mongodb::MongoDb;
use crate::connectors::mongodb::connection::Connection;
use crate::connectors::mongodb::connection::retry;
use crate::connectors::mongodb::read::scan::MongoScanExec;
use crate::connectors::mongodb::read::spec::ScanSpec;
use crate::connectors::mongodb::schema;
use crate::connectors::mongodb::schema::mode;
use crate::connectors::mongodb::schema::mode::Reading;
use crate::connectors::mongodb::write;
use crate::connectors::mongodb::write::exec::WriteSpec;
use crate::connectors::per_query::{QueryKey, query_key};

/// Where a collection is, and how it is read. It holds a connection's name, never its address.
#[derive(Clone, Debug)]
pub(crate) struct MongoTable {
    connector: MongoDb,
    pub(crate) connection: String,
    pub(crate) database: String,
    pub(crate) collection: String,
    pub(crate) schema: SchemaRef,
    pub(crate) scan: ScanConfig,
    pub(crate) write: WriteConfig,
}

impl MongoTable {
    /// A table over `collection` with an explicit schema.
    pub(crate) fn new(
        connector: MongoDb,
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
            connector,
            connection: connection.to_owned(),
            database: database.to_owned(),
            collection: collection.to_owned(),
            schema,
            scan,
            write: WriteConfig::default(),
        })
    }

    /// The same table, written like this.
    pub(crate) fn with_write(self, write: WriteConfig) -> Self {
        Self { write, ..self }
    }

    /// Reads everything and filters here: for a view with a collation of its own, under which the server would compare
    /// strings in another way, and which it lets nobody read under another one. By now the engine relies on this
    /// table for the filters.
    async fn scan_and_filter(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let everything = self.scan(state, None, &[], None).await?;
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(everything) };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let filter = state.create_physical_expr(filter, &schema)?;
        let filtered =
            FilterExecBuilder::new(filter, everything).apply_projection(projection.cloned())?.build()?;
        Ok(Arc::new(filtered))
    }

    /// What the server has to be asked before a scan can be planned.
    async fn ask(
        &self,
        connection: &Connection,
        query: Option<QueryKey>,
        filter: Option<&Document>,
        columns: &[&str],
        target_partitions: usize,
    ) -> Result<Answers> {
        let cluster_time = connection.read_time(query).await?;
        let database = connection.database(&self.database).await?;
        let target = Target { connection, database: &database, collection: &self.collection };
        let facts = partition::facts::facts(connection, &database, &self.collection).await?;
        let layout = if filter.is_some_and(filter::constrains_id) {
            Layout::one("single (filter on _id)")
        } else if facts.collated_view && filter.is_some() {
            Layout::one("single (a view with a collation)")
        } else {
            let parts = self.connector.slots().scan_partitions(self.scan.max_partitions, target_partitions);
            let wanted = Wanted { filter, columns, cluster_time, parts };
            partition::layout(target, &facts, wanted, &self.scan).await?
        };
        Ok(Answers { cluster_time, facts, layout })
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

/// What the server answered.
struct Answers {
    /// The snapshot of the query; `None` on a server without.
    cluster_time: Option<Timestamp>,
    facts: Facts,
    layout: Layout,
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
        let connection = self.connector.connection(&self.connection)?;
        // A caller may hand over more than was promised to be taken.
        let taken = |filter: &&Expr| self.support(filter) != TableProviderFilterPushDown::Unsupported;
        let pushed: Vec<Expr> = filters.iter().filter(taken).cloned().collect();
        let filter = filter::conjunction(&pushed, &self.schema);
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let reading = Reading::of(&self.scan, &self.schema, &schema);
        let columns = reading.columns(&schema);
        let target_partitions = state.config().target_partitions();
        let query = query_key(state);
        let ask = || self.ask(&connection, query.clone(), filter.as_ref(), &columns, target_partitions);
        let Answers { cluster_time, facts, layout } = retry::asked_again(connection.timeout(), ask).await?;
        if facts.collated_view && filter.is_some() {
            return Box::pin(self.scan_and_filter(state, projection, &pushed)).await;
        }
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
            clustered: facts.clustered,
            whole_documents: layout.whole_documents,
            reading,
            // A view of its own collation is not read under another.
            aggregate_pushdown: self.scan.aggregate_pushdown && !facts.collated_view,
            partitioner: layout.partitioner,
        };
        Ok(Arc::new(MongoScanExec::try_new(spec, connection, &layout.walks)?))
    }

    /// Runs where the query is planned: in the scheduler.
    async fn insert_into(
        &self,
        _: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.scan.mode == ReadMode::Permissive
            && self.schema.field_with_name(&self.scan.corrupt_record_column).is_ok()
        {
            let message = format!("its column `{}` is of no document", self.scan.corrupt_record_column);
            return Err(Error::InvalidWrite { collection: self.collection.clone(), message }.into());
        }
        let spec = WriteSpec {
            connection: self.connection.clone(),
            database: self.database.clone(),
            collection: self.collection.clone(),
            schema: Arc::clone(&self.schema),
            config: self.write.clone(),
        };
        write::plan::plan(spec, self.connector.connection(&self.connection)?, input, operation).await
    }
}
