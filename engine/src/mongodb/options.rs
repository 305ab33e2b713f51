//! The options of a table over a collection: one pure function, one list of names.
//!
//! DataFusion lower-cases the names, and puts `format.` before one without a dot. Case does not matter here, nor does
//! that prefix.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use super::partition::PartitionerOptions;
use crate::config::{DEFAULT_CONNECTION, ScanConfig, WriteConfig};
use crate::{Error, Result, words};

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
    pub(crate) write: WriteConfig,
}

impl TableOptions {
    /// No options, over the scan settings `scan`.
    pub(crate) fn new(scan: ScanConfig, write: WriteConfig) -> Self {
        Self {
            connection: DEFAULT_CONNECTION.to_owned(),
            sample_size: DEFAULT_SAMPLE_SIZE,
            schema_hints: None,
            names_corrupt_record: false,
            scan,
            write,
        }
    }
}

type Apply = fn(&mut Parsing, &str) -> Result<(), String>;

/// Options as they are read: what a partitioner takes follows from all of them.
struct Parsing {
    table: TableOptions,
    partitioner: PartitionerOptions,
}

/// Every option, as it is written in a statement.
const OPTIONS: &[(&str, Apply)] = &[
    ("connection", |options, value| {
        options.table.connection = value.to_owned();
        Ok(())
    }),
    ("mode", |options, value| {
        options.table.scan.mode = value.parse()?;
        Ok(())
    }),
    ("columnNameOfCorruptRecord", |options, value| {
        if value.is_empty() {
            return Err("it names the column that shows documents that do not fit".to_owned());
        }
        options.table.scan.corrupt_record_column = value.to_owned();
        options.table.names_corrupt_record = true;
        Ok(())
    }),
    ("sampleSize", |options, value| {
        options.table.sample_size = positive(value)?;
        Ok(())
    }),
    ("schemaHints", |options, value| {
        options.table.schema_hints = Some(value.to_owned());
        Ok(())
    }),
    ("batchRows", |options, value| {
        options.table.scan.batch_rows = to_usize(positive(value)?)?;
        Ok(())
    }),
    ("maxPartitions", |options, value| {
        options.table.scan.max_partitions = Some(to_usize(positive(value)?)?);
        Ok(())
    }),
    ("minDocumentsPerPartition", |options, value| {
        options.table.scan.min_documents_per_partition = positive(value)?;
        Ok(())
    }),
    ("filterPushdown", |options, value| {
        options.table.scan.filter_pushdown = flag(value)?;
        Ok(())
    }),
    ("partitioner", |options, value| {
        options.partitioner.name = Some(value.to_owned());
        Ok(())
    }),
    ("samplesPerPartition", |options, value| {
        options.partitioner.samples_per_partition = Some(number(value)?);
        Ok(())
    }),
    ("partitionSizeMB", |options, value| {
        options.partitioner.size_mb = Some(number(value)?);
        Ok(())
    }),
    ("partitionCount", |options, value| {
        options.partitioner.count = Some(number(value)?);
        Ok(())
    }),
    ("bucketSample", |options, value| {
        options.partitioner.bucket_sample = Some(number(value)?);
        Ok(())
    }),
    ("keyFields", |options, value| {
        let fields = value.split(',').map(|field| field.trim().to_owned());
        options.table.write.key_fields = fields.filter(|field| !field.is_empty()).collect();
        if options.table.write.key_fields.is_empty() { Err("it names no field".to_owned()) } else { Ok(()) }
    }),
    ("writeConcern", |options, value| {
        options.table.write.write_concern.acknowledgement = value.parse()?;
        Ok(())
    }),
    ("journal", |options, value| {
        options.table.write.write_concern.journal = flag(value)?;
        Ok(())
    }),
    ("writeTimeoutMs", |options, value| {
        options.table.write.write_concern.timeout = Duration::from_millis(positive(value)?);
        Ok(())
    }),
    ("writeBatchRows", |options, value| {
        options.table.write.batch_rows = to_usize(positive(value)?)?;
        Ok(())
    }),
    ("ignoreNullValues", |options, value| {
        options.table.write.ignore_nulls = flag(value)?;
        Ok(())
    }),
];

/// Reads the options of a table; what they do not say is as in `defaults`.
pub(crate) fn parse(given: &HashMap<String, String>, defaults: TableOptions) -> Result<TableOptions> {
    let mut options = Parsing { table: defaults, partitioner: PartitionerOptions::default() };
    // In a fixed order, so that of two wrong options always the same is told.
    let mut given: Vec<_> = given.iter().collect();
    given.sort();
    for (key, value) in given {
        let name = key.strip_prefix("format.").unwrap_or(key);
        let invalid = |message| Error::InvalidOption { option: name.to_owned(), message };
        let known = OPTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, apply) = known
            .ok_or_else(|| invalid(words::unknown_option(name, OPTIONS.iter().map(|(known, _)| *known))))?;
        apply(&mut options, value).map_err(invalid)?;
    }
    let Parsing { mut table, partitioner } = options;
    let invalid = |message| Error::InvalidOption { option: "partitioner".to_owned(), message };
    if let Some(partitioner) = partitioner.resolve().map_err(invalid)? {
        table.scan.partitioner = partitioner;
    }
    Ok(table)
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
    use std::num::NonZeroU32;

    use super::*;
    use crate::{Acknowledgement, Partitioner, ReadMode};

    fn defaults() -> TableOptions {
        TableOptions::new(ScanConfig::default(), WriteConfig::default())
    }

    fn read(pairs: &[(&str, &str)]) -> Result<TableOptions> {
        let given = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        parse(&given, defaults())
    }

    #[test]
    fn every_option_is_read_whatever_its_case() {
        let plain = defaults;
        let scan = |change: fn(&mut ScanConfig)| {
            let mut options = plain();
            change(&mut options.scan);
            options
        };
        let write = |change: fn(&mut WriteConfig)| {
            let mut options = plain();
            change(&mut options.write);
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
            (
                "partitioner",
                "SinglePartitionPartitioner",
                scan(|scan| scan.partitioner = Partitioner::Single),
            ),
            ("keyFields", "a, b", write(|write| write.key_fields = vec!["a".into(), "b".into()])),
            (
                "writeConcern",
                "2",
                write(|write| {
                    let two = NonZeroU32::MIN.saturating_add(1);
                    write.write_concern.acknowledgement = Acknowledgement::Members(two);
                }),
            ),
            ("journal", "false", write(|write| write.write_concern.journal = false)),
            ("writeTimeoutMs", "7", write(|write| write.write_concern.timeout = Duration::from_millis(7))),
            ("writeBatchRows", "7", write(|write| write.batch_rows = 7)),
            ("ignoreNullValues", "true", write(|write| write.ignore_nulls = true)),
        ] {
            // As DataFusion's parser hands them over, and as they are written.
            for key in [key.to_owned(), format!("format.{}", key.to_lowercase())] {
                assert_eq!(read(&[(&key, value)]).unwrap(), expected, "{key}");
            }
        }
        assert_eq!(read(&[]).unwrap(), plain());
        let seven = NonZeroU32::MIN.saturating_add(6);
        for (key, name, expected) in [
            ("partitionCount", "count", Partitioner::Count { partitions: seven }),
            ("partitionSizeMB", "size", Partitioner::Size { megabytes: seven.into() }),
            ("samplesPerPartition", "sample", Partitioner::Sample { per_partition: seven }),
            ("bucketSample", "bucketAuto", Partitioner::BucketAuto { sample: Some(seven.into()) }),
        ] {
            let options = read(&[(key, "7"), ("partitioner", name)]).unwrap();
            assert_eq!(options.scan.partitioner, expected, "{key}");
        }
    }

    #[test]
    fn a_wrong_option_is_told_with_what_there_is() {
        for (key, value, told) in [
            ("format.samplesise", "7", "did you mean `sampleSize`?"),
            ("format.colour", "red", "there are connection, mode"),
            ("mode", "lenient", "FAILFAST, PERMISSIVE and DROPMALFORMED"),
            ("sampleSize", "0", "not a number above 0"),
            ("batchRows", "many", "not a number above 0"),
            ("filterPushdown", "yes", "neither true nor false"),
            ("columnNameOfCorruptRecord", "", "names the column"),
            ("partitioner", "even", "there is no partitioner `even`"),
            ("keyFields", " , ", "names no field"),
            ("writeConcern", "0", "would not tell"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { option, .. }
                if option == key.trim_start_matches("format.")));
            assert!(error.to_string().contains(told), "{error}");
        }
        assert!(!read(&[("colour", "red")]).unwrap_err().to_string().contains("did you mean"));
    }
}
