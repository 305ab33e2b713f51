//! A folder of images as a table provider.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt as _;

use super::filter::{self, Chosen};
use super::spread::spread;
use crate::connectors::images::config::TableOptions;
use crate::connectors::images::context::Context;
use crate::connectors::images::folder::ImageFile;
use crate::connectors::images::read::scan::ImageScanExec;
use crate::connectors::images::read::spec::ScanSpec;
use crate::connectors::images::schema::{reads_files, table_schema};
use crate::connectors::images::write;

/// Files of a listing that filters are asked about at once.
const CHUNK: usize = 8_192;

/// Which folder, and how it is read.
#[derive(Clone, Debug)]
pub(crate) struct ImageTable {
    context: Context,
    pub(crate) options: TableOptions,
    schema: SchemaRef,
}

impl ImageTable {
    pub(crate) fn new(context: Context, options: TableOptions) -> Self {
        let schema = table_schema(options.reading.mode);
        Self { context, options, schema }
    }

    /// The files that a query reads, of which `limit` are enough. The listing ends when there are as many.
    async fn files(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Vec<ImageFile>> {
        let TableOptions { folder, files, reading } = &self.options;
        let enough = limit.unwrap_or(usize::MAX);
        let chosen = Chosen::by(filters, state)?;
        let mut chunks = folder.list(&self.context.files, files).await?.try_chunks(CHUNK);
        let mut found = Vec::new();
        while found.len() < enough {
            let Some(mut chunk) = chunks.try_next().await.map_err(|failed| failed.1)? else { break };
            chosen.retain(folder, reading.labels, &mut chunk)?;
            chunk.truncate(enough - found.len());
            found.append(&mut chunk);
        }
        Ok(found)
    }
}

#[async_trait]
impl TableProvider for ImageTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| filter::support(filter, &self.context.functions)).collect())
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
        let spec = ScanSpec {
            folder: options.folder.clone(),
            reading: options.reading,
            columns: match projection {
                Some(columns) => columns.clone(),
                None => (0..self.schema.fields().len()).collect(),
            },
            batch_rows: state.config().batch_size().max(1),
        };
        let reads = reads_files(spec.schema()?.as_ref());
        let files = self.files(state, filters, limit).await?;
        if reads && options.reading.mode.is_failfast() {
            // What is known to fail does so before hours of work.
            for file in &files {
                spec.check_size(file)?;
            }
        }
        let slots = self.context.slots.scan_partitions(None, state.config().target_partitions());
        let parts = spread(files, slots, reads.then_some(options.reading.max_bytes));
        Ok(Arc::new(ImageScanExec::try_new(spec, Arc::clone(&self.context.files), &parts)?))
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
