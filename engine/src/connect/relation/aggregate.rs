//! Groups: group by, rollup, cube, pivot, and rows without duplicates.

use std::collections::HashMap;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, GroupingSet, LogicalPlanBuilder, lit};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::aggregate::GroupType;

use super::super::error::{Kind, Result, SparkError};
use super::super::expression::name_of;
use super::super::frame::{Frame, Output, Visible, same_name};
use super::super::literal;
use super::super::show;
use super::Translator;

/// Whether an expression computes something of many rows.
pub(super) fn has_aggregate(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::AggregateFunction(_)))).unwrap_or(false)
}

/// One row for each group: the keys, and what is computed of its rows.
pub(super) fn grouped(frame: Frame, keys: Vec<Expr>, outputs: Vec<Output>) -> Result<Frame> {
    let flat = flat(&keys);
    // Each aggregate once, under a name that nothing else has.
    let mut aggregates: Vec<Expr> = Vec::new();
    let mut rewritten = Vec::with_capacity(outputs.len());
    let key_columns: HashMap<Expr, Column> = flat
        .iter()
        .map(|key| (key.clone(), Column::new_unqualified(key.schema_name().to_string())))
        .collect();
    for output in outputs {
        let expr = output.expr.clone().transform_down(|expr| {
            if let Some(index) = flat.iter().position(|key| *key == expr) {
                let column = match &flat[index] {
                    Expr::Column(column) => column.clone(),
                    other => key_columns.get(other).cloned().unwrap_or_else(|| Column::new_unqualified("")),
                };
                return Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump));
            }
            if matches!(expr, Expr::AggregateFunction(_)) {
                let index = aggregates.iter().position(|known| *known == expr).unwrap_or_else(|| {
                    aggregates.push(expr.clone());
                    aggregates.len() - 1
                });
                let column = Expr::Column(Column::new_unqualified(aggregate_name(index)));
                return Ok(Transformed::new(column, true, TreeNodeRecursion::Jump));
            }
            Ok(Transformed::no(expr))
        })?;
        rewritten.push(Output { expr: expr.data, ..output });
    }
    let named: Vec<Expr> =
        aggregates.into_iter().enumerate().map(|(index, expr)| expr.alias(aggregate_name(index))).collect();
    let plan = LogicalPlanBuilder::from(frame.plan).aggregate(keys, named)?.build()?;
    for output in &rewritten {
        for column in output.expr.column_refs() {
            if !plan.schema().has_column(column) {
                let message = format!(
                    "The non-aggregating expression \"{}\" is based on columns which are not participating in the GROUP BY \
                     clause.",
                    output.name
                );
                return Err(SparkError::new(Kind::Analysis, "MISSING_AGGREGATION", "42803", message));
            }
        }
    }
    Frame { plan, columns: Vec::new() }.project(rewritten)
}

fn aggregate_name(index: usize) -> String {
    format!("#aggregate{index}")
}

/// The keys within grouping sets.
fn flat(keys: &[Expr]) -> Vec<Expr> {
    let mut flat = Vec::new();
    for key in keys {
        match key {
            Expr::GroupingSet(GroupingSet::Rollup(inner) | GroupingSet::Cube(inner)) => {
                flat.extend(inner.clone())
            }
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => flat.extend(sets.concat()),
            key => flat.push(key.clone()),
        }
    }
    flat
}

impl Translator<'_> {
    /// Translates groups.
    pub(super) async fn aggregate(&self, aggregate: &proto::Aggregate) -> Result<Frame> {
        let frame = self.input(aggregate.input.as_deref()).await?;
        let scope = self.scope(&frame);
        let keys = scope.outputs(&aggregate.grouping_expressions)?;
        let of_keys: Vec<Expr> = keys.iter().map(|key| key.expr.clone()).collect();
        let (group, computed) = match aggregate.group_type() {
            GroupType::Groupby => (of_keys, self.computed(&frame, &aggregate.aggregate_expressions)?),
            GroupType::Rollup => {
                let computed = self.computed(&frame, &aggregate.aggregate_expressions)?;
                (vec![Expr::GroupingSet(GroupingSet::Rollup(of_keys))], computed)
            }
            GroupType::Cube => {
                let computed = self.computed(&frame, &aggregate.aggregate_expressions)?;
                (vec![Expr::GroupingSet(GroupingSet::Cube(of_keys))], computed)
            }
            GroupType::Pivot => (of_keys, self.pivoted(&frame, aggregate).await?),
            GroupType::GroupingSets => {
                let sets = aggregate.grouping_sets.iter().map(|set| scope.exprs(&set.grouping_set));
                let sets = sets.collect::<Result<Vec<_>>>()?;
                let computed = self.computed(&frame, &aggregate.aggregate_expressions)?;
                (vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))], computed)
            }
            GroupType::Unspecified => return Err(SparkError::incomplete("the kind of a group")),
        };
        let is_plain = aggregate.group_type() == GroupType::Groupby;
        let mut outputs = keys;
        if !is_plain {
            // The keys of a total are null: no longer the column that they were.
            outputs.iter_mut().for_each(|output| output.from = None);
        }
        outputs.extend(computed);
        grouped(frame, group, outputs)
    }

    fn computed(&self, frame: &Frame, exprs: &[proto::Expression]) -> Result<Vec<Output>> {
        self.scope(frame).outputs(exprs)
    }

    /// One column for each value of a column, and each aggregate.
    async fn pivoted(&self, frame: &Frame, aggregate: &proto::Aggregate) -> Result<Vec<Output>> {
        let scope = self.scope(frame);
        let pivot =
            aggregate.pivot.as_ref().ok_or_else(|| SparkError::incomplete("the column of a pivot"))?;
        let column = scope.expr(scope.required(pivot.col.as_ref())?)?;
        if pivot.values.is_empty() {
            return Err(SparkError::unsupported(
                "pivot without its values; pivot(column, [values]) has them",
            ));
        }
        let several = aggregate.aggregate_expressions.len() > 1;
        let mut outputs = Vec::new();
        for value in &pivot.values {
            let value = literal::value(value)?;
            let title = show::value_text(&value, &self.zone)?;
            let matches = column.clone().eq(lit(value));
            for expr in &aggregate.aggregate_expressions {
                let name = if several { format!("{title}_{}", name_of(expr)) } else { title.clone() };
                let computed = scope.output(expr)?.expr.transform_up(|expr| {
                    let Expr::AggregateFunction(mut function) = expr else {
                        return Ok(Transformed::no(expr));
                    };
                    let own = function.params.filter.take();
                    let filter = own.map_or_else(|| matches.clone(), |own| own.and(matches.clone()));
                    function.params.filter = Some(Box::new(filter));
                    let is_count = function.func.name() == "count";
                    let call = Expr::AggregateFunction(function);
                    // Where no row matches, Spark has null, for counts as well.
                    Ok(Transformed::yes(if is_count {
                        datafusion::functions::expr_fn::nullif(call, lit(0_i64))
                    } else {
                        call
                    }))
                })?;
                outputs.push(Output::computed(name, computed.data));
            }
        }
        Ok(outputs)
    }

    /// One row of those that are equal.
    pub(super) async fn deduplicate(&self, deduplicate: &proto::Deduplicate) -> Result<Frame> {
        let frame = self.input(deduplicate.input.as_deref()).await?;
        if deduplicate.within_watermark.unwrap_or(false) {
            return Err(SparkError::unsupported("dropDuplicatesWithinWatermark"));
        }
        let (columns, names) = (frame.columns.clone(), &deduplicate.column_names);
        let all = deduplicate.all_columns_as_keys.unwrap_or(false) || names.is_empty();
        if !all
            && let Some(absent) =
                names.iter().find(|name| !columns.iter().any(|column| same_name(&column.name, name)))
        {
            return Err(SparkError::column(absent, &frame.names()));
        }
        let plan = frame.ordered()?;
        if all {
            let plan = LogicalPlanBuilder::from(plan).distinct()?.build()?;
            return Ok(Frame { plan, columns });
        }
        let expr = |column: &Visible| Expr::Column(column.column.clone());
        let is_key = |column: &&Visible| names.iter().any(|name| same_name(&column.name, name));
        let on: Vec<Expr> = columns.iter().filter(is_key).map(expr).collect();
        let select: Vec<Expr> = columns.iter().map(expr).collect();
        let plan = LogicalPlanBuilder::from(plan).distinct_on(on, select, None)?.build()?;
        let named = plan.schema().columns().into_iter().zip(columns);
        let columns = named.map(|(column, visible)| Visible { column, ..visible }).collect();
        Ok(Frame { plan, columns })
    }
}
