//! What the server's answer to a batch means, decided apart from any server.
//!
//! A batch whose every operation was taken, or refused for good, is settled. Anything else (a document refused for
//! a passing reason, or for one that is not known; a write concern that was not met) leaves the whole batch open:
//! writing it again is harmless, so there is no need to tell its documents apart. Only codes that blame the document
//! itself make it a dead letter: with any other, the fault is the store's, someone can mend it, and giving images up
//! for it would lose them.

use super::Refused;
use bson::{Bson, Document};

/// Two upserts of the same new `_id` ran at once and this one lost: it will be an update the next time.
const DUPLICATE_KEY: i32 = 11_000;

/// The document's own fault, whenever it is written: BadValue, FailedToParse, TypeMismatch, InvalidBSON,
/// DollarPrefixedFieldName, InvalidIdField, EmptyFieldName, DottedFieldName, ImmutableField,
/// DocumentValidationFailure, BSONObjectTooLarge, a value that a geographic index cannot take, a key too long for
/// its index, a document too large after the update (two codes).
const DOCUMENT_AT_FAULT: [i32; 15] =
    [2, 9, 14, 22, 52, 53, 56, 57, 66, 121, 10_334, 16_755, 17_280, 17_419, 17_420];

/// What to do after an `update` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Durable, except for these, which are refused for good.
    Settled(Vec<Refused>),
    /// Not known to be durable: write it again.
    Again {
        /// The server's code.
        code: i32,
        /// What it said.
        message: String,
    },
}

/// Reads the reply to an `update` command that itself succeeded (`ok: 1`).
pub(super) fn verdict(reply: &Document) -> Verdict {
    let mut refused = Vec::new();
    for error in reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default() {
        let Bson::Document(error) = error else { continue };
        let (code, message) = (code(error), message(error));
        if !refuses_the_document(error, code) {
            return Verdict::Again { code, message };
        }
        let Some(index) = number(error, "index").and_then(|index| usize::try_from(index).ok()) else {
            return Verdict::Again { code, message };
        };
        refused.push(Refused { index, message: format!("code {code}: {message}") });
    }
    // Written but not confirmed by a majority, or not in the journal: not durable.
    if let Ok(error) = reply.get_document("writeConcernError") {
        return Verdict::Again { code: code(error), message: message(error) };
    }
    Verdict::Settled(refused)
}

/// What came of an `insert` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inserted {
    /// All of it is durable; so many documents were there before.
    All {
        /// Documents whose `_id` was taken.
        found: u64,
    },
    /// Not known to be durable.
    Not {
        /// The server's code.
        code: i32,
        /// What it said.
        message: String,
    },
}

/// Reads the reply to an unordered `insert` command that itself succeeded (`ok: 1`).
pub(super) fn inserted(reply: &Document) -> Inserted {
    let mut found = 0;
    for error in reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default() {
        let Bson::Document(error) = error else { continue };
        let (code, message) = (code(error), message(error));
        let taken = error.get_document("keyPattern").is_ok_and(|pattern| pattern.contains_key("_id"));
        if code != DUPLICATE_KEY || !taken {
            return Inserted::Not { code, message };
        }
        found += 1;
    }
    if let Ok(error) = reply.get_document("writeConcernError") {
        return Inserted::Not { code: code(error), message: message(error) };
    }
    Inserted::All { found }
}

/// A duplicate of `_id` is a race. A duplicate of any other key is a unique index that someone made, and stays.
fn refuses_the_document(error: &Document, code: i32) -> bool {
    let other_key = error
        .get_document("keyPattern")
        .is_ok_and(|pattern| !pattern.is_empty() && !pattern.contains_key("_id"));
    DOCUMENT_AT_FAULT.contains(&code) || (code == DUPLICATE_KEY && other_key)
}

fn code(error: &Document) -> i32 {
    number(error, "code").and_then(|code| i32::try_from(code).ok()).unwrap_or(0)
}

fn message(error: &Document) -> String {
    error.get_str("errmsg").unwrap_or("no message").to_owned()
}

/// Servers and proxies differ in the number type they send.
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
    use super::*;
    use bson::doc;

    #[test]
    fn replies_and_their_verdicts() {
        let check = |reply: Document, expected: Verdict| assert_eq!(verdict(&reply), expected, "{reply}");
        let again = |code, message: &str| Verdict::Again { code, message: message.to_owned() };

        check(doc! { "ok": 1, "n": 2 }, Verdict::Settled(vec![]));
        check(
            doc! { "ok": 1, "writeErrors": [{ "index": 1, "code": 121, "errmsg": "validation" }] },
            Verdict::Settled(vec![Refused { index: 1, message: "code 121: validation".into() }]),
        );
        check(
            doc! { "ok": 1, "writeErrors": [
                { "index": 0, "code": 121, "errmsg": "validation" },
                { "index": 3, "code": 112, "errmsg": "conflict" },
            ] },
            again(112, "conflict"),
        );
        check(
            doc! { "ok": 1, "writeErrors": [
                { "index": 0, "code": 11_000, "keyPattern": { "_id": 1 }, "errmsg": "race" },
            ] },
            again(11_000, "race"),
        );
        check(
            doc! { "ok": 1, "writeErrors": [
                { "index": 0, "code": 11_000, "keyPattern": { "model": 1 }, "errmsg": "unique" },
            ] },
            Verdict::Settled(vec![Refused { index: 0, message: "code 11000: unique".into() }]),
        );
        // Interrupted, and a code that nobody knows: not the document's fault, so not its end.
        for code in [11_601, 999_999] {
            check(
                doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": code, "errmsg": "odd" }] },
                again(code, "odd"),
            );
        }
        check(
            doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 11_000, "errmsg": "no pattern" }] },
            again(11_000, "no pattern"),
        );
        check(
            doc! { "ok": 1, "writeConcernError": { "code": 64, "errmsg": "timeout" } },
            again(64, "timeout"),
        );
    }

    #[test]
    fn only_a_taken_id_is_no_failure_of_an_insert() {
        let check = |reply: Document, expected: Inserted| assert_eq!(inserted(&reply), expected, "{reply}");
        let not = |code, message: &str| Inserted::Not { code, message: message.to_owned() };
        let taken = doc! { "index": 1, "code": 11_000, "keyPattern": { "_id": 1 }, "errmsg": "taken" };

        check(doc! { "ok": 1, "n": 2 }, Inserted::All { found: 0 });
        check(doc! { "ok": 1, "writeErrors": [taken.clone(), taken.clone()] }, Inserted::All { found: 2 });
        let other = doc! { "index": 2, "code": 11_000, "keyPattern": { "model": 1 }, "errmsg": "unique" };
        check(doc! { "ok": 1, "writeErrors": [taken.clone(), other] }, not(11_000, "unique"));
        let refused = doc! { "index": 0, "code": 121, "errmsg": "validation" };
        check(doc! { "ok": 1, "writeErrors": [refused] }, not(121, "validation"));
        let unsafe_yet = doc! { "code": 64, "errmsg": "timeout" };
        check(doc! { "ok": 1, "writeErrors": [taken], "writeConcernError": unsafe_yet }, not(64, "timeout"));
    }
}
