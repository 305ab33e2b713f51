//! The scan of a topic as a physical node.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use super::reader;
use super::spec::{OffsetRange, ScanSpec, describe, descriptor_schema, ranges_of};
use crate::connectors::descriptors::{Execution, Input, Operator, OperatorExec};
use crate::connectors::kafka::connection::Connection;

/// How many ranges `EXPLAIN` shows before it only counts them. A verbose plan shows all.
const RANGES_SHOWN: usize = 8;

/// Reads the offsets that its descriptors name.
#[derive(Debug)]
pub(crate) struct KafkaScan {
    spec: Arc<ScanSpec>,
    schema: SchemaRef,
    connection: Arc<Connection>,
}

/// The scan of a topic.
pub(crate) type KafkaScanExec = OperatorExec<KafkaScan>;

impl KafkaScanExec {
    /// A scan of `parts`, one a partition; of one empty partition where there are none.
    pub(crate) fn try_new(
        spec: ScanSpec,
        connection: Arc<Connection>,
        parts: &[OffsetRange],
    ) -> Result<Self> {
        let mut descriptors =
            parts.iter().map(|part| describe(&[*part])).collect::<Result<Vec<RecordBatch>>>()?;
        if descriptors.is_empty() {
            descriptors.push(describe(&[])?);
        }
        Self::over(KafkaScan::try_new(spec, connection)?, descriptor_schema(), descriptors)
    }

    /// A scan of the offsets that `descriptors`, which came with a plan, name.
    pub(crate) fn decoded(
        spec: ScanSpec,
        connection: Arc<Connection>,
        descriptors: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        Ok(Self::new(KafkaScan::try_new(spec, connection)?, descriptors))
    }

    pub(crate) fn spec(&self) -> &ScanSpec {
        &self.operator().spec
    }
}

impl KafkaScan {
    fn try_new(spec: ScanSpec, connection: Arc<Connection>) -> Result<Self> {
        Ok(Self { schema: spec.schema()?, spec: Arc::new(spec), connection })
    }
}

/// The ranges of all partitions.
fn ranges(input: &Input<'_>) -> Option<Vec<OffsetRange>> {
    let ranges = input.descriptors()?.iter().map(ranges_of).collect::<Result<Vec<_>>>().ok()?;
    Some(ranges.concat())
}

impl Operator for KafkaScan {
    fn name(&self) -> &'static str {
        "KafkaScanExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn fmt_as(
        &self,
        input: &Input<'_>,
        format: DisplayFormatType,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let spec = &self.spec;
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let partitions = input.partitions();
        let columns = columns.join(", ");
        write!(f, "KafkaScanExec: topic={}, partitions={partitions}, projection=[{columns}]", spec.topic)?;
        if let Some(ranges) = ranges(input) {
            let verbose = matches!(format, DisplayFormatType::Verbose);
            let shown = if verbose { ranges.len() } else { ranges.len().min(RANGES_SHOWN) };
            let mut words: Vec<String> = ranges[..shown]
                .iter()
                .map(|range| format!("{}:{}..{}", range.partition, range.start, range.end))
                .collect();
            if shown < ranges.len() {
                words.push(format!("{} more", ranges.len() - shown));
            }
            write!(f, ", ranges=[{}]", words.join(", "))?;
        }
        if let Some(limit) = spec.limit {
            write!(f, ", limit={limit}")?;
        }
        write!(f, ", isolation={}", spec.isolation.name())
    }

    fn execute(
        self: Arc<Self>,
        descriptors: SendableRecordBatchStream,
        Execution { partition, metrics, .. }: Execution<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let (spec, connection) = (Arc::clone(&self.spec), Arc::clone(&self.connection));
        reader::read(spec, Arc::clone(&self.schema), connection, descriptors, metrics, partition)
    }
}
