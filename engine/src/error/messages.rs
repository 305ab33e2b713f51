//! DataFusion's errors in words that a person can use: without the layers that DataFusion puts around a cause.

use datafusion::common::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use super::{ConfigField, wire};

/// What an error says, without layers, backtraces and data.
pub(super) fn query(error: &DataFusionError) -> String {
    wire::readable(&words(error))
}

/// What is not allowed with a file, by the field that allows it.
pub(super) fn done(field: &ConfigField) -> &'static str {
    if *field == ConfigField::FilesWrite { "written" } else { "read" }
}

fn words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
                format!("this is not SQL: {}", text.trim_start_matches("sql parser error: "))
            }
            ParserError::RecursionLimitExceeded => "this is not SQL: it is nested too deeply".to_owned(),
        },
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => without_backtrace(text),
        DataFusionError::SchemaError(error, _) => error.to_string(),
        DataFusionError::ArrowError(error, _) => error.to_string(),
        DataFusionError::Diagnostic(_, inner) => words(inner),
        DataFusionError::Shared(inner) => words(inner),
        DataFusionError::Context(what, inner) => format!("{what}: {}", words(inner)),
        DataFusionError::Collection(errors) => errors.iter().map(words).collect::<Vec<_>>().join("; "),
        DataFusionError::External(error) => error.to_string(),
        other => other.strip_backtrace(),
    }
}

fn without_backtrace(text: &str) -> String {
    text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::error::ArrowError;

    use super::*;
    use crate::Error;

    #[test]
    fn what_this_process_finds_wrong_is_told_without_layers() {
        let parse = ParserError::ParserError("Expected: a statement, found: SELEKT".to_owned());
        let ours = || DataFusionError::from(Error::UnknownConnection { name: "other".to_owned() });
        for (error, expected) in [
            (
                DataFusionError::SQL(Box::new(parse), None),
                "this is not SQL: Expected: a statement, found: SELEKT",
            ),
            (DataFusionError::Plan("table 'a' not found".to_owned()), "table 'a' not found"),
            (DataFusionError::Plan("no".to_owned()).context("why"), "why: no"),
            (DataFusionError::from(ArrowError::DivideByZero), "Divide by zero error"),
            (ours(), "this process has no connection named `other`"),
            (ours().context("why"), "why: this process has no connection named `other`"),
            (
                DataFusionError::from(ArrowError::ExternalError(Box::new(ours()))),
                "External error: External error: this process has no connection named `other`",
            ),
        ] {
            assert_eq!(query(&error), expected);
        }
    }
}
