//! The collection that a scan reads, and what the server says about it before it is partitioned.

use datafusion::error::{DataFusionError, Result};
use firesteel_common::mongodb::CollectionInfo;
use mongodb::Database;

use crate::connectors::mongodb::connection::Connection;

/// The collection to cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CollectionRef<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) database: &'a Database,
    pub(crate) collection: &'a str,
}

impl CollectionRef<'_> {
    pub(super) fn failed(
        &self,
        operation: &'static str,
    ) -> impl Fn(mongodb::error::Error) -> DataFusionError {
        move |error| self.connection.failed(operation, self.collection, &error)
    }
}

/// Asks what `collection` is.
pub(crate) async fn collection_info(
    connection: &Connection,
    database: &Database,
    collection: &str,
) -> Result<CollectionInfo> {
    let asked = CollectionInfo::ask(database, collection).await;
    // A collection that does not exist has nothing to split.
    let info = asked.map_err(|error| connection.failed("listCollections", collection, &error))?;
    Ok(info.unwrap_or_default())
}
