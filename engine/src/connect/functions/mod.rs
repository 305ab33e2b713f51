//! Spark's functions and operators, as expressions of the engine that mean the same.
//!
//! A function is here if its meaning is Spark's; where DataFusion's of the same name differs, it is put together of others.
//! Every other name is an error: none means silently something else.

mod aggregate;
mod arrays;
mod dates;
mod operators;
mod scalar;
mod text;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::{Case, Expr, WindowUDF, lit};

pub(super) use self::operators::divide;
use super::cast::to as cast_to;
use super::error::{Result, SparkError};
use super::scope::Scope;

/// The arguments of a call.
pub(super) struct Call<'a> {
    scope: &'a Scope<'a>,
    name: &'a str,
    args: Vec<Expr>,
    distinct: bool,
}

/// Translates a call.
pub(super) fn call(scope: &Scope<'_>, name: &str, args: Vec<Expr>, distinct: bool) -> Result<Expr> {
    let name = name.to_lowercase();
    let call = Call { scope, name: &name, args, distinct };
    if let Some(aggregate) = aggregate::call(&call)? {
        return Ok(aggregate);
    }
    if distinct {
        return Err(SparkError::unsupported(format!("DISTINCT in {name}")));
    }
    for module in [operators::call, scalar::call, text::call, dates::call, arrays::call] {
        if let Some(expr) = module(&call)? {
            return Ok(expr);
        }
    }
    // What the program registered.
    if scope.is_registered(&name) {
        if let Ok(function) = scope.state.udf(&name) {
            return Ok(function.call(call.args));
        }
        if let Ok(function) = scope.state.udaf(&name) {
            return Ok(function.call(call.args));
        }
    }
    Err(SparkError::routine(&name))
}

/// Functions that only a window has.
const OF_WINDOWS: [&str; 9] =
    ["row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead", "nth_value"];

/// Whether only a window has a function.
pub(super) fn is_of_windows(name: &str) -> bool {
    OF_WINDOWS.contains(&name.to_lowercase().as_str())
}

/// A function that only a window has, and its arguments.
pub(super) fn window(
    scope: &Scope<'_>,
    name: &str,
    mut args: Vec<Expr>,
) -> Result<(Arc<WindowUDF>, Vec<Expr>)> {
    let name = name.to_lowercase();
    match name.as_str() {
        "lag" | "lead" => {
            let ignores = args
                .get(3)
                .is_some_and(|flag| matches!(flag, Expr::Literal(ScalarValue::Boolean(Some(true)), _)));
            if ignores {
                return Err(SparkError::unsupported(format!("{name} that ignores nulls")));
            }
            args.truncate(3);
            if let Some(offset) = args.get_mut(1) {
                *offset = cast_to(offset.clone(), DataType::Int64);
            }
            // A value in the place of rows that are not there has the column's type.
            if let (Some(first), Some(Expr::Literal(value, _))) = (args.first(), args.get(2)) {
                let value = value.cast_to(&scope.type_of(first)?)?;
                args.truncate(2);
                if !value.is_null() {
                    args.push(lit(value));
                }
            }
        }
        "nth_value" => args.truncate(2),
        _ => {}
    }
    let args = args.into_iter().map(constant).collect();
    let function = scope.state.udwf(&name).map_err(|_| SparkError::routine(&name))?;
    Ok((function, args))
}

/// A cast of a constant as the constant that it is.
fn constant(expr: Expr) -> Expr {
    match expr {
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Literal(value, _) => match value.cast_to(cast.field.data_type()) {
                Ok(value) => lit(value),
                Err(_) => Expr::Cast(cast),
            },
            _ => Expr::Cast(cast),
        },
        other => other,
    }
}

impl Call<'_> {
    fn arg(&self, index: usize) -> Result<Expr> {
        self.args.get(index).cloned().ok_or_else(|| self.wrong(&format!("at least {}", index + 1)))
    }

    fn wrong(&self, expected: &str) -> SparkError {
        SparkError::arguments(self.name, expected, self.args.len())
    }

    /// Exactly one argument.
    fn one(&self) -> Result<Expr> {
        match self.args.as_slice() {
            [one] => Ok(one.clone()),
            _ => Err(self.wrong("1")),
        }
    }

    /// Exactly two arguments.
    fn two(&self) -> Result<(Expr, Expr)> {
        match self.args.as_slice() {
            [one, two] => Ok((one.clone(), two.clone())),
            _ => Err(self.wrong("2")),
        }
    }

    /// Exactly three arguments.
    fn three(&self) -> Result<(Expr, Expr, Expr)> {
        match self.args.as_slice() {
            [one, two, three] => Ok((one.clone(), two.clone(), three.clone())),
            _ => Err(self.wrong("3")),
        }
    }

    /// A function of the engine by its name.
    fn engine(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        match self.scope.state.udf(name) {
            Ok(function) => Ok(function.call(args)),
            Err(_) => Err(SparkError::routine(self.name)),
        }
    }

    fn type_of(&self, expr: &Expr) -> Result<DataType> {
        self.scope.type_of(expr)
    }

    /// A value as text, as `CAST(… AS STRING)` has it.
    fn text(&self, expr: Expr) -> Result<Expr> {
        match self.type_of(&expr)? {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(expr),
            _ => self.scope.cast_to(expr, &DataType::Utf8),
        }
    }

    fn double(&self, expr: Expr) -> Result<Expr> {
        self.scope.cast_to(expr, &DataType::Float64)
    }

    fn int(&self, expr: Expr) -> Result<Expr> {
        self.scope.cast_to(expr, &DataType::Int32)
    }

    fn long(&self, expr: Expr) -> Result<Expr> {
        self.scope.cast_to(expr, &DataType::Int64)
    }

    /// An argument that has to be a text which is known before rows are read.
    fn known(&self, expr: &Expr) -> Result<String> {
        match expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Ok(text.clone()),
            _ => Err(SparkError::unsupported(format!("{} with a pattern out of a column", self.name))),
        }
    }

    /// An argument that has to be a whole number which is known before rows are read.
    fn known_number(&self, expr: &Expr) -> Result<i64> {
        let number = match constant(expr.clone()) {
            Expr::Literal(value, _) => value.cast_to(&DataType::Int64).ok(),
            Expr::Negative(inner) => match *inner {
                Expr::Literal(value, _) => {
                    value.arithmetic_negate().and_then(|v| v.cast_to(&DataType::Int64)).ok()
                }
                _ => None,
            },
            _ => None,
        };
        match number {
            Some(ScalarValue::Int64(Some(number))) => Ok(number),
            _ => Err(SparkError::unsupported(format!("{} with a number out of a column", self.name))),
        }
    }
}

/// `CASE WHEN condition THEN value ELSE otherwise END`.
fn choose(condition: Expr, value: Expr, otherwise: Option<Expr>) -> Expr {
    Expr::Case(Case::new(None, vec![(Box::new(condition), Box::new(value))], otherwise.map(Box::new)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    use arrow::util::display::array_value_to_string;
    use datafusion::prelude::SessionContext;

    use super::super::expression::parse_sql;
    use super::super::frame::Frame;
    use super::*;

    /// What an expression in SQL gives over a row with `i` = 7, `n` = null, `s` = 'Spark' and `z` = 0.
    async fn value(sql: &str) -> Result<String> {
        let columns: [(&str, ArrayRef); 4] = [
            ("i", Arc::new(Int32Array::from(vec![7]))),
            ("n", Arc::new(Int32Array::from(vec![None]))),
            ("s", Arc::new(StringArray::from(vec!["Spark"]))),
            ("z", Arc::new(Int32Array::from(vec![0]))),
        ];
        let context = SessionContext::new();
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
                .unwrap();
        let frame = Frame::new(context.read_batch(batch).unwrap().into_unoptimized_plan());
        let state = context.state();
        let scope = Scope { state: &state, frame: &frame, zone: "UTC", registered: &[] };
        let expr = scope.expr(&parse_sql(sql)?)?.alias("value");
        let plan = datafusion::logical_expr::LogicalPlanBuilder::from(frame.plan.clone())
            .project(vec![expr])?
            .build()?;
        let batches = datafusion::dataframe::DataFrame::new(state.clone(), plan).collect().await?;
        let column = batches[0].column(0);
        Ok(if column.is_null(0) { "NULL".to_owned() } else { array_value_to_string(column, 0)? })
    }

    #[tokio::test]
    async fn functions_mean_what_they_mean_in_spark() {
        for (sql, expected) in [
            ("i / 2", "3.5"),
            ("i / z", "NULL"),
            ("i % z", "NULL"),
            ("i div 2", "3"),
            ("-i % 4", "-3"),
            ("pmod(-i, 4)", "1"),
            ("i + n", "NULL"),
            ("concat(s, n)", "NULL"),
            ("concat_ws('-', s, s)", "Spark-Spark"),
            ("substring(s, 2, 3)", "par"),
            ("substring(s, -3, 2)", "ar"),
            ("substring(s, 0, 2)", "Sp"),
            ("instr(s, 'a')", "3"),
            ("upper(s)", "SPARK"),
            ("length(s)", "5"),
            ("s = '7'", "false"),
            ("i = '7'", "true"),
            ("n <=> NULL", "true"),
            ("CAST('1.9' AS INT)", "1"),
            ("CAST('x' AS INT)", "NULL"),
            ("CAST(3.99D AS INT)", "3"),
            ("CAST(1e10 AS INT)", "2147483647"),
            ("CAST(300 AS TINYINT)", "44"),
            ("CAST(200 AS TINYINT)", "-56"),
            ("CASE WHEN n = 1 THEN 'a' ELSE 'b' END", "b"),
            ("coalesce(n, i)", "7"),
            ("ln(z)", "NULL"),
            ("round(2.5D)", "3.0"),
            ("greatest(i, n)", "7"),
            ("s rlike '^Sp'", "true"),
            ("regexp_extract(s, '(a)(r)', 2)", "r"),
            ("regexp_extract(s, 'x', 0)", ""),
            ("regexp_replace(s, '(p)(a)', '$2$1')", "Saprk"),
            ("element_at(split('a b  c', ' +'), 3)", "c"),
            ("element_at(split('a,b', ','), 2)", "b"),
            ("size(split('a,b', ','))", "2"),
            ("array_contains(array(1, 2), 2)", "true"),
            ("year(DATE '2024-02-29')", "2024"),
            ("date_add(DATE '2024-02-28', 2)", "2024-03-01"),
            ("datediff(DATE '2024-03-01', DATE '2024-02-28')", "2"),
            ("dayofweek(DATE '2024-03-03')", "1"),
            ("date_format(DATE '2024-03-03', 'dd.MM.yyyy')", "03.03.2024"),
        ] {
            let found = value(sql).await.unwrap_or_else(|error| error.to_string());
            assert_eq!(found, expected, "{sql}");
        }
        assert_eq!(value("nope(1)").await.unwrap_err().class, "UNRESOLVED_ROUTINE");
        assert_eq!(value("instr(s)").await.unwrap_err().class, "WRONG_NUM_ARGS.WITHOUT_SUGGESTION");
    }
}
