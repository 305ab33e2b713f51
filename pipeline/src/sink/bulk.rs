//! What a bulk load needs of MongoDB beside the sink's upserts: plain inserts, and a collection made to order.

use super::document::document;
use super::mongodb::{ANSWER_WITHIN, MongoSink, within};
use super::reply::{Inserted, inserted};
use crate::error::{Error, Result};
use bson::raw::cstr;
use bson::{Document, RawArrayBuf, doc, rawdoc};
use firesteel_proto::PredictionRecord;
use std::fmt;

/// How MongoDB stores a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In the order of `_id`, as the pipeline makes it: a range of `_id` is read in place.
    Clustered,
    /// In the order of arrival, with an index on `_id`, as MongoDB does unasked.
    Plain,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clustered => "clustered on _id",
            Self::Plain => "not clustered",
        })
    }
}

impl MongoSink {
    /// Inserts the predictions in one command, until they are durable, and says how many were there already: those
    /// are left as they are.
    ///
    /// # Errors
    /// Nothing is known about any of the predictions; they may be inserted again.
    pub async fn insert(&self, records: impl IntoIterator<Item = PredictionRecord>) -> Result<u64> {
        let mut documents = RawArrayBuf::new();
        for record in records {
            let document =
                document(&record).map_err(|reason| Error::Setting { setting: "--docs", reason })?;
            documents.push(document);
        }
        let mut command = rawdoc! { "insert": self.config.collection.as_str() };
        command.append(cstr!("documents"), documents);
        command.append(cstr!("ordered"), false);
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority", "j": true });
        let run = within(ANSWER_WITHIN, self.database.run_raw_command(command));
        let reply = run.await.map_err(|error| self.failed("write to", error))?;
        match inserted(&reply) {
            Inserted::All { found } => Ok(found),
            Inserted::Not { code, message } => Err(Error::MongoUnconfirmed {
                database: self.config.database.clone(),
                collection: self.config.collection.clone(),
                code,
                message,
            }),
        }
    }

    /// How many documents the collection holds, by MongoDB's own book-keeping; 0 where there is no collection.
    ///
    /// # Errors
    /// [`Error::Mongo`] with what the server said.
    pub async fn documents(&self) -> Result<u64> {
        let collection = self.database.collection::<Document>(&self.config.collection);
        let count = within(ANSWER_WITHIN, collection.estimated_document_count());
        count.await.map_err(|error| self.failed("read", error))
    }

    /// Drops the collection, with its indexes. That there is none is fine.
    ///
    /// # Errors
    /// [`Error::Mongo`] with what the server said.
    pub async fn drop_collection(&self) -> Result<()> {
        let collection = self.database.collection::<Document>(&self.config.collection);
        within(ANSWER_WITHIN, collection.drop()).await.map_err(|error| self.failed("drop", error))
    }

    /// How the collection is stored; none where there is no collection.
    ///
    /// # Errors
    /// [`Error::Mongo`] with what the server said.
    pub async fn layout(&self) -> Result<Option<Layout>> {
        let list = doc! { "listCollections": 1, "filter": { "name": &self.config.collection } };
        let list = within(ANSWER_WITHIN, self.database.run_command(list));
        let reply = list.await.map_err(|error| self.failed("read", error))?;
        let collection = reply
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"))
            .ok()
            .and_then(|batch| batch.first()?.as_document());
        Ok(collection.map(|collection| {
            let options = collection.get_document("options");
            if options.is_ok_and(|options| options.contains_key("clusteredIndex")) {
                Layout::Clustered
            } else {
                Layout::Plain
            }
        }))
    }
}
