//! What each aggregate function needs from the server, and the partial state that it becomes.
//!
//! A group of the server is one row of partial states. An aggregate whose argument depends on nothing but the key is
//! the engine's: the value of the expression, as often as the group has documents. Another is a `$sum`, `$min` or `$max`
//! of the server and the number of values that were not null.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, UInt64Array};
use arrow::compute::{is_not_null, nullif};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::columns::GroupColumns;
use super::translate::is_scalar;

/// The aggregate functions that are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Count,
    Sum,
    Min,
    Max,
    Avg,
}

impl Function {
    /// The function of an aggregate, where its state is one that is made here.
    pub(super) fn of(aggregate: &AggregateFunctionExpr) -> Option<Self> {
        if aggregate.is_distinct() || !aggregate.order_bys().is_empty() {
            return None;
        }
        let inner = aggregate.fun().inner();
        let function = match () {
            () if inner.is::<Count>() => Self::Count,
            () if inner.is::<Sum>() => Self::Sum,
            () if inner.is::<Min>() => Self::Min,
            () if inner.is::<Max>() => Self::Max,
            () if inner.is::<Avg>() => Self::Avg,
            () => return None,
        };
        let state = aggregate.state_fields().ok()?;
        let state: Vec<&DataType> = state.iter().map(|field| field.data_type()).collect();
        let known = match (function, state.as_slice()) {
            (Self::Count, [DataType::Int64])
            | (Self::Sum, [DataType::Int64 | DataType::Float64])
            | (Self::Avg, [DataType::UInt64, DataType::Float64]) => true,
            (Self::Min | Self::Max, [value]) => is_scalar(value),
            _ => false,
        };
        known.then_some(function)
    }
}

/// How many of a group's documents have a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Counting {
    /// Those in whose group none of these columns is null; without columns all.
    Present(Vec<usize>),
    /// The server says, in this accumulator.
    Server(usize),
}

/// Where the value of an aggregate comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The engine evaluates the argument over the key.
    Key(Arc<dyn PhysicalExpr>),
    /// The server reduced the argument, in this accumulator where the function has a value besides the count.
    Server { value: Option<usize>, counting: Counting },
}

/// One aggregate.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    pub(super) function: Function,
    pub(super) source: Source,
    /// A condition over the key: where it is not true, the group's documents do not count.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
}

impl Measure {
    /// The columns of the partial state, a row a group.
    pub(super) fn states(&self, groups: &GroupColumns<'_>) -> Result<Vec<ArrayRef>> {
        let (value, mut count) = match &self.source {
            Source::Key(expr) => {
                let value = groups.evaluate(expr)?;
                let counts = per_group(&value, &groups.documents)?;
                (Some(value), counts)
            }
            Source::Server { value, counting } => {
                let count = match counting {
                    Counting::Present(columns) => groups.present(columns),
                    Counting::Server(accumulator) => groups.integers(*accumulator)?,
                };
                (value.map(|accumulator| groups.values(accumulator)).transpose()?, count)
            }
        };
        let value = match (self.function, value, &self.source) {
            (Function::Sum | Function::Avg, Some(value), Source::Key(_)) => Some(times(&value, &count)?),
            (_, value, _) => value,
        };
        // A sum over no value is null, and not 0 as for the server.
        let mut value = match (self.function, value) {
            (Function::Sum | Function::Avg, Some(value)) => {
                let none = BooleanArray::from_iter(count.iter().map(|count| Some(count == Some(0))));
                Some(nullif(&value, &none)?)
            }
            (_, value) => value,
        };
        if let Some(filter) = &self.filter {
            let kept = groups.condition(filter)?;
            count =
                count.iter().zip(&kept).map(|(count, kept)| if *kept { count } else { Some(0) }).collect();
            let dropped = BooleanArray::from_iter(kept.iter().map(|kept| Some(!kept)));
            value = value.map(|value| nullif(&value, &dropped)).transpose()?;
        }
        let missing = || DataFusionError::Internal("an aggregate has no value".to_owned());
        Ok(match self.function {
            Function::Count => vec![Arc::new(count)],
            Function::Avg => {
                let count = UInt64Array::from_iter(count.iter().map(|count| count.map(i64::cast_unsigned)));
                vec![Arc::new(count), value.ok_or_else(missing)?]
            }
            Function::Sum | Function::Min | Function::Max => vec![value.ok_or_else(missing)?],
        })
    }
}

/// The documents of each group whose value is not null.
fn per_group(value: &ArrayRef, documents: &Int64Array) -> Result<Int64Array> {
    let present = is_not_null(value)?;
    let counts = documents.values().iter().zip(&present);
    Ok(counts.map(|(count, present)| Some(if present == Some(true) { *count } else { 0 })).collect())
}

/// What adding each value `counts` times gives; integers wrap as they do in the engine.
fn times(values: &ArrayRef, counts: &Int64Array) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>().iter().zip(counts);
            Arc::new(Int64Array::from_iter(
                values.map(|(value, count)| Some(value?.wrapping_mul(count.unwrap_or(0)))),
            ))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>().iter().zip(counts);
            Arc::new(Float64Array::from_iter(
                values.map(|(value, count)| Some(value? * count.unwrap_or(0) as f64)),
            ))
        }
        other => return Err(DataFusionError::Internal(format!("a sum of {other} values"))),
    })
}

/// A null of `data_type`.
pub(super) fn null(data_type: &DataType) -> Result<ScalarValue> {
    ScalarValue::try_from(data_type)
}
