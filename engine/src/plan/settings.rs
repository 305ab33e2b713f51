//! Which settings of a session its user may choose, and in which range.
//!
//! A session's settings travel with each query, and the scheduler plans with them: a number of partitions is the length of
//! lists in its memory, a folder of tables is a folder that it reads, and some settings make tasks fail on purpose. So there
//! is a list of those that a user may choose. Any other one has to be as this process, DataFusion or Ballista has it by
//! default: clients send all that they have.

use std::collections::HashMap;

use ballista_core::extension::SessionConfigExt as _;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{Expr, Set, Statement, Value};

use crate::{Error, Result};

/// The values that a setting may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// From the first to the last.
    Numbers(u64, u64),
    Truth,
    /// At most so many bytes.
    Text(usize),
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The largest number of partitions. The scheduler holds a place for each pair of a task and a part of its output, so that its
/// memory grows with the square.
const PARTITIONS: Values = Values::Numbers(1, 1_000);

/// Settings that a user may choose, besides switches.
const LISTED: [(&str, Values); 55] = [
    ("ballista.client.io_retries_times", Values::Numbers(0, 20)),
    ("ballista.job.name", Values::Text(4_096)),
    ("ballista.optimizer.broadcast_join_threshold_bytes", Values::Numbers(0, 4 * GIB)),
    ("ballista.optimizer.broadcast_join_threshold_rows", Values::Numbers(0, 100_000_000)),
    ("ballista.optimizer.hash_join_max_build_partition_bytes", Values::Numbers(0, 64 * GIB)),
    ("ballista.scheduler.max_partitions_per_task", Values::Numbers(0, 10_000)),
    ("ballista.shuffle.compression.codec", Values::Text(16)),
    ("ballista.shuffle.sort_based.batch_size", Values::Numbers(1, 1_000_000)),
    ("ballista.shuffle.sort_based.memory_limit_per_task_bytes", Values::Numbers(0, 64 * GIB)),
    ("ballista.standalone.parallelism", Values::Numbers(1, 65_535)),
    ("datafusion.catalog.default_catalog", Values::Text(128)),
    ("datafusion.catalog.default_schema", Values::Text(128)),
    ("datafusion.execution.batch_size", Values::Numbers(1, 1_000_000)),
    ("datafusion.execution.hash_join_buffering_capacity", Values::Numbers(0, GIB)),
    ("datafusion.execution.max_buffered_batches_per_output_file", Values::Numbers(2, 1_000)),
    ("datafusion.execution.max_spill_file_size_bytes", Values::Numbers(MIB, 64 * GIB)),
    ("datafusion.execution.meta_fetch_concurrency", Values::Numbers(1, 256)),
    ("datafusion.execution.minimum_parallel_output_files", Values::Numbers(1, 256)),
    ("datafusion.execution.objectstore_writer_buffer_size", Values::Numbers(64 * KIB, GIB)),
    ("datafusion.execution.parquet.bloom_filter_ndv", Values::Numbers(0, 1_000_000_000)),
    ("datafusion.execution.parquet.coerce_int96", Values::Text(16)),
    ("datafusion.execution.parquet.coerce_int96_tz", Values::Text(64)),
    ("datafusion.execution.parquet.column_index_truncate_length", Values::Numbers(1, MIB)),
    ("datafusion.execution.parquet.compression", Values::Text(32)),
    ("datafusion.execution.parquet.data_page_row_count_limit", Values::Numbers(1, 100_000_000)),
    ("datafusion.execution.parquet.data_pagesize_limit", Values::Numbers(KIB, GIB)),
    ("datafusion.execution.parquet.dictionary_page_size_limit", Values::Numbers(KIB, GIB)),
    ("datafusion.execution.parquet.encoding", Values::Text(32)),
    ("datafusion.execution.parquet.max_row_group_size", Values::Numbers(1, 100_000_000)),
    ("datafusion.execution.parquet.maximum_buffered_record_batches_per_stream", Values::Numbers(1, 1_000)),
    ("datafusion.execution.parquet.maximum_parallel_row_group_writers", Values::Numbers(1, 64)),
    ("datafusion.execution.parquet.metadata_size_hint", Values::Numbers(0, 64 * MIB)),
    ("datafusion.execution.parquet.statistics_enabled", Values::Text(16)),
    ("datafusion.execution.parquet.statistics_truncate_length", Values::Numbers(1, MIB)),
    ("datafusion.execution.parquet.write_batch_size", Values::Numbers(1, 1_000_000)),
    ("datafusion.execution.parquet.writer_version", Values::Text(8)),
    ("datafusion.execution.perfect_hash_join_small_build_threshold", Values::Numbers(0, 1_000_000)),
    ("datafusion.execution.planning_concurrency", Values::Numbers(1, 4_096)),
    ("datafusion.execution.skip_partial_aggregation_probe_rows_threshold", Values::Numbers(0, GIB)),
    ("datafusion.execution.soft_max_rows_per_output_file", Values::Numbers(1, u64::MAX)),
    ("datafusion.execution.sort_in_place_threshold_bytes", Values::Numbers(0, GIB)),
    ("datafusion.execution.sort_spill_reservation_bytes", Values::Numbers(0, GIB)),
    ("datafusion.execution.spill_compression", Values::Text(16)),
    ("datafusion.execution.target_partitions", PARTITIONS),
    ("datafusion.execution.time_zone", Values::Text(64)),
    ("datafusion.explain.format", Values::Text(16)),
    ("datafusion.explain.tree_maximum_render_width", Values::Numbers(0, 10_000)),
    ("datafusion.optimizer.default_filter_selectivity", Values::Numbers(0, 100)),
    ("datafusion.optimizer.hash_join_single_partition_threshold", Values::Numbers(0, 4 * GIB)),
    ("datafusion.optimizer.hash_join_single_partition_threshold_rows", Values::Numbers(0, 100_000_000)),
    ("datafusion.optimizer.max_passes", Values::Numbers(1, 10)),
    ("datafusion.optimizer.preserve_file_partitions", Values::Numbers(0, 10_000)),
    ("datafusion.optimizer.repartition_file_min_size", Values::Numbers(0, u64::MAX)),
    ("datafusion.optimizer.subset_repartition_threshold", Values::Numbers(0, 10_000)),
    ("datafusion.sql_parser.default_null_ordering", Values::Text(16)),
];

/// Where all switches may be chosen: they say how a result is computed, and none of them what may be read.
const SWITCHES: [&str; 4] =
    ["datafusion.execution.", "datafusion.explain.", "datafusion.optimizer.", "ballista.optimizer."];

/// Where texts may be chosen that say how a value is printed.
const FORMATS: &str = "datafusion.format.";

fn listed(name: &str) -> Option<Values> {
    let found = LISTED.iter().find(|(listed, _)| *listed == name).map(|(_, values)| *values);
    found.or_else(|| name.starts_with(FORMATS).then_some(Values::Text(64)))
}

/// Settings that the scheduler sets itself, whatever a client sends.
const OVERRIDDEN: [&str; 2] = ["ballista.client.use_tls", "ballista.planner.adaptive.enabled"];

/// What sessions of Spark's clients have besides. Their texts are parsed before a plan is sent, so that it means nothing for a plan.
const SPARK: (&str, &str) = ("datafusion.sql_parser.dialect", "spark");

/// Checks a setting that a user chooses.
pub(crate) fn check_one(name: &str, value: &str) -> Result<()> {
    let refused = |message: String| Err(Error::SessionSetting { name: name.to_owned(), message });
    let is_switch = || SWITCHES.iter().any(|prefix| name.starts_with(prefix));
    let values = match listed(name) {
        Some(values) => values,
        None if is_switch() => Values::Truth,
        None => return refused("it is not one that a session chooses".to_owned()),
    };
    match values {
        Values::Numbers(first, last) => match value.trim().parse::<u64>() {
            Ok(number) if (first..=last).contains(&number) => Ok(()),
            _ => refused(format!("it is a number from {first} to {last}")),
        },
        Values::Truth if ["true", "false"].contains(&value.trim().to_lowercase().as_str()) => Ok(()),
        Values::Truth => refused("it is true or false, or not one that a session chooses".to_owned()),
        Values::Text(most) if value.len() <= most => Ok(()),
        Values::Text(most) => refused(format!("it is a text of at most {most} bytes")),
    }
}

/// The settings of a session that came with a query are as they may be.
///
/// `own` are those of this process: what is as there, or as DataFusion and Ballista have it, is allowed.
pub(crate) fn check(session: &SessionConfig, own: &SessionConfig) -> Result<()> {
    let values = |config: &SessionConfig| -> HashMap<String, Option<String>> {
        config.options().entries().into_iter().map(|entry| (entry.key, entry.value)).collect()
    };
    let defaults = [own, &SessionConfig::new_with_ballista(), &SessionConfig::new()].map(values);
    for entry in session.options().entries() {
        let is_spark = entry.key == SPARK.0
            && entry.value.as_deref().is_some_and(|dialect| dialect.eq_ignore_ascii_case(SPARK.1));
        let is_default = is_spark
            || OVERRIDDEN.contains(&entry.key.as_str())
            || defaults.iter().any(|values| values.get(&entry.key) == Some(&entry.value));
        match &entry.value {
            _ if is_default => {}
            // A text that is not there.
            None if listed(&entry.key).is_some() => {}
            value => check_one(&entry.key, value.as_deref().unwrap_or_default())?,
        }
    }
    Ok(())
}

/// Checks what a statement chooses if it is a `SET`, for clients whose statements run in the scheduler.
pub(crate) fn check_statement(statement: &DFStatement) -> Result<()> {
    let DFStatement::Statement(statement) = statement else { return Ok(()) };
    let Statement::Set(Set::SingleAssignment { variable, values, .. }) = statement.as_ref() else {
        return Ok(());
    };
    let value: Vec<String> = values.iter().map(text).collect();
    check_one(&full_name(&variable.to_string()), &value.join(","))
}

/// The name that a setting has, where PostgreSQL has another one.
fn full_name(name: &str) -> String {
    match name.to_lowercase() {
        name if name == "timezone" || name == "time.zone" => "datafusion.execution.time_zone".to_owned(),
        name => name,
    }
}

fn text(value: &Expr) -> String {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SqlLimits, check_sql_and};

    fn own() -> SessionConfig {
        SessionConfig::new_with_ballista().with_target_partitions(7).with_information_schema(true)
    }

    #[test]
    fn the_list_is_sorted_and_known() {
        assert!(LISTED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let known: Vec<String> = own().options().entries().into_iter().map(|entry| entry.key).collect();
        for (name, values) in LISTED {
            assert!(known.iter().any(|known| known == name), "{name} is no setting");
            let default = own().options().entries().into_iter().find(|entry| entry.key == name);
            if let Some(default) = default.and_then(|entry| entry.value) {
                check_one(name, &default).unwrap_or_else(|error| panic!("{error}: {values:?}"));
            }
        }
    }

    #[test]
    fn what_clients_send_by_default_is_allowed() {
        for session in [own(), SessionConfig::new(), SessionConfig::new_with_ballista()] {
            check(&session, &own()).unwrap();
        }
    }

    #[test]
    fn a_setting_is_in_its_range_or_an_error_that_names_it() {
        for (name, value, allowed) in [
            ("datafusion.execution.target_partitions", "32", true),
            ("datafusion.execution.target_partitions", "1000000000", false),
            ("datafusion.execution.target_partitions", "0", false),
            ("datafusion.execution.target_partitions", "x", false),
            ("datafusion.execution.batch_size", "512", true),
            ("datafusion.execution.batch_size", "18446744073709551615", false),
            ("datafusion.execution.time_zone", "Europe/Berlin", true),
            ("datafusion.optimizer.prefer_hash_join", "FALSE", true),
            ("datafusion.optimizer.max_passes", "1000000", false),
            ("datafusion.catalog.location", "/etc", false),
            ("datafusion.catalog.format", "CSV", false),
            ("datafusion.runtime.memory_limit", "1T", false),
            ("datafusion.sql_parser.recursion_limit", "1000000", false),
            ("datafusion.sql_parser.dialect", "mysql", false),
            ("ballista.scheduler.max_partitions_per_task", "4", true),
            ("ballista.testing.chaos_execution.enabled", "true", false),
            ("ballista.client.use_tls", "true", false),
            ("ballista.planner.adaptive.enabled", "true", false),
            ("no.such.setting", "1", false),
        ] {
            let checked = check_one(name, value);
            assert_eq!(checked.is_ok(), allowed, "{name} = {value}");
            if let Err(error) = checked {
                assert!(error.to_string().contains(name), "{error}");
            }
        }
        let told = check_one("datafusion.execution.target_partitions", "0").unwrap_err().to_string();
        assert!(told.contains("from 1 to 1000"), "{told}");
    }

    #[test]
    fn settings_that_came_with_a_query_are_checked() {
        let with = |name: &str, value: &str| own().set_str(name, value);
        check(&with("ballista.client.use_tls", "true"), &own()).unwrap();
        check(&with("datafusion.execution.target_partitions", "32"), &own()).unwrap();
        check(&with(SPARK.0, SPARK.1), &own()).unwrap();
        for (name, value) in [
            ("datafusion.execution.target_partitions", "1000000000"),
            ("datafusion.catalog.location", "/etc"),
            ("datafusion.sql_parser.recursion_limit", "1000000"),
            ("datafusion.sql_parser.dialect", "mysql"),
            ("ballista.testing.chaos_execution.enabled", "true"),
        ] {
            let error = check(&with(name, value), &own()).unwrap_err();
            assert!(matches!(&error, Error::SessionSetting { name: found, .. } if found == name), "{error}");
        }
    }

    #[test]
    fn a_statement_is_checked_before_it_runs() {
        for (sql, allowed) in [
            ("SET datafusion.execution.target_partitions = 2", true),
            ("SET datafusion.execution.target_partitions = '2'", true),
            ("SET datafusion.execution.target_partitions TO 1000000000", false),
            ("SELECT 1; SET datafusion.catalog.location = '/etc'", false),
            ("SET TIME ZONE = 'Europe/Berlin'", true),
            ("SET timezone = 'Europe/Berlin'", true),
            ("set DataFusion.Execution.Batch_Size = 512", true),
            ("SELECT 'SET x = 1'", true),
            ("not SQL", true),
        ] {
            let checked = check_sql_and(sql, &SqlLimits::default(), check_statement);
            assert_eq!(checked.is_ok(), allowed, "{sql}");
        }
    }
}
