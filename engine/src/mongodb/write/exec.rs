//! The writers as a physical node.
//!
//! Each partition of the input has a writer, which yields one row: how many rows it wrote, once all are confirmed. The node
//! is unary and keeps its input's partitioning, so that each task runs the writers of its own partitions.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::{TryStreamExt, stream};

use super::command::Batch;
use super::encode::Encoder;
use super::writer::Writer;
use crate::config::{Acknowledgement, WriteConfig};
use crate::mongodb::connection::Connection;

/// What all writers of a statement share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WriteSpec {
    /// The connection's name.
    pub(crate) connection: String,
    pub(crate) database: String,
    pub(crate) collection: String,
    /// The table's columns, in the order of the input's.
    pub(crate) schema: SchemaRef,
    pub(crate) config: WriteConfig,
}

/// Writes the rows of its input.
#[derive(Debug)]
pub(crate) struct MongoWriteExec {
    spec: Arc<WriteSpec>,
    connection: Arc<Connection>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MongoWriteExec {
    pub(crate) fn new(
        spec: Arc<WriteSpec>,
        connection: Arc<Connection>,
        input: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            input.output_partitioning().clone(),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { spec, connection, input, properties: Arc::new(properties), metrics }
    }

    pub(crate) fn spec(&self) -> &WriteSpec {
        &self.spec
    }
}

impl DisplayAs for MongoWriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WriteSpec { database, collection, config, .. } = self.spec.as_ref();
        let concern = &config.write_concern;
        write!(
            f,
            "MongoWriteExec: collection={database}.{collection}, key=[{}]",
            config.key_fields.join(", ")
        )?;
        match &concern.acknowledgement {
            Acknowledgement::Majority => write!(f, ", w=majority")?,
            Acknowledgement::Members(members) => write!(f, ", w={members}")?,
            Acknowledgement::Mode(mode) => write!(f, ", w={mode}")?,
        }
        write!(f, ", j={}", concern.journal)
    }
}

impl ExecutionPlan for MongoWriteExec {
    fn name(&self) -> &'static str {
        "MongoWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => {
                Ok(Arc::new(Self::new(Arc::clone(&self.spec), Arc::clone(&self.connection), input)))
            }
            _ => Err(DataFusionError::Internal("MongoWriteExec has exactly one input".to_owned())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (spec, connection) = (Arc::clone(&self.spec), Arc::clone(&self.connection));
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let rows = MetricBuilder::new(&self.metrics).counter("rows_written", partition);
        let retries = MetricBuilder::new(&self.metrics).counter("write_retries", partition);
        let schema = self.schema();
        let counts = Arc::clone(&schema);
        let write = async move {
            let writer = Writer {
                connection: &connection,
                database: connection.database(&spec.database).await?,
                collection: &spec.collection,
                config: &spec.config,
                encoder: Encoder::new(&spec.collection, &spec.schema, &spec.config)?,
                waiting: Batch::default(),
                retries,
            };
            let written = drain(writer, input).await?;
            rows.add(usize::try_from(written).unwrap_or(usize::MAX));
            baseline.record_output(1);
            Ok(RecordBatch::try_new(counts, vec![Arc::new(UInt64Array::from(vec![written]))])?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::once(Box::pin(write)))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

async fn drain(mut writer: Writer<'_>, mut rows: SendableRecordBatchStream) -> Result<u64> {
    let mut written = 0;
    while let Some(batch) = rows.try_next().await? {
        written += writer.write(&batch).await?;
    }
    writer.finish().await?;
    Ok(written)
}
