//! The arguments that say which letters are meant.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use clap::Args;
use firesteel_pipeline::kafka::letters::{Filter, Span};
use firesteel_proto::Timestamp;

/// The arguments of [`FilterArgs`], by their ids.
pub(super) const FILTERS: [&str; 6] = ["class", "since", "until", "producer", "source", "letter"];

/// Which letters. All that is given has to hold.
#[derive(Debug, Args)]
#[command(next_help_heading = "Letters")]
pub(super) struct FilterArgs {
    /// Of these classes of errors, with commas in between
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    class: Vec<String>,
    /// Written at this time or later: as in RFC 3339, or so long ago, such as 90s, 15m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Written before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Of records of these producers, with commas in between; a letter whose record was too large names none
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    producer: Vec<String>,
    /// Of records that were there in their topic: PARTITION, PARTITION:OFFSET or PARTITION:FIRST..LAST; may be given several
    /// times
    #[arg(long, value_name = "PLACE", value_delimiter = ',')]
    source: Vec<Span>,
    /// The letters themselves: PARTITION, PARTITION:OFFSET or PARTITION:FIRST..LAST; may be given several times
    #[arg(long, value_name = "PLACE", value_delimiter = ',')]
    letter: Vec<Span>,
}

impl FilterArgs {
    /// The filter that they make.
    pub(super) fn filter(&self) -> Filter {
        Filter {
            classes: self.class.clone(),
            since: self.since,
            until: self.until,
            producers: self.producer.clone(),
            sources: self.source.clone(),
            letters: self.letter.clone(),
        }
    }
}

/// A point in time: as in RFC 3339, or a duration before now.
fn time(text: &str) -> Result<Timestamp, String> {
    time_at(text, Timestamp::now())
}

fn time_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(ago) = ago(text) {
        return Ok(Timestamp(now.0.saturating_sub(ago)));
    }
    let nanos = string_to_timestamp_nanos(text).map_err(|_| {
        "expected a time such as 2026-11-22T09:00:00Z, or how long ago, such as 90s, 15m, 2h or 7d".to_owned()
    })?;
    Ok(Timestamp(nanos.div_euclid(1_000_000)))
}

/// A duration in milliseconds.
fn ago(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let number: u32 = text[..text.len() - 1].trim().parse().ok()?;
    i64::from(number).checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: FilterArgs,
    }

    fn filter(arguments: &[&str]) -> Result<Filter, clap::Error> {
        let all = std::iter::once("list").chain(arguments.iter().copied());
        Alone::try_parse_from(all).map(|alone| alone.args.filter())
    }

    #[test]
    fn a_time_is_a_point_or_so_long_ago() {
        let now = Timestamp(10_000_000_000);
        for (text, millis) in [
            ("90s", now.0 - 90_000),
            ("15m", now.0 - 900_000),
            ("2h", now.0 - 7_200_000),
            ("7 d", now.0 - 604_800_000),
            ("1970-01-02T00:00:00Z", 86_400_000),
            ("1970-01-02T01:00:00.5+01:00", 86_400_500),
            ("1970-01-02", 86_400_000),
        ] {
            assert_eq!(time_at(text, now), Ok(Timestamp(millis)), "{text}");
        }
        for text in ["", "h", "2w", "-2h", "yesterday", "2h30m", "é"] {
            assert!(time_at(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_have_commas_or_several_flags() {
        assert!(filter(&[]).expect("none").is_empty());
        let found = filter(&[
            "--class",
            "size,decode",
            "--producer",
            "0000002a",
            "--source",
            "1:5",
            "--source",
            "2",
            "--letter",
            "0:1..3",
        ]);
        let found = found.expect("a filter");
        assert_eq!(found.classes, ["size", "decode"]);
        assert_eq!(found.producers, ["0000002a"]);
        assert_eq!(found.sources.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1:5", "2"]);
        assert_eq!(found.letters.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0:1..3"]);
        let refused = filter(&["--letter", "x"]).expect_err("no place").to_string();
        assert!(refused.contains("such as 3, 3:17 or 3:10..20"), "{refused}");
    }
}
