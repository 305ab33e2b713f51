//! Aggregates.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{Expr, lit};

use super::super::cast::to as cast_to;
use super::super::error::{Result, SparkError};
use super::{Call, choose};

pub(super) fn call(call: &Call<'_>) -> Result<Option<Expr>> {
    Ok(Some(match call.name {
        "count" => match call.args.as_slice() {
            [] => return Err(call.wrong("at least 1")),
            [value] => call.aggregate("count", vec![value.clone()])?,
            // Rows in which none is null.
            several if !call.distinct => {
                let all = several.iter().cloned().map(|value| Expr::IsNotNull(Box::new(value)));
                let all = all.reduce(Expr::and).unwrap_or_else(|| lit(true));
                call.aggregate("count", vec![choose(all, lit(1), None)])?
            }
            several => {
                let all = several.iter().cloned().map(|value| Expr::IsNotNull(Box::new(value)));
                let all = all.reduce(Expr::and).unwrap_or_else(|| lit(true));
                let fields = several.iter().enumerate();
                let fields =
                    fields.flat_map(|(index, value)| [lit(format!("c{index}")), value.clone()]).collect();
                let row = datafusion::functions::expr_fn::named_struct(fields);
                call.aggregate("count", vec![choose(all, row, None)])?
            }
        },
        "sum" | "avg" | "mean" | "try_sum" | "try_avg" => {
            let value = call.one()?;
            let value = match call.type_of(&value)? {
                kind if kind.is_numeric() => value,
                DataType::Utf8 | DataType::Utf8View | DataType::Null => call.double(value)?,
                other => return Err(SparkError::analysis(format!("{}({other}) has no meaning.", call.name))),
            };
            let name = call.name.trim_start_matches("try_");
            call.aggregate(if name == "mean" { "avg" } else { name }, vec![value])?
        }
        "min" | "max" => call.aggregate(call.name, vec![call.one()?])?,
        "first" | "first_value" | "any_value" | "last" | "last_value" => {
            let name = if call.name.starts_with("last") { "last_value" } else { "first_value" };
            let ignores = match call.args.get(1) {
                None => false,
                Some(Expr::Literal(ScalarValue::Boolean(Some(flag)), _)) => *flag,
                Some(_) => return Err(call.wrong("1")),
            };
            let mut aggregate = call.function(name, vec![call.arg(0)?])?;
            aggregate.params.null_treatment = ignores.then_some(NullTreatment::IgnoreNulls);
            Expr::AggregateFunction(aggregate)
        }
        // Nulls are left out, and of no rows an empty array comes.
        "collect_list" | "array_agg" | "collect_set" => {
            let value = call.one()?;
            let mut aggregate = call.function("array_agg", vec![value.clone()])?;
            aggregate.params.distinct |= call.name == "collect_set";
            aggregate.params.filter = Some(Box::new(Expr::IsNotNull(Box::new(value.clone()))));
            let item = call.type_of(&value)?;
            let empty = ScalarValue::new_list(&[], &item, true);
            let none = lit(ScalarValue::List(empty));
            datafusion::functions::expr_fn::coalesce(vec![Expr::AggregateFunction(aggregate), none])
        }
        "stddev" | "std" | "stddev_samp" => call.of_doubles("stddev")?,
        "stddev_pop" => call.of_doubles("stddev_pop")?,
        "variance" | "var_samp" => call.of_doubles("var")?,
        "var_pop" => call.of_doubles("var_pop")?,
        "corr" => call.of_doubles("corr")?,
        "covar_samp" => call.of_doubles("covar_samp")?,
        "covar_pop" => call.of_doubles("covar_pop")?,
        "median" => call.of_doubles("median")?,
        "count_if" => {
            let matches = choose(call.one()?, lit(1), None);
            call.aggregate("count", vec![matches])?
        }
        "bool_and" | "every" => call.aggregate("bool_and", vec![call.one()?])?,
        "bool_or" | "some" | "any" => call.aggregate("bool_or", vec![call.one()?])?,
        "bit_and" | "bit_or" | "bit_xor" => call.aggregate(call.name, vec![call.one()?])?,
        "approx_count_distinct" => {
            cast_to(call.aggregate("approx_distinct", vec![call.arg(0)?])?, DataType::Int64)
        }
        "max_by" | "min_by" => {
            let (value, by) = call.two()?;
            let mut aggregate = call.function("first_value", vec![value])?;
            let down = call.name == "max_by";
            aggregate.params.filter = Some(Box::new(Expr::IsNotNull(Box::new(by.clone()))));
            aggregate.params.order_by = vec![datafusion::logical_expr::SortExpr::new(by, !down, false)];
            Expr::AggregateFunction(aggregate)
        }
        _ => return Ok(None),
    }))
}

impl Call<'_> {
    fn function(&self, name: &str, args: Vec<Expr>) -> Result<AggregateFunction> {
        let function = self.scope.state.udaf(name).map_err(|_| SparkError::routine(self.name))?;
        Ok(AggregateFunction::new_udf(function, args, self.distinct, None, Vec::new(), None))
    }

    fn aggregate(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        Ok(Expr::AggregateFunction(self.function(name, args)?))
    }

    /// An aggregate whose arguments are doubles.
    fn of_doubles(&self, name: &str) -> Result<Expr> {
        let args = self.args.iter().cloned().map(|value| self.double(value)).collect::<Result<Vec<_>>>()?;
        self.aggregate(name, args)
    }
}
