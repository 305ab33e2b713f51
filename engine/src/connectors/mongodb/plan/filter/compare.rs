//! Comparisons of a column, also of one under a cast that the planner left in.
//!
//! A cast is taken off where the comparison means the same without it: to a wider type, or to a coarser one where the
//! value that it is compared with is rounded to the side that the operator asks for.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use bson::{Bson, DateTime, Document, doc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator};

use super::pushed::{Field, Pushed};

/// The query for the rows where `expr`, a column or a cast of one, compares so with `value`.
pub(super) fn compare(expr: &Expr, op: Operator, value: &ScalarValue, schema: &Schema) -> Option<Pushed> {
    match expr {
        Expr::Cast(cast) => casted(&Field::of(&cast.expr, schema)?, cast.field.data_type(), op, value),
        Expr::Alias(alias) => compare(&alias.expr, op, value, schema),
        _ => column(&Field::of(expr, schema)?, op, value),
    }
}

/// A column that was cast to `target`, compared with a value of that type.
fn casted(field: &Field<'_>, target: &DataType, op: Operator, value: &ScalarValue) -> Option<Pushed> {
    use DataType::{Date32, Float64, Int32, Int64, LargeUtf8, Timestamp, Utf8, Utf8View};
    match (field.data_type, target) {
        (Int32, Int64) | (Utf8, LargeUtf8 | Utf8View) => column(field, op, value),
        (Int32 | Int64, Float64) => {
            let ScalarValue::Float64(Some(double)) = value else { return None };
            // Up to here every integer is a double, and beyond it none is rounded to below it.
            let exact = double.is_finite() && double.abs() < MAX_EXACT;
            if exact { plain(field, op, Bson::Double(*double)).map(Pushed::Exact) } else { None }
        }
        (Timestamp(TimeUnit::Millisecond, from), Timestamp(_, to))
            if is_utc(from.as_deref()) && is_utc(to.as_deref()) =>
        {
            let (value, per_millisecond) = ticks(value)?;
            let at = value.div_euclid(per_millisecond);
            let between = value.rem_euclid(per_millisecond) != 0;
            let query = rounded(field, op, at, between)?;
            // Finer units reach less far: a time beyond them is an error where the engine reads it.
            Some(if per_millisecond > 1 { Pushed::Inexact(query) } else { Pushed::Exact(query) })
        }
        (Timestamp(TimeUnit::Millisecond, from), Date32) if is_utc(from.as_deref()) => {
            let ScalarValue::Date32(Some(day)) = value else { return None };
            let first = i64::from(*day) * MILLIS_A_DAY;
            day_of(field, op, first, first + MILLIS_A_DAY).map(Pushed::Exact)
        }
        _ => None,
    }
}

/// 2^53: whole numbers below it are doubles.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
const MILLIS_A_DAY: i64 = 86_400_000;

/// Whether times of this zone read the same as those of UTC.
fn is_utc(zone: Option<&str>) -> bool {
    matches!(zone, None | Some("UTC" | "Z" | "+00:00" | "+00" | "+0000" | "Etc/UTC"))
}

/// A time in its unit, and how many of these are a millisecond.
fn ticks(value: &ScalarValue) -> Option<(i64, i64)> {
    match value {
        ScalarValue::TimestampMillisecond(Some(value), zone) if is_utc(zone.as_deref()) => Some((*value, 1)),
        ScalarValue::TimestampMicrosecond(Some(value), zone) if is_utc(zone.as_deref()) => {
            Some((*value, 1_000))
        }
        ScalarValue::TimestampNanosecond(Some(value), zone) if is_utc(zone.as_deref()) => {
            Some((*value, 1_000_000))
        }
        _ => None,
    }
}

/// A time in milliseconds compared with the millisecond `at`, or, where `between` says so, with a time after it and before
/// the next one.
fn rounded(field: &Field<'_>, op: Operator, at: i64, between: bool) -> Option<Document> {
    let date = |millis| Bson::DateTime(DateTime::from_millis(millis));
    match op {
        _ if !between => plain(field, op, date(at)),
        // No millisecond equals it, so all that are known differ.
        Operator::Eq => Some(doc! { "$nor": [{}] }),
        Operator::NotEq => Some(field.matches(doc! { "$ne": Bson::Null })),
        Operator::Lt | Operator::LtEq => plain(field, Operator::LtEq, date(at)),
        Operator::Gt | Operator::GtEq => plain(field, Operator::Gt, date(at)),
        _ => None,
    }
}

/// The day of a time compared with the day from `first` to before `next`, in milliseconds.
fn day_of(field: &Field<'_>, op: Operator, first: i64, next: i64) -> Option<Document> {
    let (first, next) = (DateTime::from_millis(first), DateTime::from_millis(next));
    let condition = match op {
        Operator::Eq => doc! { "$gte": first, "$lt": next },
        Operator::NotEq => {
            let (before, after) = (doc! { "$lt": first }, doc! { "$gte": next });
            return Some(doc! { "$or": [field.matches(before), field.matches(after)] });
        }
        Operator::Lt => doc! { "$lt": first },
        Operator::LtEq => doc! { "$lt": next },
        Operator::Gt => doc! { "$gte": next },
        Operator::GtEq => doc! { "$gte": first },
        _ => return None,
    };
    Some(field.matches(condition))
}

/// A column compared with a value.
fn column(field: &Field<'_>, op: Operator, value: &ScalarValue) -> Option<Pushed> {
    let value = field.value(value)?;
    if matches!(field.data_type, DataType::Float64) {
        return compare_double(field, op, value);
    }
    plain(field, op, value).map(Pushed::Exact)
}

/// The query for the rows whose value compares so, where MongoDB compares as Arrow does.
fn plain(field: &Field<'_>, op: Operator, value: Bson) -> Option<Document> {
    let condition = match op {
        Operator::Eq => doc! { "$eq": value },
        // `$ne` alone also matches a missing field, for which SQL's answer is unknown.
        Operator::NotEq => doc! { "$nin": [value, Bson::Null] },
        Operator::Lt => doc! { "$lt": value },
        Operator::LtEq => doc! { "$lte": value },
        Operator::Gt => doc! { "$gt": value },
        Operator::GtEq => doc! { "$gte": value },
        _ => return None,
    };
    Some(field.matches(condition))
}

/// Doubles: a query that leaves nothing out, for DataFusion to look at again.
fn compare_double(field: &Field<'_>, op: Operator, value: Bson) -> Option<Pushed> {
    let query = match op {
        Operator::Eq => field.matches(doc! { "$eq": value }),
        // Arrow orders doubles totally, so a NaN lies below or above all numbers by its sign, which no query of the
        // server tells: both directions fetch every NaN.
        Operator::Lt | Operator::LtEq => or_nan(field, doc! { "$lte": value }),
        Operator::Gt | Operator::GtEq => or_nan(field, doc! { "$gte": value }),
        _ => return None,
    };
    Some(Pushed::Inexact(query))
}

fn or_nan(field: &Field<'_>, condition: Document) -> Document {
    doc! { "$or": [field.matches(condition), field.matches(f64::NAN)] }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field as Column;
    use datafusion::prelude::{cast, col, lit};

    use super::*;

    fn schema() -> Schema {
        let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        Schema::new(vec![
            Column::new("i", DataType::Int64, true),
            Column::new("s", DataType::Int32, true),
            Column::new("at", utc, true),
        ])
    }

    #[track_caller]
    fn check(expr: Expr, op: Operator, value: ScalarValue, expected: Option<Pushed>) {
        assert_eq!(compare(&expr, op, &value, &schema()), expected, "{expr} {op} {value}");
    }

    #[test]
    fn a_cast_to_a_wider_number_is_taken_off() {
        let exact = |query| Some(Pushed::Exact(query));
        let wide = || cast(col("s"), DataType::Int64);
        check(
            wide(),
            Operator::Lt,
            ScalarValue::Int64(Some(1 << 40)),
            exact(doc! { "s": { "$lt": 1_i64 << 40 } }),
        );
        let double = || cast(col("i"), DataType::Float64);
        check(
            double(),
            Operator::GtEq,
            ScalarValue::Float64(Some(5.5)),
            exact(doc! { "i": { "$gte": 5.5 } }),
        );
        for beyond in [MAX_EXACT, -MAX_EXACT, f64::INFINITY, f64::NAN] {
            check(double(), Operator::GtEq, ScalarValue::Float64(Some(beyond)), None);
        }
        check(cast(col("i"), DataType::Int32), Operator::Eq, ScalarValue::Int32(Some(5)), None);
        check(cast(col("i"), DataType::Utf8), Operator::Eq, ScalarValue::from("5"), None);
        check(
            cast(col("i") + lit(1_i64), DataType::Float64),
            Operator::Eq,
            ScalarValue::Float64(Some(5.0)),
            None,
        );
    }

    #[test]
    fn a_finer_time_is_rounded_to_the_side_of_the_operator() {
        let micros = || cast(col("at"), DataType::Timestamp(TimeUnit::Microsecond, None));
        let at = DateTime::from_millis;
        for (op, value, expected) in [
            (Operator::Lt, 7_000, doc! { "at": { "$lt": at(7) } }),
            (Operator::Lt, 7_001, doc! { "at": { "$lte": at(7) } }),
            (Operator::LtEq, 6_999, doc! { "at": { "$lte": at(6) } }),
            (Operator::Gt, 7_001, doc! { "at": { "$gt": at(7) } }),
            (Operator::GtEq, 7_001, doc! { "at": { "$gt": at(7) } }),
            (Operator::GtEq, -1, doc! { "at": { "$gt": at(-1) } }),
            (Operator::Eq, 7_000, doc! { "at": { "$eq": at(7) } }),
            (Operator::Eq, 7_001, doc! { "$nor": [{}] }),
            (Operator::NotEq, 7_001, doc! { "at": { "$ne": Bson::Null } }),
        ] {
            let value = ScalarValue::TimestampMicrosecond(Some(value), None);
            check(micros(), op, value, Some(Pushed::Inexact(expected)));
        }
        let berlin = ScalarValue::TimestampMicrosecond(Some(7), Some("Europe/Berlin".into()));
        check(micros(), Operator::Lt, berlin, None);
    }

    #[test]
    fn a_day_is_a_range_of_times() {
        let day = || cast(col("at"), DataType::Date32);
        let (first, next) = (DateTime::from_millis(-MILLIS_A_DAY), DateTime::from_millis(0));
        for (op, expected) in [
            (Operator::Eq, doc! { "at": { "$gte": first, "$lt": next } }),
            (Operator::NotEq, doc! { "$or": [{ "at": { "$lt": first } }, { "at": { "$gte": next } }] }),
            (Operator::Lt, doc! { "at": { "$lt": first } }),
            (Operator::LtEq, doc! { "at": { "$lt": next } }),
            (Operator::Gt, doc! { "at": { "$gte": next } }),
            (Operator::GtEq, doc! { "at": { "$gte": first } }),
        ] {
            check(day(), op, ScalarValue::Date32(Some(-1)), Some(Pushed::Exact(expected)));
        }
    }
}
