//! What the server says of a collection: `listCollections`, read apart from any server.

use bson::{Document, doc};
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::error::Result;

/// What the server says of a collection, a view or a time series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectionInfo {
    /// Whether it is a collection, and neither a view nor a time series.
    pub is_collection: bool,
    /// Whether it is a view.
    pub is_view: bool,
    /// Whether the documents lie in the order of `_id`.
    pub clustered: bool,
    /// Whether the oldest documents make room for new ones.
    pub capped: bool,
    /// Whether strings are compared by a collation of its own.
    pub collated: bool,
}

impl CollectionInfo {
    /// Reads an entry of the answer to `listCollections`.
    #[must_use]
    pub fn of(entry: &Document) -> Self {
        let empty = Document::new();
        let options = entry.get_document("options").unwrap_or(&empty);
        let kind = entry.get_str("type").unwrap_or_default();
        Self {
            is_collection: kind == "collection",
            is_view: kind == "view",
            clustered: options.contains_key("clusteredIndex"),
            capped: options.get_bool("capped").unwrap_or(false),
            collated: options.contains_key("collation"),
        }
    }

    /// Whether ranges of `_id` can be read in the order in which values of `_id` are sorted. A view has no index, and a
    /// collation orders strings in its own way.
    #[must_use]
    pub fn is_splittable(&self) -> bool {
        self.is_collection && !self.collated
    }

    /// Whether the server numbers the records in the order in which it stores them, and keeps them until they are deleted.
    #[must_use]
    pub fn has_record_ids(&self) -> bool {
        self.is_collection && !self.clustered && !self.capped
    }

    /// Whether it is a view with a collation of its own. The server refuses to read such a view under another collation,
    /// and comparing strings by their bytes, as SQL does, is another.
    #[must_use]
    pub fn is_collated_view(&self) -> bool {
        self.is_view && self.collated
    }

    /// Asks the server; `None` for a collection that does not exist.
    ///
    /// # Errors
    /// What the driver or the server says.
    pub async fn ask(database: &Database, collection: &str) -> Result<Option<Self>> {
        // The raw command: the driver's typed answer leaves out what it does not know.
        let command = doc! { "listCollections": 1, "filter": { "name": collection } };
        let cursor = database.run_cursor_command(command).await?;
        let entries: Vec<Document> = cursor.try_collect().await?;
        Ok(entries.first().map(Self::of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_what_a_collection_is() {
        let collection = CollectionInfo { is_collection: true, ..CollectionInfo::default() };
        let view = CollectionInfo { is_view: true, ..CollectionInfo::default() };
        let german = doc! { "locale": "de" };
        for (entry, expected, splittable, record_ids, collated_view) in [
            (doc! { "type": "collection", "options": {} }, collection, true, true, false),
            (
                doc! { "type": "collection", "options": { "capped": true } },
                CollectionInfo { capped: true, ..collection },
                true,
                false,
                false,
            ),
            (
                doc! { "type": "collection", "options": { "clusteredIndex": { "key": { "_id": 1 } } } },
                CollectionInfo { clustered: true, ..collection },
                true,
                false,
                false,
            ),
            (
                doc! { "type": "collection", "options": { "collation": &german } },
                CollectionInfo { collated: true, ..collection },
                false,
                true,
                false,
            ),
            (doc! { "type": "view", "options": { "viewOn": "a" } }, view, false, false, false),
            (
                doc! { "type": "view", "options": { "viewOn": "a", "collation": &german } },
                CollectionInfo { collated: true, ..view },
                false,
                false,
                true,
            ),
            (doc! { "type": "timeseries", "options": {} }, CollectionInfo::default(), false, false, false),
        ] {
            let info = CollectionInfo::of(&entry);
            assert_eq!(info, expected, "{entry}");
            let derived = (info.is_splittable(), info.has_record_ids(), info.is_collated_view());
            assert_eq!(derived, (splittable, record_ids, collated_view), "{entry}");
        }
    }
}
