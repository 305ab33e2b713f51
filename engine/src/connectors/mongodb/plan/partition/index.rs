//! Whether a filter is better served by a secondary index than by ranges of `_id`.
//!
//! Ranges are walked over the `_id` index, which makes the server look at every document and test the filter on it. Where an
//! index finds the few documents that a filter wants, the scan is one partition, for which the server picks the index.
//! Which index can serve a filter is a pure function, and how many keys it would look at is counted on the index alone,
//! up to the number from which on it does not pay.

use bson::{Bson, Document, doc};
use datafusion::error::Result;
use futures::TryStreamExt;

use super::collection::CollectionRef;

/// The most keys that are counted to find out whether an index pays: they take the server some 50 ms.
const MOST_KEYS: u64 = 100_000;

/// An index that can serve a filter.
#[derive(Debug, PartialEq)]
struct Candidate {
    name: String,
    /// The part of the filter that bounds the index's first field.
    bounds: Document,
}

/// How many keys an index may look at and still be faster than walking all `documents` in `parts` at once: a key costs
/// more than a step of a walk, because the document behind it is fetched from somewhere else.
fn worth_of(documents: u64, parts: usize) -> u64 {
    let parts = u64::try_from(parts).unwrap_or(u64::MAX).max(1);
    (documents / parts.saturating_mul(4)).min(MOST_KEYS)
}

/// The name of the index that serves `filter` best, where one pays.
pub(super) async fn selective(
    target: CollectionRef<'_>,
    filter: &Document,
    documents: u64,
    parts: usize,
) -> Result<Option<String>> {
    let worth = worth_of(documents, parts);
    if worth == 0 {
        return Ok(None);
    }
    let indexes = target.database.run_cursor_command(doc! { "listIndexes": target.collection }).await;
    let indexes: Vec<Document> = indexes
        .map_err(target.failed("listIndexes"))?
        .try_collect()
        .await
        .map_err(target.failed("listIndexes"))?;
    let mut best: Option<(u64, String)> = None;
    for Candidate { name, bounds } in candidates(&indexes, filter) {
        let most = best.as_ref().map_or(worth, |(keys, _)| keys.saturating_sub(1));
        let command = doc! {
            "count": target.collection, "query": bounds, "hint": &name, "collation": { "locale": "simple" },
            "limit": i64::try_from(most.saturating_add(1)).unwrap_or(i64::MAX),
        };
        let answer = target.database.run_command(command).await.map_err(target.failed("count"))?;
        let keys = match answer.get("n") {
            Some(Bson::Int32(keys)) => u64::try_from(*keys).unwrap_or(u64::MAX),
            Some(Bson::Int64(keys)) => u64::try_from(*keys).unwrap_or(u64::MAX),
            _ => u64::MAX,
        };
        if keys <= most {
            best = Some((keys, name));
        }
    }
    Ok(best.map(|(_, name)| name))
}

/// The indexes whose first field `filter` bounds.
fn candidates(indexes: &[Document], filter: &Document) -> Vec<Candidate> {
    let mut conditions = Vec::new();
    conjuncts(filter, &mut conditions);
    indexes
        .iter()
        .filter_map(|index| {
            let (name, field) = (index.get_str("name").ok()?, usable(index)?);
            let bounds: Vec<Document> = conditions
                .iter()
                .filter(|(named, condition)| *named == field && is_bound(condition))
                .map(|(_, condition)| doc! { field: (*condition).clone() })
                .collect();
            let bounds = if bounds.is_empty() {
                return None;
            } else {
                doc! { "$and": bounds }
            };
            Some(Candidate { name: name.to_owned(), bounds })
        })
        .collect()
}

/// The conditions that all have to hold, each on one field.
fn conjuncts<'a>(filter: &'a Document, found: &mut Vec<(&'a str, &'a Bson)>) {
    for (key, value) in filter {
        match value {
            Bson::Array(parts) if key == "$and" => {
                for part in parts.iter().filter_map(Bson::as_document) {
                    conjuncts(part, found);
                }
            }
            value if !key.starts_with('$') => found.push((key, value)),
            _ => {}
        }
    }
}

/// The first field of an index that holds every document and orders values as our filters do.
fn usable(index: &Document) -> Option<&str> {
    const NOT: [&str; 4] = ["collation", "partialFilterExpression", "sparse", "hidden"];
    if NOT.iter().any(|option| index.contains_key(option)) {
        return None;
    }
    let (field, kind) = index.get_document("key").ok()?.iter().next()?;
    // Other kinds: text, hashed, geographic, and wildcards.
    let ordered = matches!(kind, Bson::Int32(1 | -1) | Bson::Int64(1 | -1) | Bson::Double(_));
    (ordered && field != "_id" && !field.contains('$')).then_some(field.as_str())
}

/// Whether a condition bounds a walk over an index to a part of it.
fn is_bound(condition: &Bson) -> bool {
    const BOUNDS: [&str; 6] = ["$eq", "$in", "$lt", "$lte", "$gt", "$gte"];
    match condition {
        Bson::Document(operators) => operators.keys().all(|key| BOUNDS.contains(&key.as_str())),
        // A null is also a missing field, of which there may be many; NaN stands in an `$or`.
        Bson::Null => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes() -> Vec<Document> {
        vec![
            doc! { "name": "_id_", "key": { "_id": 1 } },
            doc! { "name": "producer", "key": { "producer_id": 1, "label": 1 } },
            doc! { "name": "label", "key": { "label": -1.0 } },
            doc! { "name": "hashed", "key": { "model": "hashed" } },
            doc! { "name": "partial", "key": { "model": 1 }, "partialFilterExpression": {} },
            doc! { "name": "hidden", "key": { "model": 1 }, "hidden": true },
            doc! { "name": "wild", "key": { "$**": 1 } },
        ]
    }

    #[test]
    fn an_index_serves_a_filter_that_bounds_its_first_field() {
        let cat = doc! { "label": { "$eq": "cat" } };
        let range = doc! { "producer_id": { "$gte": "a", "$lt": "b" } };
        for (filter, expected) in [
            (cat.clone(), vec!["label"]),
            (doc! { "$and": [&cat, &range] }, vec!["producer", "label"]),
            (doc! { "$and": [{ "$and": [&cat, { "correct": true }] }] }, vec!["label"]),
            (doc! { "$or": [&cat, &range] }, vec![]),
            (doc! { "label": { "$nin": ["cat", null] } }, vec![]),
            (doc! { "label": null }, vec![]),
            (doc! { "model": { "$eq": "resnet18" } }, vec![]),
            (doc! { "_id": { "$eq": "a" } }, vec![]),
        ] {
            let indexes = indexes();
            let names: Vec<String> =
                candidates(&indexes, &filter).into_iter().map(|found| found.name).collect();
            assert_eq!(names, expected, "{filter}");
        }
        let both =
            doc! { "$and": [{ "label": { "$gt": "a" } }, { "label": { "$lt": "b" } }, { "correct": true }] };
        let bounds = doc! { "$and": [{ "label": { "$gt": "a" } }, { "label": { "$lt": "b" } }] };
        assert_eq!(candidates(&indexes(), &both), [Candidate { name: "label".to_owned(), bounds }]);
    }

    #[test]
    fn an_index_pays_for_a_small_part_of_a_collection() {
        for (documents, parts, expected) in [
            (0, 4, 0),
            (15, 4, 0),
            (1_600, 4, 100),
            (1_600, 0, 400),
            (1 << 40, 2, MOST_KEYS),
            (100, usize::MAX, 0),
        ] {
            assert_eq!(worth_of(documents, parts), expected, "{documents} documents in {parts}");
        }
    }
}
