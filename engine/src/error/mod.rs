//! Every way in which the engine can fail, as named variants that carry what a caller needs to react.
//!
//! ```text
//!  this process      DataFusionError::External, which holds the error itself      [`convert`]
//!  another process   a sentence, and behind it the error as data                  [`wire`]
//!  Ballista's own    types and texts of Ballista's, read in one place             [`ballista`]
//! ```
//!
//! An error that asks for a change of the configuration names its field, see [`Error::fields`].

mod ballista;
mod convert;
mod disk;
mod fields;
mod messages;
mod wire;

use std::net::SocketAddr;

use datafusion::error::DataFusionError;
pub use firesteel_common::ConfigField;
use firesteel_common::net::DialError;
use serde::{Deserialize, Serialize};

pub(crate) use self::ballista::{failed_task, is_lost_connection};
pub(crate) use self::wire::{decode, encode, readable};

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
///
/// Serialized, an error has its variant's name as `class`, in snake case, and the variant's fields beside it: so it
/// travels between the processes of a cluster. A variant that holds another library's error, or words of the program's
/// own, is not serialized.
#[derive(thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Error {
    /// A server does not answer.
    #[error("cannot reach {role} at {address}: {message}; check {setting}")]
    Unreachable {
        /// The server's name, such as `MongoDB`, which follows from the field.
        #[serde(skip)]
        role: &'static str,
        /// Host and port, without credentials.
        address: String,
        /// The field of the configuration that holds the address.
        setting: ConfigField,
        /// The driver's reason.
        message: String,
    },
    /// A field of the configuration has a value that cannot be used. The value is not repeated: it may hold a password.
    #[error("{setting} cannot be used: {message}")]
    InvalidSetting {
        /// The field.
        setting: ConfigField,
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
    /// A document that a statement reads and writes would come back as another one.
    #[error(
        "the statement would change what it copies: collection `{collection}`, _id `{id}`, field `{field}`: {message}; \
         an expression in the field's place says what is meant"
    )]
    ChangedValue {
        /// The collection that is read.
        collection: String,
        /// The document's `_id`.
        id: String,
        /// The field.
        field: String,
        /// What would become of it.
        message: String,
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
    #[serde(skip)]
    MongoDb {
        /// The command.
        #[serde(skip)]
        operation: &'static str,
        /// The collection.
        collection: String,
        /// What the server or the driver said.
        message: String,
    },
    /// Kafka has no such topic.
    #[error(
        "Kafka at {address} has no topic `{topic}`: it was looked for where {} says",
        ConfigField::KafkaBootstrap
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
    #[serde(skip)]
    Kafka {
        /// The request.
        #[serde(skip)]
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
        /// The fields of the configuration that take the option's place, by the names that the message has.
        #[serde(default)]
        fields: Vec<ConfigField>,
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
    #[serde(skip)]
    ResultType {
        /// The column's position, from 0.
        column: usize,
        /// The type that was asked for.
        #[serde(skip)]
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
    #[serde(skip)]
    InvalidFunction {
        /// The function.
        name: String,
        /// Why not.
        #[serde(skip)]
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
    #[serde(skip)]
    UnsupportedStatement {
        /// The statement, or the part of it.
        #[serde(skip)]
        statement: &'static str,
        /// Why, or what to do instead.
        #[serde(skip)]
        instead: &'static str,
    },
    /// The place of a file means nothing on this machine, or what is there cannot be read.
    #[error("location `{location}` cannot be used: {message}")]
    Location {
        /// As the statement has it.
        location: String,
        /// What is wrong with it.
        message: String,
    },
    /// A statement or a plan names a file that this process may not read or write. Whether it exists is not told.
    #[error(
        "the file {path} may not be {} here: {setting}, of the process that does, names no folder above it",
        messages::done(.setting)
    )]
    FileRefused {
        /// The file, as it was named.
        path: String,
        /// The field of the configuration that names the folders.
        setting: ConfigField,
    },
    /// A table would be in a database that this process does not offer.
    #[error("database `{database}` is not on the list of databases that tables may be in ({setting})")]
    DatabaseRefused {
        /// The database.
        database: String,
        /// The field of the configuration with the list.
        setting: ConfigField,
    },
    /// A statement, or a plan, asks for more than one request may.
    #[error("{what} is over the limit of {most}, which {setting} sets")]
    OverLimit {
        /// What is too much of.
        what: String,
        /// The limit.
        most: u64,
        /// The field of the configuration that sets it.
        setting: ConfigField,
    },
    /// A session chooses a setting that it may not choose, or a value outside of its range.
    #[error("the setting `{name}` of a session cannot be used: {message}")]
    SessionSetting {
        /// The setting.
        name: String,
        /// What is wrong with it, and the range where it has one.
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
        /// The field of the configuration that names the folder.
        setting: ConfigField,
        /// What went wrong.
        message: String,
    },
    /// A query needs more room on the disk of an executor than there is.
    #[error(
        "the disk of an executor is full: {message}; give it more room ({setting}), or have the query keep less"
    )]
    ScratchFull {
        /// The field of the configuration that limits it.
        setting: ConfigField,
        /// How full it is, or the system's words.
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
    #[error("{role} cannot listen on {address}: {message}; change {port} or {host}")]
    #[serde(skip)]
    Listen {
        /// Which part.
        #[serde(skip)]
        role: &'static str,
        /// Host and port.
        address: String,
        /// The field of the configuration that holds the host.
        host: ConfigField,
        /// The field of the configuration that holds the port.
        port: ConfigField,
        /// The system's reason.
        message: String,
    },
    /// A part of the cluster would be open to other machines and ask nobody who they are.
    #[error(
        "{role} would listen on {address}, where other machines reach it, and ask nobody who they are: give it tokens and \
         the secret of the cluster ({}, {}), keep it on this machine ({host}), or allow it ({})",
        ConfigField::AccessTokens,
        ConfigField::AccessClusterSecret,
        ConfigField::AccessInsecure
    )]
    #[serde(skip)]
    Exposed {
        /// Which part.
        #[serde(skip)]
        role: &'static str,
        /// Where it would listen.
        address: SocketAddr,
        /// The field of the configuration that holds the host.
        host: ConfigField,
    },
    /// A server cannot be reached in the way that the configuration says.
    #[error("cannot reach {role}: {source}")]
    #[serde(skip)]
    Dial {
        /// The server's name.
        #[serde(skip)]
        role: &'static str,
        /// The reason.
        source: DialError,
    },
    /// A server does not let this process do what it asks for.
    #[error("{role} refuses: {message}")]
    #[serde(skip)]
    Refused {
        /// The server's name.
        #[serde(skip)]
        role: &'static str,
        /// What the server said.
        message: String,
    },
    /// A folder cannot be used.
    #[error("the folder {path} cannot be used: {message}; change {setting}")]
    Folder {
        /// The field of the configuration that names it.
        setting: ConfigField,
        /// Where it is.
        path: String,
        /// The system's reason.
        message: String,
    },
    /// A part of the cluster cannot start, or cannot go on.
    #[error("{role} cannot run: {message}")]
    #[serde(skip)]
    Component {
        /// Which part.
        #[serde(skip)]
        role: &'static str,
        /// What went wrong.
        message: String,
    },
    /// The job was cancelled: by this process, or by someone who looked after the cluster.
    #[error("the job was cancelled")]
    Cancelled,
    /// An executor, or the scheduler, was lost with a part of a job that the cluster cannot compute again by itself.
    /// Running the query again cures it.
    #[error("the job failed: an executor or the scheduler was lost with a part of the work: {message}")]
    LostWork {
        /// What was lost.
        message: String,
    },
    /// The cluster has had no executor for so long that a job was given up.
    #[error(
        "the job failed: the cluster has had no executor for {seconds} s: start one, or let jobs wait longer ({})",
        ConfigField::SchedulerNoExecutorsGrace
    )]
    NoExecutors {
        /// For how long.
        seconds: u64,
    },
    /// A job failed on the cluster for a reason that has no variant of its own.
    #[error("the job failed: {message}")]
    Job {
        /// The cluster's words.
        message: String,
    },
    /// A query is wrong, or it failed in this process.
    #[error("{}", messages::query(.0))]
    #[serde(skip)]
    Query(#[source] DataFusionError),
}
