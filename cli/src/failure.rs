//! Tells a user what went wrong: the error, its causes, and the settings behind the configuration fields that it names.
//!
//! ```text
//! firesteel: produce: cannot reach Kafka at localhost:9092 (kafka.bootstrap)
//!   because: Meta data fetch error: BrokerTransportFailure
//!   kafka.bootstrap: --kafka-bootstrap, FIRESTEEL_KAFKA_BOOTSTRAP or kafka_bootstrap in the settings file
//! ```

use std::error::Error;
use std::fmt::{self, Write as _};

use firesteel_common::ConfigField;
use firesteel_pipeline::{dataset, inference};

use crate::args::fields::Settings;

/// An error of the engine in other words. It keeps the configuration fields that the error named.
#[derive(Debug)]
pub(crate) struct Explained {
    text: String,
    fields: Vec<ConfigField>,
}

impl Explained {
    /// `text` in place of the text of `error`.
    pub(crate) fn new(text: String, error: &firesteel_engine::Error) -> Self {
        Self { text, fields: error.fields() }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Explained {}

/// The error behind `prefix`, then its causes and settings, one per line.
pub(crate) fn text(prefix: &str, error: &anyhow::Error, settings: &Settings) -> String {
    let mut said = error.to_string();
    let mut text = format!("{prefix}: {said}\n");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // An error that quotes its cause does not need a line for it.
        if !said.contains(&cause) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  because: {cause}");
            said.push_str(&cause);
        }
    }
    for field in fields(error) {
        let _ = writeln!(text, "  {field}: {}", settings.words(field));
    }
    text
}

/// The configuration fields that the error and its causes name, each once, the likeliest first.
fn fields(error: &anyhow::Error) -> Vec<ConfigField> {
    let mut fields = Vec::new();
    for field in error.chain().flat_map(named) {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields
}

/// The configuration fields that one error names. Only errors of the libraries name any.
fn named(error: &(dyn Error + 'static)) -> Vec<ConfigField> {
    if let Some(error) = error.downcast_ref::<firesteel_engine::Error>() {
        return error.fields();
    }
    if let Some(error) = error.downcast_ref::<firesteel_pipeline::Error>() {
        return error.fields();
    }
    if let Some(error) = error.downcast_ref::<dataset::Error>() {
        return vec![error.field()];
    }
    if let Some(error) = error.downcast_ref::<inference::Error>() {
        return error.field().into_iter().collect();
    }
    if let Some(explained) = error.downcast_ref::<Explained>() {
        return explained.fields.clone();
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn told(error: impl Into<anyhow::Error>) -> String {
        text("firesteel", &error.into(), &Settings::new(crate::cli::Cli::command(), Some("seed")))
    }

    #[test]
    fn a_failure_is_told_with_its_causes_and_its_settings() {
        let source = std::io::Error::other("the port is taken");
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let error = firesteel_pipeline::Error::Health { address, source };
        let expected = "\
firesteel: cannot serve health checks on 127.0.0.1:9 (health.listen)
  because: the port is taken
  health.listen: --health-listen, FIRESTEEL_HEALTH_LISTEN or health_listen in the settings file
";
        assert_eq!(told(error), expected);
    }

    /// As the shell has it, which says where the statement stands and explains the error.
    #[test]
    fn an_explained_error_keeps_its_fields() {
        let message = "no scheme".to_owned();
        let setting = ConfigField::MongodbUri;
        let error = firesteel_engine::Error::InvalidSetting { setting, message };
        let explained = Explained::new(format!("{error}; \\d lists the tables"), &error);
        let place = format!("s.sql, line 3: {explained}");
        let expected = "\
firesteel: s.sql, line 3: mongodb.uri cannot be used: no scheme; \\d lists the tables
  mongodb.uri: --mongodb-uri, FIRESTEEL_MONGODB_URI or mongodb_uri in the settings file
";
        assert_eq!(told(anyhow::Error::new(explained).context(place)), expected);
    }

    #[test]
    fn several_fields_have_a_line_each_and_a_context_hides_none() {
        let (database, collection) = ("d".to_owned(), "c".to_owned());
        let error = firesteel_pipeline::Error::CollectionNotEmpty { database, collection, documents: 7 };
        let text = told(anyhow::Error::new(error).context("nothing was written"));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("  because: d.c holds 7 documents already"), "{text}");
        let expected = [
            "  seed.existing: --drop; --append",
            "  mongodb.database: --mongodb-database, FIRESTEEL_MONGODB_DATABASE or mongodb_database in the settings file",
            "  seed.collection: --collection",
        ];
        assert_eq!(lines[2..], expected, "{text}");
    }
}
