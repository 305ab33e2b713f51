//! What a cached table consists of, what all partitions of a scan share, and what each of them reads: row groups of files, as
//! rows of a descriptor.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, SchemaRef, UInt32Type, UInt64Type};
use datafusion::error::{DataFusionError, Result};

use crate::connectors::cache::connection::Folder;
use crate::connectors::cache::schema::descriptor_schema;
use crate::connectors::connector::ClusterTime;

/// A row group of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) file: Arc<str>,
    pub(crate) row_group: u32,
    pub(crate) rows: u64,
}

/// The point in time whose content a cached table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When the content was read, in milliseconds since 1970, by the session's clock.
    pub(crate) cached_at: i64,
    /// The cluster time at which MongoDB was read: seconds since 1970, and the number of the operation in that second.
    /// `None` where no table of MongoDB was read, or its server has no snapshots.
    pub(crate) cluster_time: Option<ClusterTime>,
}

impl std::fmt::Display for Stamp {
    /// The second in UTC, and the cluster time in brackets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at: ArrayRef =
            Arc::new(TimestampMillisecondArray::from(vec![self.cached_at]).with_timezone("UTC"));
        let text = arrow::compute::cast(&at, &DataType::Utf8)
            .ok()
            .and_then(|text| arrow::util::display::array_value_to_string(&text, 0).ok());
        f.write_str(text.as_deref().unwrap_or("an unknown time"))?;
        match self.cluster_time {
            Some((time, increment)) => write!(f, " (cluster time {time}.{increment})"),
            None => Ok(()),
        }
    }
}

/// The part of a scan that all of its partitions share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CachedScanSpec {
    pub(crate) folder: Folder,
    /// The columns that come out.
    pub(crate) schema: SchemaRef,
    /// Where they are in the files.
    pub(crate) columns: Vec<u32>,
    /// The most rows of a partition.
    pub(crate) limit: Option<u64>,
    pub(crate) stamp: Stamp,
}

/// Parts as rows.
pub(crate) fn describe(parts: &[Part]) -> Result<RecordBatch> {
    let files: StringArray = parts.iter().map(|part| Some(part.file.as_ref())).collect();
    let row_groups: UInt32Array = parts.iter().map(|part| Some(part.row_group)).collect();
    let rows: UInt64Array = parts.iter().map(|part| Some(part.rows)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(files), Arc::new(row_groups), Arc::new(rows)];
    Ok(RecordBatch::try_new(descriptor_schema(), columns)?)
}

/// The parts in the rows of a descriptor batch.
pub(crate) fn parts_of(batch: &RecordBatch) -> Result<Vec<Part>> {
    let wrong = || DataFusionError::Internal("a descriptor has a file, a row group and a count".to_owned());
    let column = |index: usize| batch.columns().get(index).ok_or_else(wrong);
    let files = column(0)?.as_string_opt::<i32>().ok_or_else(wrong)?;
    let row_groups = column(1)?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong)?;
    let rows = column(2)?.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
    let part = |row: usize| Part {
        file: files.value(row).into(),
        row_group: row_groups.value(row),
        rows: rows.value(row),
    };
    Ok((0..batch.num_rows()).map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_keeps_its_parts() {
        let parts: Vec<Part> = (0..3)
            .map(|i| Part { file: format!("f{i}").into(), row_group: i, rows: u64::from(i) << 33 })
            .collect();
        assert_eq!(parts_of(&describe(&parts).unwrap()).unwrap(), parts);
        assert_eq!(parts_of(&describe(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn a_stamp_is_read_by_people() {
        let stamp = Stamp { cached_at: 1_760_000_000_123, cluster_time: Some((1_760_000_000, 4)) };
        assert_eq!(stamp.to_string(), "2025-10-09T08:53:20.123Z (cluster time 1760000000.4)");
        assert_eq!(Stamp { cluster_time: None, ..stamp }.to_string(), "2025-10-09T08:53:20.123Z");
    }
}
