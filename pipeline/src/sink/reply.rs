//! What the server's answer to a batch means, decided apart from any server.
//!
//! A batch whose every operation was taken, or refused for good, is settled. Anything else (a document refused for
//! a passing reason, a write concern that was not met) leaves the whole batch open: writing it again is harmless,
//! so there is no need to tell its documents apart.

use super::Refused;
use crate::error::mongo_code_is_transient;
use bson::{Bson, Document};

/// Two upserts of the same new `_id` ran at once and this one lost: it will be an update the next time.
const DUPLICATE_KEY: i32 = 11_000;

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
        if mongo_code_is_transient(code) || lost_a_race(error, code) {
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

/// A duplicate of `_id` is a race. A duplicate of any other key is a unique index that someone made, and stays.
fn lost_a_race(error: &Document, code: i32) -> bool {
    let other_key = error
        .get_document("keyPattern")
        .is_ok_and(|pattern| !pattern.is_empty() && !pattern.contains_key("_id"));
    code == DUPLICATE_KEY && !other_key
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
        check(
            doc! { "ok": 1, "writeConcernError": { "code": 64, "errmsg": "timeout" } },
            again(64, "timeout"),
        );
    }
}
