//! Physical expressions as aggregation expressions of MongoDB: a pure function.
//!
//! A value is translated into an expression that gives the same value, or null. A condition is translated twice, into
//! an expression that is true where the condition is *true*, and one that is true where it is *false*; both are always
//! true or false for the server, so that unknown is neither.
//!
//! A translation holds for documents whose columns have values of the declared type: [`Translation::columns`] are those
//! to check, and [`Translation::ordered`] the doubles among them that are compared, for which a NaN is to be found as
//! well. Integers that overflow become doubles or decimals for the server, which the type of a result shows; where
//! that would be hidden inside a condition, there is no translation.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bson::{Bson, DateTime, doc};
use datafusion::common::ScalarValue;
use datafusion::functions::core::coalesce::CoalesceFunc;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, CastExpr, Column, Literal, NegativeExpr};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// When a value is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nullness {
    /// If and only if one of these columns is; without columns never.
    Columns(BTreeSet<usize>),
    /// Only the server knows.
    Computed,
}

impl Nullness {
    pub(super) fn never() -> Self {
        Self::Columns(BTreeSet::new())
    }

    pub(super) fn is_never(&self) -> bool {
        *self == Self::never()
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Columns(mut columns), Self::Columns(others)) => {
                columns.extend(others);
                Self::Columns(columns)
            }
            _ => Self::Computed,
        }
    }
}

/// A value for the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) bson: Bson,
    pub(super) nullness: Nullness,
    /// Whether an integer may have overflowed on the way.
    pub(super) overflows: bool,
}

/// Translates expressions over the columns of one schema.
#[derive(Debug)]
pub(super) struct Translation<'a> {
    schema: &'a Schema,
    /// The columns that translated expressions use.
    pub(super) columns: BTreeSet<usize>,
    /// Those of doubles that are compared.
    pub(super) ordered: BTreeSet<usize>,
}

impl<'a> Translation<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema, columns: BTreeSet::new(), ordered: BTreeSet::new() }
    }

    /// The value of `expr`; `None` where it has no translation.
    pub(super) fn value(&mut self, expr: &dyn PhysicalExpr) -> Option<Value> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.column(column);
        }
        if let Some(literal) = expr.downcast_ref::<Literal>() {
            return constant(literal.value());
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            return self.cast(cast);
        }
        if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
            let minus_one: Bson = match self.data_type(expr)? {
                DataType::Int64 => Bson::Int64(-1),
                DataType::Float64 => Bson::Double(-1.0),
                _ => return None,
            };
            let inner = self.value(negative.arg().as_ref())?;
            let overflows = inner.overflows || minus_one.as_i64().is_some();
            return Some(Value {
                bson: doc! { "$multiply": [inner.bson, minus_one] }.into(),
                overflows,
                ..inner
            });
        }
        if let Some(case) = expr.downcast_ref::<CaseExpr>() {
            return self.case(case);
        }
        if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
            return self.coalesce(function);
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>()
            && let Some(operator) = arithmetic(binary.op())
        {
            let data_type = self.data_type(expr)?;
            if !matches!(data_type, DataType::Int64 | DataType::Float64) {
                return None;
            }
            let (left, right) = (self.value(binary.left().as_ref())?, self.value(binary.right().as_ref())?);
            return Some(Value {
                bson: combine(operator, left.bson, right.bson, &data_type),
                nullness: left.nullness.or(right.nullness),
                overflows: data_type == DataType::Int64 || left.overflows || right.overflows,
            });
        }
        // A condition as a value.
        if self.data_type(expr)? != DataType::Boolean {
            return None;
        }
        let truths = (Bson::Boolean(true), Bson::Boolean(false));
        self.choose(expr, truths)
    }

    pub(super) fn data_type(&self, expr: &dyn PhysicalExpr) -> Option<DataType> {
        expr.data_type(self.schema).ok()
    }

    fn column(&mut self, column: &Column) -> Option<Value> {
        let field = self.schema.fields().get(column.index())?;
        if !is_plain(field) {
            return None;
        }
        self.columns.insert(column.index());
        // A null where there must be none is found by the look at the column's types.
        let nulls = field.is_nullable().then(|| column.index());
        Some(Value {
            bson: path(field.name()),
            nullness: Nullness::Columns(nulls.into_iter().collect()),
            overflows: false,
        })
    }

    fn cast(&mut self, cast: &CastExpr) -> Option<Value> {
        let (from, to) = (self.data_type(cast.expr().as_ref())?, cast.cast_type());
        match (&from, to) {
            (from, to) if from == to && is_scalar(to) => self.value(cast.expr().as_ref()),
            (DataType::Int32, DataType::Int64) => self.value(cast.expr().as_ref()),
            (DataType::Int32 | DataType::Int64, DataType::Float64) => {
                let inner = self.value(cast.expr().as_ref())?;
                // As a double an overflow no longer shows.
                if inner.overflows {
                    return None;
                }
                Some(Value { bson: doc! { "$toDouble": inner.bson }.into(), ..inner })
            }
            (DataType::Boolean, DataType::Int64) => {
                self.choose(cast.expr().as_ref(), (Bson::Int64(1), Bson::Int64(0)))
            }
            (DataType::Boolean, DataType::Int32) => {
                self.choose(cast.expr().as_ref(), (Bson::Int32(1), Bson::Int32(0)))
            }
            _ => None,
        }
    }

    /// One value where the condition is true and another where it is false.
    fn choose(&mut self, condition: &dyn PhysicalExpr, (yes, no): (Bson, Bson)) -> Option<Value> {
        let when_true = self.truth(condition, true)?;
        if condition.nullable(self.schema).ok()? {
            let when_false = self.truth(condition, false)?;
            let otherwise = doc! { "$cond": [when_false, no, Bson::Null] };
            let bson = doc! { "$cond": [when_true, yes, otherwise] }.into();
            return Some(Value { bson, nullness: Nullness::Computed, overflows: false });
        }
        let bson = doc! { "$cond": [when_true, yes, no] }.into();
        Some(Value { bson, nullness: Nullness::never(), overflows: false })
    }

    fn case(&mut self, case: &CaseExpr) -> Option<Value> {
        let otherwise = case.else_expr().map(|expr| self.value(expr.as_ref()));
        let missing = Value { bson: Bson::Null, nullness: Nullness::Computed, overflows: false };
        let mut value = otherwise.unwrap_or(Some(missing))?;
        for (when, then) in case.when_then_expr().iter().rev() {
            let condition = match case.expr() {
                Some(base) => self.compare(base.as_ref(), Operator::Eq, when.as_ref())?,
                None => self.truth(when.as_ref(), true)?,
            };
            let then = self.value(then.as_ref())?;
            let never = then.nullness.is_never() && value.nullness.is_never();
            value = Value {
                bson: doc! { "$cond": [condition, then.bson, value.bson] }.into(),
                nullness: if never { Nullness::never() } else { Nullness::Computed },
                overflows: then.overflows || value.overflows,
            };
        }
        Some(value)
    }

    fn coalesce(&mut self, function: &ScalarFunctionExpr) -> Option<Value> {
        function.fun().inner().downcast_ref::<CoalesceFunc>()?;
        let values: Option<Vec<Value>> = function.args().iter().map(|arg| self.value(arg.as_ref())).collect();
        let values = values?;
        let never = values.iter().any(|value| value.nullness.is_never());
        let overflows = values.iter().any(|value| value.overflows);
        let parts: Vec<Bson> = values.into_iter().map(|value| value.bson).collect();
        let bson = match parts.len() {
            1 => parts.into_iter().next()?,
            _ => doc! { "$ifNull": parts }.into(),
        };
        let nullness = if never { Nullness::never() } else { Nullness::Computed };
        Some(Value { bson, nullness, overflows })
    }
}

/// A field as an expression.
pub(super) fn path(name: &str) -> Bson {
    Bson::String(format!("${name}"))
}

/// Whether the values of a column are, for the server, what they are here. What a column tells about its BSON type means
/// that they are converted.
pub(super) fn is_plain(field: &Field) -> bool {
    is_scalar(field.data_type()) && field.metadata().is_empty()
}

/// Whether the server computes with values of this type.
pub(super) fn is_scalar(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Float64
            | DataType::Utf8
            | DataType::Timestamp(TimeUnit::Millisecond, _)
    )
}

fn constant(value: &ScalarValue) -> Option<Value> {
    if value.is_null() {
        return Some(Value { bson: Bson::Null, nullness: Nullness::Computed, overflows: false });
    }
    let bson = doc! { "$literal": scalar(value)? }.into();
    Some(Value { bson, nullness: Nullness::never(), overflows: false })
}

pub(super) fn scalar(value: &ScalarValue) -> Option<Bson> {
    match value {
        ScalarValue::Boolean(value) => value.map(Bson::Boolean),
        ScalarValue::Int32(value) => value.map(Bson::Int32),
        ScalarValue::Int64(value) => value.map(Bson::Int64),
        ScalarValue::Float64(value) => {
            value.filter(|value| !value.is_nan() && value.to_bits() != (-0.0_f64).to_bits()).map(Bson::Double)
        }
        ScalarValue::Utf8(value) => value.clone().map(Bson::String),
        ScalarValue::TimestampMillisecond(value, _) => {
            value.map(|value| Bson::DateTime(DateTime::from_millis(value)))
        }
        _ => None,
    }
}

fn arithmetic(op: &Operator) -> Option<&'static str> {
    match op {
        Operator::Plus => Some("$add"),
        Operator::Minus => Some("$subtract"),
        Operator::Multiply => Some("$multiply"),
        _ => None,
    }
}

fn combine(operator: &'static str, left: Bson, right: Bson, data_type: &DataType) -> Bson {
    if operator == "$subtract" && *data_type == DataType::Int64 {
        // `$subtract` is not said to tell an overflow, `$add` and `$multiply` are.
        return doc! { "$add": [left, { "$multiply": [right, -1_i64] }] }.into();
    }
    doc! { operator: [left, right] }.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::Document;
    use datafusion::common::DFSchema;
    use datafusion::functions::expr_fn::coalesce;
    use datafusion::logical_expr::{Expr, cast, when};
    use datafusion::physical_expr::create_physical_expr;
    use datafusion::prelude::{col, lit};

    use super::*;

    fn schema() -> Schema {
        let field = |name, data_type| Field::new(name, data_type, true);
        Schema::new(vec![
            field("b", DataType::Boolean),
            field("i", DataType::Int64),
            field("s", DataType::Int32),
            field("d", DataType::Float64),
            field("t", DataType::Utf8),
            Field::new("id", DataType::Utf8, false),
        ])
    }

    fn physical(expr: &Expr) -> Arc<dyn PhysicalExpr> {
        let schema = DFSchema::try_from(schema()).unwrap();
        create_physical_expr(expr, &schema, &Default::default(), &Default::default()).unwrap()
    }

    #[track_caller]
    fn value(expr: Expr, expected: Option<Document>) {
        let schema = schema();
        let value = Translation::new(&schema).value(physical(&expr).as_ref());
        assert_eq!(value.map(|value| value.bson), expected.map(Bson::from), "{expr}");
    }

    #[track_caller]
    fn truth(expr: Expr, expected: Option<[Document; 2]>) {
        let schema = schema();
        let found =
            [true, false].map(|wanted| Translation::new(&schema).truth(physical(&expr).as_ref(), wanted));
        assert_eq!(
            found,
            expected.map_or([None, None], |both| both.map(|one| Some(Bson::from(one)))),
            "{expr}"
        );
    }

    #[test]
    fn values() {
        value(cast(col("s"), DataType::Float64), Some(doc! { "$toDouble": "$s" }));
        value(col("i") + lit(2_i64), Some(doc! { "$add": ["$i", { "$literal": 2_i64 }] }));
        value(-col("d"), Some(doc! { "$multiply": ["$d", -1.0] }));
        value(
            when(col("b"), col("i")).otherwise(lit(0_i64)).unwrap(),
            Some(doc! { "$cond": [{ "$eq": ["$b", true] }, "$i", { "$literal": 0_i64 }] }),
        );
        value(coalesce(vec![col("i"), lit(0_i64)]), Some(doc! { "$ifNull": ["$i", { "$literal": 0_i64 }] }));
        value(
            cast(col("b"), DataType::Int64),
            Some(doc! { "$cond": [
                { "$eq": ["$b", true] }, 1_i64, { "$cond": [{ "$eq": ["$b", false] }, 0_i64, null] }
            ] }),
        );
    }

    #[test]
    fn three_truth_values_become_two() {
        let text = || doc! { "$literal": "a" };
        truth(col("b"), Some([doc! { "$eq": ["$b", true] }, doc! { "$eq": ["$b", false] }]));
        truth(!col("b"), Some([doc! { "$eq": ["$b", false] }, doc! { "$eq": ["$b", true] }]));
        // Null is below all values for the server, and a field that is not there below null.
        truth(
            col("t").lt(lit("a")),
            Some([
                doc! { "$and": [{ "$gt": ["$t", null] }, { "$lt": ["$t", text()] }] },
                doc! { "$gte": ["$t", text()] },
            ]),
        );
        truth(
            col("t").eq(lit("a")),
            Some([
                doc! { "$eq": ["$t", text()] },
                doc! { "$and": [{ "$gt": ["$t", null] }, { "$ne": ["$t", text()] }] },
            ]),
        );
        truth(
            col("t").eq(col("id")),
            Some([
                doc! { "$eq": ["$t", "$id"] },
                doc! { "$and": [{ "$gt": ["$t", null] }, { "$ne": ["$t", "$id"] }] },
            ]),
        );
        truth(col("t").is_null(), Some([doc! { "$lte": ["$t", null] }, doc! { "$gt": ["$t", null] }]));
        truth(
            col("b").is_not_true(),
            Some([doc! { "$not": [{ "$eq": ["$b", true] }] }, doc! { "$eq": ["$b", true] }]),
        );
        truth(
            col("d").gt(lit(0.5)),
            Some([
                doc! { "$gt": ["$d", { "$literal": 0.5 }] },
                doc! { "$and": [{ "$gt": ["$d", null] }, { "$lte": ["$d", { "$literal": 0.5 }] }] },
            ]),
        );
    }

    #[test]
    fn what_the_server_sees_differently_has_no_translation() {
        value(col("i") / lit(2_i64), None);
        value(col("i") % lit(2_i64), None);
        value(cast(col("d"), DataType::Int64), None);
        value(cast(col("i"), DataType::Utf8), None);
        value(col("s") + col("s"), None);
        truth(col("d").gt(lit(0.0)), None);
        truth(col("d").gt(lit(f64::NAN)), None);
        truth(col("d").eq(col("d")), None);
        truth((col("i") + lit(1_i64)).gt(lit(0_i64)), None);
        truth(col("t").like(lit("a%")), None);
        truth(col("d").in_list(vec![lit(0.5)], false), None);
    }

    #[test]
    fn doubles_that_are_compared_are_looked_at_for_nan() {
        let schema = schema();
        let mut translation = Translation::new(&schema);
        translation
            .truth(physical(&col("d").gt(lit(0.5)).and(col("i").gt(lit(0_i64)))).as_ref(), true)
            .unwrap();
        assert_eq!(translation.columns, BTreeSet::from([1, 3]));
        assert_eq!(translation.ordered, BTreeSet::from([3]));
    }
}
