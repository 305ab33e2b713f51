//! Functions over whole columns, for work that is too expensive row by row, such as a model or a lookup in a batch.
//!
//! A plan that calls such a function ([`calls_vectorized`]) runs with other settings ([`vectorized_settings`]).

use std::fmt::{self, Debug, Display};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use ballista_core::config::BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK;
use ballista_core::extension::SessionConfigExt as _;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionConfig;
use datafusion::scalar::ScalarValue;

use super::memory::Memory;
use super::parameter::{self, Literal, Parameter};
use crate::Error;

type Apply = dyn Fn(&ArrayRef, &[Literal]) -> Result<ArrayRef, String> + Send + Sync;

/// A scalar function of a column, and perhaps of literals, that is called once per batch of rows (8,192 by default), with the
/// whole column.
///
/// It returns a column of as many rows, of any Arrow type, and handles nulls itself. The same argument must give the
/// same result, whatever other rows the column has.
#[derive(Clone)]
pub struct Vectorized {
    name: String,
    accepts: Vec<DataType>,
    parameters: Vec<Parameter>,
    gives: DataType,
    syntax: String,
    description: String,
    pub(super) memory: Memory,
    apply: Arc<Apply>,
}

impl Debug for Vectorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vectorized").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Vectorized {
    /// Creates the function `name`, which takes a column of one of the types `accepts` and returns a column of type
    /// `gives`. An error fails the query.
    pub fn new<E: Display>(
        name: &str,
        accepts: impl Into<Vec<DataType>>,
        gives: DataType,
        apply: impl Fn(&ArrayRef) -> Result<ArrayRef, E> + Send + Sync + 'static,
    ) -> Self {
        Self::with_literals(name, accepts, [], gives, move |column, _| apply(column))
    }

    /// As [`Vectorized::new`], with literals behind the column: those of `parameters`, of which optional ones stand at the end.
    /// `apply` gets as many as the call has. A call with another argument in the place of a literal, or with a literal that is
    /// not what its parameter takes, is refused when it is planned.
    pub fn with_literals<E: Display>(
        name: &str,
        accepts: impl Into<Vec<DataType>>,
        parameters: impl Into<Vec<Parameter>>,
        gives: DataType,
        apply: impl Fn(&ArrayRef, &[Literal]) -> Result<ArrayRef, E> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            accepts: accepts.into(),
            parameters: parameters.into(),
            gives,
            syntax: String::new(),
            description: String::new(),
            memory: Memory::new(),
            apply: Arc::new(move |column, literals| {
                apply(column, literals).map_err(|error| error.to_string())
            }),
        }
    }

    /// Adds the documentation that shells show: the call syntax, such as `length(text)`, and one line about the result.
    #[must_use]
    pub fn documented(mut self, syntax: &str, description: &str) -> Self {
        (self.syntax, self.description) = (syntax.to_owned(), description.to_owned());
        self
    }

    /// Adds the account of the memory that the function keeps between calls.
    #[must_use]
    pub fn holding(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Creates the function that DataFusion calls.
    pub(super) fn udf(self) -> ScalarUDF {
        let Self { name, accepts, parameters, gives, syntax, description, memory: _, apply } = self;
        let forms = parameter::forms(&parameters);
        let calls = forms.iter().flat_map(|literals| {
            accepts.iter().map(move |column| {
                TypeSignature::Exact(std::iter::once(column).chain(literals).cloned().collect())
            })
        });
        let signature = Signature::one_of(calls.collect(), Volatility::Immutable);
        let documentation = Documentation::builder(DocSection::default(), description, syntax).build();
        ScalarUDF::from(Function { name, signature, parameters, gives, documentation, apply })
    }
}

struct Function {
    name: String,
    signature: Signature,
    parameters: Vec<Parameter>,
    gives: DataType,
    documentation: Documentation,
    apply: Arc<Apply>,
}

impl Function {
    fn failed(&self, message: String) -> Error {
        Error::FunctionFailed { name: self.name.clone(), message }
    }
}

impl Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    /// Looks at the literals. What may still be folded into one is left to a later pass, or to the task.
    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let is_open = |arg: &Expr| !matches!(arg, Expr::Literal(..)) && !arg.any_column_refs();
        if args.iter().skip(1).any(is_open) {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let literals = args.iter().skip(1).map(|arg| match arg {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        });
        parameter::read(&self.parameters, literals).map_err(|message| self.failed(message))?;
        Ok(ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let failed = |message| self.failed(message);
        let (column, constant) = match call.args.first() {
            Some(ColumnarValue::Array(column)) => (Arc::clone(column), false),
            Some(ColumnarValue::Scalar(value)) => (value.to_array_of_size(1)?, true),
            None => return Err(failed("it takes a column and got nothing".to_owned()).into()),
        };
        let literals = call.args.iter().skip(1).map(|arg| match arg {
            ColumnarValue::Scalar(value) => Some(value),
            ColumnarValue::Array(_) => None,
        });
        let literals = parameter::read(&self.parameters, literals).map_err(failed)?;
        let result = (self.apply)(&column, &literals).map_err(failed)?;
        if result.len() != column.len() || result.data_type() != &self.gives {
            let (given, rows, kind) = (result.len(), column.len(), result.data_type());
            return Err(failed(format!("it gave {given} rows of {kind} for {rows} rows")).into());
        }
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Returns whether a plan, or a view or a subquery in it, calls a vectorized function.
pub(crate) fn calls_vectorized(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // The closure never fails.
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= scan.source.get_logical_plan().is_some_and(|view| calls_vectorized(&view));
        }
        node.apply_expressions(|expr| {
            found |= expr.exists(|part| Ok(is_call(part)))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<Function>())
}

/// Changes the settings for a plan that calls a vectorized function. What the session has set explicitly stays.
///
/// * A task gets one partition. Ballista would give it as many as there are free slots, and all those slots would stay
///   occupied until the slowest partition is done.
/// * Access to struct fields is not pushed down to the leaves of the plan. DataFusion 55.2 would compute `f(x)` once
///   for `(f(x)).a` and again for `(f(x)).b`.
pub(crate) fn vectorized_settings(mut config: SessionConfig) -> Result<SessionConfig> {
    let per_task = config.ballista_config().max_partitions_per_task();
    let options = config.options_mut();
    options.optimizer.enable_leaf_expression_pushdown = false;
    if per_task == 0 {
        options.set(BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK, "1")?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::{AsArray as _, BinaryArray, Int64Array, LargeBinaryArray, StringArray, StructArray};
    use arrow::datatypes::{Field, Fields, Int64Type};
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::functions::Functions;

    /// Registers `sizes(bytes)`, which returns the length and twice the length, and counts the rows that it gets in
    /// `rows`.
    fn sizes(rows: Arc<AtomicUsize>) -> Functions {
        let fields: Fields =
            ["once", "twice"].map(|name| Field::new(name, DataType::Int64, true)).to_vec().into();
        let parts = fields.clone();
        let apply = move |column: &ArrayRef| {
            rows.fetch_add(column.len(), Ordering::SeqCst);
            let values: Vec<Option<&[u8]>> = match column.data_type() {
                DataType::Binary => column.as_binary::<i32>().iter().collect(),
                DataType::LargeBinary => column.as_binary::<i64>().iter().collect(),
                _ => column.as_binary_view().iter().collect(),
            };
            let lengths: Vec<Option<i64>> = values.iter().map(|v| v.map(|v| v.len() as i64)).collect();
            if lengths.contains(&Some(13)) {
                return Err("thirteen bytes");
            }
            let once: Int64Array = lengths.iter().copied().collect();
            let twice: Int64Array = lengths.iter().map(|n| n.map(|n| 2 * n)).collect();
            let columns: Vec<ArrayRef> = vec![Arc::new(once), Arc::new(twice)];
            Ok(Arc::new(StructArray::new(parts.clone(), columns, None)) as ArrayRef)
        };
        let accepts = [DataType::Binary, DataType::LargeBinary, DataType::BinaryView];
        let function = Vectorized::new("sizes", accepts.clone(), DataType::Struct(fields), apply)
            .documented("sizes(bytes)", "Lengths.");
        Functions::new().vectorized(function).vectorized(copies(accepts))
    }

    /// `copies(bytes, n[, text])`, which returns `n` times the text, or `-`, with a length behind it.
    fn copies(accepts: [DataType; 3]) -> Vectorized {
        let parameters = [Parameter::integer("n", 1), Parameter::text("text").optional()];
        let apply = |column: &ArrayRef, literals: &[Literal]| {
            let (copies, text) = match literals {
                [Literal::Integer(copies)] => (*copies, "-"),
                [Literal::Integer(copies), Literal::Text(text)] => (*copies, text.as_str()),
                others => return Err(format!("{others:?}")),
            };
            let bytes = arrow::compute::cast(column, &DataType::Binary).map_err(|error| error.to_string())?;
            let texts = bytes.as_binary::<i32>().iter();
            let texts = texts.map(|v| v.map(|v| format!("{}{}", text.repeat(copies as usize), v.len())));
            Ok(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
        };
        Vectorized::with_literals("copies", accepts, parameters, DataType::Utf8, apply)
            .documented("copies(bytes, n[, text])", "Texts.")
    }

    /// Returns a context with three rows of bytes in table `t`, and the counter of `sizes`.
    fn context(config: SessionConfig) -> (SessionContext, Arc<AtomicUsize>) {
        let rows = Arc::new(AtomicUsize::new(0));
        let mut state = SessionContext::new_with_config(config).state();
        sizes(Arc::clone(&rows)).register(&mut state).unwrap();
        let context = SessionContext::new_with_state(state);
        let bytes: [Option<&[u8]>; 3] = [Some(b"a"), None, Some(b"ccc")];
        let small: ArrayRef = Arc::new(BinaryArray::from_iter(bytes));
        let large: ArrayRef = Arc::new(LargeBinaryArray::from_iter(bytes));
        let batch = arrow::array::RecordBatch::try_from_iter([("b", small), ("l", large)]).unwrap();
        context.register_batch("t", batch).unwrap();
        (context, rows)
    }

    async fn numbers(context: &SessionContext, sql: &str) -> Vec<Vec<Option<i64>>> {
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        let column = |column: &ArrayRef| column.as_primitive::<Int64Type>().iter().collect();
        batches.iter().flat_map(|batch| batch.columns()).map(column).collect()
    }

    #[tokio::test]
    async fn a_column_of_any_of_its_types_gives_a_struct() {
        let (context, _) = context(SessionConfig::new());
        let expected = [vec![Some(1), None, Some(3)], vec![Some(2), None, Some(6)]];
        for column in ["b", "l", "arrow_cast(b, 'BinaryView')"] {
            let sql = format!("SELECT sizes({column})['once'], get_field(sizes({column}), 'twice') FROM t");
            assert_eq!(numbers(&context, &sql).await, expected, "{column}");
        }
        assert_eq!(numbers(&context, "SELECT sizes(x'0102')['twice']").await, [[Some(4)]], "a constant");
        assert_eq!(numbers(&context, "SELECT sizes(NULL)['twice']").await, [[None::<i64>]]);
        let error = context.sql("SELECT sizes(1)").await.unwrap_err().to_string();
        assert!(error.contains("sizes"), "{error}");
        let error = context.sql("SELECT sizes(x'00000000000000000000000000')").await.unwrap();
        let error = Error::from(error.collect().await.unwrap_err());
        assert!(
            matches!(&error, Error::FunctionFailed { name, message } if name == "sizes" && message == "thirteen bytes"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn literals_follow_the_column() {
        let (context, _) = context(SessionConfig::new());
        for (call, expected) in [
            ("copies(b, 2)", [Some("--1"), None, Some("--3")]),
            ("copies(l, 2, 'ab')", [Some("abab1"), None, Some("abab3")]),
            (
                "copies(arrow_cast(b, 'BinaryView'), 1 + 2, 'a' || 'b')",
                [Some("ababab1"), None, Some("ababab3")],
            ),
            (
                "copies(b, arrow_cast(1, 'Int32'), arrow_cast('a', 'Utf8View'))",
                [Some("a1"), None, Some("a3")],
            ),
            ("copies(NULL, 1)", [None; 3]),
            ("copies(x'0102', 1)", [Some("-2"); 3]),
        ] {
            let sql = format!("SELECT {call} FROM t");
            let batches = context.sql(&sql).await.unwrap().collect().await.unwrap();
            let texts: Vec<_> = batches.iter().flat_map(|b| b.column(0).as_string::<i32>().iter()).collect();
            assert_eq!(texts, expected, "{call}");
        }
    }

    #[tokio::test]
    async fn what_is_no_such_literal_is_refused_in_the_plan() {
        let (context, _) = context(SessionConfig::new());
        let plan =
            async |call: &str| context.sql(&format!("SELECT {call} FROM t")).await?.into_optimized_plan();
        for (call, words) in [
            ("copies(b, 0)", "n is 0, expected a whole number from 1 on"),
            ("copies(b, -1, 'a')", "n is -1"),
            ("copies(x'01', 0)", "n is 0"),
            ("copies(b, NULL)", "n is NULL"),
            ("copies(b, length(arrow_cast(b, 'Utf8')))", "n has to be a literal"),
            ("copies(b, 1, NULL)", "text is NULL"),
            ("copies(b, 1, arrow_cast(b, 'Utf8'))", "text has to be a literal, a text"),
            ("copies(b)", "copies"),
            ("copies(b, 'a')", "copies"),
            ("copies(b, 1.5)", "copies"),
            ("copies(b, 1, 'a', 'b')", "copies"),
            ("sizes(b, 1)", "sizes"),
        ] {
            let error = plan(call).await.expect_err(call).to_string();
            assert!(error.contains(words), "{call}: {error}");
        }
    }

    /// `SHOW FUNCTIONS` takes what it shows from there.
    #[tokio::test]
    async fn the_information_schema_has_every_form() {
        let (context, _) = context(SessionConfig::new().with_information_schema(true));
        let sql = "SELECT count(*) FROM information_schema.parameters WHERE specific_name = 'copies' \
                   AND parameter_mode = 'IN' AND ordinal_position = 1";
        assert_eq!(numbers(&context, sql).await, [[Some(2)]], "with and without a text");
    }

    #[tokio::test]
    async fn two_fields_of_one_call_are_computed_once() {
        let config = vectorized_settings(SessionConfig::new_with_ballista()).unwrap();
        let (context, rows) = context(config);
        for sql in [
            "SELECT sizes(b)['once'], sizes(b)['twice'] FROM t",
            "SELECT s['once'], s['twice'] FROM (SELECT sizes(b) AS s FROM t)",
            "SELECT s.once, s.twice FROM (SELECT sizes(b) AS s FROM t) AS u",
        ] {
            rows.store(0, Ordering::SeqCst);
            assert_eq!(numbers(&context, sql).await.len(), 2);
            assert_eq!(rows.load(Ordering::SeqCst), 3, "{sql}");
        }
    }

    #[tokio::test]
    async fn a_plan_that_calls_one_is_recognized() {
        let (context, _) = context(SessionConfig::new());
        context.sql("CREATE VIEW v AS SELECT sizes(b) AS s FROM t").await.unwrap();
        for (sql, expected) in [
            ("SELECT sizes(b) FROM t", true),
            ("SELECT b FROM t WHERE sizes(l)['once'] > 1 ORDER BY b", true),
            ("SELECT count(*) FROM t GROUP BY abs(sizes(b)['once'])", true),
            ("SELECT * FROM t WHERE b IN (SELECT b FROM t WHERE sizes(b)['twice'] = 2)", true),
            ("SELECT * FROM v", true),
            ("SELECT length(arrow_cast(b, 'Utf8')) FROM t", false),
        ] {
            let plan = context.state().create_logical_plan(sql).await.unwrap();
            assert_eq!(calls_vectorized(&plan), expected, "{sql}");
        }
    }

    #[test]
    fn a_number_of_partitions_that_the_session_names_stays() {
        let name = BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK;
        for (set, expected) in [(0, 1), (1, 1), (4, 4)] {
            let config =
                vectorized_settings(SessionConfig::new_with_ballista().set_usize(name, set)).unwrap();
            assert_eq!(config.ballista_config().max_partitions_per_task(), expected);
        }
    }
}
