//! Expressions of Spark as expressions of the engine.

mod names;
mod sql;
mod window;

use arrow::array::StringArray;
use arrow::compute::kernels::comparison::regexp_is_match_scalar;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions_nested::expr_fn::array_element;
use datafusion::logical_expr::{Case, Expr, SortExpr, lit};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::expression::ExprType;
use firesteel_proto::spark::connect::expression::sort_order::{NullOrdering, SortDirection};

pub(super) use self::names::name_of;
pub(super) use self::sql::parse as parse_sql;
use super::error::{Result, SparkError};
use super::frame::{Output, same_name};
use super::scope::Scope;
use super::{cast, functions, literal, types};

impl Scope<'_> {
    /// An expression that must be there.
    pub(super) fn required<'e>(&self, expr: Option<&'e proto::Expression>) -> Result<&'e proto::Expression> {
        expr.ok_or_else(|| SparkError::incomplete("an expression"))
    }

    /// Translates an expression.
    pub(super) fn expr(&self, expr: &proto::Expression) -> Result<Expr> {
        let kind = expr
            .expr_type
            .as_ref()
            .ok_or_else(|| SparkError::unsupported("an expression of an unknown kind"))?;
        match kind {
            ExprType::Literal(value) => Ok(lit(literal::value(value)?)),
            ExprType::UnresolvedAttribute(name) => {
                Ok(self.frame.resolve(&name.unparsed_identifier, name.plan_id)?.1)
            }
            ExprType::UnresolvedFunction(call) => {
                self.call(&call.function_name, &call.arguments, call.is_distinct)
            }
            ExprType::CallFunction(call) => self.call(&call.function_name, &call.arguments, false),
            ExprType::ExpressionString(text) => self.expr(&parse_sql(&text.expression)?),
            ExprType::Alias(alias) => self.expr(self.required(alias.expr.as_deref())?),
            ExprType::Cast(cast) => self.cast(cast),
            ExprType::Window(window) => self.window(window),
            ExprType::UnresolvedExtractValue(extract) => {
                let child = self.expr(self.required(extract.child.as_deref())?)?;
                self.extract(child, self.required(extract.extraction.as_deref())?)
            }
            ExprType::SortOrder(_) => Err(SparkError::unsupported("an order where a value belongs")),
            ExprType::UnresolvedStar(_) | ExprType::UnresolvedRegex(_) => {
                Err(SparkError::unsupported("several columns where one value belongs"))
            }
            ExprType::LambdaFunction(_) | ExprType::UnresolvedNamedLambdaVariable(_) => Err(
                SparkError::unsupported("a function of variables (transform, filter, exists, aggregate, …)"),
            ),
            ExprType::CommonInlineUserDefinedFunction(_) => Err(SparkError::unsupported(
                "a function in Python, Scala or Java; functions are written in Rust and registered on every process",
            )),
            ExprType::SubqueryExpression(_) => {
                Err(SparkError::unsupported("a subquery as a value of a data frame"))
            }
            ExprType::UpdateFields(_) => {
                Err(SparkError::unsupported("Column.withField and Column.dropFields"))
            }
            ExprType::NamedArgumentExpression(argument) => {
                Err(SparkError::unsupported(format!("an argument by name, {}", argument.key)))
            }
            ExprType::MergeAction(_)
            | ExprType::TypedAggregateExpression(_)
            | ExprType::DirectShufflePartitionId(_) => {
                Err(SparkError::unsupported("an expression of this kind"))
            }
        }
    }

    /// Translates a call of a function.
    fn call(&self, name: &str, arguments: &[proto::Expression], distinct: bool) -> Result<Expr> {
        // `count(*)`.
        let arguments = match arguments {
            [proto::Expression { expr_type: Some(ExprType::UnresolvedStar(_)), .. }]
                if name.eq_ignore_ascii_case("count") && !distinct =>
            {
                vec![lit(1_i64)]
            }
            arguments => self.exprs(arguments)?,
        };
        functions::call(self, name, arguments, distinct)
    }

    /// Translates several.
    pub(super) fn exprs(&self, exprs: &[proto::Expression]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    /// A part of a value: a field of a struct, an element of an array (from 0), the value of a key of a map.
    fn extract(&self, child: Expr, part: &proto::Expression) -> Result<Expr> {
        let part = self.expr(part)?;
        match (self.type_of(&child)?, &part) {
            (DataType::Struct(_), Expr::Literal(ScalarValue::Utf8(Some(name)), _)) => {
                self.frame.field(child, name)
            }
            (DataType::Map(..), Expr::Literal(ScalarValue::Utf8(Some(key)), _)) => {
                self.frame.field(child, key)
            }
            (DataType::List(_) | DataType::LargeList(_), _) => {
                let at = Expr::Case(Case::new(
                    None,
                    vec![(Box::new(part.clone().gt_eq(lit(0))), Box::new(part.clone() + lit(1)))],
                    None,
                ));
                Ok(array_element(child, cast::to(at, DataType::Int64)))
            }
            (other, _) => Err(SparkError::unsupported(format!("a part of a value of the type {other}"))),
        }
    }

    /// The columns that expressions of a projection stand for: stars and patterns stand for many.
    pub(super) fn outputs(&self, exprs: &[proto::Expression]) -> Result<Vec<Output>> {
        let mut outputs = Vec::with_capacity(exprs.len());
        for expr in exprs {
            match &expr.expr_type {
                Some(ExprType::UnresolvedStar(star)) => self.star(star, &mut outputs)?,
                Some(ExprType::UnresolvedRegex(pattern)) => self.pattern(pattern, &mut outputs)?,
                Some(ExprType::ExpressionString(text)) => {
                    outputs.extend(self.outputs(std::slice::from_ref(&parse_sql(&text.expression)?))?);
                }
                _ => outputs.push(self.output(expr)?),
            }
        }
        Ok(outputs)
    }

    /// The column that an expression stands for.
    pub(super) fn output(&self, expr: &proto::Expression) -> Result<Output> {
        match &expr.expr_type {
            Some(ExprType::UnresolvedAttribute(name)) => {
                let (column, value) = self.frame.resolve(&name.unparsed_identifier, name.plan_id)?;
                Ok(match column {
                    Some(column) => Output::same(column),
                    None => Output::computed(name_of(expr), value),
                })
            }
            Some(ExprType::Alias(alias)) => match alias.name.as_slice() {
                [name] => Ok(Output::computed(name, self.expr(expr)?)),
                _ => Err(SparkError::unsupported("an alias of several names")),
            },
            _ => Ok(Output::computed(name_of(expr), self.expr(expr)?)),
        }
    }

    fn star(&self, star: &proto::expression::UnresolvedStar, outputs: &mut Vec<Output>) -> Result<()> {
        let target = star.unparsed_target.as_deref().map(|target| target.trim_end_matches(".*"));
        let chosen = self.frame.columns.iter().filter(|column| {
            let of_table = target.is_none_or(|target| {
                let table = target.trim_matches('`');
                column.qualifier.as_ref().is_some_and(|qualifier| same_name(qualifier, table))
            });
            of_table && star.plan_id.is_none_or(|frame| column.frames.contains(&frame))
        });
        let before = outputs.len();
        outputs.extend(chosen.map(Output::same));
        if outputs.len() > before || target.is_none() {
            return Ok(());
        }
        // The fields of a struct.
        let name = target.unwrap_or_default();
        let (_, value) = self.frame.resolve(name, star.plan_id)?;
        let DataType::Struct(fields) = self.type_of(&value)? else {
            return Err(SparkError::column(name, &self.frame.names()));
        };
        for field in &fields {
            outputs.push(Output::computed(field.name(), self.frame.field(value.clone(), field.name())?));
        }
        Ok(())
    }

    fn pattern(&self, pattern: &proto::expression::UnresolvedRegex, outputs: &mut Vec<Output>) -> Result<()> {
        let text = pattern.col_name.trim_matches('`');
        let columns = self.frame.columns.iter();
        let columns: Vec<_> = columns
            .filter(|column| pattern.plan_id.is_none_or(|frame| column.frames.contains(&frame)))
            .collect();
        let names = StringArray::from_iter_values(columns.iter().map(|column| &column.name));
        let matches = regexp_is_match_scalar(&names, &format!("^(?:{text})$"), Some("i"));
        let matches =
            matches.map_err(|error| SparkError::argument(format!("The pattern {text:?}: {error}")))?;
        let chosen = columns.iter().enumerate().filter(|(index, _)| matches.value(*index));
        outputs.extend(chosen.map(|(_, column)| Output::same(column)));
        Ok(())
    }

    /// Translates keys of an order.
    pub(super) fn order(&self, keys: &[proto::expression::SortOrder]) -> Result<Vec<SortExpr>> {
        keys.iter().map(|key| self.key(key)).collect()
    }

    fn key(&self, key: &proto::expression::SortOrder) -> Result<SortExpr> {
        let ascending = key.direction() != SortDirection::Descending;
        let nulls_first = match key.null_ordering() {
            NullOrdering::SortNullsFirst => true,
            NullOrdering::SortNullsLast => false,
            NullOrdering::SortNullsUnspecified => ascending,
        };
        Ok(SortExpr::new(self.expr(self.required(key.child.as_deref())?)?, ascending, nulls_first))
    }

    /// A condition.
    pub(super) fn condition(&self, expr: &proto::Expression) -> Result<Expr> {
        let condition = self.expr(expr)?;
        match self.type_of(&condition)? {
            DataType::Boolean | DataType::Null => Ok(condition),
            other => {
                let name = types::ddl::name(&types::to_spark(&other)?);
                let message =
                    format!("The condition \"{}\" has the type {name} and not BOOLEAN.", name_of(expr));
                Err(SparkError::analysis(message))
            }
        }
    }

    fn cast(&self, cast: &proto::expression::Cast) -> Result<Expr> {
        use proto::expression::cast::CastToType;
        let child = self.expr(self.required(cast.expr.as_deref())?)?;
        let target =
            match cast.cast_to_type.as_ref().ok_or_else(|| SparkError::incomplete("the type of a cast"))? {
                CastToType::Type(data_type) => types::from_spark(data_type)?,
                CastToType::TypeStr(text) => types::from_spark(&types::ddl::parse(text)?)?,
            };
        self.cast_to(child, &target)
    }
}
