//! Predictions in MongoDB: one collection, clustered on `_id`, written by bulk upserts.
//!
//! A batch is inserted, by one unordered command or by several where it is too large for one. Nearly every prediction is of an
//! image that has none yet, and an insert costs the server a fifth of an upsert, which plans a query for each document. Those
//! whose key was taken are then upserted, `{q: {_id, …}, u: document, upsert: true}`; what stands behind `_id` keeps a newer
//! prediction in its place (`document`). While most of what comes is there already, as when a topic is read anew, the insert is
//! left out. The write concern of every command is `{w: majority, j: true}`: what is confirmed survives the loss of a minority
//! of the replica set.
//!
//! The collection is created clustered (MongoDB ≥ 5.3), because range scans over `_id`, which the engine splits its work by, then
//! read the documents in place; one that exists unclustered is used as it is, with a warning.

use super::document::{document, upsert};
use super::reply::{Settled, Verdict, verdict};
use super::{Layout, Refused, Sink, Written};
use crate::error::{Error, ErrorKind, Result, mongo_kind};
use crate::kafka::REACHABLE_WITHIN;
use async_trait::async_trait;
use bson::{Document, RawDocumentBuf, doc, rawdoc};
use firesteel_common::mongodb::bulk::{Batch, MAX_BYTES, MAX_OPERATION, MAX_OPERATIONS, Reply};
use firesteel_common::mongodb::client::{client, known_code, within};
use firesteel_common::mongodb::{Code, Fact};
use firesteel_common::secret::MongoUri;
use firesteel_proto::{PredictionRecord, ProducerId};
use mongodb::error::{Error as MongoError, ErrorKind as MongoErrorKind};
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the server may take to confirm a batch before it counts as unconfirmed and is written again.
const CONFIRM_WITHIN: Duration = Duration::from_secs(15);
/// How long any other answer may take: twice the server's own limit, so that it speaks first unless the connection
/// is dead.
pub(super) const ANSWER_WITHIN: Duration = CONFIRM_WITHIN.saturating_mul(2);
/// An index of a large collection is not built in a moment. A second request waits for the build under way.
const INDEX_WITHIN: Duration = Duration::from_secs(120);
/// How often a record is upserted before the document under its key is taken for a newer one.
const UPSERTS: usize = 2;

/// The collection of predictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MongoConfig {
    /// The connection string, which prints its hosts alone.
    pub uri: MongoUri,
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
}

impl Default for MongoConfig {
    fn default() -> Self {
        Self {
            uri: "mongodb://localhost:27017".into(),
            database: "firesteel".to_owned(),
            collection: "predictions".to_owned(),
        }
    }
}

/// Writes predictions to MongoDB. Clones share the connections.
#[derive(Clone)]
pub struct MongoSink {
    pub(super) database: Database,
    pub(super) config: MongoConfig,
    role: String,
    /// Whether most images of the last batch had a prediction before.
    mostly_known: Arc<AtomicBool>,
}

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// As a document that is not there yet.
    Insert,
    /// In the place of the document that it replaces, or as a new one.
    Upsert,
}

impl Operation {
    /// How the next batch begins, when so many of the last one's images had a prediction before.
    fn first(mostly_known: bool) -> Self {
        if mostly_known { Self::Upsert } else { Self::Insert }
    }

    /// What goes into the command for a record.
    fn of(self, record: &PredictionRecord) -> Result<RawDocumentBuf, String> {
        match self {
            Self::Insert => document(record),
            Self::Upsert => upsert(record),
        }
    }

    fn command(self, batch: &Batch, collection: &str, concern: RawDocumentBuf) -> RawDocumentBuf {
        match self {
            Self::Insert => batch.insert(collection, concern),
            Self::Upsert => batch.update(collection, concern),
        }
    }
}

/// What became of the records that a pass has sent.
#[derive(Debug, Default)]
struct Pass {
    refused: Vec<Refused>,
    /// The indexes of those whose key was taken.
    taken: Vec<usize>,
    /// How many became new documents.
    new: usize,
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
        match client(&config.uri, &format!("firesteel-{role}"), REACHABLE_WITHIN).await {
            Ok(client) => Ok(Self {
                database: client.database(&config.database),
                config: config.clone(),
                role: role.to_owned(),
                mostly_known: Arc::default(),
            }),
            Err(error) if mongo_kind(&error) == ErrorKind::Transient => Err(unreachable(config, role, error)),
            Err(error) => {
                // The driver may quote what it could not read.
                let reason = config.uri.redact(&error.kind.to_string());
                Err(Error::MongoUri { address: config.uri.to_string(), reason })
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
    /// As [`prepare`](Self::prepare).
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
            Err(error) if known_code(&error) == Some(Code::NamespaceExists) => {
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
        let (role, address) = (self.role.clone(), self.config.uri.to_string());
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
    async fn write(&self, batch: &[PredictionRecord]) -> Result<Written> {
        let mut operation = Operation::first(self.mostly_known.load(Ordering::Relaxed));
        let (mut left, mut refused, mut new) = ((0..batch.len()).collect::<Vec<_>>(), Vec::new(), 0);
        // A document that came to be while the server looked for it has to be looked at once more. One that still does not
        // give way then is a newer one.
        let mut upserts = 0;
        while !left.is_empty() && upserts < UPSERTS {
            upserts += usize::from(operation == Operation::Upsert);
            let pass = self.pass(operation, batch, left).await?;
            refused.extend(pass.refused);
            new += pass.new;
            left = pass.taken;
            operation = Operation::Upsert;
        }
        if !batch.is_empty() {
            self.mostly_known.store(new * 2 < batch.len(), Ordering::Relaxed);
        }
        refused.sort_by_key(|refusal| refusal.index);
        left.sort_unstable();
        Ok(Written { refused, superseded: left })
    }
}

impl MongoSink {
    /// Writes the records of `batch` at `indexes`, in as many commands as it takes.
    async fn pass(
        &self,
        operation: Operation,
        batch: &[PredictionRecord],
        indexes: Vec<usize>,
    ) -> Result<Pass> {
        let (mut command, mut places, mut pass) = (Batch::default(), Vec::new(), Pass::default());
        for index in indexes {
            let Some(record) = batch.get(index) else { continue };
            let written = match operation.of(record) {
                Ok(written) => written,
                Err(message) => {
                    pass.refused.push(Refused { index, message });
                    continue;
                }
            };
            let size = written.as_bytes().len();
            if size > MAX_OPERATION {
                let message = format!("{size} bytes are too many for a document");
                pass.refused.push(Refused { index, message });
                continue;
            }
            if command.is_full_for(size, MAX_BYTES, MAX_OPERATIONS) {
                let (full, places) = (std::mem::take(&mut command), std::mem::take(&mut places));
                self.command(operation, &full, &places, &mut pass).await?;
            }
            command.push(&written);
            places.push(index);
        }
        if !command.is_empty() {
            self.command(operation, &command, &places, &mut pass).await?;
        }
        Ok(pass)
    }

    /// Sends one command until it is durable; the operation at `i` writes the record at `places[i]`.
    async fn command(
        &self,
        operation: Operation,
        batch: &Batch,
        places: &[usize],
        pass: &mut Pass,
    ) -> Result<()> {
        let wtimeout = i32::try_from(CONFIRM_WITHIN.as_millis()).unwrap_or(i32::MAX);
        let concern = rawdoc! { "w": "majority", "j": true, "wtimeout": wtimeout };
        let reply = self.send(operation.command(batch, &self.config.collection, concern)).await?;
        let Settled { mut refused, mut taken } = match verdict(&reply, operation == Operation::Insert) {
            Verdict::Settled(settled) => settled,
            Verdict::Again { code, message } => return Err(self.unconfirmed(code, message)),
        };
        pass.new += match operation {
            Operation::Insert => places.len().saturating_sub(refused.len() + taken.len()),
            Operation::Upsert => reply.upserted,
        };
        if operation == Operation::Insert {
            // Whatever the reason: an upsert decides.
            taken.extend(refused.drain(..).map(|refusal| refusal.index));
        }
        // The server counts the operations that it was sent.
        let place = |index: usize| places.get(index).copied();
        pass.refused.extend(
            refused
                .into_iter()
                .filter_map(|refusal| Some(Refused { index: place(refusal.index)?, ..refusal })),
        );
        pass.taken.extend(taken.into_iter().filter_map(place));
        Ok(())
    }

    /// Sends one write command and reads the reply.
    pub(super) async fn send(&self, command: RawDocumentBuf) -> Result<Reply> {
        let run = within(ANSWER_WITHIN, self.database.run_raw_command(command));
        let reply = run.await.map_err(|error| self.failed("write to", error))?;
        Ok(Reply::of(&reply))
    }

    pub(super) fn unconfirmed(&self, code: i32, message: String) -> Error {
        Error::MongoUnconfirmed {
            database: self.config.database.clone(),
            collection: self.config.collection.clone(),
            code,
            message,
        }
    }
}

fn unreachable(config: &MongoConfig, role: &str, source: MongoError) -> Error {
    Error::MongoUnreachable {
        role: role.to_owned(),
        address: config.uri.to_string(),
        source: Box::new(source),
    }
}

/// Whether credentials are what is wrong. A server that was on its way out while it was asked denies nothing.
fn is_denied(error: &MongoError) -> bool {
    let authentication = matches!(error.kind.as_ref(), MongoErrorKind::Authentication { .. })
        || known_code(error).is_some_and(|code| code.fact() == Fact::BadCredentials);
    authentication && mongo_kind(error) == ErrorKind::Caller
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::conformance::prediction;

    #[test]
    fn an_insert_sends_the_document_and_an_upsert_what_it_may_replace() {
        let record = prediction(1, 2, 3);
        let command = |operation: Operation| {
            let mut batch = Batch::default();
            batch.push(&operation.of(&record).expect("fits"));
            Document::try_from(operation.command(&batch, "c", rawdoc! { "j": true })).expect("BSON")
        };
        let (insert, update) = (command(Operation::first(false)), command(Operation::first(true)));
        let first = |command: &Document, field: &str| {
            let operations = command.get_array(field).expect("operations");
            operations.first().and_then(bson::Bson::as_document).cloned().expect("one")
        };
        let (inserted, updated) = (first(&insert, "documents"), first(&update, "updates"));
        assert_eq!(updated.get_document("u").expect("the document"), &inserted);
        assert_eq!(updated.get_bool("upsert").ok(), Some(true));
        for command in [insert, update] {
            assert_eq!(command.get_bool("ordered").ok(), Some(false));
            assert_eq!(command.get_document("writeConcern").ok(), Some(&doc! { "j": true }));
        }
    }

    #[test]
    fn a_configuration_is_printed_without_what_is_secret() {
        let config = MongoConfig { uri: "mongodb://u:hunter2@a".into(), ..MongoConfig::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_string_that_is_no_address_is_named_without_its_secret() {
        let config = MongoConfig { uri: "mango://u:hunter2@a".into(), ..MongoConfig::default() };
        let error = MongoSink::new(&config, "test").await.expect_err("refused").to_string();
        assert!(error.contains("mongodb.uri") && !error.contains("hunter2"), "{error}");
    }
}
