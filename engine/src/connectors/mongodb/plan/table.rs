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
use firesteel_common::mongodb::CollectionInfo;

use super::filter;
use super::filter::pushed::Pushed;
use super::partition::collection::CollectionRef;
use super::partition::{self, PartitionPlan, ScanRequest};
use crate::Error;
use crate::config::{ReadMode, ScanConfig, WriteConfig};
use crate::connectors::mongodb::connection::Connections;
use crate::connectors::mongodb::connection::{Connection, retry};
use crate::connectors::mongodb::read::scan::MongoScanExec;
use crate::connectors::mongodb::read::spec::ScanSpec;
use crate::connectors::mongodb::schema;
use crate::connectors::mongodb::schema::mode::{self, DecodeOptions};
use crate::connectors::mongodb::write;
use crate::connectors::mongodb::write::exec::WriteSpec;
use crate::connectors::per_query::{QueryKey, query_key};

/// Where a collection is, and how it is read. It holds a connection's name, never its address.
#[derive(Clone, Debug)]
pub(crate) struct MongoTable {
    connections: Connections,
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
        connections: Connections,
        connection: &str,
        database: &str,
        collection: &str,
        schema: SchemaRef,
        scan: ScanConfig,
    ) -> crate::Result<Self> {
        connections.named(connection)?.check_place(database, collection)?;
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

    /// Asks the server what the plan of a scan depends on.
    async fn plan_scan(
        &self,
        connection: &Connection,
        query: Option<QueryKey>,
        filter: Option<&Document>,
        columns: &[&str],
        target_partitions: usize,
    ) -> Result<ScanPlan> {
        let cluster_time = connection.read_time(query).await?;
        let database = connection.database(&self.database).await?;
        let target = CollectionRef { connection, database: &database, collection: &self.collection };
        let info = partition::collection::collection_info(connection, &database, &self.collection).await?;
        let partitioning = if filter.is_some_and(filter::constrains_id) {
            PartitionPlan::one("single (filter on _id)")
        } else if info.is_collated_view() && filter.is_some() {
            PartitionPlan::one("single (a view with a collation)")
        } else {
            let parts = self.connections.slots().scan_partitions(self.scan.max_partitions, target_partitions);
            let request = ScanRequest { filter, columns, cluster_time, parts };
            partition::plan_partitions(target, &info, request, &self.scan).await?
        };
        Ok(ScanPlan { cluster_time, info, partitioning })
    }

    /// Translates each filter for the server; `None` where that is not possible. Both answers are read off this list: what
    /// DataFusion is told about a filter, and which query the server gets.
    fn push(&self, filters: &[&Expr]) -> Vec<Option<Pushed>> {
        if !self.scan.filter_pushdown {
            return vec![None; filters.len()];
        }
        let columns = mode::document_columns(&self.scan, &self.schema);
        let push = |filter: &&Expr| match self.scan.mode {
            ReadMode::FailFast | ReadMode::DropMalformed => filter::translate(filter, &columns),
            ReadMode::Permissive if !mode::rejects_nulls(filter) => None,
            ReadMode::Permissive => filter::translate(filter, &columns).map(Pushed::rechecked),
        };
        filters.iter().map(push).collect()
    }
}

/// How a scan is planned, after what the server said.
struct ScanPlan {
    /// The snapshot of the query; `None` on a server without.
    cluster_time: Option<Timestamp>,
    info: CollectionInfo,
    partitioning: PartitionPlan,
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
        let support = |pushed: Option<Pushed>| {
            pushed.map_or(TableProviderFilterPushDown::Unsupported, |pushed| pushed.support())
        };
        Ok(self.push(filters).into_iter().map(support).collect())
    }

    /// Runs where the query is planned: in the scheduler.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let connection = self.connections.named(&self.connection)?;
        // A caller may hand over more than was promised to be taken.
        let translated = self.push(&filters.iter().collect::<Vec<_>>());
        let (taken, pushed): (Vec<Expr>, Vec<Pushed>) = filters
            .iter()
            .zip(translated)
            .filter_map(|(filter, pushed)| Some((filter.clone(), pushed?)))
            .unzip();
        let filter = Pushed::all(pushed);
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let decode = DecodeOptions::of(&self.scan, &self.schema, &schema);
        let columns = decode.columns(&schema);
        let target_partitions = state.config().target_partitions();
        let query = query_key(state);
        let plan =
            || self.plan_scan(&connection, query.clone(), filter.as_ref(), &columns, target_partitions);
        let ScanPlan { cluster_time, info, partitioning } =
            retry::retry_transient(connection.timeout(), plan).await?;
        if info.is_collated_view() && filter.is_some() {
            return Box::pin(self.scan_and_filter(state, projection, &taken)).await;
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
            clustered: info.clustered,
            whole_documents: partitioning.whole_documents,
            decode,
            // A view of its own collation is not read under another.
            aggregate_pushdown: self.scan.aggregate_pushdown && !info.is_collated_view(),
            partitioner: partitioning.partitioner,
        };
        Ok(Arc::new(MongoScanExec::try_new(spec, connection, &partitioning.partitions)?))
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
        write::plan::plan(spec, self.connections.named(&self.connection)?, input, operation).await
    }
}
