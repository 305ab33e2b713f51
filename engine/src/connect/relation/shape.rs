//! Operators that add, drop and rename columns, and turn columns into rows.

use arrow::datatypes::DataType;
use datafusion::common::UnnestOptions;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::expression::ExprType;

use super::super::error::{Kind, Result, SparkError};
use super::super::frame::{Frame, Output, Visible, same_name};
use super::super::types;
use super::Translator;

impl Translator<'_> {
    pub(super) async fn with_columns(&self, columns: &proto::WithColumns) -> Result<Frame> {
        let frame = self.input(columns.input.as_deref()).await?;
        let scope = self.scope(&frame);
        let mut outputs: Vec<Output> = frame.columns.iter().map(Output::same).collect();
        for alias in &columns.aliases {
            let [name] = alias.name.as_slice() else {
                return Err(SparkError::unsupported("an alias of several names"));
            };
            let computed = Output::computed(name, scope.expr(scope.required(alias.expr.as_deref())?)?);
            let mut replaced = false;
            for output in outputs.iter_mut().filter(|output| same_name(&output.name, name)) {
                *output = computed.clone();
                replaced = true;
            }
            if !replaced {
                outputs.push(computed);
            }
        }
        if outputs.iter().any(|output| super::aggregate::has_aggregate(&output.expr)) {
            let message = "An aggregate belongs into agg() or over a window, and not into withColumn().";
            return Err(SparkError::new(Kind::Analysis, "MISSING_GROUP_BY", "42803", message));
        }
        self.projected(frame, outputs)
    }

    pub(super) async fn renamed(&self, renamed: &proto::WithColumnsRenamed) -> Result<Frame> {
        let mut frame = self.input(renamed.input.as_deref()).await?;
        let pairs = renamed.renames.iter().map(|rename| (&rename.col_name, &rename.new_col_name));
        let pairs: Vec<_> = pairs.chain(&renamed.rename_columns_map).collect();
        for (old, new) in pairs {
            for column in frame.columns.iter_mut().filter(|column| same_name(&column.name, old)) {
                column.name.clone_from(new);
            }
        }
        Ok(frame)
    }

    pub(super) async fn renamed_all(&self, names: &proto::ToDf) -> Result<Frame> {
        let mut frame = self.input(names.input.as_deref()).await?;
        let (has, given) = (frame.columns.len(), names.column_names.len());
        if has != given {
            let message = format!(
                "The number of columns doesn't match: the rows have {has}, and {given} names are given."
            );
            return Err(SparkError::new(
                Kind::IllegalArgument,
                "ASSIGNMENT_ARITY_MISMATCH",
                "42802",
                message,
            ));
        }
        for (column, name) in frame.columns.iter_mut().zip(&names.column_names) {
            column.name.clone_from(name);
            column.qualifier = None;
        }
        Ok(frame)
    }

    pub(super) async fn drop_columns(&self, drop: &proto::Drop) -> Result<Frame> {
        let mut frame = self.input(drop.input.as_deref()).await?;
        let mut dropped = Vec::new();
        for column in &drop.columns {
            let Some(ExprType::UnresolvedAttribute(name)) = &column.expr_type else {
                return Err(SparkError::unsupported("drop of what is no column"));
            };
            // What is not there need not be dropped.
            if let Ok((Some(column), _)) = frame.resolve(&name.unparsed_identifier, name.plan_id) {
                dropped.push(column.column.clone());
            }
        }
        frame.columns.retain(|column| {
            !dropped.contains(&column.column)
                && !drop.column_names.iter().any(|name| same_name(name, &column.name))
        });
        let outputs = frame.columns.iter().map(Output::same).collect();
        frame.project(outputs)
    }

    pub(super) async fn to_schema(&self, to: &proto::ToSchema) -> Result<Frame> {
        let frame = self.input(to.input.as_deref()).await?;
        let missing = || SparkError::incomplete("a schema");
        let schema = types::schema_from_spark(to.schema.as_ref().ok_or_else(missing)?)?;
        let scope = self.scope(&frame);
        let outputs = schema.fields().iter().map(|field| {
            let column = frame.columns.iter().find(|column| same_name(&column.name, field.name()));
            let column = column.ok_or_else(|| SparkError::column(field.name(), &frame.names()))?;
            let value = scope.cast_to(Expr::Column(column.column.clone()), field.data_type())?;
            Ok(Output::computed(field.name(), value))
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        frame.project(outputs)
    }

    pub(super) async fn unpivot(&self, unpivot: &proto::Unpivot) -> Result<Frame> {
        let frame = self.input(unpivot.input.as_deref()).await?;
        let scope = self.scope(&frame);
        let ids = scope.outputs(&unpivot.ids)?;
        let values = match &unpivot.values {
            Some(values) => scope.outputs(&values.values)?,
            None => {
                let is_id = |column: &&Visible| ids.iter().any(|id| same_name(&id.name, &column.name));
                frame.columns.iter().filter(|column| !is_id(column)).map(Output::same).collect()
            }
        };
        let mut whole: Option<LogicalPlanBuilder> = None;
        let mut columns = Vec::new();
        for value in &values {
            let mut outputs: Vec<Output> =
                ids.iter().map(|id| Output::computed(&id.name, id.expr.clone())).collect();
            outputs.push(Output::computed(&unpivot.variable_column_name, lit(value.name.clone())));
            outputs.push(Output::computed(&unpivot.value_column_name, value.expr.clone()));
            let part = frame.clone().project(outputs)?;
            columns = part.columns;
            whole = Some(match whole {
                Some(whole) => whole.union(part.plan)?,
                None => LogicalPlanBuilder::from(part.plan),
            });
        }
        let whole =
            whole.ok_or_else(|| SparkError::argument("An unpivot needs at least one column of values."))?;
        let plan = whole.build()?;
        let named = plan.schema().columns().into_iter().zip(columns);
        let columns = named.map(|(column, visible)| Visible { column, ..visible }).collect();
        Ok(Frame { plan, columns })
    }

    /// A projection with `explode`, which makes a row of each element. `None`: there is none in it.
    pub(super) fn explode(&self, frame: &Frame, exprs: &[proto::Expression]) -> Result<Option<Frame>> {
        let Some(index) = exprs.iter().position(|expr| exploded(expr).is_some()) else { return Ok(None) };
        let Some((name, call)) = exploded(&exprs[index]) else { return Ok(None) };
        if exprs.iter().skip(index + 1).any(|expr| exploded(expr).is_some()) {
            let message = "Only one generator is allowed in a SELECT clause.";
            return Err(SparkError::new(
                Kind::Analysis,
                "UNSUPPORTED_GENERATOR.MULTI_GENERATOR",
                "42K0E",
                message,
            ));
        }
        let scope = self.scope(frame);
        let [array] = call.arguments.as_slice() else {
            return Err(SparkError::arguments("explode", "1", call.arguments.len()));
        };
        let array = scope.expr(array)?;
        if !matches!(scope.type_of(&array)?, DataType::List(_) | DataType::LargeList(_)) {
            return Err(SparkError::unsupported("explode of what is no array"));
        }
        if call.function_name.to_lowercase() != "explode" {
            return Err(SparkError::unsupported(format!("the generator {}", call.function_name)));
        }
        let mut outputs = scope.outputs(&exprs[..index])?;
        let at = outputs.len();
        outputs.push(Output::computed(name.unwrap_or("col"), array));
        outputs.extend(scope.outputs(&exprs[index + 1..])?);
        let frame = frame.clone().project(outputs)?;
        let column = frame.columns[at].column.clone();
        // Null and an empty array give no row.
        let options = UnnestOptions::new().with_preserve_nulls(false);
        let plan = LogicalPlanBuilder::from(frame.plan.clone())
            .unnest_column_with_options(column, options)?
            .build()?;
        let named = plan.schema().columns().into_iter().zip(frame.columns);
        let columns = named.map(|(column, visible)| Visible { column, ..visible }).collect();
        Ok(Some(Frame { plan, columns }))
    }
}

/// The call of a generator, and the name of its column.
fn exploded(expr: &proto::Expression) -> Option<(Option<&str>, &proto::expression::UnresolvedFunction)> {
    match &expr.expr_type {
        Some(ExprType::Alias(alias)) => {
            let (_, call) = exploded(alias.expr.as_deref()?)?;
            Some((alias.name.first().map(String::as_str), call))
        }
        Some(ExprType::UnresolvedFunction(call))
            if ["explode", "explode_outer", "posexplode", "posexplode_outer", "inline", "stack"]
                .contains(&call.function_name.to_lowercase().as_str()) =>
        {
            Some((None, call))
        }
        _ => None,
    }
}
