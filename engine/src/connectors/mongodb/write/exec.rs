//! The writers as a physical node.
//!
//! Each partition of the input has a writer, which yields one row: how many rows it wrote, once all are confirmed. The node
//! has its input's partitions, so each task runs the writers of its own.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{BaselineMetrics, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use firesteel_common::mongodb::bulk::Batch;
use futures::{TryStreamExt, stream};

use super::encode::Encoder;
use super::writer::Writer;
use crate::config::{Acknowledgement, WriteConfig};
use crate::connectors::descriptors::{Execution, Input, Operator, OperatorExec};
use crate::connectors::mongodb::connection::Connection;

/// The part of a write that all writers of a statement share.
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
pub(crate) struct MongoWrite {
    spec: Arc<WriteSpec>,
    connection: Arc<Connection>,
}

/// The writers of a statement.
pub(crate) type MongoWriteExec = OperatorExec<MongoWrite>;

impl MongoWriteExec {
    /// Writers of the rows of `input`.
    pub(crate) fn of(spec: WriteSpec, connection: Arc<Connection>, input: Arc<dyn ExecutionPlan>) -> Self {
        Self::new(MongoWrite { spec: Arc::new(spec), connection }, input)
    }

    pub(crate) fn spec(&self) -> &WriteSpec {
        &self.operator().spec
    }
}

/// The columns that a writer yields.
fn count_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]))
}

impl Operator for MongoWrite {
    fn name(&self) -> &'static str {
        "MongoWriteExec"
    }

    fn schema(&self) -> SchemaRef {
        count_schema()
    }

    fn emission(&self) -> EmissionType {
        EmissionType::Final
    }

    fn fmt_as(&self, _: &Input<'_>, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    fn execute(
        self: Arc<Self>,
        input: SendableRecordBatchStream,
        Execution { partition, metrics, .. }: Execution<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let (spec, connection) = (Arc::clone(&self.spec), Arc::clone(&self.connection));
        let baseline = BaselineMetrics::new(metrics, partition);
        let rows = MetricBuilder::new(metrics).counter("rows_written", partition);
        let retries = MetricBuilder::new(metrics).counter("write_retries", partition);
        let schema = count_schema();
        let counts = Arc::clone(&schema);
        let tenure = connection.lease().tenure();
        let write = async move {
            let writer = Writer {
                connection: &connection,
                database: connection.database(&spec.database).await?,
                collection: &spec.collection,
                config: &spec.config,
                encoder: Encoder::new(&spec.collection, &spec.schema, &spec.config)?,
                waiting: Batch::default(),
                tenure,
                retries,
            };
            let written = drain(writer, input).await?;
            rows.add(usize::try_from(written).unwrap_or(usize::MAX));
            baseline.record_output(1);
            Ok(RecordBatch::try_new(counts, vec![Arc::new(UInt64Array::from(vec![written]))])?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::once(Box::pin(write)))))
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
