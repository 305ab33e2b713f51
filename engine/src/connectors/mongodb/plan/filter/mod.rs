//! Which filters the server evaluates, and as what query: a pure function over expressions.
//!
//! SQL has three truth values and MongoDB two, so an expression is translated twice: into the query that matches the
//! rows where it is *true*, and, under a NOT, where it is *false*. A row where it is unknown matches neither.
//!
//! A query is [`Pushed::Exact`] where it matches exactly those rows, and [`Pushed::Inexact`] where it also matches
//! some that the engine has to drop: doubles, because Arrow orders NaN above all numbers and tells −0 from 0, while
//! MongoDB does neither. What has no sound translation is not pushed.
//!
//! [`compare`] has the comparisons of a column, also under a cast, and [`like`] the patterns.
//!
//! Pushdown never changes a result over documents that fit the schema. A document that does not is an error only where
//! it is read, so a filter may hide it.

pub(crate) mod compare;
pub(crate) mod like;
pub(crate) mod pushed;

use arrow::datatypes::{DataType, Schema};
use bson::{Bson, Document, doc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use self::pushed::{Field, Pushed};

/// The query for all of `filters` that can be pushed; `None` where none can.
pub(crate) fn conjunction(filters: &[Expr], schema: &Schema) -> Option<Document> {
    Pushed::all(filters.iter().filter_map(|filter| translate(filter, schema)))
}

/// Whether a query says anything about `_id`.
///
/// Such a scan is not split. Often it looks a few documents up; and on a clustered collection MongoDB 6.0.5 joins the
/// filter's bounds with those of `max` wrongly: `{_id: {$lte: 7}}` below `max: {_id: 9}` leaves out 7.
pub(crate) fn constrains_id(query: &Document) -> bool {
    query.iter().any(|(key, value)| match value {
        Bson::Array(parts) if key.starts_with('$') => {
            parts.iter().filter_map(Bson::as_document).any(constrains_id)
        }
        _ => key == "_id",
    })
}

/// The query for the rows where `filter` is true.
pub(crate) fn translate(filter: &Expr, schema: &Schema) -> Option<Pushed> {
    when(filter, true, schema)
}

/// The query for the rows where `expr` is `wanted`.
fn when(expr: &Expr, wanted: bool, schema: &Schema) -> Option<Pushed> {
    match expr {
        Expr::Not(inner) => when(inner, !wanted, schema),
        Expr::Alias(alias) => when(&alias.expr, wanted, schema),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            // NOT (a AND b) is NOT a OR NOT b, also with unknowns.
            let both = (*op == Operator::And) == wanted;
            let operator = if both { "$and" } else { "$or" };
            Some(when(left, wanted, schema)?.join(operator, when(right, wanted, schema)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, op, value) = match (left.as_ref(), right.as_ref()) {
                (column, Expr::Literal(value, _)) => (column, *op, value),
                (Expr::Literal(value, _), column) => (column, op.swap()?, value),
                _ => return None,
            };
            let op = if wanted { op } else { op.negate()? };
            compare::compare(column, op, value, schema)
        }
        Expr::InList(InList { expr, list, negated }) => {
            in_list(&Field::of(expr, schema)?, list, *negated != wanted)
        }
        Expr::Between(between) => {
            let (low, high) = (literal(&between.low)?, literal(&between.high)?);
            let inside = between.negated != wanted;
            let (lower, upper, operator) = if inside {
                (Operator::GtEq, Operator::LtEq, "$and")
            } else {
                (Operator::Lt, Operator::Gt, "$or")
            };
            let bound = |op, value| compare::compare(&between.expr, op, value, schema);
            Some(bound(lower, low)?.join(operator, bound(upper, high)?))
        }
        Expr::Like(like)
            if !like.case_insensitive && like.escape_char.is_none_or(|escape| escape == '\\') =>
        {
            let (field, pattern) = (Field::of(&like.expr, schema)?, literal(&like.pattern)?);
            like::like(&field, pattern.try_as_str()??, like.negated != wanted)
        }
        // What the optimizer leaves of a list that holds a null.
        Expr::Literal(ScalarValue::Boolean(value), _) => Some(Pushed::Exact(if *value == Some(wanted) {
            doc! {}
        } else {
            doc! { "$nor": [{}] }
        })),
        Expr::IsNull(inner) | Expr::IsUnknown(inner) => Some(null_test(&Field::of(inner, schema)?, wanted)),
        Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => {
            Some(null_test(&Field::of(inner, schema)?, !wanted))
        }
        Expr::Column(_) => boolean(expr, &[wanted], schema),
        Expr::IsTrue(inner) => truth_test(inner, true, wanted, schema),
        Expr::IsNotTrue(inner) => truth_test(inner, true, !wanted, schema),
        Expr::IsFalse(inner) => truth_test(inner, false, wanted, schema),
        Expr::IsNotFalse(inner) => truth_test(inner, false, !wanted, schema),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn in_list(field: &Field<'_>, list: &[Expr], wanted: bool) -> Option<Pushed> {
    if matches!(field.data_type, DataType::Float64) {
        return None;
    }
    let literals: Vec<&ScalarValue> = list.iter().map(literal).collect::<Option<_>>()?;
    let (nulls, values): (Vec<_>, Vec<_>) = literals.into_iter().partition(|value| value.is_null());
    let mut values: Vec<Bson> = values.into_iter().map(|value| field.value(value)).collect::<Option<_>>()?;
    if wanted {
        return Some(Pushed::Exact(field.matches(doc! { "$in": values })));
    }
    if !nulls.is_empty() {
        return None; // `x NOT IN (…, NULL)` is never true: the optimizer's business.
    }
    values.push(Bson::Null);
    Some(Pushed::Exact(field.matches(doc! { "$nin": values })))
}

fn null_test(field: &Field<'_>, null: bool) -> Pushed {
    Pushed::Exact(if null { field.matches(Bson::Null) } else { field.matches(doc! { "$ne": Bson::Null }) })
}

/// The rows where the boolean column `expr` has one of `values`.
fn boolean(expr: &Expr, values: &[bool], schema: &Schema) -> Option<Pushed> {
    let field = Field::of(expr, schema)?;
    if *field.data_type != DataType::Boolean {
        return None;
    }
    match values {
        [value] => Some(Pushed::Exact(field.matches(*value))),
        _ => None,
    }
}

/// `inner IS value`, or with `holds` false `inner IS NOT value`, which is also true where `inner` is unknown.
fn truth_test(inner: &Expr, value: bool, holds: bool, schema: &Schema) -> Option<Pushed> {
    let is = when(inner, value, schema)?;
    match (holds, is) {
        (true, is) => Some(is),
        (false, Pushed::Exact(_)) if let Some(field) = Field::of(inner, schema) => {
            Some(Pushed::Exact(field.matches(doc! { "$ne": value })))
        }
        // Whatever an exact query does not match is the rest.
        (false, Pushed::Exact(query)) => Some(Pushed::Exact(doc! { "$nor": [query] })),
        (false, Pushed::Inexact(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::DateTime;
    use datafusion::prelude::{col, lit};

    use super::*;
    use crate::connectors::mongodb::schema::kind::BsonKind;
    use crate::connectors::mongodb::schema::predictions_schema;

    #[track_caller]
    fn check(filter: Expr, expected: Option<Pushed>) {
        assert_eq!(translate(&filter, &predictions_schema()), expected, "{filter}");
    }

    fn exact(query: Document) -> Option<Pushed> {
        Some(Pushed::Exact(query))
    }

    fn inexact(query: Document) -> Option<Pushed> {
        Some(Pushed::Inexact(query))
    }

    fn millis(value: i64) -> Expr {
        lit(ScalarValue::TimestampMillisecond(Some(value), Some("UTC".into())))
    }

    #[test]
    fn comparisons_with_scalars_are_exact() {
        let id = || col("producer_id");
        check(id().eq(lit("a")), exact(doc! { "producer_id": { "$eq": "a" } }));
        check(lit("a").lt(id()), exact(doc! { "producer_id": { "$gt": "a" } }));
        check(id().not_eq(lit("a")), exact(doc! { "producer_id": { "$nin": ["a", null] } }));
        check(col("sequence").lt_eq(lit(5_i32)), exact(doc! { "sequence": { "$lte": 5_i64 } }));
        check(
            col("produced_at").gt_eq(millis(7)),
            exact(doc! { "produced_at": { "$gte": DateTime::from_millis(7) } }),
        );
        check(
            id().in_list(vec![lit("a"), lit("b")], false),
            exact(doc! { "producer_id": { "$in": ["a", "b"] } }),
        );
        check(
            id().eq(lit("a")).or(id().eq(lit("b"))).or(id().eq(lit("c"))),
            exact(doc! { "producer_id": { "$in": ["a", "b", "c"] } }),
        );
        check(
            id().eq(lit("a")).or(col("label").eq(lit("b"))),
            exact(doc! { "$or": [{ "producer_id": { "$eq": "a" } }, { "label": { "$eq": "b" } }] }),
        );
        check(id().in_list(vec![lit("a")], true), exact(doc! { "producer_id": { "$nin": ["a", null] } }));
        check(
            col("sequence").between(lit(1_i64), lit(2_i64)),
            exact(doc! { "$and": [{ "sequence": { "$gte": 1_i64 } }, { "sequence": { "$lte": 2_i64 } }] }),
        );
    }

    #[test]
    fn three_truth_values_become_two() {
        let id = || col("producer_id");
        check(col("correct"), exact(doc! { "correct": true }));
        check(!col("correct"), exact(doc! { "correct": false }));
        check(col("correct").is_not_true(), exact(doc! { "correct": { "$ne": true } }));
        check(Expr::IsFalse(Box::new(col("correct"))), exact(doc! { "correct": false }));
        check(!id().eq(lit("a")), exact(doc! { "producer_id": { "$nin": ["a", null] } }));
        check(!id().lt(lit("a")), exact(doc! { "producer_id": { "$gte": "a" } }));
        check(
            id().eq(lit("a")).or(lit(ScalarValue::Boolean(None))),
            exact(doc! { "$or": [{ "producer_id": { "$eq": "a" } }, { "$nor": [{}] }] }),
        );
        check(!lit(false), exact(doc! {}));
        check((id().eq(lit("a"))).is_true(), exact(doc! { "producer_id": { "$eq": "a" } }));
        check((id().eq(lit("a"))).is_not_true(), exact(doc! { "$nor": [{ "producer_id": { "$eq": "a" } }] }));
        check(id().like(lit("a%")), exact(doc! { "producer_id": { "$gte": "a", "$lt": "b" } }));
        check(id().is_null(), exact(doc! { "producer_id": null }));
        check(!id().is_null(), exact(doc! { "producer_id": { "$ne": null } }));
        check(
            !(col("correct").and(id().eq(lit("a")))),
            exact(doc! { "$or": [{ "correct": false }, { "producer_id": { "$nin": ["a", null] } }] }),
        );
    }

    #[test]
    fn doubles_leave_nothing_out() {
        let confidence = || col("confidence");
        let or_nan = |query: Document| doc! { "$or": [query, { "confidence": f64::NAN }] };
        for (filter, condition) in [
            (confidence().gt(lit(0.5)), doc! { "$gte": 0.5 }),
            (confidence().lt(lit(0.5)), doc! { "$lte": 0.5 }),
        ] {
            match translate(&filter, &predictions_schema()) {
                // NaN does not equal itself, its text does.
                Some(Pushed::Inexact(query)) => {
                    assert_eq!(query.to_string(), or_nan(doc! { "confidence": condition }).to_string());
                }
                other => panic!("{other:?}"),
            }
        }
        check(
            confidence().eq(lit(0.5)).and(col("correct")),
            inexact(doc! { "$and": [{ "confidence": { "$eq": 0.5 } }, { "correct": true }] }),
        );
        check(confidence().not_eq(lit(0.5)), None);
        check(confidence().gt(lit(f64::NAN)), None);
        check(confidence().in_list(vec![lit(0.5)], false), None);
    }

    #[test]
    fn what_has_no_sound_translation_is_not_pushed() {
        check(col("label").eq(col("predicted")), None);
        check(col("producer_id").eq(lit(ScalarValue::Utf8(None))), None);
        check(col("producer_id").in_list(vec![lit("a"), lit(ScalarValue::Utf8(None))], true), None);
        check(col("producer_id").ilike(lit("a%")), None);
        check(col("sequence").like(lit("a%")), None);
        check((!col("confidence").gt(lit(0.5))).is_not_true(), None);
        check((col("sequence") + lit(1_i64)).eq(lit(2_i64)), None);
        check(col("correct").or(col("label").eq(col("predicted"))), None);
        check(col("sequence").eq(lit(u64::MAX)), None);
        check(col("no_such_column").eq(lit(1)), None);
    }

    #[test]
    fn texts_of_other_types_and_nested_columns_are_not_compared_by_the_server() {
        let list =
            DataType::List(std::sync::Arc::new(arrow::datatypes::Field::new("item", DataType::Utf8, true)));
        let schema = Schema::new(vec![
            BsonKind::ObjectId.field("id"),
            BsonKind::Any.field("any"),
            arrow::datatypes::Field::new("list", list, true),
        ]);
        for filter in [
            col("id").eq(lit("0123456789abcdef01234567")),
            col("any").eq(lit("5")),
            col("any").is_null(),
            col("list").is_null(),
        ] {
            assert_eq!(translate(&filter, &schema), None, "{filter}");
        }
    }

    #[test]
    fn a_filter_on_the_id_is_recognised() {
        for (query, expected) in [
            (doc! { "_id": { "$eq": "a" } }, true),
            (doc! { "$and": [{ "correct": true }, { "$or": [{ "label": "cat" }, { "_id": "a" }] }] }, true),
            (doc! { "producer_id": { "$in": ["_id"] } }, false),
            (doc! { "$nor": [{}] }, false),
        ] {
            assert_eq!(constrains_id(&query), expected, "{query}");
        }
    }

    #[test]
    fn several_filters_are_joined() {
        let filters = [col("correct"), col("label").eq(lit("cat"))];
        let expected = doc! { "$and": [{ "correct": true }, { "label": { "$eq": "cat" } }] };
        assert_eq!(conjunction(&filters, &predictions_schema()), Some(expected));
        assert_eq!(conjunction(&filters[..1], &predictions_schema()), Some(doc! { "correct": true }));
        assert_eq!(conjunction(&[], &predictions_schema()), None);
    }
}
