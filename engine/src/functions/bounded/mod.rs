//! Functions whose result may be much larger than what they are given: `repeat('x', 2000000000)` is two gigabytes.
//!
//! ```text
//!  arguments ──▶ how large could the result be? ──over the limit──▶ an error that names it
//!                                              └──▶ DataFusion's function
//! ```
//!
//! DataFusion allocates the result at once and beside the memory pool, and it computes calls of constants while a query is
//! planned, in a scheduler that has little memory and everybody's queries. So these functions stand in for DataFusion's own
//! under their names. Where a query is planned the limit is small, for a statement may have tens of thousands of such calls: what
//! is over it is not computed there, but by a task. A task has the limit that is set, for one value, and four times that for the
//! values of a batch.
//!
//! For a function that takes many steps for a short text the same numbers are steps.

mod columns;
mod ranges;

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry as _;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use self::columns::{Column, Texts, width};
use self::ranges::elements_of_range;
use crate::{ConfigField, Error};

/// The most bytes of a value that is computed while a query is planned. The tokens of a statement allow some 40,000 values.
const PLANNED: usize = 4 << 10;

/// From so many bytes on it is worth a look how large a value really becomes.
const LARGE: u128 = 1 << 20;

/// How many times the limit of a value the values of a batch may have together.
const BATCH: u128 = 4;

/// The functions, and how their results grow.
const FUNCTIONS: [(&str, Growth); 14] = [
    ("repeat", Growth::Repeat),
    ("lpad", Growth::Pad),
    ("rpad", Growth::Pad),
    ("replace", Growth::Replace),
    ("regexp_replace", Growth::RegexpReplace),
    ("concat", Growth::Concat),
    ("concat_ws", Growth::ConcatWithSeparator),
    ("array_repeat", Growth::RepeatElement),
    ("array_resize", Growth::Resize),
    ("array_to_string", Growth::Join),
    ("arrays_zip", Growth::Zip),
    ("levenshtein", Growth::Distance),
    ("range", Growth::Range),
    ("generate_series", Growth::Range),
];

/// Puts the functions into a state that plans (`planning`) or runs tasks, with `most` bytes a value.
pub(crate) fn register(state: &mut SessionState, most: usize, planning: bool) -> Result<()> {
    let most = if planning { most.min(PLANNED) } else { most };
    for (name, growth) in FUNCTIONS {
        // One that this build of DataFusion does not have needs no bound.
        if let Ok(inner) = state.udf(name) {
            let bounded = Bounded { inner, growth, most, is_planned: planning };
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(bounded)))?;
        }
    }
    Ok(())
}

/// Whether the function of this name has a bound.
pub(crate) fn is_bounded(name: &str) -> bool {
    FUNCTIONS.iter().any(|(bounded, _)| *bounded == name)
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
    /// Each place that matches, or the first one, becomes the third.
    RegexpReplace,
    /// All arguments together.
    Concat,
    /// The same, with the first between all others.
    ConcatWithSeparator,
    /// Elements from the first argument to the second, by steps of the third.
    Range,
    /// The texts of all elements, with the second argument between them and the third for nulls.
    Join,
    /// Of each argument as many elements as the longest has.
    Zip,
    /// Not in size: a step for each character of the one text with each of the other.
    Distance,
}

/// A function of DataFusion's with a bound.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
    most: usize,
    /// Whether it is called while a query is planned.
    is_planned: bool,
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let columns = args.args.iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let rows = if columns.iter().all(|column| column.is_constant) { 1 } else { args.number_rows };
        let mut over = self.over(&columns, rows, None);
        if over.is_some() && self.growth == Growth::RegexpReplace && !self.is_planned {
            let places = Places::new(&self.inner, args)?;
            over = self.over(&columns, rows, Some(&places));
        }
        over.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The error, where the results may be too large.
    fn over(&self, columns: &[Column], rows: usize, places: Option<&Places>) -> Option<Error> {
        let (most, mut all) = (self.most as u128, 0_u128);
        // Steps take no room, and those of a batch may take their time.
        let most_of_all =
            if self.growth == Growth::Distance { u128::MAX } else { most.saturating_mul(BATCH) };
        for row in 0..rows {
            let cost = self.growth.cost(columns, row, places, most.min(LARGE));
            all = all.saturating_add(cost);
            if cost > most {
                return Some(self.error("a value of {}", most));
            }
            if all > most_of_all {
                return Some(self.error("the values of {} in a batch", most_of_all));
            }
        }
        None
    }

    fn error(&self, of: &str, most: u128) -> Error {
        let measure = if self.growth == Growth::Distance { "the steps" } else { "the size in bytes" };
        // A call that is refused here is left to a task. So this is told where no task comes to it, such as in `VALUES`.
        let when = if self.is_planned { ", computed while the statement is planned," } else { "" };
        let what = format!("{measure} of {}{when}", of.replace("{}", self.name()));
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        Error::OverLimit { what, most, setting: ConfigField::LimitsValueBytes }
    }
}

/// How many places of each text `regexp_replace` replaces, by what becomes of the text with nothing and with one byte for each.
struct Places {
    without: Column,
    with: Column,
}

impl Places {
    fn new(function: &ScalarUDF, args: &ScalarFunctionArgs) -> Result<Self> {
        let by = |text: &str| {
            let mut args = args.clone();
            if let Some(argument) = args.args.get_mut(2) {
                let text = Some(text.to_owned());
                *argument = ColumnarValue::Scalar(match argument.data_type() {
                    DataType::LargeUtf8 => ScalarValue::LargeUtf8(text),
                    DataType::Utf8View => ScalarValue::Utf8View(text),
                    _ => ScalarValue::Utf8(text),
                });
            }
            Column::new(&function.inner().invoke_with_args(args)?)
        };
        Ok(Self { without: by("")?, with: by("-")? })
    }

    fn count(&self, row: usize) -> u128 {
        self.with.bytes(row).saturating_sub(self.without.bytes(row))
    }
}

/// The bytes of an element of a list, at least.
const ELEMENT: u128 = 8;

impl Growth {
    /// The bytes of the result of a row, at most, or the steps to it. From `large` on it is worth a look.
    fn cost(self, columns: &[Column], row: usize, places: Option<&Places>, large: u128) -> u128 {
        let bytes = |index: usize| columns.get(index).map_or(0, |column| column.bytes(row));
        let times = |index: usize| columns.get(index).map_or(0, |column| column.times(row));
        let text = |index: usize| columns.get(index).and_then(|column| column.text(row));
        match self {
            Self::Repeat => bytes(0).saturating_mul(times(1)),
            Self::RepeatElement => bytes(0).max(ELEMENT).saturating_mul(times(1)),
            Self::Pad => {
                let width = if text(2).is_none_or(str::is_ascii) { 1 } else { 4 };
                times(1).saturating_mul(width)
            }
            Self::Resize => times(1).saturating_mul(bytes(2).max(ELEMENT)),
            Self::Replace => {
                let (whole, found, by) = (bytes(0), bytes(1), bytes(2));
                let most = whole + (whole / found.max(1) + 1).saturating_mul(by);
                match (text(0), text(1)) {
                    // Large only if there are many: that is worth a look.
                    (Some(whole), Some(found)) if most > large => {
                        let places = whole.matches(found).count() as u128;
                        bytes(0) + places.saturating_mul(by)
                    }
                    _ => most,
                }
            }
            Self::RegexpReplace => {
                let (whole, by) = (bytes(0), bytes(2));
                let is_global = columns.len() > 3 && text(3).is_none_or(|flags| flags.contains('g'));
                let places = match places {
                    Some(places) => places.count(row),
                    // Each character may be one, and so may be the end.
                    None if is_global => whole + 1,
                    None => 1,
                };
                // All places together are no longer than the whole, and a group is no longer than its place.
                let groups = text(2).map_or(0, |by| by.matches(['$', '\\']).count()) as u128;
                whole.saturating_mul(groups + 1).saturating_add(places.saturating_mul(by))
            }
            Self::Concat => (0..columns.len()).map(bytes).sum(),
            Self::ConcatWithSeparator => {
                let between = bytes(0).saturating_mul(columns.len().saturating_sub(2) as u128);
                (1..columns.len()).map(bytes).sum::<u128>().saturating_add(between)
            }
            Self::Range => elements_of_range(columns, row).saturating_mul(ELEMENT),
            Self::Join => {
                let mut texts = Texts::default();
                if let Some(elements) = columns.first().and_then(|column| column.elements(row)) {
                    texts.add(&elements);
                }
                let between = texts.count.saturating_mul(bytes(1));
                texts.bytes.saturating_add(between).saturating_add(texts.nulls.saturating_mul(bytes(2)))
            }
            Self::Zip => {
                let lists: Vec<ArrayRef> = columns.iter().filter_map(|column| column.elements(row)).collect();
                let longest = lists.iter().map(|list| list.len()).max().unwrap_or_default() as u128;
                let given: u128 = (0..columns.len()).map(bytes).sum();
                let missing: u128 = lists.iter().map(|list| width(list.data_type())).sum();
                given.saturating_add(longest.saturating_mul(missing))
            }
            Self::Distance => {
                let characters = |index: usize| columns.get(index).map_or(0, |column| column.characters(row));
                characters(0).saturating_mul(characters(1))
            }
        }
    }
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
    use arrow::array::ListArray;
    use arrow::datatypes::Int64Type;
    use datafusion::prelude::SessionContext;

    use super::columns::size;
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
            "regexp_replace('banana', '(a)n', '\\1')",
            "regexp_replace('banana', 'A', 'oo', 'gi')",
            "levenshtein('kitten', 'sitting')",
            "array_to_string([1.5, 1e30, NULL], ',', '-')",
            "list_to_string([['a', NULL], ['b']], ',', '-')",
            "array_join([DATE '2020-01-01'], ',')",
            "array_length(arrays_zip([1, 2], [3], ['a', 'b', 'c']))",
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
            "length(regexp_replace(repeat('x', 2000), '(x+)', '\\1\\1\\1\\1\\1\\1'))",
            "length(regexp_replace(repeat('x', 2000), '(x+)', '\\1\\1\\1\\1\\1\\1', 'g'))",
            "length(concat(repeat('x', 9000), repeat('x', 9000)))",
            "length(concat_ws(repeat('x', 5000), 'a', 'b', 'c', 'd'))",
            "array_length(array_repeat(1, 2000000000))",
            "array_length(array_repeat(NULL, 2000000000))",
            "array_length(array_resize([1], 2000000000))",
            "length(array_to_string(range(0, 1000), repeat('x', 100)))",
            "length(list_join(range(0, 1000), repeat('x', 100)))",
            "length(array_to_string(array_repeat(array_repeat('x', 10), 10), repeat('x', 500)))",
            "length(array_to_string(array_repeat(NULL::INT, 1000), '', repeat('x', 100)))",
            "length(array_to_string(array_repeat(1e300, 100), ','))",
            "array_length(arrays_zip(range(500), [1], [2], [3]))",
            "levenshtein(repeat('a', 200), repeat('b', 200))",
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

    #[tokio::test]
    async fn what_only_might_be_large_is_computed() {
        let bounded = context(MOST);
        for (expression, expected) in [
            ("length(regexp_replace(repeat('x', 2000), 'x', '0123456789abcdef'))", "2015"),
            ("length(regexp_replace(repeat('x', 2000), '(x)', '\\1\\1'))", "2001"),
            (
                "length(regexp_replace(concat(repeat('x', 2000), 'y'), '[y]', '0123456789abcdef', 'g'))",
                "2016",
            ),
            ("length(regexp_replace(repeat('xy', 1000), 'X', '0123', 'i'))", "2003"),
            ("length(replace(repeat('xy', 2000), 'y', 'abc'))", "8000"),
            ("levenshtein(repeat('a', 90), repeat('b', 90))", "90"),
            ("length(array_to_string(range(0, 400), ','))", "1489"),
        ] {
            assert_eq!(run(&bounded, expression).await.unwrap(), expected, "{expression}");
        }
        // The rows of a column, each by itself.
        let column = "SELECT sum(length(regexp_replace(repeat(a, 3000), '[y]', '0123456789abcdef', 'g'))) AS n \
                      FROM (VALUES ('x'), ('z'), ('u')) AS t(a)";
        let batches = bounded.sql(column).await.unwrap().collect().await.unwrap();
        assert_eq!(arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap(), "9000");
    }

    /// A row of lists takes what its own elements take.
    #[test]
    fn a_list_is_as_large_as_its_elements() {
        let rows = (0..1_000_i64).map(|row| Some((0..10).map(move |n| Some(row * n))));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(rows);
        let column = Column::new(&ColumnarValue::Array(Arc::new(lists))).unwrap();
        for row in [0, 500, 999] {
            assert!((80..200).contains(&column.bytes(row)), "{}", column.bytes(row));
        }
        let all = size(&column.values);
        assert!((80_000..100_000).contains(&all), "{all}");
    }

    /// What is over the limit of planning stays a call, for a task.
    #[tokio::test]
    async fn a_large_constant_is_left_to_a_task() {
        let mut state = SessionContext::new().state();
        register(&mut state, 256 << 20, true).unwrap();
        let planning = SessionContext::new_with_state(state);
        for (expression, call, is_left) in [
            ("length(repeat('x', 100000))", "repeat(", true),
            ("length(array_to_string(range(0, 100000), repeat('x', 1000000)))", "array_to_string(", true),
            ("levenshtein(repeat('a', 1000000), repeat('b', 1000000))", "levenshtein(", true),
            ("array_length(arrays_zip(range(0, 100000), [1], [2]))", "arrays_zip(", true),
            ("length(repeat('x', 1000))", "repeat(", false),
            ("levenshtein('kitten', 'sitting')", "levenshtein(", false),
        ] {
            let frame = planning.sql(&format!("SELECT {expression} AS a")).await.unwrap();
            let plan = frame.into_optimized_plan().unwrap().display_indent().to_string();
            assert_eq!(plan.contains(call), is_left, "{expression}: {plan}");
        }
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
