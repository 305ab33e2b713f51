//! How a range of `_id` is said in a `$match`: pure functions of the range and the ends of the collection.
//!
//! An `aggregate` has no `min` and `max`. The comparisons of a query match only values of the same BSON type, but bound
//! the walk over a clustered collection; those of `$expr` follow the order over all types, but bound nothing there.
//! Between two ids of one type there are only ids of that type, so where both ends are of one, a query says the same.
//! The end of an open range is the first or last id of the collection.

use bson::{Bson, Document, doc};

use crate::connectors::mongodb::read::partition::IdRange;

/// The condition that a document is in `range`. `first` and `last` are the ends of the collection, as far as asked for.
pub(super) fn condition(range: &IdRange, first: Option<&Bson>, last: Option<&Bson>) -> Option<Document> {
    let lower = range.lower.as_ref().and_then(|bound| bound.get("_id"));
    let upper = range.upper.as_ref().and_then(|bound| bound.get("_id"));
    if lower.is_none() && upper.is_none() {
        return None;
    }
    let from = lower.or(first).and_then(kind);
    let to = upper.or(last).and_then(kind);
    let bounds = [("$gte", lower), ("$lt", upper)];
    let bounds = bounds.into_iter().filter_map(|(operator, id)| Some((operator, id?.clone())));
    if from.is_some() && from == to {
        let mut condition = Document::new();
        condition.extend(bounds.map(|(operator, id)| (operator.to_owned(), id)));
        return Some(doc! { "_id": condition });
    }
    let parts: Vec<Document> =
        bounds.map(|(operator, id)| doc! { operator: ["$_id", { "$literal": id }] }).collect();
    Some(doc! { "$expr": { "$and": parts } })
}

/// Types within which a comparison of a query and the order over all types agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    ObjectId,
    Number,
    Date,
}

fn kind(id: &Bson) -> Option<Kind> {
    match id {
        Bson::String(_) => Some(Kind::Text),
        Bson::ObjectId(_) => Some(Kind::ObjectId),
        Bson::Int32(_) | Bson::Int64(_) => Some(Kind::Number),
        // NaN is the least number in the order, and matched by no comparison.
        Bson::Double(value) if !value.is_nan() => Some(Kind::Number),
        Bson::DateTime(_) => Some(Kind::Date),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lower: Option<Bson>, upper: Option<Bson>) -> IdRange {
        IdRange { lower: lower.map(|id| doc! { "_id": id }), upper: upper.map(|id| doc! { "_id": id }) }
    }

    fn text(id: &str) -> Option<Bson> {
        Some(id.into())
    }

    #[test]
    fn ids_of_one_type_are_compared_by_a_query() {
        let (first, last) = (Bson::from("a"), Bson::from("z"));
        for (range, expected) in [
            (range(text("b"), text("c")), doc! { "_id": { "$gte": "b", "$lt": "c" } }),
            (range(None, text("c")), doc! { "_id": { "$lt": "c" } }),
            (range(text("b"), None), doc! { "_id": { "$gte": "b" } }),
            (range(Some(1.into()), Some(2.5.into())), doc! { "_id": { "$gte": 1, "$lt": 2.5 } }),
        ] {
            assert_eq!(condition(&range, Some(&first), Some(&last)), Some(expected), "{range:?}");
        }
        assert_eq!(condition(&IdRange::full(), Some(&first), Some(&last)), None);
    }

    #[test]
    fn ids_of_several_types_are_compared_across_them() {
        let below = |id: Bson| doc! { "$expr": { "$and": [{ "$lt": ["$_id", { "$literal": id }] }] } };
        for first in [Bson::Int32(1), Bson::MinKey, Bson::Null, Bson::Double(f64::NAN)] {
            let found = condition(&range(None, text("c")), Some(&first), None);
            assert_eq!(found, Some(below("c".into())), "{first:?}");
        }
        assert_eq!(condition(&range(None, text("c")), None, None), Some(below("c".into())));
        let nan = range(None, Some(5.into()));
        assert_eq!(condition(&nan, Some(&Bson::Double(f64::NAN)), None), Some(below(5.into())));
        let mixed = condition(&range(Some(5.into()), text("c")), None, None);
        assert!(mixed.is_some_and(|query| query.contains_key("$expr")));
    }
}
