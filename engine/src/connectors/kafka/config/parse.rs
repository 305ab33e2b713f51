//! The options of `CREATE EXTERNAL TABLE … STORED AS KAFKA`, read into [`TableOptions`].
//!
//! Names are those of Spark's Kafka source where it has them. No error repeats the value of a location: it may hold a password.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use serde::Deserialize;
use serde_json::Value;

use super::bound::{At, Bound};
use super::{Format, Isolation, Mode, TableOptions};
use crate::connectors::options;
use crate::{ConfigField, Error, Result};

/// Every option, by the name that it has in a statement.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Given {
    connection: Option<String>,
    #[serde(rename = "value.format")]
    format: Option<Format>,
    mode: Option<Mode>,
    starting_offsets: Option<String>,
    ending_offsets: Option<String>,
    starting_timestamp: Option<String>,
    ending_timestamp: Option<String>,
    fail_on_data_loss: Option<Flag>,
    isolation_level: Option<Isolation>,
    max_records_per_partition: Option<NonZeroU64>,
    min_records_per_partition: Option<NonZeroU64>,
    fetch_timeout_ms: Option<NonZeroU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Flag {
    True,
    False,
}

/// The longest name of a topic that Kafka allows.
const TOPIC_LENGTH: usize = 249;

/// Reads a table's location and options.
pub(crate) fn table_options(location: &str, given: &HashMap<String, String>) -> Result<TableOptions> {
    let given: Given = options::parse_or(given, brokers)?;
    let mut options = TableOptions::new(topic(location)?, given.format.unwrap_or(Format::Raw));
    options.connection = given.connection.unwrap_or(options.connection);
    options.mode = given.mode.unwrap_or(options.mode);
    options.isolation = given.isolation_level.unwrap_or(options.isolation);
    options.fail_on_data_loss =
        given.fail_on_data_loss.map_or(options.fail_on_data_loss, |flag| flag == Flag::True);
    options.part_size.max = given.max_records_per_partition.map_or(options.part_size.max, NonZeroU64::get);
    options.part_size.min = given.min_records_per_partition.map_or(options.part_size.min, NonZeroU64::get);
    if let Some(millis) = given.fetch_timeout_ms {
        options.fetch_timeout = Duration::from_millis(millis.get());
    }
    let starts = (given.starting_offsets.as_deref(), given.starting_timestamp.as_deref());
    if let Some(start) =
        bound(&options.topic, ("startingOffsets", starts.0), ("startingTimestamp", starts.1))?
    {
        options.start = start;
    }
    let ends = (given.ending_offsets.as_deref(), given.ending_timestamp.as_deref());
    if let Some(end) = bound(&options.topic, ("endingOffsets", ends.0), ("endingTimestamp", ends.1))? {
        options.end = end;
    }
    check_order(&options.start, &options.end)?;
    Ok(options)
}

/// The error for an option about brokers.
fn brokers(name: &str) -> Option<Error> {
    let lower = name.to_lowercase();
    (lower.starts_with("kafka.") || lower.contains("bootstrap")).then(|| {
        let fields = [ConfigField::KafkaBootstrap, ConfigField::KafkaProperties];
        Error::server_in_option(name, "brokers and credentials are configuration of each process", &fields)
    })
}

fn invalid(option: &str, message: impl Into<String>) -> Error {
    Error::invalid_option(option, message)
}

/// Checks that a location is the name of a topic.
fn topic(location: &str) -> Result<&str> {
    if location.contains([':', '/', ',', '@']) {
        return Err(Error::server_in_option(
            "LOCATION",
            "it is the name of a topic; the address of the brokers is configuration of each process",
            &[ConfigField::KafkaBootstrap],
        ));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let length = (1..=TOPIC_LENGTH).contains(&location.len());
    if !length || !location.bytes().all(legal) || matches!(location, "." | "..") {
        return Err(invalid(
            "LOCATION",
            "a topic's name has 1 to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`",
        ));
    }
    Ok(location)
}

/// One of the two ways to say where reading begins or ends.
fn bound(
    topic: &str,
    offsets: (&'static str, Option<&str>),
    timestamp: (&'static str, Option<&str>),
) -> Result<Option<Bound>> {
    match (offsets, timestamp) {
        ((one, Some(_)), (other, Some(_))) => Err(invalid(other, format!("{one} is given too"))),
        ((option, Some(value)), _) => parse_offsets(topic, option, value).map(Some),
        (_, (option, Some(value))) => parse_time(option, value).map(|time| Some(Bound::Timestamp(time))),
        _ => Ok(None),
    }
}

/// Milliseconds since 1970, or a date and time as in RFC 3339. One between two milliseconds is the later.
fn parse_time(option: &str, value: &str) -> Result<i64> {
    let time = match i64::from_str(value) {
        Ok(millis) => Some(millis),
        Err(_) => string_to_timestamp_nanos(value)
            .ok()
            .map(|nanos| nanos.div_euclid(1_000_000) + i64::from(nanos.rem_euclid(1_000_000) > 0)),
    };
    time.filter(|millis| *millis >= 0).ok_or_else(|| {
        invalid(
            option,
            format!("`{value}` is neither milliseconds since 1970 nor a time like 2026-01-31T09:30:00Z"),
        )
    })
}

/// `earliest`, `latest`, or `{"topic": {"partition": offset, …}}`, where -2 is the earliest and -1 the latest.
fn parse_offsets(topic: &str, option: &str, value: &str) -> Result<Bound> {
    if value.eq_ignore_ascii_case("earliest") {
        return Ok(Bound::Earliest);
    }
    if value.eq_ignore_ascii_case("latest") {
        return Ok(Bound::Latest);
    }
    let expected = || {
        let example = format!("{{\"{topic}\":{{\"0\":123,\"1\":-2}}}}");
        invalid(option, format!("`{value}` is neither earliest, nor latest, nor offsets like {example}"))
    };
    let json: Value = serde_json::from_str(value).map_err(|_| expected())?;
    let topics = json.as_object().ok_or_else(expected)?;
    if let Some(other) = topics.keys().find(|name| *name != topic) {
        return Err(invalid(option, format!("it has offsets of topic `{other}`; the table reads `{topic}`")));
    }
    let partitions = topics.get(topic).and_then(Value::as_object).ok_or_else(expected)?;
    let mut offsets = BTreeMap::new();
    for (partition, offset) in partitions {
        let id = i32::from_str(partition).ok().filter(|id| *id >= 0).ok_or_else(expected)?;
        let at = match offset.as_i64().ok_or_else(expected)? {
            -2 => At::Earliest,
            -1 => At::Latest,
            offset if offset >= 0 => At::Offset(offset),
            other => {
                return Err(invalid(
                    option,
                    format!("{other} is neither an offset, nor -2 (earliest), nor -1 (latest)"),
                ));
            }
        };
        offsets.insert(id, at);
    }
    Ok(Bound::Offsets(offsets))
}

/// A partition does not end before it begins.
fn check_order(start: &Bound, end: &Bound) -> Result<()> {
    let wrong = match (start, end) {
        (Bound::Offsets(starts), Bound::Offsets(ends)) => {
            let pairs = starts.iter().filter_map(|(id, start)| Some((id, *start, *ends.get(id)?)));
            let mut numbers = pairs.filter_map(|(id, start, end)| match (start, end) {
                (At::Offset(start), At::Offset(end)) => Some((*id, start, end)),
                _ => None,
            });
            let wrong = numbers.find(|(_, start, end)| start > end);
            wrong.map(|(id, start, end)| {
                ("endingOffsets", format!("partition {id} ends at {end} and begins at {start}"))
            })
        }
        (Bound::Timestamp(start), Bound::Timestamp(end)) if start > end => {
            Some(("endingTimestamp", "it is before startingTimestamp".to_owned()))
        }
        _ => None,
    };
    wrong.map_or(Ok(()), |(option, message)| Err(invalid(option, message)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every option, as it is documented.
    const NAMES: [&str; 12] = [
        "connection",
        "value.format",
        "mode",
        "startingOffsets",
        "endingOffsets",
        "startingTimestamp",
        "endingTimestamp",
        "failOnDataLoss",
        "isolationLevel",
        "maxRecordsPerPartition",
        "minRecordsPerPartition",
        "fetchTimeoutMs",
    ];

    fn parse(given: &[(&str, &str)]) -> Result<TableOptions> {
        // As DataFusion hands them over.
        let given = given.iter().map(|(name, value)| {
            let name = name.to_lowercase();
            (if name.contains('.') { name } else { format!("format.{name}") }, (*value).to_owned())
        });
        table_options("events", &given.collect())
    }

    #[test]
    fn a_table_without_options_is_the_whole_topic_raw() {
        assert_eq!(parse(&[]).unwrap(), TableOptions::new("events", Format::Raw));
    }

    #[test]
    fn every_option_is_read() {
        let options = parse(&[
            ("connection", "other"),
            ("value.format", "Predictions"),
            ("mode", "permissive"),
            ("startingOffsets", r#"{"events":{"0":123,"1":-2,"2":-1}}"#),
            ("endingTimestamp", "2026-01-31T09:30:00Z"),
            ("failOnDataLoss", "FALSE"),
            ("isolationLevel", "read_uncommitted"),
            ("maxRecordsPerPartition", "500"),
            ("minRecordsPerPartition", "5"),
            ("fetchTimeoutMs", "1500"),
        ]);
        let mut expected = TableOptions::new("events", Format::Predictions);
        expected.connection = "other".to_owned();
        expected.mode = Mode::Permissive;
        let starts = [(0, At::Offset(123)), (1, At::Earliest), (2, At::Latest)];
        expected.start = Bound::Offsets(BTreeMap::from(starts));
        expected.end = Bound::Timestamp(1_769_851_800_000);
        expected.fail_on_data_loss = false;
        expected.isolation = Isolation::ReadUncommitted;
        (expected.part_size.max, expected.part_size.min) = (500, 5);
        expected.fetch_timeout = Duration::from_millis(1_500);
        assert_eq!(options.unwrap(), expected);
    }

    #[test]
    fn bounds_are_words_offsets_or_times() {
        let start = |option, value| parse(&[(option, value)]).unwrap().start;
        assert_eq!(start("startingOffsets", "EARLIEST"), Bound::Earliest);
        assert_eq!(start("startingOffsets", " latest "), Bound::Latest);
        assert_eq!(start("startingOffsets", r#"{"events":{}}"#), Bound::Offsets(BTreeMap::new()));
        for (text, millis) in [
            ("0", 0),
            ("1769851800000", 1_769_851_800_000),
            ("2026-01-31T09:30:00Z", 1_769_851_800_000),
            ("2026-01-31T10:30:00.25+01:00", 1_769_851_800_250),
            ("2026-01-31 09:30:00.0001Z", 1_769_851_800_001),
        ] {
            assert_eq!(start("startingTimestamp", text), Bound::Timestamp(millis), "{text}");
        }
        let end = parse(&[("endingOffsets", "latest")]).unwrap().end;
        assert_eq!(end, Bound::Latest);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (option, value, words) in [
            ("startingOfsets", "earliest", "did you mean `startingOffsets`"),
            ("fail_on_data_loss", "true", "did you mean `failOnDataLoss`"),
            ("colour", "red", "there are connection, value.format"),
            ("kafka.bootstrap.servers", "broker:9092", "(kafka.bootstrap, kafka.properties)"),
            ("bootstrap", "broker:9092", "(kafka.bootstrap, kafka.properties)"),
            ("kafka.sasl.password", "hunter2", "(kafka.bootstrap, kafka.properties)"),
            ("value.format", "avro", "`avro` is none of raw, images, predictions"),
            ("mode", "DROPMALFORMED", "none of FAILFAST, PERMISSIVE"),
            ("failOnDataLoss", "maybe", "none of true, false"),
            ("maxRecordsPerPartition", "0", "at least 1"),
            ("fetchTimeoutMs", "-1", "at least 1"),
            ("startingOffsets", "first", "neither earliest, nor latest"),
            ("startingOffsets", "[1]", "neither earliest, nor latest"),
            ("startingOffsets", r#"{"other":{"0":1}}"#, "it has offsets of topic `other`"),
            ("startingOffsets", r#"{"events":{"a":1}}"#, "neither earliest, nor latest"),
            ("startingOffsets", r#"{"events":{"0":-3}}"#, "-3 is neither an offset"),
            ("startingOffsets", r#"{"events":{"0":1.5}}"#, "neither earliest, nor latest"),
            ("endingTimestamp", "yesterday", "neither milliseconds since 1970"),
            ("endingTimestamp", "-1", "neither milliseconds since 1970"),
        ] {
            let error = parse(&[(option, value)]).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, Error::InvalidOption { .. }), "{told}");
            assert!(told.to_lowercase().contains(&option.to_lowercase()) && told.contains(words), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        let both = [("startingOffsets", "earliest"), ("startingTimestamp", "1")];
        assert!(parse(&both).unwrap_err().to_string().contains("startingOffsets is given too"));
        let offsets =
            [("startingOffsets", r#"{"events":{"0":7}}"#), ("endingOffsets", r#"{"events":{"0":5}}"#)];
        assert!(parse(&offsets).unwrap_err().to_string().contains("partition 0 ends at 5 and begins at 7"));
        let times = [("startingTimestamp", "7"), ("endingTimestamp", "5")];
        assert!(parse(&times).unwrap_err().to_string().contains("before startingTimestamp"));
    }

    #[test]
    fn a_location_is_a_topic_and_not_an_address() {
        let none = HashMap::new();
        for name in ["events", "a.b_c-D9", &"x".repeat(249)] {
            assert_eq!(table_options(name, &none).unwrap().topic, name);
        }
        for (location, words) in [
            ("broker:9092", "(kafka.bootstrap)"),
            ("kafka://me:hunter2@broker/events", "(kafka.bootstrap)"),
            ("a,b", "(kafka.bootstrap)"),
            ("", "1 to 249"),
            ("..", "1 to 249"),
            ("ünter", "1 to 249"),
            (&"x".repeat(250), "1 to 249"),
        ] {
            let told = table_options(location, &none).unwrap_err().to_string();
            assert!(told.contains("LOCATION") && told.contains(words) && !told.contains("hunter2"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_options_or_an_error(name in "\\PC{0,16}", value in "\\PC{0,24}", known in 0..NAMES.len()) {
            let _ = parse(&[(&name, &value)]);
            let _ = parse(&[(NAMES[known], &value)]);
        }
    }
}
