//! Which letters are replayed, and what their records look like then: pure functions.

use crate::kafka::letters::Letter;
use crate::kafka::letters::fetch::Whole;
use firesteel_common::dead_letter::{REPLAY_ATTEMPTS, REPLAY_OF, replays};
use firesteel_common::headers::headers;
use rdkafka::message::{Header, Message, OwnedHeaders, OwnedMessage};
use std::fmt;

/// Why a letter was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Its record was replayed before.
    AlreadyReplayed,
    /// Its record came back as often as is allowed.
    TooOften,
    /// It describes records that are gone.
    Gap,
    /// It has only the beginning of its record, and the source topic no longer has the record.
    Gone,
    /// It has only the beginning of its record, and another record is at the source offset.
    Another,
    /// It is not a letter of this topic, and nobody said where else its record should go.
    Misplaced,
    /// The topic refuses its record, for instance as too large.
    Refused,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyReplayed => "replayed before",
            Self::TooOften => "replayed too often",
            Self::Gap => "describes records that are gone",
            Self::Gone => "cut, and its record is gone",
            Self::Another => "cut, and another record is at its source offset",
            Self::Misplaced => "no letter of this topic",
            Self::Refused => "refused by the topic",
        })
    }
}

/// What decides besides the letter and its mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// The topic whose letters these are.
    pub(super) topic: &'a str,
    /// Another topic, where one is named.
    pub(super) to: Option<&'a str>,
    pub(super) max_attempts: u32,
}

/// What is to be done with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Its record is in it.
    Send,
    /// Its record has to be fetched.
    Fetch,
    Leave(Left),
}

pub(super) fn decide(letter: &Letter, is_marked: bool, rules: &Rules<'_>) -> Decision {
    let facts = letter.facts();
    if is_marked {
        return Decision::Leave(Left::AlreadyReplayed);
    }
    if facts.is_gap() {
        return Decision::Leave(Left::Gap);
    }
    // The headers are what the writer of the letter says: they do not send a record wherever they like.
    if rules.to.is_none() && facts.topic.as_deref() != Some(rules.topic) {
        return Decision::Leave(Left::Misplaced);
    }
    match facts.replays {
        Some(replays) if replays >= rules.max_attempts => Decision::Leave(Left::TooOften),
        _ if letter.is_cut() => Decision::Fetch,
        _ => Decision::Send,
    }
}

/// The record of a letter.
#[derive(Debug)]
pub(super) struct Record {
    message: OwnedMessage,
    /// How many headers, from the first, are the record's own.
    own: usize,
}

impl Record {
    /// The record that a letter holds.
    pub(super) fn in_letter(letter: &Letter) -> Self {
        Self { message: letter.message().clone(), own: letter.facts().own_headers }
    }

    /// The record that was fetched.
    pub(super) fn whole(whole: &Whole) -> Self {
        Self { own: usize::MAX, message: whole.message().clone() }
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    pub(super) fn value(&self) -> Option<&[u8]> {
        self.message.payload()
    }

    /// How often it has been replayed.
    pub(super) fn replays(&self) -> u32 {
        let all = headers(&self.message);
        replays(&all[..self.own.min(all.len())])
    }

    /// The headers that it is sent with: its own, and those of this replay in place of those of the one before.
    ///
    /// A header whose name cannot be read cannot be written either, but only copied with all others, those of the letter
    /// among them. Nothing of the record is lost by that, and of any name the last header counts.
    pub(super) fn headers(&self, of: &str, attempt: u32) -> OwnedHeaders {
        let all = headers(&self.message);
        let own = &all[..self.own.min(all.len())];
        let kept = if own.iter().all(|header| header.is_readable()) {
            own.iter()
                .filter(|header| ![REPLAY_ATTEMPTS, REPLAY_OF].contains(&header.name))
                .fold(OwnedHeaders::new_with_capacity(own.len() + 2), |headers, header| {
                    headers.insert(Header { key: header.name, value: header.value })
                })
        } else {
            self.message.headers().cloned().unwrap_or_default()
        };
        let attempts = attempt.to_string();
        kept.insert(Header { key: REPLAY_ATTEMPTS, value: Some(attempts.as_str()) })
            .insert(Header { key: REPLAY_OF, value: Some(of) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::letters::Place;
    use crate::kafka::letters::letter::tests::letter;

    const RULES: Rules<'_> = Rules { topic: "images", to: None, max_attempts: 3 };
    const AT: Place = Place { partition: 1, offset: 4 };

    #[test]
    fn a_letter_is_sent_fetched_or_left_for_a_reason() {
        let replayed = |times| letter(AT, &[(REPLAY_ATTEMPTS, times)], &[]);
        let cut = letter(AT, &[], &[("source.size", "70000")]);
        let gap = letter(AT, &[], &[("error.class", "data-loss"), ("source.end", "40")]);
        let elsewhere = Rules { topic: "predictions", ..RULES };
        let named = Rules { to: Some("other"), ..elsewhere };
        for (found, marked, rules, expected) in [
            (letter(AT, &[], &[]), false, RULES, Decision::Send),
            (letter(AT, &[], &[]), true, RULES, Decision::Leave(Left::AlreadyReplayed)),
            (replayed("2"), false, RULES, Decision::Send),
            (replayed("3"), false, RULES, Decision::Leave(Left::TooOften)),
            (replayed("3"), false, Rules { max_attempts: 4, ..RULES }, Decision::Send),
            (cut.clone(), false, RULES, Decision::Fetch),
            (cut, true, RULES, Decision::Leave(Left::AlreadyReplayed)),
            (gap, false, RULES, Decision::Leave(Left::Gap)),
            (letter(AT, &[], &[]), false, elsewhere, Decision::Leave(Left::Misplaced)),
            (letter(AT, &[], &[]), false, named, Decision::Send),
        ] {
            assert_eq!(decide(&found, marked, &rules), expected, "{found:?}");
        }
    }

    #[test]
    fn a_record_keeps_its_own_headers_and_counts_its_replays() {
        let own = [("trace", "x"), (REPLAY_ATTEMPTS, "1"), (REPLAY_OF, "images.dead-letter:0:9"), ("b", "")];
        let record = Record::in_letter(&letter(AT, &own, &[("error.attempts", "5")]));
        assert_eq!(record.replays(), 1);
        let sent = OwnedMessage::new(
            None,
            None,
            "t".to_owned(),
            rdkafka::Timestamp::NotAvailable,
            0,
            0,
            Some(record.headers("images.dead-letter:1:4", 2)),
        );
        let sent: Vec<_> = headers(&sent).into_iter().map(|header| (header.name, header.text())).collect();
        let expected = [
            ("trace", Some("x")),
            ("b", Some("")),
            (REPLAY_ATTEMPTS, Some("2")),
            (REPLAY_OF, Some("images.dead-letter:1:4")),
        ];
        assert_eq!(sent, expected);
        assert_eq!((record.key(), record.value()), (Some(&b"0000002a"[..]), Some(&b"value"[..])));
    }
}
