//! Asks the server for boundaries: ids, as documents `{_id: …}`, ascending in the order of the `_id` index.

use bson::{Bson, Document, doc};
use datafusion::error::Result;
use futures::TryStreamExt;

use super::{Target, sharded};

/// How large a collection is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) documents: u64,
    /// Bytes of a document; 0 where nobody asked.
    pub(super) average_bytes: u64,
}

/// The size of a collection, from its metadata.
pub(super) async fn size(target: Target<'_>, with_bytes: bool) -> Result<Size> {
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

/// `size` random ids.
pub(super) async fn sample(target: Target<'_>, size: usize) -> Result<Vec<Document>> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let pipeline = [
        doc! { "$sample": { "size": size } },
        doc! { "$project": { "_id": 1 } },
        doc! { "$sort": { "_id": 1 } },
    ];
    Ok(usable(aggregate(target, pipeline).await?))
}

/// The lower ends of `parts` buckets but the first, over everything or over `sample` random documents.
pub(super) async fn buckets(target: Target<'_>, parts: usize, sample: Option<u64>) -> Result<Vec<Document>> {
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
pub(super) async fn pages(target: Target<'_>, parts: usize, step: u64) -> Result<Vec<Document>> {
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
pub(super) async fn chunks(target: Target<'_>) -> Result<Result<Vec<Document>, String>> {
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
    target: Target<'_>,
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
