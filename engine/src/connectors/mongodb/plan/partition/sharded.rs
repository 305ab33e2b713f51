//! What the chunks of a sharded collection say about where to cut it: pure functions over the router's metadata.
//!
//! Only a collection that is sharded by ranges of `_id` is cut by its chunks. Chunks of another key are no ranges of
//! `_id`, and those of a hashed key are ranges of the hash.

use bson::{Bson, Document};

/// Whether the entry of `config.collections` is that of a collection sharded by ranges of `_id`.
pub(super) fn key(entry: &Document) -> Result<(), String> {
    let key = entry.get_document("key").map_err(|_| "its shard key is not known".to_owned())?;
    let by_id = key.len() == 1
        && match key.get("_id") {
            Some(Bson::Int32(1) | Bson::Int64(1)) => true,
            Some(Bson::Double(direction)) => *direction == 1.0,
            _ => false,
        };
    if by_id { Ok(()) } else { Err(format!("it is sharded by {key}, not by {{ \"_id\": 1 }}")) }
}

/// The boundaries between `chunks`, which are in ascending order of their `min`.
///
/// An error, in words, where the chunks do not follow one another without a gap: a chunk that was moved while they were
/// listed. The collection can be cut in another way then.
pub(super) fn boundaries(chunks: &[Document]) -> Result<Vec<Document>, String> {
    let bound = |chunk: &Document, end: &str| {
        let bound = chunk.get_document(end).ok().filter(|bound| bound.len() == 1)?;
        bound.get("_id").cloned()
    };
    let mut found = Vec::new();
    let mut expected = Bson::MinKey;
    for chunk in chunks {
        let (Some(lower), Some(upper)) = (bound(chunk, "min"), bound(chunk, "max")) else {
            return Err("a chunk has no bounds".to_owned());
        };
        if lower != expected {
            return Err("its chunks changed while they were listed".to_owned());
        }
        if lower != Bson::MinKey {
            found.push(bson::doc! { "_id": lower });
        }
        expected = upper;
    }
    match expected {
        Bson::MaxKey => Ok(found),
        _ => Err("its chunks changed while they were listed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn only_ranges_of_the_id_are_of_use() {
        for (entry, usable) in [
            (doc! { "key": { "_id": 1 } }, true),
            (doc! { "key": { "_id": 1.0 } }, true),
            (doc! { "key": { "_id": "hashed" } }, false),
            (doc! { "key": { "_id": 1, "a": 1 } }, false),
            (doc! { "key": { "producer_id": 1 } }, false),
            (doc! {}, false),
        ] {
            assert_eq!(key(&entry).is_ok(), usable, "{entry}");
        }
    }

    #[test]
    fn chunks_that_follow_one_another_are_ranges() {
        let chunk =
            |min: Bson, max: Bson| doc! { "min": { "_id": min }, "max": { "_id": max }, "shard": "a" };
        let (low, high) = (Bson::MinKey, Bson::MaxKey);
        let text = |text: &str| Bson::String(text.to_owned());
        for (chunks, expected) in [
            (vec![chunk(low.clone(), high.clone())], Some(vec![])),
            (
                vec![
                    chunk(low.clone(), Bson::Int32(7)),
                    chunk(Bson::Int32(7), text("m")),
                    chunk(text("m"), high.clone()),
                ],
                Some(vec![doc! { "_id": 7 }, doc! { "_id": "m" }]),
            ),
            (vec![], None),
            (vec![chunk(low.clone(), text("m"))], None),
            (vec![chunk(text("a"), high.clone())], None),
            (vec![chunk(low.clone(), text("a")), chunk(text("b"), high.clone())], None),
            (vec![chunk(low.clone(), text("b")), chunk(text("a"), high.clone())], None),
            (vec![doc! { "min": { "_id": low, "x": 1 }, "max": { "_id": high } }], None),
        ] {
            assert_eq!(boundaries(&chunks).ok(), expected, "{chunks:?}");
        }
    }
}
