//! The last hop: predictions become documents, each image's exactly once.
//!
//! A [`Sink`] takes batches of predictions and says which of them it will never take. Writing is idempotent, and the order of
//! arrival does not matter: the document is named by the image's id, so a record that comes twice, in one batch or in two, is
//! one document, and of several predictions of an image the one stays that was made last, whenever it comes. [`MongoSink`] is the real one; [`MemorySink`] is the model that tests compare with.
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

/// What became of a batch that is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Records that can never be written, in the order of the batch.
    pub refused: Vec<Refused>,
    /// The indexes of records for whose image a newer prediction is there, in the order of the batch.
    pub superseded: Vec<usize>,
}

/// A store of predictions.
#[async_trait]
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Writes a batch and returns once it is durable: each record that is not refused, or a newer prediction of its
    /// image. A record that is refused will be refused every time.
    ///
    /// # Errors
    /// Nothing is known about any record of the batch. After a transient error the same batch may be written
    /// again.
    async fn write(&self, batch: &[PredictionRecord]) -> Result<Written>;
}
