//! Functions of arrays and maps.

use arrow::datatypes::DataType;
use datafusion::functions::expr_fn::coalesce;
use datafusion::functions_nested::expr_fn as nested;
use datafusion::logical_expr::{Expr, lit};

use super::super::cast::to as cast_to;
use super::super::error::{Result, SparkError};
use super::{Call, choose};

pub(super) fn call(call: &Call<'_>) -> Result<Option<Expr>> {
    Ok(Some(match call.name {
        "array" => nested::make_array(call.args.clone()),
        // Of null it is -1, as it is in Spark with ANSI mode off.
        "size" | "cardinality" => {
            let value = call.one()?;
            let length = match call.type_of(&value)? {
                DataType::Map(..) => nested::cardinality(value.clone()),
                _ => coalesce(vec![nested::array_length(value.clone()), nested::cardinality(value.clone())]),
            };
            choose(Expr::IsNull(Box::new(value)), lit(-1), Some(cast_to(length, DataType::Int32)))
        }
        "array_size" => cast_to(nested::cardinality(call.one()?), DataType::Int32),
        "array_contains" => {
            let (array, value) = call.two()?;
            nested::array_has(array, value)
        }
        "element_at" | "try_element_at" => {
            let (value, at) = call.two()?;
            match call.type_of(&value)? {
                DataType::Map(..) => nested::array_element(nested::map_extract(value, at), lit(1_i64)),
                _ => nested::array_element(value, call.long(at)?),
            }
        }
        "get" => {
            let (array, at) = call.two()?;
            let at = call.long(at)?;
            choose(at.clone().gt_eq(lit(0_i64)), nested::array_element(array, at + lit(1_i64)), None)
        }
        "array_distinct" => nested::array_distinct(call.one()?),
        "array_join" if call.args.len() == 2 => {
            let (array, separator) = call.two()?;
            nested::array_to_string(array, separator)
        }
        "array_position" => {
            let (array, value) = call.two()?;
            let at = nested::array_position(array.clone(), value, lit(1_i64));
            choose(
                Expr::IsNotNull(Box::new(array)),
                coalesce(vec![cast_to(at, DataType::Int64), lit(0_i64)]),
                None,
            )
        }
        "array_max" => nested::array_max(call.one()?),
        "array_min" => call.engine("array_min", vec![call.one()?])?,
        "array_union" => {
            let (left, right) = call.two()?;
            nested::array_union(left, right)
        }
        "array_intersect" => {
            let (left, right) = call.two()?;
            nested::array_intersect(left, right)
        }
        "array_except" => {
            let (left, right) = call.two()?;
            nested::array_except(left, right)
        }
        "array_append" => {
            let (array, value) = call.two()?;
            nested::array_append(array, value)
        }
        "array_repeat" => {
            let (value, times) = call.two()?;
            nested::array_repeat(value, call.long(times)?)
        }
        "sort_array" => {
            let ascending = match call.args.get(1) {
                None => true,
                Some(Expr::Literal(datafusion::common::ScalarValue::Boolean(Some(up)), _)) => *up,
                Some(_) => return Err(SparkError::unsupported("sort_array with an order out of a column")),
            };
            let (order, nulls) = if ascending { ("ASC", "NULLS FIRST") } else { ("DESC", "NULLS LAST") };
            nested::array_sort(call.arg(0)?, lit(order), lit(nulls))
        }
        "flatten" => nested::flatten(call.one()?),
        "reverse" => nested::array_reverse(call.one()?),
        "concat" => nested::array_concat(call.args.clone()),
        "map_keys" => nested::map_keys(call.one()?),
        "map_values" => nested::map_values(call.one()?),
        "sequence" => {
            let (start, stop) = call.two()?;
            if !call.type_of(&start)?.is_integer() || !call.type_of(&stop)?.is_integer() {
                return Err(SparkError::unsupported("sequence of other than whole numbers"));
            }
            let step = choose(start.clone().lt_eq(stop.clone()), lit(1_i64), Some(lit(-1_i64)));
            nested::gen_series(call.long(start)?, call.long(stop)?, step)
        }
        _ => return Ok(None),
    }))
}
