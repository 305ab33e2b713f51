//! The operations of a bulk load beside the sink's upserts: inserts, counts, and the layout of the collection.

use super::document::document;
use super::mongodb::{ANSWER_WITHIN, MongoSink};
use super::reply::{Inserted, inserted};
use crate::error::{Error, Result};
use bson::{Document, rawdoc};
use firesteel_common::ConfigField;
use firesteel_common::mongodb::CollectionInfo;
use firesteel_common::mongodb::bulk::Batch;
use firesteel_common::mongodb::client::within;
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
        let mut batch = Batch::default();
        for record in records {
            let document = document(&record)
                .map_err(|reason| Error::Setting { field: ConfigField::SeedDocs, reason })?;
            batch.push(&document);
        }
        let concern = rawdoc! { "w": "majority", "j": true };
        match inserted(&self.send(batch.insert(&self.config.collection, concern)).await?) {
            Inserted::All { found } => Ok(found),
            Inserted::Not { code, message } => Err(self.unconfirmed(code, message)),
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
        let ask = within(ANSWER_WITHIN, CollectionInfo::ask(&self.database, &self.config.collection));
        let info = ask.await.map_err(|error| self.failed("read", error))?;
        Ok(info.map(|info| if info.clustered { Layout::Clustered } else { Layout::Plain }))
    }
}
