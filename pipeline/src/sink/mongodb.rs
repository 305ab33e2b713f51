//! Predictions in MongoDB: one collection, clustered on `_id`, written by bulk upserts.
//!
//! A batch is one `update` command of unordered `{q: {_id}, u: document, upsert: true}`, or several where it is too
//! large for one, with write concern `{w: majority, j: true}`: when it is confirmed, it survives the loss of a
//! minority of the replica set. The collection is created clustered (MongoDB ≥ 5.3), because range scans over `_id`, which the engine splits its
//! work by, then read the documents in place; one that exists unclustered is used as it is, with a warning.

use super::document::upsert;
use super::reply::{Verdict, verdict};
use super::split::{MAX_COMMAND, MAX_OPERATION, MAX_OPERATIONS, commands};
use super::{Layout, Refused, Sink};
use crate::error::{Error, ErrorKind, Result, mongo_kind};
use crate::kafka::REACHABLE_WITHIN;
use async_trait::async_trait;
use bson::raw::cstr;
use bson::{Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use firesteel_proto::{PredictionRecord, ProducerId};
use mongodb::error::{Error as MongoError, ErrorKind as MongoErrorKind};
use mongodb::options::{ClientOptions, IndexOptions};
use mongodb::{Client, Database, IndexModel};
use std::fmt;
use std::time::Duration;

/// How long the server may take to confirm a batch before it counts as unconfirmed and is written again.
const CONFIRM_WITHIN: Duration = Duration::from_secs(15);
/// How long any other answer may take: twice the server's own limit, so that it speaks first unless the connection
/// is dead.
pub(super) const ANSWER_WITHIN: Duration = CONFIRM_WITHIN.saturating_mul(2);
/// An index of a large collection is not built in a moment. A second request waits for the build under way.
const INDEX_WITHIN: Duration = Duration::from_secs(120);
const NAMESPACE_EXISTS: i32 = 48;
/// UserNotFound, AuthenticationFailed, and Atlas's own.
const DENIED: [i32; 3] = [11, 18, 8_000];

/// Where predictions are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoConfig {
    /// The connection string; it may hold credentials, so it is never printed.
    pub uri: String,
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
}

impl Default for MongoConfig {
    fn default() -> Self {
        Self {
            uri: "mongodb://localhost:27017".to_owned(),
            database: "firesteel".to_owned(),
            collection: "predictions".to_owned(),
        }
    }
}

impl fmt::Debug for MongoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoConfig")
            .field("uri", &redact_uri(&self.uri))
            .field("database", &self.database)
            .field("collection", &self.collection)
            .finish()
    }
}

/// The scheme and hosts of a connection string, without credentials, path and options.
#[must_use]
pub fn redact_uri(uri: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    // A password may hold any character, even an unescaped slash: everything up to the last @ is credentials.
    let hosts = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
    let hosts = hosts.split(['/', '?']).next().unwrap_or_default();
    if scheme.is_empty() { hosts.to_owned() } else { format!("{scheme}://{hosts}") }
}

/// Writes predictions to MongoDB. Clones share the connections.
#[derive(Clone)]
pub struct MongoSink {
    pub(super) database: Database,
    pub(super) config: MongoConfig,
    role: String,
}

impl fmt::Debug for MongoSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoSink").field("config", &self.config).finish_non_exhaustive()
    }
}

impl MongoSink {
    /// Reads the connection string; it connects with the first request.
    ///
    /// # Errors
    /// [`Error::MongoUri`] for a string that cannot be used, [`Error::MongoUnreachable`] when its DNS names
    /// cannot be resolved.
    pub async fn new(config: &MongoConfig, role: &str) -> Result<Self> {
        let sink = |client: &Client| Self {
            database: client.database(&config.database),
            config: config.clone(),
            role: role.to_owned(),
        };
        let made = async {
            let mut options = ClientOptions::parse(&config.uri).await?;
            options.app_name.get_or_insert_with(|| format!("firesteel-{role}"));
            options.server_selection_timeout.get_or_insert(REACHABLE_WITHIN);
            options.connect_timeout.get_or_insert(REACHABLE_WITHIN);
            Client::with_options(options)
        };
        match made.await {
            Ok(client) => Ok(sink(&client)),
            Err(error) if mongo_kind(&error) == ErrorKind::Transient => Err(unreachable(config, role, error)),
            Err(error) => {
                let address = redact_uri(&config.uri);
                // The driver may quote what it could not read.
                let reason = error.kind.to_string().replace(&config.uri, &address);
                Err(Error::MongoUri { address, reason })
            }
        }
    }

    /// Ends the driver's work in the background, which would otherwise begin when the last handle is dropped and then
    /// meet the end of the runtime. Other handles of this sink can no longer be used.
    pub async fn close(self) {
        self.database.client().clone().shutdown().immediate(true).await;
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    /// [`Error::MongoUnreachable`] after 10 s, naming address, setting and role; [`Error::MongoDenied`] when it is
    /// there and refuses the credentials.
    pub async fn check(&self) -> Result<()> {
        let ping = self.database.run_command(doc! { "ping": 1 });
        match within(REACHABLE_WITHIN + Duration::from_secs(1), ping).await {
            Ok(_) => Ok(()),
            Err(error) if mongo_kind(&error) == ErrorKind::Transient => {
                Err(unreachable(&self.config, &self.role, error))
            }
            Err(error) => Err(self.failed("reach", error)),
        }
    }

    /// Creates the collection, clustered, and its indexes, where they are not there yet.
    ///
    /// # Errors
    /// [`Error::MongoUnreachable`], [`Error::MongoDenied`], or [`Error::Mongo`] with what the server said.
    pub async fn prepare(&self) -> Result<()> {
        self.prepare_as(Layout::Clustered).await
    }

    /// As [`prepare`](Self::prepare), in a layout of the caller's choice.
    ///
    /// # Errors
    /// The same.
    pub async fn prepare_as(&self, layout: Layout) -> Result<()> {
        self.check().await?;
        let name = self.config.collection.as_str();
        let mut create = self.database.create_collection(name);
        if layout == Layout::Clustered {
            create = create.clustered_index(mongodb::options::ClusteredIndex::default());
        }
        match within(ANSWER_WITHIN, create).await {
            Ok(()) => {
                tracing::info!(database = self.config.database, collection = name, "collection created")
            }
            Err(error) if command_code(&error) == Some(NAMESPACE_EXISTS) => {
                if layout == Layout::Clustered && self.layout().await? == Some(Layout::Plain) {
                    tracing::warn!(
                        database = self.config.database,
                        collection = name,
                        "the collection is not clustered on _id: partitioned scans of it will be slow"
                    );
                }
            }
            Err(error) => return Err(self.failed("create", error)),
        }
        let index = |keys: Document, name: &str| {
            let options = IndexOptions::builder().name(name.to_owned()).build();
            IndexModel::builder().keys(keys).options(options).build()
        };
        let indexes = [
            index(doc! { "producer_id": 1 }, "producer_id"),
            index(doc! { "inferred_at": 1 }, "inferred_at"),
        ];
        let collection = self.database.collection::<Document>(name);
        let create = collection.create_indexes(indexes);
        within(INDEX_WITHIN, create).await.map_err(|error| self.failed("index", error))?;
        Ok(())
    }

    /// How many documents of these producers there are.
    ///
    /// # Errors
    /// [`Error::Mongo`] with what the server said.
    pub async fn count(&self, producers: &[ProducerId]) -> Result<u64> {
        let ids: Vec<String> = producers.iter().map(ToString::to_string).collect();
        let collection = self.database.collection::<Document>(&self.config.collection);
        let filter = doc! { "producer_id": { "$in": ids } };
        let count = within(ANSWER_WITHIN, collection.count_documents(filter));
        count.await.map_err(|error| self.failed("read", error))
    }

    pub(super) fn failed(&self, action: &'static str, error: MongoError) -> Error {
        let (role, address) = (self.role.clone(), redact_uri(&self.config.uri));
        match *error.kind {
            MongoErrorKind::ServerSelection { .. } => return unreachable(&self.config, &self.role, error),
            _ if is_denied(&error) => return Error::MongoDenied { role, address, source: Box::new(error) },
            _ => {}
        }
        Error::Mongo {
            action,
            address,
            database: self.config.database.clone(),
            collection: self.config.collection.clone(),
            source: Box::new(error),
        }
    }
}

#[async_trait]
impl Sink for MongoSink {
    async fn write(&self, batch: &[PredictionRecord]) -> Result<Vec<Refused>> {
        let (mut updates, mut places, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (index, record) in batch.iter().enumerate() {
            match upsert(record) {
                Ok(update) if update.as_bytes().len() > MAX_OPERATION => {
                    let message = format!("{} bytes are too many for a document", update.as_bytes().len());
                    refused.push(Refused { index, message });
                }
                Ok(update) => {
                    updates.push(update);
                    places.push(index);
                }
                Err(message) => refused.push(Refused { index, message }),
            }
        }
        let sizes: Vec<usize> = updates.iter().map(|update| update.as_bytes().len()).collect();
        for range in commands(&sizes, MAX_COMMAND, MAX_OPERATIONS) {
            let more = self.update(&updates[range.clone()]).await?;
            // The server counts the operations that it was sent.
            let places = &places[range];
            refused.extend(more.into_iter().filter_map(|refusal| {
                places.get(refusal.index).map(|index| Refused { index: *index, ..refusal })
            }));
        }
        refused.sort_by_key(|refusal| refusal.index);
        Ok(refused)
    }
}

impl MongoSink {
    /// One command, until it is durable.
    async fn update(&self, updates: &[RawDocumentBuf]) -> Result<Vec<Refused>> {
        let run = self.database.run_raw_command(self.command(updates));
        let reply = within(ANSWER_WITHIN, run).await.map_err(|error| self.failed("write to", error))?;
        match verdict(&reply) {
            Verdict::Settled(refused) => Ok(refused),
            Verdict::Again { code, message } => Err(Error::MongoUnconfirmed {
                database: self.config.database.clone(),
                collection: self.config.collection.clone(),
                code,
                message,
            }),
        }
    }

    fn command(&self, updates: &[RawDocumentBuf]) -> RawDocumentBuf {
        let mut array = RawArrayBuf::new();
        for update in updates {
            array.push(update.clone());
        }
        let mut command = rawdoc! { "update": self.config.collection.as_str() };
        command.append(cstr!("updates"), array);
        // Unordered: one refused document does not keep the others out.
        command.append(cstr!("ordered"), false);
        let confirm = i32::try_from(CONFIRM_WITHIN.as_millis()).unwrap_or(i32::MAX);
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority", "j": true, "wtimeout": confirm });
        command
    }
}

fn unreachable(config: &MongoConfig, role: &str, source: MongoError) -> Error {
    Error::MongoUnreachable {
        role: role.to_owned(),
        address: redact_uri(&config.uri),
        source: Box::new(source),
    }
}

/// The driver sets no limit to an answer of its own.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl IntoFuture<Output = mongodb::error::Result<T>>,
) -> mongodb::error::Result<T> {
    tokio::time::timeout(limit, call.into_future())
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

/// Whether credentials are what is wrong. A server that was on its way out while it was asked denies nothing.
fn is_denied(error: &MongoError) -> bool {
    let authentication = matches!(error.kind.as_ref(), MongoErrorKind::Authentication { .. })
        || command_code(error).is_some_and(|code| DENIED.contains(&code));
    authentication && mongo_kind(error) == ErrorKind::Caller
}

fn command_code(error: &MongoError) -> Option<i32> {
    match error.kind.as_ref() {
        MongoErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_without_what_is_secret() {
        let check = |uri: &str, expected: &str| assert_eq!(redact_uri(uri), expected);
        check("mongodb://localhost:27017", "mongodb://localhost:27017");
        check("mongodb://u:p@a:1,b:2/db?authSource=x", "mongodb://a:1,b:2");
        check("mongodb+srv://u:p%40w@cluster.example", "mongodb+srv://cluster.example");
        check("mongodb://u:p/w@x@a:1/db", "mongodb://a:1");
        check("mongodb://a:1/?authMechanismProperties=AWS_SESSION_TOKEN:s", "mongodb://a:1");
        check("nonsense", "nonsense");
        let config = MongoConfig { uri: "mongodb://u:hunter2@a".into(), ..MongoConfig::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_string_that_is_no_address_is_named_without_its_secret() {
        let config = MongoConfig { uri: "mango://u:hunter2@a".into(), ..MongoConfig::default() };
        let error = MongoSink::new(&config, "test").await.expect_err("refused").to_string();
        assert!(error.contains("FIRESTEEL_MONGODB_URI") && !error.contains("hunter2"), "{error}");
    }
}
