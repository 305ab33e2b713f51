//! The options of a table over a collection: one pure function, one list of names.
//!
//! DataFusion lower-cases the names, and puts `format.` before one without a dot. Case does not matter here, nor does
//! that prefix.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::str::FromStr;

use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;

use crate::config::{DEFAULT_CONNECTION, ScanConfig};
use crate::{Error, Result};

/// How many documents are sampled for a schema.
pub(crate) const DEFAULT_SAMPLE_SIZE: u64 = 1_000;

/// What the options of a table say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableOptions {
    /// The name of a connection in the settings.
    pub(crate) connection: String,
    /// How many documents a schema is inferred from.
    pub(crate) sample_size: u64,
    /// Columns with types that win over what is inferred.
    pub(crate) schema_hints: Option<String>,
    /// Whether the corrupt-record column was named: an inferred schema then has it.
    pub(crate) names_corrupt_record: bool,
    pub(crate) scan: ScanConfig,
}

impl TableOptions {
    /// No options, over the scan settings `scan`.
    pub(crate) fn new(scan: ScanConfig) -> Self {
        Self {
            connection: DEFAULT_CONNECTION.to_owned(),
            sample_size: DEFAULT_SAMPLE_SIZE,
            schema_hints: None,
            names_corrupt_record: false,
            scan,
        }
    }
}

type Apply = fn(&mut TableOptions, &str) -> Result<(), String>;

/// Every option, as it is written in a statement.
const OPTIONS: &[(&str, Apply)] = &[
    ("connection", |options, value| {
        options.connection = value.to_owned();
        Ok(())
    }),
    ("mode", |options, value| {
        options.scan.mode = value.parse()?;
        Ok(())
    }),
    ("columnNameOfCorruptRecord", |options, value| {
        if value.is_empty() {
            return Err("it names the column that shows documents that do not fit".to_owned());
        }
        options.scan.corrupt_record_column = value.to_owned();
        options.names_corrupt_record = true;
        Ok(())
    }),
    ("sampleSize", |options, value| {
        options.sample_size = positive(value)?;
        Ok(())
    }),
    ("schemaHints", |options, value| {
        options.schema_hints = Some(value.to_owned());
        Ok(())
    }),
    ("batchRows", |options, value| {
        options.scan.batch_rows = to_usize(positive(value)?)?;
        Ok(())
    }),
    ("maxPartitions", |options, value| {
        options.scan.max_partitions = Some(to_usize(positive(value)?)?);
        Ok(())
    }),
    ("minDocumentsPerPartition", |options, value| {
        options.scan.min_documents_per_partition = positive(value)?;
        Ok(())
    }),
    ("filterPushdown", |options, value| {
        options.scan.filter_pushdown = flag(value)?;
        Ok(())
    }),
];

/// Reads the options of a table; what they do not say is as in `defaults`.
pub(crate) fn parse(given: &HashMap<String, String>, defaults: &ScanConfig) -> Result<TableOptions> {
    let mut options = TableOptions::new(defaults.clone());
    // In a fixed order, so that of two wrong options always the same is told.
    let mut given: Vec<_> = given.iter().collect();
    given.sort();
    for (key, value) in given {
        let name = key.strip_prefix("format.").unwrap_or(key);
        let invalid = |message| Error::InvalidOption { option: name.to_owned(), message };
        let known = OPTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, apply) = known.ok_or_else(|| invalid(unknown(name)))?;
        apply(&mut options, value).map_err(invalid)?;
    }
    Ok(options)
}

fn unknown(name: &str) -> String {
    let likeness = |known: &str| normalized_levenshtein(&known.to_lowercase(), &name.to_lowercase());
    let names = || OPTIONS.iter().map(|(known, _)| *known);
    let closest = names().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = match closest.filter(|known| likeness(known) >= 0.5) {
        Some(closest) => format!("did you mean `{closest}`? "),
        None => String::new(),
    };
    format!("there is no such option; {meant}Options are {}", names().collect::<Vec<_>>().join(", "))
}

fn number<T: FromStr>(value: &str) -> Result<T, String> {
    value.trim().parse().map_err(|_| format!("`{value}` is not a number above 0"))
}

fn positive(value: &str) -> Result<u64, String> {
    number::<NonZeroU64>(value).map(NonZeroU64::get)
}

fn to_usize(value: u64) -> Result<usize, String> {
    usize::try_from(value).map_err(|_| format!("`{value}` is too large"))
}

fn flag(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{value}` is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadMode;

    fn read(pairs: &[(&str, &str)]) -> Result<TableOptions> {
        let given = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        parse(&given, &ScanConfig::default())
    }

    #[test]
    fn every_option_is_read_whatever_its_case() {
        let plain = || TableOptions::new(ScanConfig::default());
        let scan = |change: fn(&mut ScanConfig)| {
            let mut options = plain();
            change(&mut options.scan);
            options
        };
        for (key, value, expected) in [
            ("connection", "other", TableOptions { connection: "other".into(), ..plain() }),
            ("mode", "permissive", scan(|scan| scan.mode = ReadMode::Permissive)),
            (
                "columnNameOfCorruptRecord",
                "bad",
                TableOptions {
                    names_corrupt_record: true,
                    ..scan(|scan| scan.corrupt_record_column = "bad".into())
                },
            ),
            ("sampleSize", "7", TableOptions { sample_size: 7, ..plain() }),
            ("schemaHints", "a INT", TableOptions { schema_hints: Some("a INT".into()), ..plain() }),
            ("batchRows", "10", scan(|scan| scan.batch_rows = 10)),
            ("maxPartitions", "3", scan(|scan| scan.max_partitions = Some(3))),
            ("minDocumentsPerPartition", "5", scan(|scan| scan.min_documents_per_partition = 5)),
            ("filterPushdown", "false", scan(|scan| scan.filter_pushdown = false)),
        ] {
            // As DataFusion's parser hands them over, and as they are written.
            for key in [key.to_owned(), format!("format.{}", key.to_lowercase())] {
                assert_eq!(read(&[(&key, value)]).unwrap(), expected, "{key}");
            }
        }
        assert_eq!(read(&[]).unwrap(), plain());
    }

    #[test]
    fn a_wrong_option_is_told_with_what_there_is() {
        for (key, value, told) in [
            ("format.samplesise", "7", "did you mean `sampleSize`?"),
            ("format.colour", "red", "Options are connection, mode"),
            ("mode", "lenient", "FAILFAST, PERMISSIVE and DROPMALFORMED"),
            ("sampleSize", "0", "not a number above 0"),
            ("batchRows", "many", "not a number above 0"),
            ("filterPushdown", "yes", "neither true nor false"),
            ("columnNameOfCorruptRecord", "", "names the column"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { option, .. }
                if option == key.trim_start_matches("format.")));
            assert!(error.to_string().contains(told), "{error}");
        }
        assert!(!read(&[("colour", "red")]).unwrap_err().to_string().contains("did you mean"));
    }
}
