//! Bulk writes: what fits into a command, the command, and what the server's reply says. Pure.
//!
//! Commands are unordered, so one refused document does not keep the others out. A [`Reply`] repeats what the server said
//! of each operation; whether that is an end or another attempt is the caller's policy.

use bson::raw::{RawArrayBuf, RawDocumentBuf, cstr};
use bson::{Bson, Document, rawdoc};

/// Bytes of operations in one command, at most: well below the 16 MiB of a document and the 48 MB of a message.
pub const MAX_BYTES: usize = 12 * 1024 * 1024;
/// Operations in one command, at most: the server's `maxWriteBatchSize`.
pub const MAX_OPERATIONS: usize = 100_000;
/// A larger operation does not fit into any command.
pub const MAX_OPERATION: usize = 15 * 1024 * 1024;
/// What an element of a BSON array costs besides its value: its type, its index in digits, a zero byte.
const ELEMENT: usize = 12;

/// The operations of one command, as they come together.
#[derive(Debug, Default)]
pub struct Batch {
    operations: RawArrayBuf,
    count: usize,
    bytes: usize,
}

impl Batch {
    /// Whether there is no operation in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many operations are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether an operation of `size` bytes has to wait for the next command. The first always fits.
    #[must_use]
    pub fn is_full_for(&self, size: usize, max_bytes: usize, max_operations: usize) -> bool {
        let after = self.bytes.saturating_add(size).saturating_add(ELEMENT);
        self.count > 0 && (self.count >= max_operations.max(1) || after > max_bytes)
    }

    /// Adds an operation.
    pub fn push(&mut self, operation: &RawDocumentBuf) {
        self.operations.push(operation);
        self.count += 1;
        self.bytes += operation.as_bytes().len() + ELEMENT;
    }

    /// The `update` command that sends the operations.
    #[must_use]
    pub fn update(&self, collection: &str, write_concern: RawDocumentBuf) -> RawDocumentBuf {
        let mut command = rawdoc! { "update": collection };
        command.append(cstr!("updates"), &self.operations);
        finish(command, write_concern)
    }

    /// The `insert` command that sends the operations, which are documents.
    #[must_use]
    pub fn insert(&self, collection: &str, write_concern: RawDocumentBuf) -> RawDocumentBuf {
        let mut command = rawdoc! { "insert": collection };
        command.append(cstr!("documents"), &self.operations);
        finish(command, write_concern)
    }
}

fn finish(mut command: RawDocumentBuf, write_concern: RawDocumentBuf) -> RawDocumentBuf {
    command.append(cstr!("ordered"), false);
    command.append(cstr!("writeConcern"), write_concern);
    command
}

/// The operation that puts `document` in the place of the one that `filter` finds, whether or not there is one.
#[must_use]
pub fn upsert(filter: RawDocumentBuf, document: RawDocumentBuf) -> RawDocumentBuf {
    let mut upsert = RawDocumentBuf::new();
    upsert.append(cstr!("q"), filter);
    upsert.append(cstr!("u"), document);
    upsert.append(cstr!("upsert"), true);
    upsert
}

/// What the server replied to a write command that itself succeeded (`ok: 1`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Operations that were not done.
    pub write_errors: Vec<WriteError>,
    /// How many upserts found no document and made one.
    pub upserted: usize,
    /// Why the writes are not known to be as durable as was asked for.
    pub concern_error: Option<ServerMessage>,
}

/// An operation that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteError {
    /// The place of the operation in its command, where the server says it.
    pub index: Option<usize>,
    /// What the server said.
    pub said: ServerMessage,
    /// The fields of the unique index that a duplicate was found in.
    pub key_pattern: Option<Vec<String>>,
}

/// A code of the server, with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMessage {
    /// The error code; 0 where none came.
    pub code: i32,
    /// The message.
    pub message: String,
}

impl Reply {
    /// Reads the reply.
    #[must_use]
    pub fn of(reply: &Document) -> Self {
        let errors = reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
        Self {
            write_errors: errors.iter().filter_map(Bson::as_document).map(WriteError::of).collect(),
            upserted: reply.get_array("upserted").map_or(0, Vec::len),
            concern_error: reply.get_document("writeConcernError").ok().map(ServerMessage::of),
        }
    }
}

impl WriteError {
    fn of(error: &Document) -> Self {
        let keys = |pattern: &Document| pattern.keys().map(ToString::to_string).collect();
        Self {
            index: number(error, "index").and_then(|index| usize::try_from(index).ok()),
            said: ServerMessage::of(error),
            key_pattern: error.get_document("keyPattern").ok().map(keys),
        }
    }
}

impl ServerMessage {
    fn of(error: &Document) -> Self {
        let code = number(error, "code").and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
        Self { code, message: error.get_str("errmsg").unwrap_or("no message").to_owned() }
    }
}

/// Servers and proxies differ in the number type that they send.
fn number(document: &Document, key: &str) -> Option<i64> {
    match document.get(key)? {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        #[expect(clippy::cast_possible_truncation, reason = "an index or a code: small and whole")]
        Bson::Double(value) => Some(*value as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use proptest::prelude::*;

    use super::*;

    /// An operation of `size` bytes, at least 12.
    fn operation(size: usize) -> RawDocumentBuf {
        let operation = rawdoc! { "": "x".repeat(size.saturating_sub(12)) };
        assert_eq!(operation.as_bytes().len(), size.max(12));
        operation
    }

    /// How many operations of these sizes go into each command.
    fn commands(sizes: &[usize], max_bytes: usize, max_operations: usize) -> Vec<usize> {
        let (mut commands, mut batch) = (Vec::new(), Batch::default());
        for size in sizes {
            if batch.is_full_for(*size, max_bytes, max_operations) {
                commands.push(std::mem::take(&mut batch).len());
            }
            batch.push(&operation(*size));
        }
        commands.extend((!batch.is_empty()).then(|| batch.len()));
        commands
    }

    #[test]
    fn a_batch_is_split_where_a_command_is_full() {
        let check = |sizes: &[usize], expected: &[usize]| {
            assert_eq!(commands(sizes, 100 + 3 * ELEMENT, 3), expected, "{sizes:?}");
        };
        check(&[], &[]);
        check(&[12], &[1]);
        check(&[50, 25, 25], &[3]);
        check(&[50, 25, 26], &[2, 1]);
        check(&[12, 12, 12, 12], &[3, 1]);
        check(&[12, 500, 12], &[1, 1, 1]);
    }

    proptest! {
        #[test]
        fn every_operation_is_in_one_command_and_no_command_is_too_large(
            sizes in proptest::collection::vec(12_usize..1_000, 0..200),
            max_bytes in 1_usize..3_000,
            max_operations in 1_usize..50,
        ) {
            let mut rest = sizes.as_slice();
            for length in commands(&sizes, max_bytes, max_operations) {
                prop_assert!(0 < length && length <= max_operations && length <= rest.len());
                let (command, others) = rest.split_at(length);
                let bytes: usize = command.iter().map(|size| size + ELEMENT).sum();
                prop_assert!(length == 1 || bytes <= max_bytes);
                rest = others;
            }
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_command_is_unordered_and_as_durable_as_asked() {
        let mut batch = Batch::default();
        batch.push(&upsert(rawdoc! { "_id": 1 }, rawdoc! { "_id": 1, "a": 2 }));
        let concern = || rawdoc! { "w": "majority", "j": true };
        let read = |command: RawDocumentBuf| Document::try_from(command).expect("BSON");
        assert_eq!(
            read(batch.update("c", concern())),
            doc! {
                "update": "c", "updates": [{ "q": { "_id": 1 }, "u": { "_id": 1, "a": 2 }, "upsert": true }],
                "ordered": false, "writeConcern": { "w": "majority", "j": true },
            }
        );
        let mut batch = Batch::default();
        batch.push(&rawdoc! { "_id": 1 });
        assert_eq!(
            read(batch.insert("c", concern())),
            doc! {
                "insert": "c", "documents": [{ "_id": 1 }],
                "ordered": false, "writeConcern": { "w": "majority", "j": true },
            }
        );
    }

    #[test]
    fn a_reply_is_read_whatever_its_number_types() {
        let said = |code, message: &str| ServerMessage { code, message: message.to_owned() };
        let reply = Reply::of(&doc! { "ok": 1, "writeErrors": [
            { "index": 1_i64, "code": 121.0, "errmsg": "validation" },
            { "code": 11_000, "keyPattern": { "model": 1, "_id": 1 } },
        ], "writeConcernError": { "code": 64_i64, "errmsg": "timeout" } });
        let keys = vec!["model".to_owned(), "_id".to_owned()];
        assert_eq!(
            reply.write_errors,
            [
                WriteError { index: Some(1), said: said(121, "validation"), key_pattern: None },
                WriteError { index: None, said: said(11_000, "no message"), key_pattern: Some(keys) },
            ]
        );
        assert_eq!(reply.concern_error, Some(said(64, "timeout")));
        assert_eq!(Reply::of(&doc! { "ok": 1, "n": 2 }), Reply::default());
        let upserted = Reply::of(
            &doc! { "ok": 1, "n": 3, "upserted": [{ "index": 0, "_id": "a" }, { "index": 2, "_id": "b" }] },
        );
        assert_eq!(upserted, Reply { upserted: 2, ..Reply::default() });
    }
}
