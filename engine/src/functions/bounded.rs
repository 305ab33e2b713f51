//! Functions whose result may be much larger than what they are given: `repeat('x', 2000000000)` is two gigabytes.
//!
//! ```text
//!  arguments ──▶ how large could the result be? ──over the limit──▶ an error that names it
//!                                              └──▶ DataFusion's function
//! ```
//!
//! DataFusion allocates the result at once and beside the memory pool, and it computes calls of constants while a query is
//! planned, in a scheduler that has little memory and everybody's queries. So these functions stand in for DataFusion's own
//! under their names. Where a query is planned the limit is small: what is over it is not computed there, but by a task. A
//! task has the limit that is set, for one value, and four times that for the values of a batch.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNanoType};
use datafusion::common::Result;
use datafusion::execution::FunctionRegistry as _;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::{ConfigField, Error};

/// The most bytes of a value that is computed while a query is planned.
const PLANNED: usize = 1 << 20;

/// How many times the limit of a value the values of a batch may have together.
const BATCH: u128 = 4;

/// The functions, and how their results grow.
const FUNCTIONS: [(&str, Growth); 11] = [
    ("repeat", Growth::Repeat),
    ("lpad", Growth::Pad),
    ("rpad", Growth::Pad),
    ("replace", Growth::Replace),
    ("regexp_replace", Growth::RegexpReplace),
    ("concat", Growth::Concat),
    ("concat_ws", Growth::ConcatWithSeparator),
    ("array_repeat", Growth::RepeatElement),
    ("array_resize", Growth::Resize),
    ("range", Growth::Range),
    ("generate_series", Growth::Range),
];

/// Puts the functions into a state that plans (`planning`) or runs tasks, with `most` bytes a value.
pub(crate) fn register(state: &mut SessionState, most: usize, planning: bool) -> Result<()> {
    let most = if planning { most.min(PLANNED) } else { most };
    for (name, growth) in FUNCTIONS {
        // One that this build of DataFusion does not have needs no bound.
        if let Ok(inner) = state.udf(name) {
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(Bounded { inner, growth, most })))?;
        }
    }
    Ok(())
}

/// How large a result may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    /// As often as the second argument says.
    Repeat,
    /// The same, of a list.
    RepeatElement,
    /// As many characters as the second argument says.
    Pad,
    /// As many elements as the second argument says.
    Resize,
    /// Each place where the second argument is found becomes the third.
    Replace,
    /// Each place that matches becomes the third.
    RegexpReplace,
    /// All arguments together.
    Concat,
    /// The same, with the first between all others.
    ConcatWithSeparator,
    /// Elements from the first argument to the second, by steps of the third.
    Range,
}

/// A function of DataFusion's with a bound.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
    most: usize,
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let columns = args.args.iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let rows = if columns.iter().all(|column| column.is_constant) { 1 } else { args.number_rows };
        let (most, mut all) = (self.most as u128, 0_u128);
        for row in 0..rows {
            let bytes = self.growth.bytes(&columns, row);
            all = all.saturating_add(bytes);
            if bytes > most || all > most * BATCH {
                let (of, most) = if bytes > most {
                    ("a value of {}", most)
                } else {
                    ("the values of {} in a batch", most * BATCH)
                };
                let what = format!("the size in bytes of {}", of.replace("{}", self.name()));
                let most = u64::try_from(most).unwrap_or(u64::MAX);
                return Err(Error::OverLimit { what, most, setting: ConfigField::LimitsValueBytes }.into());
            }
        }
        Ok(())
    }
}

/// An argument. A constant is there once, however many rows there are.
struct Column {
    values: ArrayRef,
    /// The same as whole numbers, where it can be.
    numbers: Option<ArrayRef>,
    is_constant: bool,
}

impl Column {
    fn new(argument: &ColumnarValue) -> Result<Self> {
        let (values, is_constant) = match argument {
            ColumnarValue::Array(values) => (Arc::clone(values), false),
            ColumnarValue::Scalar(value) => (value.to_array_of_size(1)?, true),
        };
        let is_number = values.data_type().is_integer() || values.data_type().is_temporal();
        let numbers = if is_number { cast(&values, &DataType::Int64).ok() } else { None };
        Ok(Self { values, numbers, is_constant })
    }

    fn row(&self, row: usize) -> usize {
        if self.is_constant { 0 } else { row }
    }

    /// The bytes of a value; of null, none.
    fn bytes(&self, row: usize) -> u128 {
        let row = self.row(row);
        if row >= self.values.len() || self.values.is_null(row) {
            return 0;
        }
        let bytes = match self.values.data_type() {
            DataType::Utf8 => self.values.as_string::<i32>().value(row).len(),
            DataType::LargeUtf8 => self.values.as_string::<i64>().value(row).len(),
            DataType::Utf8View => self.values.as_string_view().value(row).len(),
            _ => self.values.slice(row, 1).to_data().get_slice_memory_size().unwrap_or(8),
        };
        bytes as u128
    }

    fn text(&self, row: usize) -> Option<&str> {
        let row = self.row(row);
        if row >= self.values.len() || self.values.is_null(row) {
            return None;
        }
        match self.values.data_type() {
            DataType::Utf8 => Some(self.values.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => Some(self.values.as_string::<i64>().value(row)),
            DataType::Utf8View => Some(self.values.as_string_view().value(row)),
            _ => None,
        }
    }

    fn number(&self, row: usize) -> Option<i128> {
        let (row, numbers) = (self.row(row), self.numbers.as_ref()?.as_primitive_opt::<Int64Type>()?);
        (row < numbers.len() && !numbers.is_null(row)).then(|| i128::from(numbers.value(row)))
    }

    /// How often something is to be done.
    fn times(&self, row: usize) -> u128 {
        self.number(row).and_then(|number| u128::try_from(number).ok()).unwrap_or_default()
    }
}

/// The bytes of an element of a list, at least.
const ELEMENT: u128 = 8;

impl Growth {
    /// The bytes of the result of a row, at most.
    fn bytes(self, columns: &[Column], row: usize) -> u128 {
        let bytes = |index: usize| columns.get(index).map_or(0, |column| column.bytes(row));
        let times = |index: usize| columns.get(index).map_or(0, |column| column.times(row));
        match self {
            Self::Repeat => bytes(0).saturating_mul(times(1)),
            Self::RepeatElement => bytes(0).max(ELEMENT).saturating_mul(times(1)),
            Self::Pad => {
                let fill = columns.get(2).and_then(|column| column.text(row));
                let width = if fill.is_none_or(str::is_ascii) { 1 } else { 4 };
                times(1).saturating_mul(width)
            }
            Self::Resize => times(1).saturating_mul(bytes(2).max(ELEMENT)),
            Self::Replace => {
                let (whole, found, by) = (bytes(0), bytes(1), bytes(2));
                let most = whole + (whole / found.max(1) + 1).saturating_mul(by);
                let text = |index: usize| columns.get(index).and_then(|column| column.text(row));
                match (text(0), text(1)) {
                    // Large only if there are many: that is worth a look.
                    (Some(whole), Some(found)) if most > PLANNED as u128 => {
                        let places = whole.matches(found).count() as u128;
                        bytes(0) + places.saturating_mul(by)
                    }
                    _ => most,
                }
            }
            Self::RegexpReplace => {
                // Each character may be a place, and a group that is named there is no longer than the whole.
                let (whole, by) = (bytes(0), bytes(2));
                whole + (whole + 1).saturating_mul(by)
            }
            Self::Concat => (0..columns.len()).map(bytes).sum(),
            Self::ConcatWithSeparator => {
                let between = bytes(0).saturating_mul(columns.len().saturating_sub(2) as u128);
                (1..columns.len()).map(bytes).sum::<u128>().saturating_add(between)
            }
            Self::Range => elements(columns, row).saturating_mul(ELEMENT),
        }
    }
}

/// How many elements a range has.
fn elements(columns: &[Column], row: usize) -> u128 {
    let number = |index: usize| columns.get(index).and_then(|column| column.number(row));
    let (from, to) = match (columns.len(), number(0), number(1)) {
        (1, Some(to), _) => (0, to),
        (_, Some(from), Some(to)) => (from, to),
        _ => return 0,
    };
    let distance = from.abs_diff(to);
    let Some(last) = columns.get(2) else { return distance + 1 };
    let step = match last.values.data_type() {
        DataType::Interval(_) => {
            let unit = columns.first().map_or(1, |column| nanoseconds(column.values.data_type()));
            return distance.saturating_mul(unit) / interval(last, row).max(1) + 1;
        }
        _ => number(2).unwrap_or_default().unsigned_abs(),
    };
    // A step of nothing is an error of the function's own.
    distance.checked_div(step).map_or(0, |steps| steps + 1)
}

/// The nanoseconds of one unit of a date or a time.
fn nanoseconds(data_type: &DataType) -> u128 {
    use arrow::datatypes::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match data_type {
        DataType::Date32 => DAY,
        DataType::Timestamp(Second, _) => 1_000_000_000,
        DataType::Date64 | DataType::Timestamp(Millisecond, _) => 1_000_000,
        DataType::Timestamp(Microsecond, _) => 1_000,
        DataType::Timestamp(Nanosecond, _) => 1,
        _ => 1,
    }
}

const DAY: u128 = 86_400_000_000_000;

/// The nanoseconds of an interval, at least. One whose parts have different signs may be as good as nothing.
fn interval(column: &Column, row: usize) -> u128 {
    let Some(values) = column.values.as_primitive_opt::<IntervalMonthDayNanoType>() else { return 1 };
    let row = column.row(row);
    if row >= values.len() || values.is_null(row) {
        return u128::MAX;
    }
    let value = values.value(row);
    let parts =
        [i64::from(value.months).signum(), i64::from(value.days).signum(), value.nanoseconds.signum()];
    if parts.contains(&1) && parts.contains(&-1) {
        return 1;
    }
    u128::from(value.months.unsigned_abs()) * 28 * DAY
        + u128::from(value.days.unsigned_abs()) * DAY
        + u128::from(value.nanoseconds.unsigned_abs())
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(arg_types)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.inner().schema_name(args)
    }

    fn is_strict(&self) -> bool {
        self.inner.inner().is_strict()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.inner().documentation()
    }

    // What they would simplify to is a call of the function without a bound.

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.inner().invoke_with_args(args)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    const MOST: usize = 10_000;

    fn context(most: usize) -> SessionContext {
        let mut state = SessionContext::new().state();
        register(&mut state, most, false).unwrap();
        SessionContext::new_with_state(state)
    }

    async fn run(context: &SessionContext, expression: &str) -> crate::Result<String> {
        let sql = format!("SELECT CAST({expression} AS VARCHAR) AS a");
        let batches = context.sql(&sql).await?.collect().await?;
        Ok(arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap())
    }

    #[tokio::test]
    async fn small_results_are_datafusions() {
        let (plain, bounded) = (SessionContext::new(), context(MOST));
        for expression in [
            "repeat('ab', 3)",
            "repeat('ab', -3)",
            "repeat(NULL, 3)",
            "lpad('a', 5, 'xy')",
            "rpad('a', 5)",
            "rpad('abcdef', 3)",
            "replace('banana', 'an', 'AN')",
            "replace('banana', '', '-')",
            "regexp_replace('banana', '(a)n', '\\1', 'g')",
            "concat('a', 1, NULL, 'b')",
            "concat_ws('-', 'a', NULL, 'b')",
            "array_to_string(array_repeat(7, 3), ',')",
            "array_length(array_repeat([1, 2], 3))",
            "array_to_string(array_resize([1, 2], 4, 0), ',')",
            "array_to_string(range(3), ',')",
            "array_to_string(range(1, 10, 2), ',')",
            "array_to_string(generate_series(3, 1, -1), ',')",
            "array_length(generate_series(DATE '2020-01-01', DATE '2020-12-01', INTERVAL '1' MONTH))",
            "array_length(generate_series(TIMESTAMP '2020-01-01T00:00:00', TIMESTAMP '2020-01-02T00:00:00', INTERVAL '1' HOUR))",
            "array_length(list_repeat('a', 2))",
        ] {
            let (expected, found) = (run(&plain, expression).await, run(&bounded, expression).await);
            assert_eq!(found.unwrap(), expected.unwrap(), "{expression}");
        }
    }

    #[tokio::test]
    async fn large_results_are_an_error_that_names_the_limit() {
        let bounded = context(MOST);
        for expression in [
            "length(repeat('x', 2000000000))",
            "length(repeat('x', 9223372036854775807))",
            "length(repeat(repeat('x', 200), 200))",
            "length(lpad('x', 2000000000))",
            "length(rpad('x', 2000000000, 'ab'))",
            "length(replace(repeat('x', 5000), 'x', 'abc'))",
            "length(regexp_replace(repeat('x', 5000), 'x', 'abc', 'g'))",
            "length(concat(repeat('x', 9000), repeat('x', 9000)))",
            "length(concat_ws(repeat('x', 5000), 'a', 'b', 'c', 'd'))",
            "array_length(array_repeat(1, 2000000000))",
            "array_length(array_repeat(NULL, 2000000000))",
            "array_length(array_resize([1], 2000000000))",
            "array_length(range(2000000000))",
            "array_length(generate_series(1, 9223372036854775807))",
            "array_length(generate_series(9, -2000000000, -1))",
            "array_length(generate_series(DATE '0001-01-01', DATE '9999-01-01', INTERVAL '1' DAY))",
            "array_length(generate_series(TIMESTAMP '2020-01-01T00:00:00', TIMESTAMP '2021-01-01T00:00:00', INTERVAL '1' SECOND))",
        ] {
            let error = run(&bounded, expression).await.unwrap_err();
            let told = error.to_string();
            assert!(told.contains("limits.value_bytes"), "{expression}: {told}");
        }
        // Of a column, too, where no single value is too large.
        let column = "SELECT repeat(a, 9000) FROM (VALUES ('x'), ('y'), ('z'), ('u'), ('v')) AS t(a)";
        let error = bounded.sql(column).await.unwrap().collect().await.unwrap_err();
        assert!(error.to_string().contains("in a batch"), "{error}");
    }

    #[test]
    fn what_is_planned_has_a_small_limit() {
        let mut state = SessionContext::new().state();
        register(&mut state, usize::MAX, true).unwrap();
        let repeat = state.udf("repeat").unwrap();
        let bounded = (repeat.inner().as_ref() as &dyn std::any::Any).downcast_ref::<Bounded>().unwrap();
        assert_eq!(bounded.most, PLANNED);
    }
}
