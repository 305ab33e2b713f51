//! Asks the server for boundaries: ids, as documents `{_id: …}`, ascending in the order of the `_id` index, or the numbers
//! of records, ascending.

use bson::{Bson, Document, Timestamp, doc};
use datafusion::error::Result;
use futures::TryStreamExt;
use mongodb::error::ErrorKind;

use super::collection::CollectionRef;
use super::sharded;
use crate::connectors::mongodb::read::partition::RECORD;

/// How large a collection is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) documents: u64,
    /// Bytes of a document; 0 where nobody asked.
    pub(super) average_bytes: u64,
}

/// The size of a collection, from its metadata.
pub(super) async fn size(target: CollectionRef<'_>, with_bytes: bool) -> Result<Size> {
    if !with_bytes {
        let collection = target.database.collection::<Document>(target.collection);
        let documents = collection.estimated_document_count().await.map_err(target.failed("count"))?;
        return Ok(Size { documents, average_bytes: 0 });
    }
    // One answer a shard.
    let stats = aggregate(target, [doc! { "$collStats": { "storageStats": {} } }]).await?;
    let (mut documents, mut bytes) = (0_u64, 0_u64);
    for shard in &stats {
        let number = |name: &str| {
            let stats = shard.get_document("storageStats").ok();
            match stats.and_then(|stats| stats.get(name)) {
                Some(Bson::Int32(value)) => u64::try_from(*value).unwrap_or(0),
                Some(Bson::Int64(value)) => u64::try_from(*value).unwrap_or(0),
                // The server answers large sizes as doubles.
                Some(Bson::Double(value)) => *value as u64,
                _ => 0,
            }
        };
        documents += number("count");
        bytes += number("size");
    }
    Ok(Size { documents, average_bytes: bytes / documents.max(1) })
}

/// Random documents.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Their ids.
    pub(super) ids: Vec<Document>,
    /// What they are in bytes, all together.
    pub(super) bytes: u64,
    /// What their columns are in bytes that are wanted, all together; `None` where the server cannot tell.
    pub(super) wanted_bytes: Option<u64>,
}

/// `size` random documents, and how much of them `columns` are.
pub(super) async fn sample(target: CollectionRef<'_>, size: usize, columns: &[&str]) -> Result<Sample> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    // An expression cannot say every name.
    let told = columns.iter().all(|column| !column.is_empty() && !column.contains(['.', '$', '\0']));
    let mut project = doc! { "_id": 1, "bytes": { "$bsonSize": "$$ROOT" } };
    if told {
        let wanted = std::iter::once("_id").chain(columns.iter().copied().filter(|column| *column != "_id"));
        let wanted: Document =
            wanted.map(|column| (column.to_owned(), format!("${column}").into())).collect();
        project.insert("wanted", doc! { "$bsonSize": wanted });
    }
    let pipeline =
        [doc! { "$sample": { "size": size } }, doc! { "$project": project }, doc! { "$sort": { "_id": 1 } }];
    let mut found = aggregate(target, pipeline).await?;
    let mut sum = |name: &str| -> u64 {
        let bytes = found.iter_mut().filter_map(|document| match document.remove(name) {
            Some(Bson::Int32(bytes)) => u64::try_from(bytes).ok(),
            _ => None,
        });
        bytes.sum()
    };
    let (bytes, wanted_bytes) = (sum("bytes"), sum("wanted"));
    Ok(Sample { ids: usable(found), bytes, wanted_bytes: told.then_some(wanted_bytes) })
}

/// The numbers of the records of `ids` at a snapshot, ascending; `None` where they are of no use.
///
/// Each member of a replica set numbers its records by itself, so they are of use only where one member has all the data:
/// after an election a task would read other documents under the same numbers. And a server has to start scans behind a
/// record, which a router of a sharded cluster does not.
pub(super) async fn records(
    target: CollectionRef<'_>,
    ids: &[Document],
    time: Timestamp,
) -> Result<Option<Vec<i64>>> {
    let hello = target.database.run_command(doc! { "hello": 1 }).await.map_err(target.failed("hello"))?;
    if !is_alone(&hello) {
        return Ok(None);
    }
    let concern = doc! { "level": "snapshot", "atClusterTime": time };
    let ids: Vec<Bson> = ids.iter().filter_map(|id| id.get("_id").cloned()).collect();
    let most = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let numbers = doc! {
        "find": target.collection, "filter": { "_id": { "$in": ids } }, "projection": { "_id": 1 },
        "showRecordId": true, "batchSize": most, "singleBatch": true, "readConcern": concern.clone(),
    };
    let Some(found) = try_find(target, numbers).await? else { return Ok(None) };
    let mut records: Vec<i64> = found.iter().filter_map(|document| document.get_i64(RECORD).ok()).collect();
    records.sort_unstable();
    let Some(first) = records.first() else { return Ok(None) };
    let probe = doc! {
        "find": target.collection, "projection": { "_id": 1 }, "hint": { "$natural": 1 },
        "$_requestResumeToken": true, "$_resumeAfter": { RECORD: *first },
        "batchSize": 1, "limit": 1, "singleBatch": true, "readConcern": concern,
    };
    Ok(try_find(target, probe).await?.map(|_| records))
}

/// Whether the member that says this is the only one of its replica set with data.
fn is_alone(hello: &Document) -> bool {
    let members = |name: &str| hello.get_array(name).map_or(0, Vec::len);
    hello.contains_key("setName") && members("hosts") + members("passives") == 1
}

/// What a `find` of one batch answers; `None` where the server refuses it.
async fn try_find(target: CollectionRef<'_>, find: Document) -> Result<Option<Vec<Document>>> {
    let answer = match target.database.run_command(find).await {
        Ok(answer) => answer,
        Err(error) if matches!(*error.kind, ErrorKind::Command(_)) => {
            tracing::debug!(collection = target.collection, %error, "records cannot be scanned in parts");
            return Ok(None);
        }
        Err(error) => return Err(target.failed("find")(error)),
    };
    let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let documents = |batch: &Vec<Bson>| batch.iter().filter_map(Bson::as_document).cloned().collect();
    Ok(Some(batch.map(documents).unwrap_or_default()))
}

/// The lower ends of `parts` buckets but the first, over everything or over `sample` random documents.
pub(super) async fn buckets(
    target: CollectionRef<'_>,
    parts: usize,
    sample: Option<u64>,
) -> Result<Vec<Document>> {
    let mut pipeline = Vec::new();
    if let Some(size) = sample {
        pipeline.push(doc! { "$sample": { "size": i64::try_from(size).unwrap_or(i64::MAX) } });
    }
    let parts = i32::try_from(parts).unwrap_or(i32::MAX);
    pipeline.push(doc! { "$bucketAuto": { "groupBy": "$_id", "buckets": parts } });
    pipeline.push(doc! { "$project": { "_id": "$_id.min" } });
    let mut ids = aggregate(target, pipeline).await?;
    if !ids.is_empty() {
        ids.remove(0);
    }
    Ok(usable(ids))
}

/// Every `step`-th id, for `parts` parts: each is found by walking the index on from the one before.
pub(super) async fn pages(target: CollectionRef<'_>, parts: usize, step: u64) -> Result<Vec<Document>> {
    let step = i64::try_from(step).unwrap_or(i64::MAX).max(1);
    let mut found: Vec<Document> = Vec::new();
    for _ in 1..parts {
        let mut find = doc! {
            "find": target.collection, "projection": { "_id": 1 }, "sort": { "_id": 1 }, "hint": { "_id": 1 },
            "skip": step, "limit": 1, "singleBatch": true,
        };
        if let Some(lower) = found.last() {
            find.insert("min", lower.clone());
        }
        let cursor = target.database.run_cursor_command(find).await.map_err(target.failed("find"))?;
        let page: Vec<Document> = cursor.try_collect().await.map_err(target.failed("find"))?;
        let Some(id) = usable(page).pop() else { break };
        found.push(id);
    }
    Ok(found)
}

/// The lower ends of the chunks of a sharded collection, or why they are of no use.
pub(super) async fn chunks(target: CollectionRef<'_>) -> Result<Result<Vec<Document>, String>> {
    let client = target.database.client();
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
    let hello = hello.map_err(target.failed("hello"))?;
    if !hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        return Ok(Err("the server is no router of a sharded cluster".to_owned()));
    }
    let config = client.database("config");
    let name = format!("{}.{}", target.database.name(), target.collection);
    let collections = config.collection::<Document>("collections");
    let entry = collections.find_one(doc! { "_id": &name }).await;
    let Some(entry) = entry.map_err(target.failed("find"))? else {
        return Ok(Err("the collection is not sharded".to_owned()));
    };
    if let Err(reason) = sharded::key(&entry) {
        return Ok(Err(reason));
    }
    // Since MongoDB 5.0 a chunk names its collection's UUID, before that its name.
    let which = match entry.get("uuid") {
        Some(uuid) => doc! { "$or": [{ "uuid": uuid.clone() }, { "ns": &name }] },
        None => doc! { "ns": &name },
    };
    let chunks = config.collection::<Document>("chunks");
    let chunks = chunks.find(which).sort(doc! { "min": 1 }).await.map_err(target.failed("find"))?;
    let chunks: Vec<Document> = chunks.try_collect().await.map_err(target.failed("find"))?;
    Ok(sharded::boundaries(&chunks))
}

async fn aggregate(
    target: CollectionRef<'_>,
    pipeline: impl IntoIterator<Item = Document>,
) -> Result<Vec<Document>> {
    let collection = target.database.collection::<Document>(target.collection);
    let cursor = collection.aggregate(pipeline).allow_disk_use(true).await;
    cursor.map_err(target.failed("aggregate"))?.try_collect().await.map_err(target.failed("aggregate"))
}

/// Nothing lies below MinKey or above MaxKey: as a boundary the server refuses them.
fn usable(ids: Vec<Document>) -> Vec<Document> {
    ids.into_iter().filter(|id| !matches!(id.get("_id"), Some(Bson::MinKey | Bson::MaxKey) | None)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_of_use_where_one_member_has_the_data() {
        for (hello, expected) in [
            (doc! { "setName": "rs0", "hosts": ["a:1"] }, true),
            (doc! { "setName": "rs0", "hosts": ["a:1"], "arbiters": ["b:1", "c:1"] }, true),
            (doc! { "setName": "rs0", "hosts": ["a:1", "b:1"] }, false),
            (doc! { "setName": "rs0", "hosts": ["a:1"], "passives": ["b:1"] }, false),
            (doc! { "msg": "isdbgrid" }, false),
            (doc! { "hosts": ["a:1"] }, false),
        ] {
            assert_eq!(is_alone(&hello), expected, "{hello}");
        }
    }
}
