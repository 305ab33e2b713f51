//! The commands of a batch of upserts, and what the server's answers mean: pure functions.

use bson::raw::{RawArrayBuf, RawDocumentBuf, cstr};
use bson::{Bson, Document, rawdoc};

use crate::config::{Acknowledgement, WriteConcern, WriteConfig};

/// Bytes of upserts in one command, at most: well below the 48 MB of a message.
const MAX_BYTES: usize = 12 << 20;

/// Upserts that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Batch {
    upserts: RawArrayBuf,
    count: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether `upsert` has to wait for the next command.
    pub(super) fn is_full_for(&self, upsert: &RawDocumentBuf, max_rows: usize) -> bool {
        self.count > 0 && (self.count >= max_rows.max(1) || self.bytes + upsert.as_bytes().len() > MAX_BYTES)
    }

    pub(super) fn push(&mut self, upsert: &RawDocumentBuf) {
        self.upserts.push(upsert);
        self.count += 1;
        self.bytes += upsert.as_bytes().len();
    }

    /// The command that sends them, unordered: what one document is refused for does not keep the others out.
    pub(super) fn command(&self, collection: &str, config: &WriteConfig) -> RawDocumentBuf {
        let mut command = rawdoc! { "update": collection };
        command.append(cstr!("updates"), &self.upserts);
        command.append(cstr!("ordered"), false);
        command.append(cstr!("writeConcern"), concern(&config.write_concern));
        command
    }
}

/// A write concern as in a command.
fn concern(concern: &WriteConcern) -> RawDocumentBuf {
    let mut document = rawdoc! {};
    match &concern.acknowledgement {
        Acknowledgement::Majority => document.append(cstr!("w"), "majority"),
        Acknowledgement::Members(members) => {
            document.append(cstr!("w"), i32::try_from(members.get()).unwrap_or(i32::MAX));
        }
        Acknowledgement::Mode(mode) => document.append(cstr!("w"), mode.as_str()),
    }
    document.append(cstr!("j"), concern.journal);
    // 0 would mean to wait for ever.
    let timeout = i32::try_from(concern.timeout.as_millis()).unwrap_or(i32::MAX).max(1);
    document.append(cstr!("wtimeout"), timeout);
    document
}

/// The next step after a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every document was written, as durably as was asked for.
    Written,
    /// Not known to be so, for a reason that may pass: sending the command again is harmless.
    Again(String),
    /// A document was refused for good.
    Refused(String),
}

/// Two upserts of the same new key ran at once and this one lost: it will be an update the next time.
const DUPLICATE_KEY: i64 = 11_000;
/// A document was changed by two writers at once.
const WRITE_CONFLICT: i64 = 112;
/// A write concern that was not met in time, or by members that were on their way out.
const PASSING_CONCERNS: [i64; 6] = [64, 91, 189, 11_600, 11_602, 10_107];

/// Reads the answer to an `update` command that itself succeeded (`ok: 1`).
pub(super) fn verdict(answer: &Document, key_fields: &[String]) -> Verdict {
    let mut again = None;
    for error in answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default() {
        let Bson::Document(error) = error else { continue };
        let code = number(error, "code");
        if code == WRITE_CONFLICT || (code == DUPLICATE_KEY && is_our_key(error, key_fields)) {
            again = Some(error_message(error));
        } else {
            return Verdict::Refused(error_message(error));
        }
    }
    if let Ok(error) = answer.get_document("writeConcernError") {
        if !PASSING_CONCERNS.contains(&number(error, "code")) {
            return Verdict::Refused(error_message(error));
        }
        again = Some(error_message(error));
    }
    again.map_or(Verdict::Written, Verdict::Again)
}

/// A duplicate of the key is a race with another upsert of it. A duplicate of any other index stays.
fn is_our_key(error: &Document, key_fields: &[String]) -> bool {
    let Ok(pattern) = error.get_document("keyPattern") else { return false };
    pattern.len() == key_fields.len() && pattern.keys().all(|field| key_fields.contains(field))
}

fn error_message(error: &Document) -> String {
    format!("{} (code {})", error.get_str("errmsg").unwrap_or("no message"), number(error, "code"))
}

/// Servers and proxies differ in the number type that they send.
fn number(document: &Document, key: &str) -> i64 {
    match document.get(key) {
        Some(Bson::Int32(value)) => i64::from(*value),
        Some(Bson::Int64(value)) => *value,
        Some(Bson::Double(value)) => *value as i64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn an_answer_says_whether_to_go_on() {
        let keys = ["_id".to_owned()];
        let error = |code: i32, pattern: Document| doc! { "index": 0, "code": code, "keyPattern": pattern, "errmsg": "no" };
        let check =
            |answer: Document, expected: Verdict| assert_eq!(verdict(&answer, &keys), expected, "{answer}");
        let told = |code: i32| format!("no (code {code})");
        check(doc! { "ok": 1, "n": 2 }, Verdict::Written);
        check(doc! { "writeErrors": [error(11_000, doc! { "_id": 1 })] }, Verdict::Again(told(11_000)));
        check(doc! { "writeErrors": [error(11_000, doc! { "a": 1 })] }, Verdict::Refused(told(11_000)));
        check(doc! { "writeErrors": [error(112, doc! {})] }, Verdict::Again(told(112)));
        check(
            doc! { "writeErrors": [error(112, doc! {}), error(121, doc! {})] },
            Verdict::Refused(told(121)),
        );
        let concern = |code: i32| doc! { "writeConcernError": { "code": code, "errmsg": "no" } };
        check(concern(64), Verdict::Again(told(64)));
        check(concern(100), Verdict::Refused(told(100)));
    }

    #[test]
    fn a_command_holds_so_many_rows_or_bytes() {
        let upsert = rawdoc! { "q": { "_id": 1 } };
        let mut batch = Batch::default();
        assert!(!batch.is_full_for(&upsert, 1), "the first always fits");
        batch.push(&upsert);
        assert!(batch.is_full_for(&upsert, 1));
        assert!(!batch.is_full_for(&upsert, 2));
        let large = rawdoc! { "u": "x".repeat(MAX_BYTES) };
        assert!(batch.is_full_for(&large, 2));

        let command = Document::try_from(batch.command("c", &WriteConfig::default())).unwrap();
        assert_eq!(
            command,
            doc! {
                "update": "c", "updates": [{ "q": { "_id": 1 } }], "ordered": false,
                "writeConcern": { "w": "majority", "j": true, "wtimeout": 15_000 },
            }
        );
    }
}
