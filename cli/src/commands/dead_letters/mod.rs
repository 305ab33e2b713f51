//! `firesteel dead-letters`: what was given up, why, and once more. Arguments → `kafka::letters` → tables, files, Kafka.

mod filters;
mod list;
mod replay;
mod show;

use arrow::temporal_conversions::timestamp_ms_to_datetime;
use clap::{Args, Subcommand, ValueEnum};
use firesteel_pipeline::kafka::dead_letter_topic;
use firesteel_proto::Timestamp;

use crate::args::KafkaArgs;
use crate::context::{Context, Outcome};

/// The examples at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
    # what was given up since yesterday, and how much of each kind
    firesteel dead-letters list --since 1d
    firesteel dead-letters list --summary

    # one of them: its headers, what the record is, and its image as a file
    firesteel dead-letters show 3:17 --out broken.jpg

    # the cause is mended: what would be sent again, then send it; doing it twice sends nothing twice
    firesteel dead-letters replay --class gave-up --since 2h --dry-run
    firesteel dead-letters replay --class gave-up --since 2h

A letter is named by its place in the topic of letters, PARTITION:OFFSET. In SQL they are the table dead_letters.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists letters, the newest last, and counts them by class
    ///
    /// Letters go to standard output, the counts behind them to standard error. A letter of the class data-loss describes
    /// records that Kafka removed before they were read: it has no record of its own.
    List(list::ListArgs),
    /// Shows one letter: its headers, and what its record is
    ///
    /// A letter whose record was too large has only the beginning of it. The whole record is fetched from where it was, as
    /// long as Kafka keeps it there.
    Show(show::ShowArgs),
    /// Sends the records of letters back to their topic, or to another, each once
    ///
    /// Record and mark are written in one transaction of Kafka, so a replay may be repeated, also after it was killed: what
    /// is marked is left out. Ctrl-C ends it between two transactions. The letters themselves stay.
    Replay(replay::ReplayArgs),
}

pub(crate) async fn run(args: DeadLettersArgs, context: Context) -> anyhow::Result<Outcome> {
    match args.action {
        Action::List(args) => list::run(args, context).await,
        Action::Show(args) => show::run(args, context).await,
        Action::Replay(args) => replay::run(args, context).await,
    }
}

/// Whose letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Images that could not be classified
    Images,
    /// Predictions that could not be stored
    Predictions,
}

impl Which {
    /// The name of the topic whose letters these are.
    fn topic(self, kafka: &KafkaArgs) -> &str {
        match self {
            Self::Images => &kafka.images_topic,
            Self::Predictions => &kafka.predictions_topic,
        }
    }

    /// The topics that are meant: one, or both where none is named.
    fn topics(named: Option<Self>, kafka: &KafkaArgs) -> Vec<&str> {
        let both = [Self::Images, Self::Predictions];
        let mut topics: Vec<&str> = both
            .into_iter()
            .filter(|which| named.is_none_or(|named| named == *which))
            .map(|w| w.topic(kafka))
            .collect();
        topics.dedup();
        topics
    }
}

/// Says that there is nothing to read.
fn tell_missing(topic: &str) {
    let letters = dead_letter_topic(topic);
    eprintln!("there is no topic {letters} that this user can see: no record of {topic} was given up yet");
}

/// A time as in RFC 3339, to the millisecond.
fn time(time: Option<Timestamp>) -> String {
    let time = time.and_then(|Timestamp(millis)| timestamp_ms_to_datetime(millis));
    time.map(|time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default()
}

/// Text of strangers for a terminal: what would move its cursor, or end a line, is escaped.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        shown
    })
}

/// The first characters of a text.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Bytes as text where they are, else as hexadecimal digits.
fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => printable(text),
        Err(_) => bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_moves_no_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\nc é"), "a\\u{1b}[2Jb\\nc é");
        assert_eq!((bytes(b"0000002a"), bytes(b"\xff\x00")), ("0000002a".to_owned(), "0xff00".to_owned()));
        assert_eq!((shortened("größer", 4), shortened("groß", 4)), ("größ…".to_owned(), "groß".to_owned()));
    }

    #[test]
    fn a_time_is_told_to_the_millisecond() {
        assert_eq!(time(Some(Timestamp(1_795_000_000_123))), "2026-11-18T11:06:40.123Z");
        assert_eq!(time(None), "");
    }
}
