//! What a scan asks the server before it reads: how large the collection is, and where to cut it.

use bson::{Bson, Document, RawDocumentBuf, doc};
use datafusion::error::{DataFusionError, Result};
use futures::TryStreamExt;
use mongodb::Database;

use super::fault::classify;
use super::find::IdRange;
use super::ranges;
use crate::config::ScanConfig;

/// How a collection is to be read.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Whether the documents lie in `_id` order, so that a range is one walk.
    pub(crate) clustered: bool,
    /// One range a partition.
    pub(crate) ranges: Vec<IdRange>,
}

/// What the server says about a collection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    clustered: bool,
    /// Whether ranges of `_id` can be walked in the order in which boundaries are sorted. Not in a view, which has
    /// no index, nor under a collation, which orders strings in its own way.
    splittable: bool,
}

impl Facts {
    /// Reads the entry of `listCollections`; `None` where the collection does not exist.
    fn of(entry: Option<&Document>) -> Self {
        let Some(entry) = entry else { return Self::default() };
        let empty = Document::new();
        let options = entry.get_document("options").unwrap_or(&empty);
        Self {
            clustered: options.contains_key("clusteredIndex"),
            splittable: entry.get_str("type").is_ok_and(|kind| kind == "collection")
                && !options.contains_key("collation"),
        }
    }
}

/// Decides how to read `collection` in at most `partitions` parts.
pub(crate) async fn layout(
    database: &Database,
    collection: &str,
    partitions: usize,
    config: &ScanConfig,
) -> Result<Layout> {
    let facts = facts(database, collection).await?;
    let whole = Layout { clustered: facts.clustered, ranges: vec![IdRange::full()] };
    if !facts.splittable || partitions <= 1 {
        return Ok(whole);
    }
    let documents = database
        .collection::<Document>(collection)
        .estimated_document_count()
        .await
        .map_err(|error| classify("count", collection, &error))?;
    let parts = ranges::partition_count(documents, partitions, config.min_documents_per_partition);
    if parts <= 1 {
        return Ok(whole);
    }
    let sample = sample(database, collection, ranges::sample_size(parts)).await?;
    let ranges = ranges::ranges(&ranges::boundaries(&sample, parts));
    Ok(Layout { ranges, ..whole })
}

async fn facts(database: &Database, collection: &str) -> Result<Facts> {
    // The raw command: the driver's typed answer leaves out what it does not know.
    let command = doc! { "listCollections": 1, "filter": { "name": collection } };
    let failed = |error: &mongodb::error::Error| classify("listCollections", collection, error);
    let cursor = database.run_cursor_command(command).await.map_err(|error| failed(&error))?;
    let entries: Vec<Document> = cursor.try_collect().await.map_err(|error| failed(&error))?;
    Ok(Facts::of(entries.first()))
}

/// `size` random ids, as documents `{_id: …}`, in the order of the `_id` index.
async fn sample(database: &Database, collection: &str, size: usize) -> Result<Vec<Document>> {
    let failed = |error: &mongodb::error::Error| classify("aggregate", collection, error);
    let pipeline = [
        doc! { "$sample": { "size": i64::try_from(size).unwrap_or(i64::MAX) } },
        doc! { "$project": { "_id": 1 } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let cursor = database
        .collection::<RawDocumentBuf>(collection)
        .aggregate(pipeline)
        .await
        .map_err(|error| failed(&error))?;
    let ids: Vec<Document> = cursor.try_collect().await.map_err(|error| failed(&error))?;
    // Nothing lies below MinKey or above MaxKey: as a boundary the server refuses them.
    Ok(ids
        .into_iter()
        .filter(|id| !matches!(id.get("_id"), Some(Bson::MinKey | Bson::MaxKey) | None))
        .collect())
}

/// Encodes a bound for a descriptor.
pub(crate) fn encode_bound(bound: &Document) -> Result<Vec<u8>> {
    bound.to_vec().map_err(|error| DataFusionError::External(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_collections_in_plain_order_are_split() {
        let plain = doc! { "name": "a", "type": "collection", "options": {} };
        assert_eq!(Facts::of(Some(&plain)), Facts { clustered: false, splittable: true });
        let clustered =
            doc! { "type": "collection", "options": { "clusteredIndex": { "key": { "_id": 1 } } } };
        assert_eq!(Facts::of(Some(&clustered)), Facts { clustered: true, splittable: true });
        let collated = doc! { "type": "collection", "options": { "collation": { "locale": "de" } } };
        assert!(!Facts::of(Some(&collated)).splittable);
        assert!(!Facts::of(Some(&doc! { "type": "view", "options": { "viewOn": "a" } })).splittable);
        assert!(!Facts::of(None).splittable, "a collection that does not exist has nothing to split");
    }
}
