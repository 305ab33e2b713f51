//! Every way in which the engine can fail, as named variants that carry what a caller needs to react.
//!
//! Inside a query an error travels as `DataFusionError::External` and stays structural. Between processes
//! Ballista carries only text, so [`Error::from_job`] reads the variants that a caller reacts to back out
//! of the text. That text is the error's `Debug`, which is why it says the same as its `Display`.

mod field;
mod job;

use std::fmt;

use datafusion::error::DataFusionError;

pub use self::field::{ConfigField, UnknownField};

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A server does not answer.
    #[error("cannot reach {role} at {address}: {message}; check {setting}")]
    Unreachable {
        /// What the server is to us, such as `MongoDB`.
        role: &'static str,
        /// Host and port, without credentials.
        address: String,
        /// The setting that holds the address.
        setting: &'static str,
        /// What the driver said.
        message: String,
    },
    /// A setting has a value that cannot be used. The value is not repeated: it may hold a password.
    #[error("{setting} cannot be used: {message}")]
    InvalidSetting {
        /// The name of the setting.
        setting: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A table's declared schema cannot be read from a collection.
    #[error("the schema of collection `{collection}` cannot be used: field `{field}`: {message}")]
    InvalidSchema {
        /// The collection.
        collection: String,
        /// The offending field.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// A document holds a value of another type than the schema declares.
    #[error(
        "a document does not match the schema: collection `{collection}`, _id `{id}`, field `{field}`: \
         expected `{expected}`, found `{found}`"
    )]
    SchemaMismatch {
        /// The collection.
        collection: String,
        /// The document's `_id`.
        id: String,
        /// The field.
        field: String,
        /// The declared type.
        expected: String,
        /// The BSON type that was found.
        found: String,
    },
    /// The snapshot that a query reads at is gone from the server.
    #[error(
        "the snapshot of collection `{collection}` is no longer available: the query took longer than the \
         server keeps history (minSnapshotHistoryWindowInSeconds, 300 s by default): `{message}`"
    )]
    SnapshotUnavailable {
        /// The collection.
        collection: String,
        /// What the server said.
        message: String,
    },
    /// A MongoDB operation failed in a way that trying again does not cure.
    #[error("MongoDB operation `{operation}` on `{collection}` failed: {message}")]
    MongoDb {
        /// The command.
        operation: &'static str,
        /// The collection.
        collection: String,
        /// What the server or the driver said.
        message: String,
    },
    /// Kafka has no such topic.
    #[error(
        "Kafka at {address} has no topic `{topic}`: it was looked for where FIRESTEEL_KAFKA_BOOTSTRAP says"
    )]
    UnknownTopic {
        /// The topic.
        topic: String,
        /// The brokers.
        address: String,
    },
    /// Offsets that were to be read are not in Kafka: retention has removed them, or they were never written.
    #[error(
        "offset {wanted} of topic `{topic}` partition {partition} is not there: Kafka has {earliest} to {latest} \
         (exclusive); the table option failOnDataLoss 'false' reads what there is"
    )]
    OffsetsLost {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset that was to be read.
        wanted: i64,
        /// The first offset that is there.
        earliest: i64,
        /// The offset behind the last one that is there.
        latest: i64,
    },
    /// A message's value is not what the table's format says.
    #[error(
        "the message at offset {offset} of topic `{topic}` partition {partition} does not fit its table: {message}; \
         the table option mode 'PERMISSIVE' makes its columns null"
    )]
    BadRecord {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What is wrong.
        message: String,
    },
    /// A Kafka request failed in a way that trying again does not cure.
    #[error("Kafka operation `{operation}` on topic `{topic}` failed: {message}")]
    Kafka {
        /// The request.
        operation: &'static str,
        /// The topic.
        topic: String,
        /// What the broker or the client said.
        message: String,
    },
    /// An option of a table has a value that cannot be used, or there is no such option.
    #[error("table option `{option}` cannot be used: {message}")]
    InvalidOption {
        /// The option's name.
        option: String,
        /// What is wrong with it.
        message: String,
    },
    /// A table cannot be written as a statement asks.
    #[error("collection `{collection}` cannot be written: {message}")]
    InvalidWrite {
        /// The collection.
        collection: String,
        /// What is wrong with the statement or the table.
        message: String,
    },
    /// A row cannot be a document.
    #[error("a row cannot be written to collection `{collection}`: {message}; the row: {row}")]
    InvalidRow {
        /// The collection.
        collection: String,
        /// The row's first values.
        row: String,
        /// What is wrong with it.
        message: String,
    },
    /// The server did not write what it was sent, or not as durably as was asked for.
    #[error("MongoDB did not write to collection `{collection}`: {message}")]
    WriteRefused {
        /// The collection.
        collection: String,
        /// What the server said.
        message: String,
    },
    /// A plan names a connection that this process does not have.
    #[error("this process has no connection named `{name}`")]
    UnknownConnection {
        /// The name in the plan.
        name: String,
    },
    /// A plan was made by another version of Firesteel.
    #[error("a plan of wire version {found} cannot be read here: this process speaks version {supported}")]
    PlanVersion {
        /// The version in the plan.
        found: u32,
        /// The version of this process.
        supported: u32,
    },
    /// A plan's bytes are damaged.
    #[error("a plan cannot be decoded: {message}")]
    PlanDecode {
        /// What is wrong.
        message: String,
    },
    /// A result has not the columns that the caller asked for.
    #[error("column {column} of the result is {found}, not {expected}")]
    ResultType {
        /// The column's position, from 0.
        column: usize,
        /// The type that was asked for.
        expected: &'static str,
        /// The Arrow type of the result.
        found: String,
    },
    /// A plan calls a function that a process does not know.
    #[error(
        "{process} has no function `{name}`: every process of a cluster has to register the functions that its \
         queries call (Config.functions)"
    )]
    UnknownFunction {
        /// The function.
        name: String,
        /// Which process.
        process: String,
    },
    /// A function cannot be registered.
    #[error("function `{name}` cannot be registered: {reason}")]
    InvalidFunction {
        /// The function.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A registered function failed.
    #[error("function `{name}` failed: `{message}`")]
    FunctionFailed {
        /// The function.
        name: String,
        /// What it said.
        message: String,
    },
    /// A reduction does not say how to reduce each part of the value.
    #[error("the value has {values} parts, but there are {reducers} reducers")]
    Reducers {
        /// Parts of the value.
        values: usize,
        /// Reducers.
        reducers: usize,
    },
    /// A statement of SQL that is not for this engine.
    #[error("{statement} is not supported: {instead}")]
    UnsupportedStatement {
        /// The statement, or the part of it.
        statement: &'static str,
        /// Why, or what to do instead.
        instead: &'static str,
    },
    /// The place of a file means nothing on this machine.
    #[error("location `{location}` cannot be used: {message}")]
    Location {
        /// As the statement has it.
        location: String,
        /// What is wrong with it.
        message: String,
    },
    /// A statement needs a table that is cached, and this one is not.
    #[error("table `{table}` is not cached")]
    NotCached {
        /// The table.
        table: String,
    },
    /// A statement would make a table under a name that is taken.
    #[error("table `{table}` exists already")]
    TableExists {
        /// The table.
        table: String,
    },
    /// A file of a cached table cannot be written or read.
    #[error(
        "file `{path}` of a cached table cannot be used: {message}; {setting} has to name a folder that all executors \
         share, and UNCACHE TABLE or REFRESH TABLE lets go of files that are lost"
    )]
    CacheFile {
        /// The file, on the machine of the executor.
        path: String,
        /// The setting that names the folder.
        setting: &'static str,
        /// What went wrong.
        message: String,
    },
    /// Two datasets cannot be joined, because their keys have not the same parts.
    #[error("the keys of a join have {left} and {right} parts")]
    Keys {
        /// Parts of this side's key.
        left: usize,
        /// Parts of the other side's.
        right: usize,
    },
    /// The embedded engine did not start.
    #[error("the embedded engine cannot start: {message}")]
    Embedded {
        /// What went wrong.
        message: String,
    },
    /// A part of the cluster cannot listen where it should.
    #[error("{role} cannot listen on {address}: {message}; change {setting}")]
    Listen {
        /// Which part.
        role: &'static str,
        /// Host and port.
        address: String,
        /// The settings that hold them.
        setting: &'static str,
        /// What the system said.
        message: String,
    },
    /// A folder cannot be used.
    #[error("the folder {path} cannot be used: {message}; change {setting}")]
    Folder {
        /// The setting that names it.
        setting: &'static str,
        /// Where it is.
        path: String,
        /// What the system said.
        message: String,
    },
    /// A part of the cluster cannot start, or cannot go on.
    #[error("{role} cannot run: {message}")]
    Component {
        /// Which part.
        role: &'static str,
        /// What went wrong.
        message: String,
    },
    /// The job was cancelled: by this process, or by someone who looked after the cluster.
    #[error("the job was cancelled")]
    Cancelled,
    /// A job failed on the cluster for a reason that has no variant of its own.
    #[error("the job failed: {message}")]
    Job {
        /// The cluster's words.
        message: String,
    },
    /// A query is wrong, or it failed in this process.
    #[error("{}", crate::words::query(.0))]
    Query(#[source] DataFusionError),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Whether a job ended because an executor was lost, in a way that running the query again cures.
    pub fn is_lost_work(&self) -> bool {
        let text = match self {
            Self::Job { message } => message.clone(),
            Self::Query(error) => error.to_string(),
            _ => return false,
        };
        ["an executor was lost", "FetchFailed", "GrpcConnectionError", "tcp connect error", "transport error"]
            .iter()
            .any(|sign| text.contains(sign))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(source) => match source.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => Self::Query(DataFusionError::External(other)),
            },
            // What is worth another try travels as an I/O error, see below.
            DataFusionError::IoError(error) if error.get_ref().is_some_and(|inner| inner.is::<Self>()) => {
                match error.downcast::<Self>() {
                    Ok(ours) => ours,
                    Err(other) => Self::Query(DataFusionError::IoError(other)),
                }
            }
            DataFusionError::Context(_, inner)
                if matches!(*inner, DataFusionError::External(_) | DataFusionError::IoError(_)) =>
            {
                Self::from(*inner)
            }
            // Ballista's client reports every failed job like this.
            DataFusionError::Execution(message) if message.starts_with("Job ") => Self::from_job(&message),
            other => Self::Query(other),
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::Query(inner) => inner,
            // Only an I/O error at the root is tried again by the scheduler.
            unreachable @ Error::Unreachable { .. } => Self::IoError(std::io::Error::other(unreachable)),
            other => Self::External(Box::new(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_reacts_to_survives_the_text_of_a_failed_job() {
        let mismatch = Error::SchemaMismatch {
            collection: "predictions".into(),
            id: "ab12cd34:7".into(),
            field: "correct".into(),
            expected: "Boolean".into(),
            found: "string".into(),
        };
        let shared = DataFusionError::External(Box::new(DataFusionError::from(mismatch)));
        let told = format!(
            "Job 7 failed: Task failed due to runtime execution error: DataFusionError({shared:?})\n"
        );
        match Error::from(DataFusionError::Execution(told)) {
            Error::SchemaMismatch { collection, id, field, expected, found } => {
                assert_eq!(
                    (collection.as_str(), id.as_str(), field.as_str(), expected.as_str(), found.as_str()),
                    ("predictions", "ab12cd34:7", "correct", "Boolean", "string")
                );
            }
            other => panic!("{other:?}"),
        }

        let gone = Error::SnapshotUnavailable { collection: "predictions".into(), message: "too old".into() };
        let told = format!("Job 7 failed: DataFusionError({:?})\n", DataFusionError::from(gone));
        assert!(matches!(Error::from(DataFusionError::Execution(told)),
            Error::SnapshotUnavailable { collection, message } if collection == "predictions" && message == "too old"));

        let missing = Error::UnknownFunction { name: "f".into(), process: "an executor (process 7)".into() };
        let told = format!("Job 7 failed: DataFusionError({:?})\n", DataFusionError::from(missing));
        assert!(matches!(Error::from(DataFusionError::Execution(told)),
            Error::UnknownFunction { name, process } if name == "f" && process == "an executor (process 7)"));

        let failed = Error::FunctionFailed { name: "f".into(), message: "no `x` here".into() };
        let told = format!("Job 7 failed: DataFusionError({:?})\n", DataFusionError::from(failed));
        assert!(matches!(Error::from(DataFusionError::Execution(told)),
            Error::FunctionFailed { name, message } if name == "f" && message == "no `x` here"));

        let told = "Job 7 failed: disk full".to_owned();
        assert!(matches!(Error::from(DataFusionError::Execution(told)), Error::Job { .. }));
    }

    #[test]
    fn an_error_stays_structural_through_datafusion() {
        let error = DataFusionError::from(Error::UnknownConnection { name: "other".into() });
        let wrapped = error.context("while planning");
        assert!(matches!(Error::from(wrapped), Error::UnknownConnection { name } if name == "other"));
    }
}
