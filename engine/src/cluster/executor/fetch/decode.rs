//! Decodes the blocks of a shuffle file that another executor has sent, and believes none of it.
//!
//! A file is one or more streams of Arrow's IPC format, one behind the other. Ballista's own reader trusts the sender: it
//! skips the checks of offsets, lengths and UTF-8, and arrays that break Arrow's rules are undefined behaviour. Here every
//! array is checked before anything looks into it, and has to be of the type that the plan expects. The stream is taken apart into
//! messages first, because Arrow's reader sets memory aside as a message tells it to.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{Message, MessageHeader, root_as_message};

use crate::limits::check_buffers;
use crate::plan::caught::words;

/// The mark in front of a message, behind which its length lies.
const MARK: [u8; 4] = [0xff; 4];

/// A decoder of one file.
pub(super) struct Decoder {
    expected: SchemaRef,
    stream: StreamDecoder,
    /// The beginning of a message that is not whole yet.
    pending: MutableBuffer,
    /// Whether a schema has come, which every file begins with.
    begun: bool,
}

impl Decoder {
    pub(super) fn new(expected: SchemaRef) -> Self {
        Self { expected, stream: StreamDecoder::new(), pending: MutableBuffer::default(), begun: false }
    }

    /// Appends the batches that `block` completes to `batches`.
    pub(super) fn push(
        &mut self,
        mut block: Buffer,
        batches: &mut Vec<RecordBatch>,
    ) -> Result<(), ArrowError> {
        while let Some(mut message) = self.message(&mut block)? {
            self.begun |= check(&message)?;
            while !message.is_empty() {
                match self.decode(&mut message) {
                    Ok(Some(batch)) => batches.push(self.checked(batch)?),
                    Ok(None) => {}
                    Err(error) if is_end_of_stream(&error) => self.stream = StreamDecoder::new(),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes the next message, with what is in front of it, off what is pending and off `block`, without a copy where nothing is
    /// pending.
    fn message(&mut self, block: &mut Buffer) -> Result<Option<Buffer>, ArrowError> {
        if self.pending.is_empty() {
            let length = length(block)?;
            if length <= block.len() {
                let message = block.slice_with_length(0, length);
                block.advance(length);
                return Ok(Some(message));
            }
        }
        while !block.is_empty() {
            let missing = length(&self.pending)? - self.pending.len();
            let taken = missing.min(block.len());
            self.pending.extend_from_slice(block.get(..taken).unwrap_or_default());
            block.advance(taken);
            if length(&self.pending)? == self.pending.len() {
                return Ok(Some(std::mem::take(&mut self.pending).into()));
            }
        }
        Ok(None)
    }

    /// Lets Arrow's reader read. What it panics at is an error of whoever has sent it.
    fn decode(&mut self, message: &mut Buffer) -> Result<Option<RecordBatch>, ArrowError> {
        catch_unwind(AssertUnwindSafe(|| self.stream.decode(message))).unwrap_or_else(|panic| {
            Err(ArrowError::IpcError(format!("Arrow's reader panicked: {}", words(panic.as_ref()))))
        })
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

/// The batches of a file that comes in these blocks.
pub(crate) fn decoded<'a>(
    expected: SchemaRef,
    blocks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let (mut decoder, mut batches) = (Decoder::new(expected), Vec::new());
    for block in blocks {
        decoder.push(Buffer::from(block), &mut batches)?;
    }
    decoder.finish()?;
    Ok(batches)
}

/// The length of the message that `bytes` begin with, as far as they tell: never less than what is needed to tell more.
fn length(bytes: &[u8]) -> Result<usize, ArrowError> {
    let Some(head) = head(bytes) else { return Ok(if bytes.starts_with(&MARK) { 8 } else { 4 }) };
    let Some(metadata) = bytes.get(head.clone()) else { return Ok(head.end) };
    if metadata.is_empty() {
        return Ok(head.end);
    }
    let body = parsed(metadata)?.bodyLength();
    let length = usize::try_from(body).ok().and_then(|body| head.end.checked_add(body));
    length.ok_or_else(|| ArrowError::IpcError(format!("a message claims a body of {body} bytes")))
}

/// Where the metadata of a message lies, which are empty at the end of a stream; `None` where the bytes do not tell.
fn head(bytes: &[u8]) -> Option<Range<usize>> {
    let (mark, behind) = bytes.split_first_chunk::<4>()?;
    // Writers before Arrow 0.15 have set no mark.
    let (start, length) = if *mark == MARK { (8, behind.first_chunk()?) } else { (4, mark) };
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    Some(start..start.checked_add(length)?)
}

fn parsed(metadata: &[u8]) -> Result<Message<'_>, ArrowError> {
    root_as_message(metadata)
        .map_err(|error| ArrowError::IpcError(format!("a message's metadata cannot be read: {error}")))
}

/// Checks a whole message before Arrow's reader sees it, and says whether it is a schema.
fn check(bytes: &[u8]) -> Result<bool, ArrowError> {
    let Some(head) = head(bytes).filter(|head| !head.is_empty()) else { return Ok(false) };
    let (metadata, body) = bytes.split_at_checked(head.end).unwrap_or((bytes, &[]));
    let message = parsed(metadata.get(head.start..).unwrap_or_default())?;
    check_buffers(message, body)?;
    Ok(message.header_type() == MessageHeader::Schema)
}

/// Whether the decoder says that bytes follow the end of a stream. It has no error of its own for it.
fn is_end_of_stream(error: &ArrowError) -> bool {
    matches!(error, ArrowError::IpcError(words) if words == "Unexpected EOS")
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatchOptions, StringArray};
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

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
        decoded(batch().schema(), blocks.iter().copied())
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

    /// The bytes of a file that is compressed, with the size that its first buffer claims.
    fn claiming(size: i64) -> Vec<u8> {
        let number =
            RecordBatch::try_from_iter([("number", Arc::new(Int64Array::from(vec![7; 1000])) as ArrayRef)]);
        let number = number.unwrap();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
        let mut writer =
            StreamWriter::try_new_with_options(Vec::new(), &number.schema(), options.unwrap()).unwrap();
        writer.write(&number).unwrap();
        let mut bytes = writer.into_inner().unwrap();
        let at = bytes.windows(8).position(|window| window == 8000_i64.to_le_bytes()).unwrap();
        bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    /// Arrow's reader asks for as much memory as it is told to, and ends the process where there is not so much.
    #[test]
    fn memory_that_is_claimed_is_not_set_aside() {
        let schema = Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false)]));
        let decoded = |bytes: Vec<u8>| decoded(Arc::clone(&schema), [bytes.as_slice()]);
        assert_eq!(decoded(claiming(8000)).unwrap()[0].num_rows(), 1000);
        for size in [1 << 32, 1 << 46, i64::MAX] {
            let error = decoded(claiming(size)).unwrap_err().to_string();
            assert!(error.contains("claims") && error.contains(&size.to_string()), "{error}");
        }
        let error = decoded(claiming(-2)).unwrap_err().to_string();
        assert!(error.contains("a negative size"), "{error}");
    }

    /// Rows without columns are no bytes, so there may be any number of them.
    #[test]
    fn rows_that_are_claimed_are_not_made() {
        let rows = 1_234_567;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), Vec::new(), &options).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&batch).unwrap();
        let mut bytes = writer.into_inner().unwrap();
        assert_eq!(decoded(Arc::clone(&schema), [bytes.as_slice()]).unwrap(), [batch]);
        let at = bytes.windows(8).position(|window| window == rows.to_le_bytes()).unwrap();
        for claimed in [1 << 40, -1] {
            bytes[at..at + 8].copy_from_slice(&i64::to_le_bytes(claimed));
            let error = decoded(Arc::clone(&schema), [bytes.as_slice()]).unwrap_err().to_string();
            assert!(error.contains(&format!("claims {claimed} rows")), "{error}");
        }
    }

    #[test]
    fn a_buffer_outside_of_its_message_is_an_error() {
        let mut bytes = file();
        // The length of the last buffer, of two numbers, is in the metadata.
        let at = bytes.windows(8).rposition(|window| window == 16_i64.to_le_bytes()).unwrap();
        bytes[at..at + 8].copy_from_slice(&1_000_000_i64.to_le_bytes());
        let error = decode(&[&bytes]).unwrap_err().to_string();
        assert!(error.contains("outside of its message"), "{error}");
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
