//! One column of one row group: from memory, or from its file.
//!
//! Text with few different values is held as a dictionary: it takes a fraction of the memory, and a `GROUP BY` works on
//! the keys. A column that has many values stays as it is.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::Int32Type;
use datafusion::error::{DataFusionError, Result};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};

use crate::Error;
use crate::connectors::cache::config::{MOST_VALUES, PROBE_ROWS};
use crate::connectors::cache::connection::{CacheStore, ColumnKey, Folder};
use crate::connectors::cache::error::unusable;
use crate::connectors::cache::schema::{dictionary_type, is_text};

/// A part of a cached table.
#[derive(Clone, Debug)]
pub(super) struct RowGroup {
    pub(super) folder: Folder,
    pub(super) file: Arc<str>,
    pub(super) row_group: u32,
}

/// The columns at these positions, in their order, as memory holds them. The second part says how many were there.
pub(super) fn load(store: &CacheStore, part: &RowGroup, columns: &[u32]) -> Result<(Vec<ArrayRef>, usize)> {
    let key = |column: u32| ColumnKey {
        folder: part.folder.clone(),
        file: Arc::clone(&part.file),
        row_group: part.row_group,
        column,
    };
    let mut found: Vec<Option<ArrayRef>> = columns.iter().map(|column| store.get(&key(*column))).collect();
    let mut missing: Vec<u32> =
        columns.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(column, _)| *column).collect();
    let hits = columns.len() - missing.len();
    if !missing.is_empty() {
        missing.sort_unstable();
        missing.dedup();
        let batch = read(store, part, &missing)?;
        for (column, array) in missing.iter().zip(batch.columns()) {
            let array = compact(array)?;
            for (slot, _) in found.iter_mut().zip(columns).filter(|(_, wanted)| *wanted == column) {
                *slot = Some(Arc::clone(&array));
            }
            store.put(key(*column), array);
        }
    }
    let loaded: Vec<ArrayRef> = found.into_iter().flatten().collect();
    if loaded.len() != columns.len() {
        let message = format!("a cached file has fewer columns than its table: {}", part.folder);
        return Err(Error::PlanDecode { message }.into());
    }
    Ok((loaded, hits))
}

/// Reads columns of a row group from its file. `columns` are in ascending order.
fn read(store: &CacheStore, part: &RowGroup, columns: &[u32]) -> Result<RecordBatch> {
    let path = store.file(&part.folder, &part.file)?;
    let failed = |error: &dyn std::fmt::Display| DataFusionError::from(unusable(&path, error));
    let file = File::open(&path).map_err(|error| failed(&error))?;
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(|error| failed(&error))?;
    let roots = columns.iter().map(|column| *column as usize);
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    let rows = metadata
        .metadata()
        .row_groups()
        .get(part.row_group as usize)
        .map(|group| usize::try_from(group.num_rows()).unwrap_or_default())
        .ok_or_else(|| failed(&"it has fewer parts than the table"))?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        .with_row_groups(vec![part.row_group as usize])
        .with_projection(mask)
        .with_batch_size(rows.max(1))
        .build()
        .map_err(|error| failed(&error))?;
    let schema = datafusion::arrow::record_batch::RecordBatchReader::schema(&reader);
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
    match <[RecordBatch; 1]>::try_from(batches) {
        Ok([batch]) => Ok(batch),
        Err(batches) => Ok(concat_batches(&schema, &batches)?),
    }
}

/// The form in which memory holds a column.
fn compact(array: &ArrayRef) -> Result<ArrayRef> {
    if !is_text(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    let values = |array: &ArrayRef| -> Result<(ArrayRef, usize)> {
        let dictionary = cast(array, &dictionary_type())?;
        let values = dictionary.as_dictionary::<Int32Type>().values().len();
        Ok((dictionary, values))
    };
    let probe = array.slice(0, array.len().min(PROBE_ROWS));
    if values(&probe)?.1 > probe.len() / 2 && array.len() > 16 {
        return Ok(Arc::clone(array));
    }
    let (dictionary, distinct) = values(array)?;
    Ok(if distinct <= MOST_VALUES { dictionary } else { Arc::clone(array) })
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn only_text_with_few_values_becomes_a_dictionary() {
        let few: ArrayRef =
            Arc::new((0..50_000).map(|i| Some(format!("v{}", i % 100))).collect::<StringArray>());
        let many: ArrayRef = Arc::new((0..50_000).map(|i| Some(format!("v{i}"))).collect::<StringArray>());
        // The start looks as if there were few.
        let late: ArrayRef = Arc::new(
            (0..90_000).map(|i| Some(format!("v{}", if i < 5_000 { 0 } else { i }))).collect::<StringArray>(),
        );
        let nulls: ArrayRef =
            Arc::new((0..100).map(|i| (i % 3 == 0).then_some("x")).collect::<StringArray>());
        let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1; 100]));
        for (array, dictionary) in
            [(&few, true), (&many, false), (&late, false), (&nulls, true), (&numbers, false)]
        {
            let held = compact(array).unwrap();
            assert_eq!(matches!(held.data_type(), DataType::Dictionary(..)), dictionary);
            assert_eq!(&cast(&held, array.data_type()).unwrap(), array);
        }
    }
}
