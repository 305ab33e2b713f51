//! The options of `CREATE EXTERNAL TABLE … STORED AS IMAGES`.

use std::collections::HashMap;
use std::num::NonZeroU64;

use serde::Deserialize;

use super::folder::Folder;
use super::pattern::{FileOptions, Glob};
use crate::config::ReadMode;
use crate::connectors::options::{self, from_text};
use crate::{Error, Result};

/// The most bytes of a file where a table does not say: what `classify` decodes at most.
const DEFAULT_MAX_BYTES: u64 = 16 << 20;

/// The most that a table may allow: a column's offsets end at 2 GiB, and a message of the cluster at 128 MiB.
pub(crate) const MOST_MAX_BYTES: u64 = 1 << 30;

/// Everything about a table but its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableOptions {
    pub(crate) folder: Folder,
    pub(crate) files: FileOptions,
    pub(crate) reading: Reading,
}

/// How the files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Whether the first subfolder is the label.
    pub(crate) labels: bool,
    /// What becomes of a file that cannot be read: never `DropMalformed`.
    pub(crate) mode: ReadMode,
    /// The most bytes of a file.
    pub(crate) max_bytes: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { labels: true, mode: ReadMode::FailFast, max_bytes: DEFAULT_MAX_BYTES }
    }
}

/// Every option, by the name that it has in a statement.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Given {
    #[serde(deserialize_with = "from_text")]
    pattern: Option<Glob>,
    recursive: Option<bool>,
    labels: Option<bool>,
    #[serde(deserialize_with = "from_text")]
    mode: Option<ReadMode>,
    max_bytes: Option<NonZeroU64>,
}

/// Reads a table's location and options.
pub(crate) fn table_options(location: &str, given: &HashMap<String, String>) -> Result<TableOptions> {
    let Given { pattern, recursive, labels, mode, max_bytes } = options::parse(given)?;
    let (files, reading) = (FileOptions::default(), Reading::default());
    if mode == Some(ReadMode::DropMalformed) {
        return Err(Error::invalid_option(
            "mode",
            "it is FAILFAST or PERMISSIVE; under PERMISSIVE, WHERE image IS NOT NULL leaves out what cannot be read",
        ));
    }
    let max_bytes = max_bytes.map_or(reading.max_bytes, NonZeroU64::get);
    if max_bytes > MOST_MAX_BYTES {
        return Err(Error::invalid_option("maxBytes", format!("it is a number from 1 to {MOST_MAX_BYTES}")));
    }
    Ok(TableOptions {
        folder: Folder::parse(location)?,
        files: FileOptions { pattern, recursive: recursive.unwrap_or(files.recursive) },
        reading: Reading {
            labels: labels.unwrap_or(reading.labels),
            mode: mode.unwrap_or(reading.mode),
            max_bytes,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<TableOptions> {
        let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        table_options("/data/photos", &given)
    }

    #[test]
    fn options_have_defaults_and_are_read_in_any_case() {
        let plain = read(&[]).unwrap();
        assert_eq!((plain.files, plain.reading), (FileOptions::default(), Reading::default()));
        let all = [
            ("format.pattern", "*.jpg"),
            ("RECURSIVE", "false"),
            ("labels", "False"),
            ("mode", "permissive"),
            ("maxbytes", "1000"),
        ];
        let found = read(&all).unwrap();
        let pattern = found.files.pattern.unwrap();
        assert_eq!((pattern.text(), found.files.recursive), ("*.jpg", false));
        let expected = Reading { labels: false, mode: ReadMode::Permissive, max_bytes: 1_000 };
        assert_eq!(found.reading, expected);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_option() {
        for (name, value, told) in [
            ("patern", "*.jpg", "did you mean `pattern`?"),
            ("pattern", "a[", "`a[` is no pattern"),
            ("recursive", "yes", "neither true nor false"),
            ("mode", "DROPMALFORMED", "WHERE image IS NOT NULL"),
            ("mode", "lenient", "FAILFAST"),
            ("maxBytes", "0", "not a number above 0"),
            ("maxBytes", "2000000000", "from 1 to 1073741824"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { option, .. } if option == name), "{error:?}");
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
