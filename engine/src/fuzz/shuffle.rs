//! Shuffle files of another executor, of which the fuzzer says what is changed.
//!
//! Bytes at random are hardly ever a message of Arrow. So good files are made here, and an input is a list of changes to one.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Int64Array, ListArray, RecordBatch,
    StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float32Type, Int32Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::util::pretty::pretty_format_batches;

use crate::cluster::decoded_shuffle;

/// The bytes of a change: how far behind the one before it, in two bytes, and the new value.
const CHANGE: usize = 3;

/// The most rows of a batch that are shown: more than a file has that is not changed.
const SHOWN: usize = 100;

/// A file, and what the plan expects in it.
pub(super) struct Sent {
    schema: SchemaRef,
    bytes: Vec<u8>,
}

/// Returns good files: plain ones and compressed ones, of flat columns, of nested ones and of none.
pub(super) fn sent() -> Result<Vec<Sent>, ArrowError> {
    let empty = flat()?.project(&[])?;
    let mut files = Vec::new();
    for batch in [flat()?, nested()?, empty] {
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let options = IpcWriteOptions::default().try_with_compression(compression)?;
            let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
            writer.write(&batch)?;
            writer.write(&batch.slice(1, 2))?;
            files.push(Sent { schema: batch.schema(), bytes: writer.into_inner()? });
        }
    }
    Ok(files)
}

/// Changes one of `files` as `input` says, and reads it to its last value.
pub(super) fn read(files: &[Sent], input: &[u8]) {
    let [which, size, changes @ ..] = input else { return };
    let Some(file) = files.get(usize::from(*which) % files.len().max(1)) else { return };
    let bytes = changed(&file.bytes, changes);
    let blocks = bytes.chunks(usize::from(*size) * 8 + 1);
    let Ok(batches) = decoded_shuffle(Arc::clone(&file.schema), blocks) else { return };
    // An access past a buffer shows where values are read and copied. Rows without columns may be very many.
    let shown: Vec<_> = batches.iter().map(|batch| batch.slice(0, batch.num_rows().min(SHOWN))).collect();
    let _ = pretty_format_batches(&shown).map(|rows| rows.to_string().len());
    let _ = concat_batches(&file.schema, &batches).map(|batch| batch.get_array_memory_size());
}

fn changed(file: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let mut at = 0;
    for change in changes.chunks(CHANGE) {
        match change {
            [low, high, value] => {
                at = (at + usize::from(u16::from_le_bytes([*low, *high]))) % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *value;
                }
            }
            // What is left over cuts the file.
            rest => bytes.truncate(bytes.len().saturating_sub(rest.len() * 16)),
        }
    }
    bytes
}

fn flat() -> Result<RecordBatch, ArrowError> {
    let labels: DictionaryArray<Int32Type> =
        [Some("cat"), None, Some("dog"), Some("cat")].into_iter().collect();
    let times = TimestampMicrosecondArray::from(vec![Some(1), None, Some(3), Some(1 << 50)]);
    RecordBatch::try_from_iter([
        (
            "id",
            Arc::new(StringArray::from(vec![Some("0-1"), Some("a longer one"), None, Some("")])) as ArrayRef,
        ),
        ("view", Arc::new(StringViewArray::from(vec!["short", "one that is not in the view", "", "é"]))),
        ("label", Arc::new(labels)),
        ("right", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]))),
        ("number", Arc::new(Int64Array::from(vec![7; 4]))),
        ("at", Arc::new(times.with_timezone("UTC"))),
    ])
}

fn nested() -> Result<RecordBatch, ArrowError> {
    let vectors = (0..4_u8).map(|row| {
        (row != 2).then(|| (0..row).map(|value| (value != 1).then_some(f32::from(value))).collect::<Vec<_>>())
    });
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
    let digests = FixedSizeBinaryArray::try_from_iter((0..4_u8).map(|row| [row; 12]))?;
    let inner = flat()?.project(&[0, 2])?;
    RecordBatch::try_from_iter([
        ("vector", Arc::new(vectors) as ArrayRef),
        ("digest", Arc::new(digests)),
        ("struct", Arc::new(StructArray::from(inner))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_changed_are_read() {
        let files = sent().unwrap();
        assert_eq!(files.len(), 9);
        for file in files {
            let batches = decoded_shuffle(file.schema, file.bytes.chunks(50)).unwrap();
            assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [4, 2]);
        }
    }

    #[test]
    fn changes_are_made_where_they_say() {
        assert_eq!(changed(b"abcdef", &[1, 0, b'X', 2, 0, b'Y']), b"aXcYef");
        assert_eq!(changed(b"abcdef", &[7, 0, b'X']), b"aXcdef");
        assert_eq!(changed(&[0; 40], &[0, 0, 1, 9]), [&[1][..], &[0; 23]].concat());
    }
}
