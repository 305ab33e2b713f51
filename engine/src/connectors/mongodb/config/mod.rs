//! The options of a table over a collection.

pub(crate) mod location;
pub(crate) mod partitioner;

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::Deserialize;

use self::partitioner::PartitionerOptions;
use crate::config::{Acknowledgement, DEFAULT_CONNECTION, MOST_PARTS, ReadMode, ScanConfig, WriteConfig};
use crate::connectors::options::{self, from_text};
use crate::{Error, Result};

/// How many documents are sampled for a schema.
pub(crate) const DEFAULT_SAMPLE_SIZE: u64 = 1_000;

/// The most rows of a batch, for which memory is taken before they are there.
pub(crate) const MOST_BATCH_ROWS: usize = 1_000_000;

/// The most ids of a sample for each partition, which the planner holds in memory.
pub(crate) const MOST_SAMPLES: u32 = 10_000;

/// The settings of one table.
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

/// Every option, by the name that it has in a statement.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Given {
    connection: Option<String>,
    #[serde(deserialize_with = "from_text")]
    mode: Option<ReadMode>,
    column_name_of_corrupt_record: Option<String>,
    sample_size: Option<NonZeroU64>,
    schema_hints: Option<String>,
    batch_rows: Option<NonZeroUsize>,
    max_partitions: Option<NonZeroUsize>,
    min_documents_per_partition: Option<NonZeroU64>,
    filter_pushdown: Option<bool>,
    partitioner: Option<String>,
    samples_per_partition: Option<NonZeroU32>,
    #[serde(rename = "partitionSizeMB")]
    partition_size_mb: Option<NonZeroU64>,
    partition_count: Option<NonZeroU32>,
    bucket_sample: Option<NonZeroU64>,
    key_fields: Option<String>,
    #[serde(deserialize_with = "from_text")]
    write_concern: Option<Acknowledgement>,
    journal: Option<bool>,
    write_timeout_ms: Option<NonZeroU64>,
    write_batch_rows: Option<NonZeroUsize>,
    ignore_null_values: Option<bool>,
}

/// Reads the options of a table; what they do not say is as in `defaults`.
pub(crate) fn parse(given: &HashMap<String, String>, defaults: TableOptions) -> Result<TableOptions> {
    let given: Given = options::parse(given)?;
    let invalid = |option: &str, message: String| Error::invalid_option(option, message);
    let mut table = defaults;
    set(&mut table.connection, given.connection);
    set(&mut table.sample_size, given.sample_size.map(NonZeroU64::get));
    table.schema_hints = given.schema_hints.or(table.schema_hints);

    let scan = &mut table.scan;
    set(&mut scan.mode, given.mode);
    if let Some(column) = given.column_name_of_corrupt_record {
        if column.is_empty() {
            let message = "it names the column that shows documents that do not fit";
            return Err(invalid("columnNameOfCorruptRecord", message.to_owned()));
        }
        scan.corrupt_record_column = column;
        table.names_corrupt_record = true;
    }
    let at_most = |option: &str, given: Option<usize>, most: usize| match given {
        Some(given) if given > most => Err(invalid(option, format!("it is a number from 1 to {most}"))),
        given => Ok(given),
    };
    let most_parts = usize::try_from(MOST_PARTS).unwrap_or(usize::MAX);
    let count = |given: Option<NonZeroU32>| given.and_then(|given| usize::try_from(given.get()).ok());
    at_most("partitionCount", count(given.partition_count), most_parts)?;
    at_most("samplesPerPartition", count(given.samples_per_partition), MOST_SAMPLES as usize)?;
    at_most("maxPartitions", given.max_partitions.map(NonZeroUsize::get), most_parts)?;
    let write_rows = given.write_batch_rows.map(NonZeroUsize::get);
    let write_rows = at_most("writeBatchRows", write_rows, MOST_BATCH_ROWS)?;
    let rows = at_most("batchRows", given.batch_rows.map(NonZeroUsize::get), MOST_BATCH_ROWS)?;
    set(&mut scan.batch_rows, rows);
    scan.max_partitions = given.max_partitions.map(NonZeroUsize::get).or(scan.max_partitions);
    let documents = given.min_documents_per_partition.map(NonZeroU64::get);
    set(&mut scan.min_documents_per_partition, documents);
    set(&mut scan.filter_pushdown, given.filter_pushdown);
    let partitioner = PartitionerOptions {
        name: given.partitioner,
        samples_per_partition: given.samples_per_partition,
        size_mb: given.partition_size_mb,
        count: given.partition_count,
        bucket_sample: given.bucket_sample,
    };
    set(&mut scan.partitioner, partitioner.resolve().map_err(|message| invalid("partitioner", message))?);

    let write = &mut table.write;
    if let Some(fields) = given.key_fields {
        let fields = fields.split(',').map(|field| field.trim().to_owned());
        write.key_fields = fields.filter(|field| !field.is_empty()).collect();
        if write.key_fields.is_empty() {
            return Err(invalid("keyFields", "it names no field".to_owned()));
        }
    }
    set(&mut write.write_concern.acknowledgement, given.write_concern);
    set(&mut write.write_concern.journal, given.journal);
    let timeout = given.write_timeout_ms.map(|millis| Duration::from_millis(millis.get()));
    set(&mut write.write_concern.timeout, timeout);
    set(&mut write.batch_rows, write_rows);
    write.nulls_decided |= given.ignore_null_values.is_some();
    set(&mut write.ignore_nulls, given.ignore_null_values);
    Ok(table)
}

/// Takes a value where one was given.
fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Partitioner;

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
            (
                "ignoreNullValues",
                "true",
                write(|write| (write.ignore_nulls, write.nulls_decided) = (true, true)),
            ),
            ("ignoreNullValues", "false", write(|write| write.nulls_decided = true)),
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
