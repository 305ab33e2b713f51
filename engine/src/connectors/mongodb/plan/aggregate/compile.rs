//! From a partial aggregate over a scan to what the server and the engine do: a pure function of the plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use bson::{Bson, Document, doc};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal,
    NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::utils::{collect_columns, split_conjunction};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::columns::Tag;
use super::measure::{Counting, Function, Measure, Source};
use super::translate::{Nullness, Translation, Value, is_plain, path};
use crate::connectors::mongodb::read::scan::MongoScanExec;

type Expr = Arc<dyn PhysicalExpr>;

/// Booleans that are made part of the key: each makes up to three groups of one. In the key a boolean costs `mongod` 6.0.5
/// a third less than a `$cond` in a `$sum`, which is more than the rest of a `$group` over a plain collection.
const MAX_FLAGS: usize = 3;

/// An accumulator of `$group`, and the type of its result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Accumulator {
    /// Such as `{$sum: …}`.
    pub(super) bson: Document,
    pub(super) data_type: DataType,
    /// Whether values are compared, so that NaN and zeros among doubles are not what they seem.
    pub(super) ordered: bool,
}

/// A pushed aggregate.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The columns of the scan.
    pub(super) input: SchemaRef,
    /// The columns whose values are the key.
    pub(super) keys: Vec<usize>,
    pub(super) tags: Vec<Tag>,
    /// Conditions for the server, part of the key: groups where one is false are dropped.
    pub(super) tests: Vec<Bson>,
    /// Conditions over the key, for the engine.
    pub(super) filters: Vec<Expr>,
    /// What is grouped by, over the key.
    pub(super) by: Vec<Expr>,
    pub(super) measures: Vec<Measure>,
    pub(super) accumulators: Vec<Accumulator>,
    /// The group columns and the partial states.
    pub(super) output: SchemaRef,
}

impl Group {
    /// What `aggregate` is as a group of the server; `None` where it has to be computed here.
    pub(super) fn of(aggregate: &AggregateExec) -> Option<Self> {
        let by = aggregate.group_expr();
        if by.has_grouping_set() || !by.is_single() {
            return None;
        }
        let source = Chain::of(aggregate.input())?;
        let input = source.scan.schema();
        let resolve = |expr: &Expr| source.resolve(expr);
        let by: Vec<Expr> = by.expr().iter().map(|(expr, _)| resolve(expr)).collect::<Option<_>>()?;
        let mut arguments = Vec::new();
        for (function, filter) in aggregate.aggr_expr().iter().zip(aggregate.filter_expr()) {
            let expressions = function.expressions();
            let [argument] = expressions.as_slice() else { return None };
            let filter = match filter {
                Some(filter) => Some(resolve(filter)?),
                None => None,
            };
            arguments.push((function, resolve(argument)?, filter));
        }
        let conditions: Vec<Expr> = source.predicates.iter().flat_map(split_conjunction).cloned().collect();

        let mut keys = key_columns(&by, &input)?;
        let used = arguments.iter().flat_map(|(_, argument, filter)| std::iter::once(argument).chain(filter));
        let flags = flags(used.chain(&conditions), &keys, &input);
        if flags.len() <= MAX_FLAGS {
            keys.extend(flags);
        }

        let mut builder = Builder::new(&input, keys);
        let mut filters = Vec::new();
        for condition in conditions {
            if builder.is_key(&condition) {
                filters.push(condition);
            } else {
                let test = builder.translation.truth(condition.as_ref(), true)?;
                builder.tests.push(test);
            }
        }
        let measures: Vec<Measure> = arguments
            .into_iter()
            .map(|(function, argument, filter)| builder.measure(function, argument, filter))
            .collect::<Option<_>>()?;
        let tags = builder.tags();
        let Builder { keys, tests, accumulators, .. } = builder;
        let keys = keys.into_iter().collect();
        let output = aggregate.schema();
        Some(Self { keys, tags, tests, filters, by, measures, accumulators, output, input })
    }

    /// The `$group` stage.
    pub(super) fn stage(&self) -> Document {
        let mut key = Document::new();
        for (n, column) in self.keys.iter().enumerate() {
            key.insert(format!("k{n}"), path(self.input.field(*column).name()));
        }
        for (n, tag) in self.tags.iter().enumerate() {
            let field = path(self.input.field(tag.column).name());
            let bson_type = Bson::from(doc! { "$type": field.clone() });
            let tag = if tag.nan {
                Bson::from(doc! { "$cond": [{ "$eq": [field, f64::NAN] }, "nan", bson_type] })
            } else {
                bson_type
            };
            key.insert(format!("t{n}"), tag);
        }
        for (n, test) in self.tests.iter().enumerate() {
            key.insert(format!("p{n}"), test.clone());
        }
        let key = if key.is_empty() { Bson::Null } else { Bson::Document(key) };
        let mut group = doc! { "_id": key, "n": { "$sum": 1 } };
        for (n, accumulator) in self.accumulators.iter().enumerate() {
            group.insert(format!("a{n}"), accumulator.bson.clone());
        }
        doc! { "$group": group }
    }
}

/// The scan below an aggregate, and what lies between.
struct Chain<'a> {
    scan: &'a MongoScanExec,
    /// The columns of the node, over those of the scan.
    columns: Vec<Expr>,
    /// Conditions over the columns of the scan.
    predicates: Vec<Expr>,
}

impl<'a> Chain<'a> {
    fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(scan) = plan.downcast_ref::<MongoScanExec>() {
            let fields = scan.spec().schema.fields().iter().enumerate();
            let columns = fields.map(|(index, field)| Arc::new(Column::new(field.name(), index)) as Expr);
            return Some(Self { scan, columns: columns.collect(), predicates: Vec::new() });
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let below = Self::of(projection.input())?;
            let columns = projection.expr().iter().map(|column| below.resolve(&column.expr));
            return Some(Self { columns: columns.collect::<Option<_>>()?, ..below });
        }
        let filter = plan.downcast_ref::<FilterExec>()?;
        if filter.fetch().is_some() {
            return None;
        }
        let mut below = Self::of(filter.input())?;
        below.predicates.push(below.resolve(filter.predicate())?);
        if let Some(projection) = filter.projection() {
            below.columns =
                projection.iter().map(|index| below.columns.get(*index).cloned()).collect::<Option<_>>()?;
        }
        Some(below)
    }

    /// `expr` over the columns of the scan, where it is of nodes that mean the same anywhere.
    fn resolve(&self, expr: &Expr) -> Option<Expr> {
        let resolved = Arc::clone(expr).transform_up(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
            let column = self.columns.get(column.index()).cloned();
            Ok(column.map_or_else(|| Transformed::no(expr), Transformed::yes))
        });
        let resolved = resolved.ok()?.data;
        (is_known(&resolved) && !is_volatile(&resolved)).then_some(resolved)
    }
}

/// Whether an expression is of nodes that depend on nothing but the row.
fn is_known(expr: &Expr) -> bool {
    let mut known = true;
    let walked = expr.apply(|node| {
        let node = node.as_ref();
        known &= node.is::<Column>()
            || node.is::<Literal>()
            || node.is::<BinaryExpr>()
            || node.is::<CaseExpr>()
            || node.is::<CastExpr>()
            || node.is::<TryCastExpr>()
            || node.is::<InListExpr>()
            || node.is::<IsNullExpr>()
            || node.is::<IsNotNullExpr>()
            || node.is::<LikeExpr>()
            || node.is::<NegativeExpr>()
            || node.is::<NotExpr>()
            || node.is::<ScalarFunctionExpr>();
        Ok(TreeNodeRecursion::Continue)
    });
    known && walked.is_ok()
}

fn columns_of(expr: &Expr) -> impl Iterator<Item = usize> {
    collect_columns(expr).into_iter().map(|column| column.index())
}

/// The columns that GROUP BY needs the values of; `None` where that would make too many groups or lose a difference.
fn key_columns(by: &[Expr], input: &SchemaRef) -> Option<BTreeSet<usize>> {
    let mut keys = BTreeSet::new();
    for expr in by {
        let bare = expr.is::<Column>();
        for column in columns_of(expr) {
            let field = input.field(column);
            let fits = match field.data_type() {
                DataType::Utf8 | DataType::Boolean => true,
                // A function of a number or a time has fewer values than they have.
                DataType::Int32 | DataType::Int64 | DataType::Timestamp(TimeUnit::Millisecond, _) => bare,
                // -0 and 0 are one group for the server.
                _ => false,
            };
            // One group a document is slower than reading it.
            if !fits || !is_plain(field) || field.name() == "_id" {
                return None;
            }
            keys.insert(column);
        }
    }
    Some(keys)
}

/// The boolean columns of `exprs` that are not keys yet.
fn flags<'e>(
    exprs: impl Iterator<Item = &'e Expr>,
    keys: &BTreeSet<usize>,
    input: &SchemaRef,
) -> BTreeSet<usize> {
    exprs
        .flat_map(columns_of)
        .filter(|column| *input.field(*column).data_type() == DataType::Boolean && !keys.contains(column))
        .collect()
}

struct Builder<'a> {
    input: &'a SchemaRef,
    keys: BTreeSet<usize>,
    translation: Translation<'a>,
    tests: Vec<Bson>,
    accumulators: Vec<Accumulator>,
}

impl<'a> Builder<'a> {
    fn new(input: &'a SchemaRef, keys: BTreeSet<usize>) -> Self {
        Self {
            input,
            keys,
            translation: Translation::new(input),
            tests: Vec::new(),
            accumulators: Vec::new(),
        }
    }

    fn is_key(&self, expr: &Expr) -> bool {
        columns_of(expr).all(|column| self.keys.contains(&column))
    }

    fn measure(
        &mut self,
        aggregate: &AggregateFunctionExpr,
        argument: Expr,
        filter: Option<Expr>,
    ) -> Option<Measure> {
        let function = Function::of(aggregate)?;
        let data_type = aggregate.state_fields().ok()?.last()?.data_type().clone();
        let (argument, filter) = match filter {
            Some(filter) if !self.is_key(&filter) => {
                let case = CaseExpr::try_new(None, vec![(filter, argument)], None).ok()?;
                (Arc::new(case) as Expr, None)
            }
            filter => (argument, filter),
        };
        let source = if self.is_key(&argument) {
            if function != Function::Count && argument.data_type(self.input).ok()? != data_type {
                return None;
            }
            Source::Key(argument)
        } else {
            self.server(function, &argument, &data_type)?
        };
        Some(Measure { function, source, filter })
    }

    fn server(&mut self, function: Function, argument: &Expr, data_type: &DataType) -> Option<Source> {
        let column = argument.downcast_ref::<Column>().map(Column::index);
        let extreme = match function {
            Function::Min => Some("$min"),
            Function::Max => Some("$max"),
            _ => None,
        };
        if let (Some(operator), Some(column)) = (extreme, column)
            && matches!(data_type, DataType::Utf8 | DataType::Timestamp(..))
            && is_plain(self.input.field(column))
            && (self.input.field(column).is_nullable() || self.input.field(column).name() == "_id")
        {
            // Every value lies between the smallest and the largest: both of one type means all are.
            let value = path(self.input.field(column).name());
            let value = self.extremes(operator, value, data_type);
            return Some(Source::Server { value: Some(value), counting: Counting::Present(Vec::new()) });
        }
        // The mean of integers is their sum, which the server adds up exactly.
        let exact = match argument.downcast_ref::<CastExpr>() {
            Some(cast) if function == Function::Avg && *data_type == DataType::Float64 => {
                let from = cast.expr().data_type(self.input).ok()?;
                matches!(from, DataType::Int32 | DataType::Int64).then(|| Arc::clone(cast.expr()))
            }
            _ => None,
        };
        let value = self.translation.value(exact.as_ref().unwrap_or(argument).as_ref())?;
        if exact.is_some() && value.overflows {
            return None;
        }
        let value_of = |builder: &mut Self, value: &Value| match (extreme, column) {
            // An integer as it is stored cannot overflow, and its type is checked.
            (Some(operator), Some(_)) if *data_type != DataType::Float64 => {
                builder.accumulate(operator, value.bson.clone(), data_type.clone(), true)
            }
            (Some(operator), _) => builder.extremes(operator, value.bson.clone(), data_type),
            (None, _) => builder.accumulate("$sum", value.bson.clone(), data_type.clone(), false),
        };
        let accumulator = (function != Function::Count).then(|| value_of(self, &value));
        let counting = match value.nullness {
            _ if extreme.is_some() => Counting::Present(Vec::new()),
            Nullness::Columns(columns) => Counting::Present(columns.into_iter().collect()),
            Nullness::Computed => {
                let present = doc! { "$cond": [{ "$gt": [value.bson, Bson::Null] }, 1, 0] };
                Counting::Server(self.accumulate("$sum", present, DataType::Int64, false))
            }
        };
        if function == Function::Count && value.overflows {
            return None; // Nothing would show the overflow; nobody counts sums.
        }
        Some(Source::Server { value: accumulator, counting })
    }

    /// Both ends, so that values of other types come to light; which of them is asked for is `operator`.
    fn extremes(&mut self, operator: &str, value: Bson, data_type: &DataType) -> usize {
        let other = if operator == "$min" { "$max" } else { "$min" };
        self.accumulate(other, value.clone(), data_type.clone(), true);
        self.accumulate(operator, value, data_type.clone(), true)
    }

    /// The position of an accumulator, which may be there already.
    fn accumulate(
        &mut self,
        operator: &str,
        value: impl Into<Bson>,
        data_type: DataType,
        ordered: bool,
    ) -> usize {
        let accumulator = Accumulator { bson: doc! { operator: value.into() }, data_type, ordered };
        if let Some(found) = self.accumulators.iter().position(|known| *known == accumulator) {
            return found;
        }
        self.accumulators.push(accumulator);
        self.accumulators.len() - 1
    }

    fn tags(&self) -> Vec<Tag> {
        // The values of a key show their types, except that equal numbers of several types are one key.
        let numbers = self
            .keys
            .iter()
            .filter(|key| matches!(self.input.field(**key).data_type(), DataType::Int32 | DataType::Int64));
        let computed = self.translation.columns.iter().filter(|column| !self.keys.contains(column));
        let columns: BTreeSet<usize> = numbers.chain(computed).copied().collect();
        columns
            .into_iter()
            .map(|column| Tag { column, nan: self.translation.ordered.contains(&column) })
            .collect()
    }
}
