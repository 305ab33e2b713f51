//! The policy for the server's reply to a batch, decided apart from any server.
//!
//! A batch whose every operation was taken, or refused for good, is settled. Anything else (a document refused for
//! a passing reason, or for one that is not known; a write concern that was not met) leaves the whole batch open:
//! writing it again is harmless, so there is no need to tell its documents apart. Only codes that blame the document
//! itself make it a dead letter: with any other, the fault is the store's, someone can mend it, and giving images up
//! for it would lose them.

use super::Refused;
use firesteel_common::mongodb::bulk::{Reply, WriteError};
use firesteel_common::mongodb::{Code, Fact};

/// What a command has not written, and never will as it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Refused for good.
    pub(super) refused: Vec<Refused>,
    /// The places of operations that found a document under their key which they do not replace: any, for an insert; for an
    /// upsert a newer one, or one that came to be while it looked.
    pub(super) taken: Vec<usize>,
}

/// What to do after an `update` or an `insert` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Durable, except for these.
    Settled(Settled),
    /// Not known to be durable: write it again.
    Again {
        /// The server's code.
        code: i32,
        /// The server's message.
        message: String,
    },
}

/// Decides what to do after the reply to an `update` or, where it is `inserting`, an `insert` command that itself succeeded.
///
/// A server may not say which key a duplicate is of. Inserted again the document would be refused again, so any duplicate of an
/// insert counts as taken: the upsert that follows decides.
pub(super) fn verdict(reply: &Reply, inserting: bool) -> Verdict {
    let again = |code, message: &str| Verdict::Again { code, message: message.to_owned() };
    let (mut refused, mut taken) = (Vec::new(), Vec::new());
    for error in &reply.write_errors {
        match error.index {
            Some(index) if is_taken(error) || (inserting && is_duplicate(error)) => taken.push(index),
            Some(index) if refuses_the_document(error) => {
                let message = format!("code {}: {}", error.said.code, error.said.message);
                refused.push(Refused { index, message });
            }
            _ => return again(error.said.code, &error.said.message),
        }
    }
    // Written but not confirmed by a majority, or not in the journal: not durable.
    match &reply.concern_error {
        Some(error) => again(error.code, &error.message),
        None => Verdict::Settled(Settled { refused, taken }),
    }
}

/// The result of an `insert` command of a bulk load.
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
        /// The server's message.
        message: String,
    },
}

/// Decides what an `insert` command that itself succeeded has done.
pub(super) fn inserted(reply: &Reply) -> Inserted {
    let not = |code, message: &str| Inserted::Not { code, message: message.to_owned() };
    for error in &reply.write_errors {
        if !is_taken(error) {
            return not(error.said.code, &error.said.message);
        }
    }
    match &reply.concern_error {
        Some(error) => not(error.code, &error.message),
        None => Inserted::All { found: reply.write_errors.len() as u64 },
    }
}

/// Whether there is a document under the key already.
fn is_taken(error: &WriteError) -> bool {
    let names_id = error.key_pattern.as_ref().is_some_and(|keys| keys.iter().any(|key| key == "_id"));
    is_duplicate(error) && names_id
}

/// Whether there is a document under some key already.
fn is_duplicate(error: &WriteError) -> bool {
    Code::of(error.said.code) == Some(Code::DuplicateKey)
}

/// Whether the document itself is at fault, whenever it is written. A duplicate of a key that is not `_id` is a unique
/// index that someone made, and stays.
fn refuses_the_document(error: &WriteError) -> bool {
    match Code::of(error.said.code) {
        Some(Code::DuplicateKey) => error
            .key_pattern
            .as_ref()
            .is_some_and(|keys| !keys.is_empty() && !keys.iter().any(|key| key == "_id")),
        Some(code) => matches!(code.fact(), Fact::Malformed | Fact::DocumentRefused),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};

    #[test]
    fn replies_and_their_verdicts() {
        let check = |reply: Document, expected: Verdict| {
            assert_eq!(verdict(&Reply::of(&reply), false), expected, "{reply}")
        };
        let again = |code, message: &str| Verdict::Again { code, message: message.to_owned() };

        let settled = |refused: &[(usize, &str)], taken: &[usize]| {
            let refused =
                refused.iter().map(|(index, said)| Refused { index: *index, message: (*said).to_owned() });
            Verdict::Settled(Settled { refused: refused.collect(), taken: taken.to_vec() })
        };
        check(doc! { "ok": 1, "n": 2 }, settled(&[], &[]));
        check(
            doc! { "ok": 1, "writeErrors": [{ "index": 1, "code": 121, "errmsg": "validation" }] },
            settled(&[(1, "code 121: validation")], &[]),
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
            settled(&[], &[0]),
        );
        check(
            doc! { "ok": 1, "writeErrors": [
                { "index": 0, "code": 11_000, "keyPattern": { "model": 1 }, "errmsg": "unique" },
            ] },
            settled(&[(0, "code 11000: unique")], &[]),
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
    fn any_duplicate_of_an_insert_is_left_to_the_upsert() {
        for pattern in [None, Some(doc! { "_id": 1 }), Some(doc! { "model": 1 })] {
            let mut error = doc! { "index": 1, "code": 11_000, "errmsg": "duplicate" };
            if let Some(pattern) = pattern {
                error.insert("keyPattern", pattern);
            }
            let reply = Reply::of(&doc! { "ok": 1, "writeErrors": [error] });
            let taken = Verdict::Settled(Settled { refused: vec![], taken: vec![1] });
            assert_eq!(verdict(&reply, true), taken, "{reply:?}");
        }
    }

    #[test]
    fn only_a_taken_id_is_no_failure_of_an_insert() {
        let check = |reply: Document, expected: Inserted| {
            assert_eq!(inserted(&Reply::of(&reply)), expected, "{reply}")
        };
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
