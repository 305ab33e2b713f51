//! What becomes of a document that does not fit its table's schema: the setting, by Spark's names.

use std::fmt;
use std::str::FromStr;

/// What becomes of a document that does not fit the schema, in Spark's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// `FAILFAST`: a query that reads a value of another type fails. A column that a query only filters by, on the
    /// server, is not read.
    #[default]
    FailFast,
    /// `PERMISSIVE`: a value of another type is null. A whole document that does not fit is shown, as relaxed extended
    /// JSON, in the corrupt-record column, where the schema has one. Every column may be null.
    Permissive,
    /// `DROPMALFORMED`: a document is left out where any column of the table does not fit, whichever a query reads.
    DropMalformed,
}

impl ReadMode {
    /// Whether a document that does not fit fails the query.
    ///
    /// Only then may work over values that the engine never sees, such as an aggregate, be left to the server.
    pub fn is_failfast(self) -> bool {
        self == Self::FailFast
    }
}

impl fmt::Display for ReadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FailFast => "FAILFAST",
            Self::Permissive => "PERMISSIVE",
            Self::DropMalformed => "DROPMALFORMED",
        })
    }
}

impl FromStr for ReadMode {
    type Err = String;

    /// Reads one of the three words, in capitals or not.
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::FailFast, Self::Permissive, Self::DropMalformed]
            .into_iter()
            .find(|mode| mode.to_string().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is not one of FAILFAST, PERMISSIVE and DROPMALFORMED"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in [ReadMode::FailFast, ReadMode::Permissive, ReadMode::DropMalformed] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(mode.to_string().to_lowercase().parse(), Ok(mode));
        }
        assert!("strict".parse::<ReadMode>().unwrap_err().contains("PERMISSIVE"));
    }
}
