//! How documents are written by `INSERT INTO`: the settings.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// How documents are written by `INSERT INTO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteConfig {
    /// The fields that say which document a row replaces. Other than `_id` they need a unique index on exactly these
    /// fields, without which a task that is tried again might write a document twice.
    pub key_fields: Vec<String>,
    /// What the server has to do before a write counts as done.
    pub write_concern: WriteConcern,
    /// The most documents in a command.
    pub batch_rows: usize,
    /// Whether a null becomes a field that is left out. By default it becomes a BSON null, as in Spark.
    pub ignore_nulls: bool,
    /// Whether `ignore_nulls` also decides about columns that a statement copies out of a collection. Otherwise a field that is
    /// not there comes back as such where the source's sample has no null in it, and the statement is refused where it would
    /// become a null.
    pub nulls_decided: bool,
    /// How often a command is sent at most, when the server is away or does not confirm. Then the engine tries the
    /// whole task again, and gives up after a few times.
    pub attempts: NonZeroU32,
}

impl Default for WriteConfig {
    fn default() -> Self {
        Self {
            key_fields: vec!["_id".to_owned()],
            write_concern: WriteConcern::default(),
            batch_rows: 1_000,
            ignore_nulls: false,
            nulls_decided: false,
            attempts: NonZeroU32::MIN.saturating_add(4),
        }
    }
}

/// What the server has to do before a write counts as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteConcern {
    /// Who has to have the write.
    pub acknowledgement: Acknowledgement,
    /// Whether it has to be in the journal there.
    pub journal: bool,
    /// How long the server waits for that before it answers that it is not so.
    pub timeout: Duration,
}

impl Default for WriteConcern {
    fn default() -> Self {
        Self { acknowledgement: Acknowledgement::Majority, journal: true, timeout: Duration::from_secs(15) }
    }
}

/// Who has to have a write before it is acknowledged. There is no unacknowledged write: what a statement reports as
/// written has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// A majority of the replica set, which the loss of any minority does not undo.
    Majority,
    /// This many members.
    Members(NonZeroU32),
    /// The members that a mode of the replica set's configuration names.
    Mode(String),
}

impl FromStr for Acknowledgement {
    type Err = String;

    /// Reads `majority`, a number of members, or the name of a mode.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Err("it is empty".to_owned()),
            "0" => Err("0 would not tell whether anything was written".to_owned()),
            text if text.eq_ignore_ascii_case("majority") => Ok(Self::Majority),
            text => Ok(text.parse().map_or_else(|_| Self::Mode(text.to_owned()), Self::Members)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_a_word_or_a_number() {
        let two = Acknowledgement::Members(NonZeroU32::MIN.saturating_add(1));
        for (text, expected) in [
            ("majority", Some(Acknowledgement::Majority)),
            ("Majority", Some(Acknowledgement::Majority)),
            ("2", Some(two)),
            ("0", None),
            ("", None),
            ("multipleRegions", Some(Acknowledgement::Mode("multipleRegions".to_owned()))),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
