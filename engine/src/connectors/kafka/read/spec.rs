//! What all partitions of a scan share, and what each of them reads: a range of offsets, as a row of a descriptor.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};

use crate::connectors::kafka::config::{Format, Isolation, Mode};
use crate::connectors::kafka::schema::table_schema;

/// The part of a scan that all of its partitions share.
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

/// Offsets of one partition, from `start`, inclusive, to `end`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetRange {
    pub(crate) partition: i32,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl OffsetRange {
    /// How many offsets it has. There may be fewer messages.
    pub(crate) fn len(&self) -> u64 {
        self.end.saturating_sub(self.start).try_into().unwrap_or(0)
    }
}

/// The columns of a descriptor.
pub(crate) fn descriptor_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("start", DataType::Int64, false),
        Field::new("end", DataType::Int64, false),
    ]))
}

/// Ranges as rows.
pub(crate) fn describe(ranges: &[OffsetRange]) -> Result<RecordBatch> {
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
