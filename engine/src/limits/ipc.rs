//! What a message of Arrow's IPC format claims, checked before Arrow's reader believes it.
//!
//! A compressed buffer begins with the size that it claims to have, and the reader sets as much memory aside before it
//! decompresses a byte: where that cannot be had, the process ends. At a buffer that lies outside of its message it panics. Rows
//! without columns, or of nulls alone, need no buffers: whoever takes them apart into batches of the usual size takes as long as
//! there are said to be.

use arrow::error::ArrowError;
use arrow::ipc::{Message, MessageHeader, RecordBatch, root_as_message};

/// The most bytes that the compressed buffers of a batch may have together: as many as an array of text reaches with its
/// offsets of 32 bits.
pub(crate) const DECOMPRESSED: u64 = 1 << 31;

/// The most rows of a batch, as Arrow's specification has it.
const ROWS: i64 = i32::MAX as i64;

/// The claim of a buffer of a compressed batch that is not compressed itself.
const AS_IT_IS: i64 = -1;

/// Checks that the buffers of a message lie in its `body`, and that it claims no more than [`DECOMPRESSED`] and [`ROWS`].
pub(crate) fn check_buffers(message: Message<'_>, body: &[u8]) -> Result<(), ArrowError> {
    let Some(batch) = batch(message) else { return Ok(()) };
    if !(0..=ROWS).contains(&batch.length()) {
        return Err(broken(&format!("a batch claims {} rows, and may have {ROWS}", batch.length())));
    }
    let compressed = batch.compression().is_some();
    let mut claimed = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let bytes = range.and_then(|(offset, length)| body.get(offset..)?.get(..length));
        let bytes = bytes.ok_or_else(|| broken("a buffer lies outside of its message"))?;
        if let (true, Some(size)) = (compressed, bytes.first_chunk()) {
            claimed = claimed.saturating_add(match i64::from_le_bytes(*size) {
                AS_IT_IS => 0,
                size => u64::try_from(size).map_err(|_| broken("a buffer claims a negative size"))?,
            });
        }
    }
    if claimed > DECOMPRESSED {
        return Err(broken(&format!(
            "a batch claims {claimed} bytes once it is decompressed, and may have {DECOMPRESSED}"
        )));
    }
    Ok(())
}

/// The message that `bytes` are, where it is one that holds rows.
pub(super) fn batch_message(bytes: &[u8]) -> Option<Message<'_>> {
    root_as_message(bytes).ok().filter(|message| batch(*message).is_some())
}

/// Whether the rows of a message are compressed.
pub(crate) fn is_compressed(message: Message<'_>) -> bool {
    batch(message).is_some_and(|batch| batch.compression().is_some())
}

fn batch(message: Message<'_>) -> Option<RecordBatch<'_>> {
    match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|batch| batch.data()),
        _ => None,
    }
}

fn broken(words: &str) -> ArrowError {
    ArrowError::IpcError(words.to_owned())
}
