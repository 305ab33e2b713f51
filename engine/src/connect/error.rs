//! Errors as Spark's clients know them: a class, a state of SQL, parameters, and the exception that a client raises.

use std::collections::BTreeMap;
use std::collections::HashMap;

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use firesteel_common::access::Refusal;
use firesteel_proto::spark::connect::fetch_error_details_response::{Error as ErrorDetails, SparkThrowable};
use firesteel_proto::spark::{Any, ErrorInfo, Status as RpcStatus};
use prost::Message as _;
use tonic::{Code, Status};

use crate::Error;

/// The result of a translation.
pub(super) type Result<T, E = SparkError> = std::result::Result<T, E>;

/// The longest message that a trailer of gRPC carries; the whole one is fetched.
const MESSAGE_CHARACTERS: usize = 700;

/// Which exception a client raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A plan that means nothing: a column, a table or a function that is not there, or types that do not fit.
    Analysis,
    /// A text that cannot be read.
    Parse,
    /// An argument that cannot be used.
    IllegalArgument,
    /// What this server does not do.
    Unsupported,
    /// A calculation that has no result.
    Arithmetic,
    /// A failure while rows are computed.
    Runtime,
}

impl Kind {
    /// The classes of Java that a client knows the exception by, the closest first.
    fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Analysis => &["org.apache.spark.sql.AnalysisException", "java.lang.Exception"],
            Self::Parse => &[
                "org.apache.spark.sql.catalyst.parser.ParseException",
                "org.apache.spark.sql.AnalysisException",
                "java.lang.Exception",
            ],
            Self::IllegalArgument => &["java.lang.IllegalArgumentException", "java.lang.Exception"],
            Self::Unsupported => &["java.lang.UnsupportedOperationException", "java.lang.Exception"],
            Self::Arithmetic => &["java.lang.ArithmeticException", "java.lang.Exception"],
            Self::Runtime => &["org.apache.spark.SparkException", "java.lang.Exception"],
        }
    }
}

/// An error in Spark's terms.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.text())]
pub(super) struct SparkError {
    pub(super) kind: Kind,
    /// The class, such as `TABLE_OR_VIEW_NOT_FOUND`.
    pub(super) class: &'static str,
    state: &'static str,
    message: String,
    parameters: BTreeMap<&'static str, String>,
    /// The status of a call that never came to a plan.
    code: Code,
}

impl SparkError {
    pub(super) fn new(
        kind: Kind,
        class: &'static str,
        state: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let (message, parameters) = (message.into(), BTreeMap::new());
        Self { kind, class, state, message, parameters, code: Code::Internal }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.parameters.insert(name, value.into());
        self
    }

    /// What this server does not do.
    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        let what = what.into();
        let message = format!("The operation is not supported here: {what}.");
        Self::new(Kind::Unsupported, "UNSUPPORTED_FEATURE", "0A000", message).with("operation", what)
    }

    /// An argument that cannot be used.
    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::new(Kind::IllegalArgument, "INVALID_PARAMETER_VALUE", "22023", message)
    }

    /// A message without a part that it must have.
    pub(super) fn incomplete(what: &str) -> Self {
        let message = format!("The plan is not complete: {what} is missing.");
        Self::new(Kind::IllegalArgument, "CONNECT_INVALID_PLAN", "56K00", message)
    }

    /// A column that is not there.
    pub(super) fn column(name: &str, there: &[String]) -> Self {
        let quoted = quoted(name);
        if there.is_empty() {
            let message =
                format!("A column, variable, or function parameter with name {quoted} cannot be resolved.");
            let class = "UNRESOLVED_COLUMN.WITHOUT_SUGGESTION";
            return Self::new(Kind::Analysis, class, "42703", message).with("objectName", quoted);
        }
        let there = there.iter().map(|name| self::quoted(name)).collect::<Vec<_>>().join(", ");
        let message = format!(
            "A column, variable, or function parameter with name {quoted} cannot be resolved. Did you mean one of the \
             following? [{there}]."
        );
        Self::new(Kind::Analysis, "UNRESOLVED_COLUMN.WITH_SUGGESTION", "42703", message)
            .with("objectName", quoted)
            .with("proposal", there)
    }

    /// A column of a data frame that the rows do not come from.
    pub(super) fn frame_column(name: &str) -> Self {
        let quoted = quoted(name);
        let message = format!(
            "Cannot resolve dataframe column {quoted}. It's probably because of illegal references like \
             `df1.select(df2.col(\"a\"))`."
        );
        Self::new(Kind::Analysis, "CANNOT_RESOLVE_DATAFRAME_COLUMN", "42704", message).with("name", quoted)
    }

    /// A name that several columns have.
    pub(super) fn ambiguous(name: &str, candidates: &[String]) -> Self {
        let (quoted, candidates) = (quoted(name), format!("[{}]", candidates.join(", ")));
        let message = format!("Reference {quoted} is ambiguous, could be: {candidates}.");
        Self::new(Kind::Analysis, "AMBIGUOUS_REFERENCE", "42704", message)
            .with("name", quoted)
            .with("referenceNames", candidates)
    }

    /// A table that is not there.
    pub(super) fn table(name: &str) -> Self {
        let quoted = quoted(name);
        let message = format!(
            "The table or view {quoted} cannot be found. Verify the spelling and correctness of the schema and catalog."
        );
        Self::new(Kind::Analysis, "TABLE_OR_VIEW_NOT_FOUND", "42P01", message).with("relationName", quoted)
    }

    /// A function that is not there.
    pub(super) fn routine(name: &str) -> Self {
        let quoted = quoted(name);
        let message = format!(
            "Cannot resolve routine {quoted}: this server does not have it. docs/spark.md lists the functions that it has."
        );
        Self::new(Kind::Analysis, "UNRESOLVED_ROUTINE", "42883", message).with("routineName", quoted)
    }

    /// A call with the wrong number of arguments.
    pub(super) fn arguments(function: &str, expected: &str, actual: usize) -> Self {
        let message = format!(
            "The {} requires {expected} parameters but the actual number is {actual}.",
            quoted(function)
        );
        Self::new(Kind::Analysis, "WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "42605", message)
            .with("functionName", quoted(function))
            .with("expectedNum", expected)
            .with("actualNum", actual.to_string())
    }

    /// A text in SQL that cannot be read.
    pub(super) fn syntax(message: impl Into<String>) -> Self {
        let message = message.into();
        let text = format!("Syntax error: {message}.");
        Self::new(Kind::Parse, "PARSE_SYNTAX_ERROR", "42601", text).with("error", message)
    }

    /// A plan whose types or names do not fit.
    pub(super) fn analysis(message: impl Into<String>) -> Self {
        Self::new(Kind::Analysis, "DATATYPE_MISMATCH", "42K09", message)
    }

    /// A handle that nothing belongs to.
    pub(super) fn handle(class: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Runtime, class, "HY000", message)
    }

    fn text(&self) -> String {
        format!("[{}] {} SQLSTATE: {}", self.class, self.message, self.state)
    }

    /// What a client is told at first. `id` is what it asks for all of the error with.
    pub(super) fn to_status(&self, id: &str) -> Status {
        let message: String = self.text().chars().take(MESSAGE_CHARACTERS).collect();
        // A part of JSON cannot be read.
        let parameters = serde_json::to_string(&self.parameters).unwrap_or_default();
        let parameters = if parameters.len() > MESSAGE_CHARACTERS { "{}".to_owned() } else { parameters };
        let classes = serde_json::to_string(self.kind.classes()).unwrap_or_default();
        let metadata = HashMap::from([
            ("classes".to_owned(), classes),
            ("errorClass".to_owned(), self.class.to_owned()),
            ("sqlState".to_owned(), self.state.to_owned()),
            ("errorId".to_owned(), id.to_owned()),
            ("messageParameters".to_owned(), parameters),
        ]);
        let reason = self.kind.classes().first().copied().unwrap_or_default().to_owned();
        let info = ErrorInfo { reason, domain: "org.apache.spark".to_owned(), metadata };
        let details = Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: info.encode_to_vec(),
        };
        let status = RpcStatus { code: self.code as i32, message: message.clone(), details: vec![details] };
        Status::with_details(self.code, message, status.encode_to_vec().into())
    }

    /// All of the error.
    pub(super) fn details(&self) -> ErrorDetails {
        let parameters = self.parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        ErrorDetails {
            error_type_hierarchy: self.kind.classes().iter().map(|class| (*class).to_owned()).collect(),
            message: self.text(),
            cause_idx: None,
            spark_throwable: Some(SparkThrowable {
                error_class: Some(self.class.to_owned()),
                message_parameters: parameters.collect(),
                sql_state: Some(self.state.to_owned()),
            }),
        }
    }
}

/// A name in backticks, part by part.
fn quoted(name: &str) -> String {
    name.split('.').map(|part| format!("`{}`", part.trim_matches('`'))).collect::<Vec<_>>().join(".")
}

impl From<Error> for SparkError {
    fn from(error: Error) -> Self {
        match error {
            Error::Query(error) => error.into(),
            error @ (Error::UnsupportedStatement { .. }
            | Error::FileRefused { .. }
            | Error::OverLimit { .. }
            | Error::SessionSetting { .. }) => {
                Self::new(Kind::Unsupported, "UNSUPPORTED_FEATURE", "0A000", error.to_string())
            }
            error @ Error::UnknownFunction { .. } => {
                Self::new(Kind::Analysis, "UNRESOLVED_ROUTINE", "42883", error.to_string())
            }
            other => Self::new(Kind::Runtime, "INTERNAL_ERROR", "XX000", other.to_string()),
        }
    }
}

impl From<DataFusionError> for SparkError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::SQL(parser, _) => return Self::syntax(parser.to_string()),
            DataFusionError::SchemaError(schema, _) => {
                return match schema.as_ref() {
                    SchemaError::FieldNotFound { field, valid_fields } => {
                        let there: Vec<String> = valid_fields.iter().map(|field| field.flat_name()).collect();
                        Self::column(&field.flat_name(), &there)
                    }
                    other => Self::analysis(other.to_string()),
                };
            }
            DataFusionError::NotImplemented(what) => return Self::unsupported(what.trim_end_matches('.')),
            DataFusionError::Plan(message) => return Self::analysis(message.clone()),
            DataFusionError::ArrowError(arrow, _) => {
                if let ArrowError::DivideByZero = arrow.as_ref() {
                    return Self::new(Kind::Arithmetic, "DIVIDE_BY_ZERO", "22012", "Division by zero.");
                }
            }
            _ => {}
        }
        match Error::from(error) {
            Error::Query(error) => {
                Self::new(Kind::Runtime, "INTERNAL_ERROR", "XX000", error.strip_backtrace())
            }
            other => other.into(),
        }
    }
}

impl From<ArrowError> for SparkError {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<Refusal> for SparkError {
    fn from(refusal: Refusal) -> Self {
        let error = Self::new(Kind::Runtime, "INSUFFICIENT_PERMISSIONS", "42501", refusal.to_string());
        Self { code: refusal.code(), ..error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_class_state_and_exception() {
        let status = SparkError::table("a.b").to_status("7");
        assert_eq!(status.code(), Code::Internal);
        assert!(
            status.message().starts_with("[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b`"),
            "{status}"
        );
        let rpc = RpcStatus::decode(status.details()).unwrap();
        let info = ErrorInfo::decode(rpc.details[0].value.as_slice()).unwrap();
        assert_eq!(info.metadata["sqlState"], "42P01");
        assert_eq!(info.metadata["errorId"], "7");
        assert!(info.metadata["classes"].starts_with("[\"org.apache.spark.sql.AnalysisException\""));
    }

    #[test]
    fn errors_of_the_engine_keep_what_they_are() {
        let missing = DataFusionError::NotImplemented("lateral views.".to_owned());
        assert_eq!(SparkError::from(missing).kind, Kind::Unsupported);
        let zero = DataFusionError::from(ArrowError::DivideByZero).context("a job");
        assert_eq!(SparkError::from(zero).class, "DIVIDE_BY_ZERO");
    }
}
