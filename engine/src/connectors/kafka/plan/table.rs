//! A topic, or several of one format, as a table provider.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use super::bounds::{Limit, resolve};
use super::filter::{self, Window};
use super::split;
use crate::Error;
use crate::connectors::kafka::config::TableOptions;
use crate::connectors::kafka::config::bound::Bound;
use crate::connectors::kafka::connection::Connections;
use crate::connectors::kafka::connection::log::{Logs, Times};
use crate::connectors::kafka::connection::{Connection, offsets};
use crate::connectors::kafka::read::scan::KafkaScanExec;
use crate::connectors::kafka::read::spec::{OffsetRange, ScanSpec};
use crate::connectors::kafka::schema::table_schema;
use crate::connectors::kafka::write;
use crate::connectors::per_query::query_key;

/// Which topics, and how they are read. It holds a connection's name, never an address.
#[derive(Clone, Debug)]
pub(crate) struct KafkaTable {
    connections: Connections,
    pub(crate) options: TableOptions,
    schema: SchemaRef,
}

impl KafkaTable {
    pub(crate) fn new(connections: Connections, options: TableOptions) -> Self {
        let schema = table_schema(options.format, options.mode);
        Self { connections, options, schema }
    }

    /// The offsets that a bound which is a time stands for.
    async fn times(
        &self,
        connection: &Connection,
        topic: &str,
        bound: &Bound,
        logs: &Logs,
    ) -> crate::Result<Times> {
        let Bound::Timestamp(millis) = bound else { return Ok(Times::new()) };
        let partitions = logs.keys().copied().collect();
        offsets::times(connection, topic, self.options.isolation, partitions, *millis).await
    }

    /// The parts of `topic` that a query reads.
    async fn parts(
        &self,
        state: &dyn Session,
        connection: &Connection,
        topic: &str,
        window: &Window,
    ) -> Result<Vec<OffsetRange>> {
        let options = &self.options;
        let logs = match offsets::logs(connection, query_key(state), topic, options.isolation).await {
            Err(Error::UnknownTopic { .. }) if options.may_be_missing => return Ok(Vec::new()),
            logs => logs?,
        };
        let (starts, ends) = (
            self.times(connection, topic, &options.start, &logs).await?,
            self.times(connection, topic, &options.end, &logs).await?,
        );
        let start = Limit { option: "startingOffsets", bound: &options.start, times: &starts };
        let end = Limit { option: "endingOffsets", bound: &options.end, times: &ends };
        let mut ranges = resolve(topic, &logs, start, end, options.fail_on_data_loss)?;

        window.narrow(&mut ranges);
        if let Some(since) = window.since {
            let partitions = ranges.iter().map(|range| range.partition).collect();
            let times = offsets::times(connection, topic, options.isolation, partitions, since).await?;
            filter::not_before(&mut ranges, &times);
        }
        let slots = self.connections.slots().scan_partitions(None, state.config().target_partitions());
        Ok(split::split(&ranges, slots, options.part_size))
    }
}

#[async_trait]
impl TableProvider for KafkaTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| filter::support(filter)).collect())
    }

    /// Runs where the query is planned: in the scheduler.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = &self.options;
        let connection = self.connections.named(&options.connection)?;
        let window = Window::of(filters);
        let spec = |topic: &str| ScanSpec {
            connection: options.connection.clone(),
            topic: topic.to_owned(),
            format: options.format,
            mode: options.mode,
            isolation: options.isolation,
            fail_on_data_loss: options.fail_on_data_loss,
            fetch_timeout: options.fetch_timeout,
            columns: match projection {
                Some(columns) => columns.clone(),
                None => (0..self.schema.fields().len()).collect(),
            },
            limit: limit.and_then(|limit| u64::try_from(limit).ok()),
            batch_rows: state.config().batch_size().max(1),
        };
        let mut scans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for topic in options.topics() {
            let parts = self.parts(state, &connection, topic, &window).await?;
            // A topic without parts needs no scan beside others.
            if !parts.is_empty() {
                scans.push(Arc::new(KafkaScanExec::try_new(spec(topic), Arc::clone(&connection), &parts)?));
            }
        }
        match scans.len() {
            0 => Ok(Arc::new(KafkaScanExec::try_new(spec(&options.topic), connection, &[])?)),
            1 => Ok(scans.remove(0)),
            _ => UnionExec::try_new(scans),
        }
    }

    async fn insert_into(
        &self,
        _: &dyn Session,
        _: Arc<dyn ExecutionPlan>,
        _: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(write::refusal().into())
    }
}
