//! What a dead letter says of its record: the names of its headers, and how they are read.
//!
//! ```text
//!  own headers of the record │ source.topic │ source.partition │ source.offset │ error.class │ error.message │ …
//!                            └ the letter begins at the last header of this name
//! ```
//!
//! A record that was replayed carries `replay.attempts` and `replay.of` among its own headers. Anybody who may write a record
//! may give it headers of any name, so what is in front of the letter's own is never read as part of the letter.

use crate::headers::Header;

/// The topic of the record. The letter's own headers begin with it.
pub const SOURCE_TOPIC: &str = "source.topic";
/// The partition of the record.
pub const SOURCE_PARTITION: &str = "source.partition";
/// The offset of the record; of a gap, that of the first record that was lost.
pub const SOURCE_OFFSET: &str = "source.offset";
/// Of a gap: the offset behind the last record that was lost.
pub const SOURCE_END: &str = "source.end";
/// How many bytes the value of the record had. Only a letter whose bytes were cut has it.
pub const SOURCE_SIZE: &str = "source.size";
/// A short, stable name of the kind of error.
pub const ERROR_CLASS: &str = "error.class";
/// The error in words.
pub const ERROR_MESSAGE: &str = "error.message";
/// How often the record was tried.
pub const ERROR_ATTEMPTS: &str = "error.attempts";
/// Of a replayed record: how often it has been replayed.
pub const REPLAY_ATTEMPTS: &str = "replay.attempts";
/// Of a replayed record: the letter that it came from, `topic:partition:offset`.
pub const REPLAY_OF: &str = "replay.of";

/// The class of a letter that describes records which are gone: it has no record of its own.
pub const DATA_LOSS: &str = "data-loss";

/// The name of the topic for records of `topic` that can never succeed.
#[must_use]
pub fn topic_of(topic: &str) -> String {
    format!("{topic}.dead-letter")
}

/// What the headers of a letter say. What is missing, or is not what it should be, is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The topic of the record.
    pub topic: Option<String>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its offset, or the first of a gap.
    pub offset: Option<i64>,
    /// The offset behind a gap.
    pub end: Option<i64>,
    /// The kind of error.
    pub class: Option<String>,
    /// The error in words.
    pub message: Option<String>,
    /// How often the record was tried; none where once was enough to know.
    pub attempts: Option<u32>,
    /// How many bytes the record's value had, where the letter has only the beginning of it.
    pub cut_from: Option<u64>,
    /// How often the record had been replayed; not known of a letter that was cut, which carries nothing of the record's own.
    pub replays: Option<u32>,
    /// How many headers, from the first, are those of the record.
    pub own_headers: usize,
}

impl Facts {
    /// Reads the headers of a letter.
    #[must_use]
    pub fn of(headers: &[Header<'_>]) -> Self {
        let begin = headers.iter().rposition(|header| header.name == SOURCE_TOPIC).unwrap_or(headers.len());
        let (own, letter) = headers.split_at(begin);
        let cut_from = number(letter, SOURCE_SIZE);
        Self {
            topic: text(letter, SOURCE_TOPIC),
            partition: number(letter, SOURCE_PARTITION),
            offset: number(letter, SOURCE_OFFSET),
            end: number(letter, SOURCE_END),
            class: text(letter, ERROR_CLASS),
            message: text(letter, ERROR_MESSAGE),
            attempts: number(letter, ERROR_ATTEMPTS),
            cut_from,
            replays: cut_from.is_none().then(|| replays(own)),
            own_headers: begin,
        }
    }

    /// Whether the letter describes records that are gone.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        self.class.as_deref() == Some(DATA_LOSS)
    }
}

/// How often a record with these headers has been replayed.
#[must_use]
pub fn replays(headers: &[Header<'_>]) -> u32 {
    number(headers, REPLAY_ATTEMPTS).unwrap_or(0)
}

/// The last header of a name counts.
fn last<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a str> {
    headers.iter().rfind(|header| header.name == name)?.text()
}

fn text(headers: &[Header<'_>], name: &str) -> Option<String> {
    last(headers, name).map(str::to_owned)
}

fn number<T: std::str::FromStr>(headers: &[Header<'_>], name: &str) -> Option<T> {
    last(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(name: &'a str, value: &'a str) -> Header<'a> {
        Header { name, value: Some(value.as_bytes()) }
    }

    fn letter<'a>(partition: &'a str) -> Vec<Header<'a>> {
        vec![
            header(SOURCE_TOPIC, "images"),
            header(SOURCE_PARTITION, partition),
            header(SOURCE_OFFSET, "17"),
            header(ERROR_CLASS, "size"),
            header(ERROR_MESSAGE, "too large, very"),
        ]
    }

    #[test]
    fn a_letter_says_where_its_record_was_and_why_it_is_here() {
        let headers = [vec![header("trace", "x")], letter("3"), vec![header(ERROR_ATTEMPTS, "20")]].concat();
        let expected = Facts {
            topic: Some("images".to_owned()),
            partition: Some(3),
            offset: Some(17),
            class: Some("size".to_owned()),
            message: Some("too large, very".to_owned()),
            attempts: Some(20),
            replays: Some(0),
            own_headers: 1,
            ..Facts::default()
        };
        assert_eq!(Facts::of(&headers), expected);
    }

    #[test]
    fn what_a_record_brings_along_is_not_the_letters_own() {
        // The headers of an earlier letter, and others that would make this one a pointer or a gap.
        let own = [
            letter("9"),
            vec![header(SOURCE_SIZE, "5"), header(SOURCE_END, "99"), header(ERROR_ATTEMPTS, "7")],
        ];
        let facts = Facts::of(&[own.concat(), letter("3")].concat());
        assert_eq!((facts.partition, facts.cut_from, facts.end, facts.attempts), (Some(3), None, None, None));
        assert_eq!(facts.own_headers, 8);
    }

    #[test]
    fn replays_are_counted_by_the_record_and_unknown_where_it_was_cut() {
        let own =
            vec![header(REPLAY_ATTEMPTS, "1"), header(REPLAY_ATTEMPTS, "2"), header(REPLAY_OF, "l:0:0")];
        assert_eq!(Facts::of(&[own, letter("3")].concat()).replays, Some(2));
        let cut = Facts::of(&[letter("3"), vec![header(SOURCE_SIZE, "1048400")]].concat());
        assert_eq!((cut.cut_from, cut.replays), (Some(1_048_400), None));
        // Nobody but a letter counts here.
        assert_eq!(Facts::of(&[letter("3"), vec![header(REPLAY_ATTEMPTS, "9")]].concat()).replays, Some(0));
    }

    #[test]
    fn a_gap_has_an_end_and_what_is_no_letter_has_nothing() {
        let mut gap = letter("0");
        gap[3] = header(ERROR_CLASS, DATA_LOSS);
        gap.push(header(SOURCE_END, "40"));
        let gap = Facts::of(&gap);
        assert!(gap.is_gap());
        assert_eq!((gap.offset, gap.end), (Some(17), Some(40)));
        let nothing = Facts::of(&[header(SOURCE_OFFSET, "1"), header(ERROR_CLASS, DATA_LOSS)]);
        assert_eq!(nothing, Facts { replays: Some(0), own_headers: 2, ..Facts::default() });
        let odd =
            Facts::of(&[header(SOURCE_TOPIC, "t"), header(SOURCE_PARTITION, "x"), header(SOURCE_OFFSET, "")]);
        assert_eq!((odd.partition, odd.offset), (None, None));
    }
}
