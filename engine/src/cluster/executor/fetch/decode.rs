//! Decodes the blocks of a shuffle file that another executor has sent, and believes none of it.
//!
//! A file is one or more streams of Arrow's IPC format, one behind the other. Ballista's own reader trusts the sender: it
//! skips the checks of offsets, lengths and UTF-8, and arrays that break Arrow's rules are undefined behaviour. Here every
//! array is checked before anything looks into it, and has to be of the type that the plan expects.

use arrow::array::RecordBatch;
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;

/// A decoder of one file.
pub(super) struct Decoder {
    expected: SchemaRef,
    stream: StreamDecoder,
    /// Bytes that are no whole message yet.
    pending: Buffer,
    /// Whether a schema has come, which every file begins with.
    begun: bool,
}

impl Decoder {
    pub(super) fn new(expected: SchemaRef) -> Self {
        Self { expected, stream: StreamDecoder::new(), pending: Buffer::default(), begun: false }
    }

    /// Appends the batches that `block` completes to `batches`.
    pub(super) fn push(&mut self, block: Buffer, batches: &mut Vec<RecordBatch>) -> Result<(), ArrowError> {
        self.pending = append(std::mem::take(&mut self.pending), block);
        loop {
            match self.stream.decode(&mut self.pending) {
                Ok(Some(batch)) => batches.push(self.checked(batch)?),
                Ok(None) => break,
                Err(error) if is_end_of_stream(&error) => {
                    self.begun |= self.stream.schema().is_some();
                    self.stream = StreamDecoder::new();
                }
                Err(error) => return Err(error),
            }
        }
        self.begun |= self.stream.schema().is_some();
        Ok(())
    }

    /// Checks that a file has been sent.
    ///
    /// What follows the last whole message is no error: of a sorted shuffle Ballista sends as many bytes too many, from the
    /// beginning of the next part, as its header has, because it reads both through one cursor. A connection that breaks is
    /// told by the transport.
    pub(super) fn finish(self) -> Result<(), ArrowError> {
        if self.begun {
            Ok(())
        } else {
            Err(ArrowError::IpcError("the file ended before its schema".to_owned()))
        }
    }

    fn checked(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let types = || self.expected.fields().iter().map(|field| field.data_type());
        let fits = batch.num_columns() == self.expected.fields().len()
            && types()
                .zip(batch.columns())
                .all(|(expected, column)| expected.equals_datatype(column.data_type()));
        if fits {
            return Ok(batch);
        }
        let found: Vec<_> = batch.columns().iter().map(|column| column.data_type().to_string()).collect();
        let expected: Vec<_> = types().map(ToString::to_string).collect();
        Err(ArrowError::SchemaError(format!("expected columns of {expected:?}, found {found:?}")))
    }
}

/// Appends a block to what is pending, without a copy where that is nothing.
fn append(pending: Buffer, block: Buffer) -> Buffer {
    if pending.is_empty() {
        return block;
    }
    let mut both = MutableBuffer::new(pending.len() + block.len());
    both.extend_from_slice(pending.as_slice());
    both.extend_from_slice(block.as_slice());
    both.into()
}

/// Whether the decoder says that bytes follow the end of a stream. It has no error of its own for it.
fn is_end_of_stream(error: &ArrowError) -> bool {
    matches!(error, ArrowError::IpcError(words) if words == "Unexpected EOS")
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;
    use arrow::ipc::writer::StreamWriter;

    use super::*;

    /// Two rows with a column of text.
    pub(in super::super) fn batch() -> RecordBatch {
        let labels: DictionaryArray<Int32Type> = ["cat", "dog"].into_iter().collect();
        RecordBatch::try_from_iter([
            ("text", Arc::new(StringArray::from(vec!["aaaa", "bbbb"])) as ArrayRef),
            ("label", Arc::new(labels) as ArrayRef),
            ("number", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ])
        .unwrap()
    }

    /// The bytes of a file that holds [`batch`].
    pub(in super::super) fn file() -> Vec<u8> {
        let batch = batch();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    /// The bytes of a file whose offsets of text run past its end.
    pub(in super::super) fn broken_file() -> Vec<u8> {
        let mut bytes = file();
        let offsets: Vec<u8> = [0_i32, 4, 8].iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let at = bytes.windows(offsets.len()).position(|window| window == offsets).unwrap();
        bytes[at + 8..at + 12].copy_from_slice(&0x7fff_ff00_i32.to_le_bytes());
        bytes
    }

    fn decode(blocks: &[&[u8]]) -> Result<Vec<RecordBatch>, ArrowError> {
        let (mut decoder, mut batches) = (Decoder::new(batch().schema()), Vec::new());
        for block in blocks {
            decoder.push(Buffer::from(*block), &mut batches)?;
        }
        decoder.finish()?;
        Ok(batches)
    }

    #[test]
    fn files_are_decoded_however_they_are_cut() {
        let one = file();
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(decode(&[&one]).unwrap(), [batch()]);
        assert_eq!(decode(&[&two]).unwrap(), [batch(), batch()], "one stream behind the other");
        for size in [1, 7, 64] {
            let blocks: Vec<&[u8]> = two.chunks(size).collect();
            assert_eq!(decode(&blocks).unwrap(), [batch(), batch()], "{size}");
        }
    }

    #[test]
    fn the_beginning_of_the_next_part_is_passed_over() {
        let header = StreamWriter::try_new(Vec::new(), &batch().schema()).unwrap().get_ref().len();
        // The mark of the end of a stream is part of the header.
        let longer = [file().as_slice(), &file()[..header + 8]].concat();
        assert_eq!(decode(&[&longer]).unwrap(), [batch()]);
        // The schema alone, whose stream goes on elsewhere, is a part without rows.
        assert_eq!(decode(&[&file()[..header + 8]]).unwrap(), []);
    }

    #[test]
    fn data_that_breaks_arrows_rules_is_an_error() {
        let error = decode(&[&broken_file()]).unwrap_err().to_string();
        assert!(error.contains("offset"), "{error}");
        for (bytes, words) in
            [(Vec::new(), "before its schema"), (b"HTTP/1.1 200 OK\r\n\r\n no Arrow at all".to_vec(), "")]
        {
            let error = decode(&[&bytes]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn columns_of_another_type_are_an_error() {
        let other = batch().project(&[2, 1, 0]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &other.schema()).unwrap();
        writer.write(&other).unwrap();
        let error = decode(&[&writer.into_inner().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("expected columns of"), "{error}");
    }
}
