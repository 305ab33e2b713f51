//! The commands of a batch of upserts, and what the server's answers mean: pure functions.

use bson::raw::{RawDocumentBuf, cstr};
use bson::rawdoc;
use firesteel_common::mongodb::bulk::{Reply, ServerMessage, WriteError};
use firesteel_common::mongodb::{Code, Fact};

use crate::config::{Acknowledgement, WriteConcern};

/// A write concern as in a command.
pub(super) fn concern(concern: &WriteConcern) -> RawDocumentBuf {
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

/// Decides what to do after the reply to an `update` command that itself succeeded.
pub(super) fn verdict(reply: &Reply, key_fields: &[String]) -> Verdict {
    let mut again = None;
    for error in &reply.write_errors {
        match Code::of(error.said.code) {
            // A document was changed by two writers at once.
            Some(Code::WriteConflict) => {}
            // The lease of the executor ended first, and may be renewed.
            Some(Code::MaxTimeMSExpired) => {}
            // Two upserts of the same new key ran at once and this one lost: it will be an update the next time.
            Some(Code::DuplicateKey) if is_our_key(error, key_fields) => {}
            _ => return Verdict::Refused(error_message(&error.said)),
        }
        again = Some(error_message(&error.said));
    }
    if let Some(error) = &reply.concern_error {
        // It was not met in time, or by members that were on their way out.
        let passes = Code::of(error.code).is_some_and(|code| {
            code == Code::MaxTimeMSExpired || matches!(code.fact(), Fact::Unconfirmed | Fact::ServerGoing)
        });
        if !passes {
            return Verdict::Refused(error_message(error));
        }
        again = Some(error_message(error));
    }
    again.map_or(Verdict::Written, Verdict::Again)
}

/// A duplicate of the key is a race with another upsert of it. A duplicate of any other index stays.
fn is_our_key(error: &WriteError, key_fields: &[String]) -> bool {
    error.key_pattern.as_ref().is_some_and(|pattern| {
        pattern.len() == key_fields.len() && pattern.iter().all(|field| key_fields.contains(field))
    })
}

fn error_message(error: &ServerMessage) -> String {
    format!("{} (code {})", error.message, error.code)
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};
    use firesteel_common::mongodb::bulk::Batch;

    use super::*;

    #[test]
    fn an_answer_says_whether_to_go_on() {
        let keys = ["_id".to_owned()];
        let error = |code: i32, pattern: Document| doc! { "index": 0, "code": code, "keyPattern": pattern, "errmsg": "no" };
        let check = |answer: Document, expected: Verdict| {
            assert_eq!(verdict(&Reply::of(&answer), &keys), expected, "{answer}")
        };
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
        check(doc! { "writeErrors": [error(50, doc! {})] }, Verdict::Again(told(50)));
        check(concern(50), Verdict::Again(told(50)));
        check(concern(64), Verdict::Again(told(64)));
        check(concern(100), Verdict::Refused(told(100)));
    }

    #[test]
    fn a_command_asks_for_the_write_concern() {
        let mut batch = Batch::default();
        batch.push(&rawdoc! { "q": { "_id": 1 } });
        let command = Document::try_from(batch.update("c", concern(&WriteConcern::default()))).unwrap();
        assert_eq!(
            command,
            doc! {
                "update": "c", "updates": [{ "q": { "_id": 1 } }], "ordered": false,
                "writeConcern": { "w": "majority", "j": true, "wtimeout": 15_000 },
            }
        );
    }
}
