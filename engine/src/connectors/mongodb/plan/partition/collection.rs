//! The collection that a scan reads, and what the server says about it before it is partitioned.

use bson::{Document, doc};
use datafusion::error::{DataFusionError, Result};
use futures::TryStreamExt;
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

/// The server's description of a collection, as far as partitioning depends on it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CollectionInfo {
    /// Whether the documents lie in `_id` order, so that a range is one walk.
    pub(crate) clustered: bool,
    /// Whether ranges of `_id` can be walked in the order in which boundaries are sorted. Not in a view, which has
    /// no index, nor under a collation, which orders strings in its own way.
    pub(crate) splittable: bool,
    /// Whether the server numbers its records in the order in which it stores them, and keeps them until they are
    /// deleted. Not in a capped collection, where the oldest make room.
    pub(crate) by_record: bool,
    /// Whether it is a view with a collation of its own. The server refuses to read such a view under another
    /// collation, and comparing strings by their bytes, as SQL does, is another.
    pub(crate) collated_view: bool,
}

impl CollectionInfo {
    /// Reads the entry of `listCollections`; `None` where the collection does not exist.
    pub(super) fn of(entry: Option<&Document>) -> Self {
        let Some(entry) = entry else { return Self::default() };
        let empty = Document::new();
        let options = entry.get_document("options").unwrap_or(&empty);
        let kind = entry.get_str("type").unwrap_or_default();
        let collated = options.contains_key("collation");
        let clustered = options.contains_key("clusteredIndex");
        let capped = options.get_bool("capped").unwrap_or(false);
        Self {
            clustered,
            by_record: kind == "collection" && !clustered && !capped,
            splittable: kind == "collection" && !collated,
            collated_view: kind == "view" && collated,
        }
    }
}

/// Asks what `collection` is.
pub(crate) async fn collection_info(
    connection: &Connection,
    database: &Database,
    collection: &str,
) -> Result<CollectionInfo> {
    // The raw command: the driver's typed answer leaves out what it does not know.
    let command = doc! { "listCollections": 1, "filter": { "name": collection } };
    let failed = |error: &mongodb::error::Error| connection.failed("listCollections", collection, error);
    let cursor = database.run_cursor_command(command).await.map_err(|error| failed(&error))?;
    let entries: Vec<Document> = cursor.try_collect().await.map_err(|error| failed(&error))?;
    Ok(CollectionInfo::of(entries.first()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_collections_in_plain_order_are_split() {
        let info = |clustered, splittable, by_record, collated_view| CollectionInfo {
            clustered,
            splittable,
            by_record,
            collated_view,
        };
        let german = doc! { "locale": "de" };
        for (entry, expected) in [
            (doc! { "type": "collection", "options": {} }, info(false, true, true, false)),
            (doc! { "type": "collection", "options": { "capped": true } }, info(false, true, false, false)),
            (
                doc! { "type": "collection", "options": { "clusteredIndex": { "key": { "_id": 1 } } } },
                info(true, true, false, false),
            ),
            (
                doc! { "type": "collection", "options": { "collation": &german } },
                info(false, false, true, false),
            ),
            (doc! { "type": "view", "options": { "viewOn": "a" } }, info(false, false, false, false)),
            (
                doc! { "type": "view", "options": { "viewOn": "a", "collation": &german } },
                info(false, false, false, true),
            ),
            (doc! { "type": "timeseries", "options": {} }, info(false, false, false, false)),
        ] {
            assert_eq!(CollectionInfo::of(Some(&entry)), expected, "{entry}");
        }
        assert_eq!(
            CollectionInfo::of(None),
            CollectionInfo::default(),
            "a collection that does not exist has nothing to split"
        );
    }
}
