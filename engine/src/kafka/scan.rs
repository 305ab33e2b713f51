//! The scan of a topic as a physical node, and what all of its partitions share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

use super::bounds::OffsetRange;
use super::connection::Connection;
use super::options::{Format, Isolation, Mode};
use super::reader;
use super::schema::table_schema;
use crate::connectors::{Execution, Input, Operator, OperatorExec};

/// So many ranges are shown, and how many more there are; all of them in a verbose plan.
const RANGES_SHOWN: usize = 8;

/// What all partitions of a scan share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScanSpec {
    /// The connection's name.
    pub(crate) connection: String,
    pub(crate) topic: String,
    pub(crate) format: Format,
    pub(crate) mode: Mode,
    pub(crate) isolation: Isolation,
    pub(crate) fail_on_data_loss: bool,
    pub(crate) fetch_timeout: Duration,
    /// The table's columns that come out, by position.
    pub(crate) columns: Vec<usize>,
    /// The most rows of a partition.
    pub(crate) limit: Option<u64>,
    pub(crate) batch_rows: usize,
}

impl ScanSpec {
    /// The columns that come out.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        Ok(Arc::new(table_schema(self.format, self.mode).project(&self.columns)?))
    }
}

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

fn descriptor_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("start", DataType::Int64, false),
        Field::new("end", DataType::Int64, false),
    ]))
}

/// Ranges as rows.
fn describe(ranges: &[OffsetRange]) -> Result<RecordBatch> {
    let partitions: Int32Array = ranges.iter().map(|range| Some(range.partition)).collect();
    let starts: Int64Array = ranges.iter().map(|range| Some(range.start)).collect();
    let ends: Int64Array = ranges.iter().map(|range| Some(range.end)).collect();
    let columns = vec![Arc::new(partitions) as _, Arc::new(starts) as _, Arc::new(ends) as _];
    Ok(RecordBatch::try_new(descriptor_schema(), columns)?)
}

/// The ranges in the rows of a descriptor batch.
pub(crate) fn ranges_of(batch: &RecordBatch) -> Result<Vec<OffsetRange>> {
    let [partitions, starts, ends] = batch.columns() else {
        return Err(DataFusionError::Internal("a descriptor has three columns".to_owned()));
    };
    let other = || DataFusionError::Internal("a descriptor holds a partition and two offsets".to_owned());
    let partitions = partitions.as_primitive_opt::<Int32Type>().ok_or_else(other)?.values();
    let starts = starts.as_primitive_opt::<Int64Type>().ok_or_else(other)?.values();
    let ends = ends.as_primitive_opt::<Int64Type>().ok_or_else(other)?.values();
    let rows = partitions.iter().zip(starts).zip(ends);
    Ok(rows.map(|((&partition, &start), &end)| OffsetRange { partition, start, end }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_keep_their_ranges() {
        let range = |partition, start, end| OffsetRange { partition, start, end };
        for ranges in [vec![], vec![range(0, 0, 5)], vec![range(3, i64::MAX - 1, i64::MAX), range(0, 7, 7)]] {
            assert_eq!(ranges_of(&describe(&ranges).unwrap()).unwrap(), ranges);
        }
    }
}
