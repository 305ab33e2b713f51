//! What a table says about how its topic is read.

pub(crate) mod bound;
pub(crate) mod parse;

use std::time::Duration;

use firesteel_common::dead_letter;
use serde::Deserialize;

use self::bound::Bound;
use crate::config::DEFAULT_CONNECTION;

/// The format of a topic's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Key and value as bytes, and the headers.
    Raw,
    /// `ImageRecord`s.
    Images,
    /// `PredictionRecord`s.
    Predictions,
    /// Dead letters: what their headers say, the headers, and the value as bytes.
    Letters,
}

/// The treatment of a value that does not have the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Mode {
    /// The query fails.
    FailFast,
    /// Its columns are null, and its bytes are in the column `_corrupt_record`.
    Permissive,
}

/// Which messages are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Isolation {
    /// Those of transactions that were committed, and those of none, up to the last stable offset.
    ReadCommitted,
    /// All, up to the high watermark.
    ReadUncommitted,
}

impl Isolation {
    /// As Kafka spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// How large parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartSize {
    /// A part has at most so many offsets.
    pub(crate) max: u64,
    /// A range is not cut only to use another slot where the parts would have fewer offsets than this.
    pub(crate) min: u64,
}

/// Everything about a table but its topic's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableOptions {
    /// The connection's name.
    pub(crate) connection: String,
    pub(crate) topic: String,
    /// Further topics, whose messages are rows of the table, too.
    pub(crate) more_topics: Vec<String>,
    /// A topic that does not exist is an empty one.
    pub(crate) may_be_missing: bool,
    pub(crate) format: Format,
    pub(crate) mode: Mode,
    pub(crate) start: Bound,
    pub(crate) end: Bound,
    pub(crate) fail_on_data_loss: bool,
    pub(crate) isolation: Isolation,
    pub(crate) part_size: PartSize,
    /// How long a broker that has more to read may yield nothing.
    pub(crate) fetch_timeout: Duration,
}

impl TableOptions {
    /// The whole of `topic`, on the default connection, as strictly as can be.
    pub(crate) fn new(topic: &str, format: Format) -> Self {
        Self {
            connection: DEFAULT_CONNECTION.to_owned(),
            topic: topic.to_owned(),
            more_topics: Vec::new(),
            may_be_missing: false,
            format,
            mode: Mode::FailFast,
            start: Bound::Earliest,
            end: Bound::Latest,
            fail_on_data_loss: true,
            isolation: Isolation::ReadCommitted,
            part_size: PartSize { max: 1_000_000, min: 50_000 },
            fetch_timeout: Duration::from_secs(30),
        }
    }

    /// The dead letters of `topics`. A topic of letters is made by the first consumer, so it need not be there yet.
    pub(crate) fn letters<'a>(topics: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<String> = topics.into_iter().map(dead_letter::topic_of).collect();
        // Two tables over one topic have one topic of letters.
        names.dedup();
        let mut names = names.into_iter();
        let first = names.next().unwrap_or_default();
        Self { more_topics: names.collect(), may_be_missing: true, ..Self::new(&first, Format::Letters) }
    }

    /// All topics.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.topic).chain(&self.more_topics).map(String::as_str)
    }
}
