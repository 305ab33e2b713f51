//! The last hop: predictions become documents, each image's exactly once.
//!
//! A [`Sink`] takes batches of predictions and says which of them it will never take. Writing is idempotent: the
//! document is named by the image's id, so a record that comes twice, in one batch or in two, is one document with
//! the content that came last. [`MongoSink`] is the real one; [`MemorySink`] is the model that tests compare with.
//! Both pass the one suite in `conformance`.

mod bulk;
mod document;
mod memory;
mod mongodb;
mod reply;

#[doc(hidden)]
pub mod conformance;

pub use self::bulk::Layout;
pub use self::mongodb::{MongoConfig, MongoSink};
pub use memory::MemorySink;

use crate::error::Result;
use async_trait::async_trait;
use firesteel_proto::PredictionRecord;

/// A record of a batch that can never be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The index of the record in the batch.
    pub index: usize,
    /// The store's message.
    pub message: String,
}

/// A store of predictions.
#[async_trait]
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Writes a batch, in order, and returns once it is durable. The records that are not in the answer are
    /// written; those that are will be refused every time.
    ///
    /// # Errors
    /// Nothing is known about any record of the batch. After a transient error the same batch may be written
    /// again.
    async fn write(&self, batch: &[PredictionRecord]) -> Result<Vec<Refused>>;
}
