//! The settings of a session: what Spark's clients read, and what they may change.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use arrow::array::timezone::Tz;

use super::error::{Kind, Result, SparkError};

/// The version of Spark whose behaviour this server has.
pub(super) const SPARK_VERSION: &str = "3.5.9";

/// The time zone of a session.
pub(super) const TIME_ZONE: &str = "spark.sql.session.timeZone";

/// Settings that have a value unless the session gives another. What a client asks for has to be here: some ask for all at once.
const DEFAULTS: [(&str, &str); 38] = [
    ("spark.app.name", "firesteel"),
    // A client compresses no plan of fewer bytes than this; with -1 none at all.
    ("spark.connect.session.planCompression.defaultAlgorithm", "NONE"),
    ("spark.connect.session.planCompression.threshold", "-1"),
    ("spark.master", "firesteel"),
    ("spark.sql.ansi.enabled", "false"),
    ("spark.sql.artifact.isolation.alwaysApplyClassloader", "false"),
    ("spark.sql.artifact.isolation.enabled", "false"),
    ("spark.sql.caseSensitive", "false"),
    ("spark.sql.catalogImplementation", "in-memory"),
    ("spark.sql.connect.serverStacktrace.enabled", "false"),
    ("spark.sql.defaultCatalog", "spark_catalog"),
    ("spark.sql.execution.arrow.maxRecordsPerBatch", "10000"),
    ("spark.sql.execution.arrow.pyspark.enabled", "true"),
    ("spark.sql.execution.arrow.pyspark.selfDestruct.enabled", "false"),
    ("spark.sql.execution.arrow.useLargeVarTypes", "false"),
    ("spark.sql.execution.pandas.convertToArrowArraySafely", "false"),
    ("spark.sql.execution.pandas.inferPandasDictAsMap", "false"),
    ("spark.sql.execution.pandas.structHandlingMode", "legacy"),
    ("spark.sql.execution.pyspark.binaryAsBytes", "true"),
    ("spark.sql.execution.pythonUDF.arrow.enabled", "false"),
    ("spark.sql.execution.pythonUDTF.arrow.enabled", "false"),
    ("spark.sql.leafNodeDefaultParallelism", "1"),
    ("spark.sql.pyspark.inferNestedDictAsStruct.enabled", "false"),
    ("spark.sql.pyspark.jvmStacktrace.enabled", "false"),
    ("spark.sql.pyspark.legacy.inferArrayTypeFromFirstElement.enabled", "false"),
    ("spark.sql.pyspark.legacy.inferMapTypeFromFirstPair.enabled", "false"),
    ("spark.sql.repl.eagerEval.enabled", "false"),
    ("spark.sql.repl.eagerEval.maxNumRows", "20"),
    ("spark.sql.repl.eagerEval.truncate", "20"),
    ("spark.sql.session.localRelationBatchOfChunksSizeBytes", "67108864"),
    ("spark.sql.session.localRelationCacheThreshold", "1073741824"),
    ("spark.sql.session.localRelationChunkSizeBytes", "16777216"),
    ("spark.sql.session.localRelationChunkSizeRows", "10000"),
    ("spark.sql.session.localRelationSizeLimit", "67108864"),
    (TIME_ZONE, "UTC"),
    ("spark.sql.shuffle.partitions", "200"),
    ("spark.sql.timestampType", "TIMESTAMP_LTZ"),
    ("spark.sql.warehouse.dir", "spark-warehouse"),
];

/// Settings with one value: another would promise what this server does not do.
const FIXED: [(&str, &str); 5] = [
    ("spark.sql.ansi.enabled", "results are those of ANSI mode off"),
    ("spark.sql.caseSensitive", "names are compared without case"),
    ("spark.sql.timestampType", "a timestamp is a point in time"),
    ("spark.sql.execution.arrow.useLargeVarTypes", "texts have offsets of 32 bits"),
    ("spark.sql.session.localRelationCacheThreshold", "rows are sent within the plan"),
];

/// The settings of a session.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    values: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        let values = DEFAULTS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self { values: values.collect() }
    }
}

impl Settings {
    /// The value of a setting.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The value of a setting that must have one.
    pub(super) fn required(&self, key: &str) -> Result<&str> {
        self.get(key).ok_or_else(|| {
            let message =
                format!("The SQL config \"{key}\" cannot be found. Please verify that the config exists.");
            SparkError::new(Kind::Runtime, "SQL_CONF_NOT_FOUND", "42K0I", message)
        })
    }

    /// All settings whose names begin with `prefix`, which is taken off.
    pub(super) fn all(&self, prefix: &str) -> Vec<(String, String)> {
        let begins = self.values.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
        begins.map(|(key, value)| (key.to_owned(), value.clone())).collect()
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// A setting with one value, and a time zone that is not known.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let same = self.get(key).is_some_and(|now| now.eq_ignore_ascii_case(value));
        if let Some((_, why)) = FIXED.iter().find(|(fixed, _)| *fixed == key && !same) {
            return Err(SparkError::unsupported(format!("{key} = {value}, because {why}")));
        }
        if key == TIME_ZONE && Tz::from_str(value).is_err() {
            let message =
                format!("The value '{value}' in the config \"{key}\" is invalid: it is no time zone.");
            return Err(SparkError::new(
                Kind::IllegalArgument,
                "INVALID_CONF_VALUE.TIME_ZONE",
                "22022",
                message,
            ));
        }
        self.values.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Gives a setting its first value back, or none.
    pub(super) fn unset(&mut self, key: &str) {
        match DEFAULTS.iter().find(|(name, _)| *name == key) {
            Some((_, value)) => self.values.insert(key.to_owned(), (*value).to_owned()),
            None => self.values.remove(key),
        };
    }

    /// Whether a session may change a setting.
    pub(super) fn is_modifiable(key: &str) -> bool {
        DEFAULTS.iter().any(|(name, _)| *name == key) && !FIXED.iter().any(|(name, _)| *name == key)
    }

    /// The time zone in which the session sees points in time.
    pub(super) fn time_zone(&self) -> &str {
        self.get(TIME_ZONE).unwrap_or("UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_changed_unless_it_would_promise_too_much() {
        let mut settings = Settings::default();
        settings.set(TIME_ZONE, "Europe/Berlin").unwrap();
        assert_eq!(settings.time_zone(), "Europe/Berlin");
        assert!(settings.set(TIME_ZONE, "Mars/Olympus").is_err());
        settings.unset(TIME_ZONE);
        assert_eq!(settings.time_zone(), "UTC");
        settings.set("spark.sql.ansi.enabled", "FALSE").unwrap();
        assert_eq!(settings.set("spark.sql.ansi.enabled", "true").unwrap_err().kind, Kind::Unsupported);
        settings.set("my.own", "1").unwrap();
        assert_eq!(settings.all("my."), [("own".to_owned(), "1".to_owned())]);
        settings.unset("my.own");
        assert_eq!(settings.required("my.own").unwrap_err().class, "SQL_CONF_NOT_FOUND");
    }
}
