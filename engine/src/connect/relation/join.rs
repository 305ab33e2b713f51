//! Joins, and operations on rows with the same columns.

use datafusion::common::ScalarValue;
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, lit};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::join::JoinType as SparkJoin;
use firesteel_proto::spark::connect::set_operation::SetOpType;

use super::super::error::{Kind, Result, SparkError};
use super::super::frame::{Frame, Output, Visible, same_name};
use super::{Translator, backticked};

impl Translator<'_> {
    /// Translates a join.
    pub(super) async fn join(&self, join: &proto::Join) -> Result<Frame> {
        let left = self.input(join.left.as_deref()).await?;
        let right = self.input(join.right.as_deref()).await?.apart_from(&left.columns)?;
        let join_type = match join.join_type() {
            SparkJoin::Inner | SparkJoin::Cross => JoinType::Inner,
            SparkJoin::FullOuter => JoinType::Full,
            SparkJoin::LeftOuter => JoinType::Left,
            SparkJoin::RightOuter => JoinType::Right,
            SparkJoin::LeftAnti => JoinType::LeftAnti,
            SparkJoin::LeftSemi => JoinType::LeftSemi,
            SparkJoin::Unspecified => return Err(SparkError::incomplete("the kind of a join")),
        };
        let one_sided = matches!(join_type, JoinType::LeftAnti | JoinType::LeftSemi);
        let mut columns = left.columns.clone();
        columns.extend(right.columns.clone());
        let condition = if !join.using_columns.is_empty() {
            let pairs = join.using_columns.iter().map(|name| {
                let (_, a) = left.resolve(&backticked(name), None)?;
                let (_, b) = right.resolve(&backticked(name), None)?;
                Ok(a.eq(b))
            });
            pairs.collect::<Result<Vec<Expr>>>()?.into_iter().reduce(Expr::and)
        } else if let Some(condition) = &join.join_condition {
            let both = LogicalPlanBuilder::from(left.plan.clone()).cross_join(right.plan.clone())?.build()?;
            let both = Frame { plan: both, columns: columns.clone() };
            Some(self.scope(&both).condition(condition)?)
        } else {
            None
        };
        let builder = LogicalPlanBuilder::from(left.plan.clone());
        let plan = match condition {
            Some(condition) => builder.join_on(right.plan.clone(), join_type, [condition])?.build()?,
            None if join_type == JoinType::Inner => builder.cross_join(right.plan.clone())?.build()?,
            None => builder.join_on(right.plan.clone(), join_type, [lit(true)])?.build()?,
        };
        if one_sided {
            return Ok(left.over(plan));
        }
        let joined = Frame { plan, columns };
        if join.using_columns.is_empty() {
            return Ok(joined);
        }
        // The columns that the sides share come first, and once.
        let is_used = |column: &&Visible| join.using_columns.iter().any(|name| same_name(name, &column.name));
        let mut outputs = Vec::new();
        for name in &join.using_columns {
            let of =
                |frame: &Frame| frame.columns.iter().find(|column| same_name(&column.name, name)).cloned();
            let (Some(a), Some(b)) = (of(&left), of(&right)) else { continue };
            outputs.push(match join_type {
                JoinType::Full => {
                    let both = [&a, &b].map(|column| Expr::Column(column.column.clone()));
                    Output::computed(&a.name, coalesce(both.to_vec()))
                }
                JoinType::Right => Output { name: a.name.clone(), ..Output::same(&b) },
                _ => Output::same(&a),
            });
        }
        let rest = left.columns.iter().chain(&right.columns).filter(|column| !is_used(column));
        outputs.extend(rest.map(Output::same));
        joined.project(outputs)
    }

    /// Translates an operation on rows with the same columns.
    pub(super) async fn set_operation(&self, operation: &proto::SetOperation) -> Result<Frame> {
        let left = self.input(operation.left_input.as_deref()).await?;
        let mut right = self.input(operation.right_input.as_deref()).await?;
        let mut left = bare(left)?;
        let all = operation.is_all.unwrap_or(false);
        if operation.by_name.unwrap_or(false) {
            (left, right) = by_name(left, right, operation.allow_missing_columns.unwrap_or(false))?;
        }
        let right = bare(right)?;
        let (a, b) = (left.columns.len(), right.columns.len());
        if a != b {
            let message = format!(
                "This operation can only be performed on inputs with the same number of columns, but the first has {a} \
                 columns and the second has {b}."
            );
            return Err(SparkError::new(Kind::Analysis, "NUM_COLUMNS_MISMATCH", "42826", message));
        }
        let right = renamed_like(&left, right)?;
        let columns = left.columns.clone();
        let plan = match operation.set_op_type() {
            SetOpType::Union if all => LogicalPlanBuilder::from(left.plan).union(right)?.build()?,
            SetOpType::Union => LogicalPlanBuilder::from(left.plan).union_distinct(right)?.build()?,
            SetOpType::Intersect => LogicalPlanBuilder::intersect(left.plan, right, all)?,
            SetOpType::Except => LogicalPlanBuilder::except(left.plan, right, all)?,
            SetOpType::Unspecified => {
                return Err(SparkError::incomplete("the kind of an operation on two inputs"));
            }
        };
        let named = plan.schema().columns().into_iter().zip(columns);
        let columns = named.map(|(column, visible)| Visible { column, ..visible }).collect();
        Ok(Frame { plan, columns })
    }
}

/// The same columns under names of their own alone.
fn bare(frame: Frame) -> Result<Frame> {
    let outputs = frame
        .columns
        .iter()
        .map(|column| Output::computed(&column.name, Expr::Column(column.column.clone())));
    let outputs = outputs.collect();
    frame.project(outputs)
}

/// The second input with the names of the first, by place.
fn renamed_like(left: &Frame, right: Frame) -> Result<LogicalPlan> {
    let pairs = left.columns.iter().zip(&right.columns);
    let exprs: Vec<Expr> = pairs.map(|(a, b)| Expr::Column(b.column.clone()).alias(&a.column.name)).collect();
    Ok(LogicalPlanBuilder::from(right.plan).project(exprs)?.build()?)
}

/// Both inputs with the columns of the first, in its order; with nulls where one is missing, if that is allowed.
fn by_name(left: Frame, right: Frame, may_miss: bool) -> Result<(Frame, Frame)> {
    let select = |frame: &Frame, names: &[String]| {
        let outputs = names.iter().map(|name| {
            match frame.columns.iter().find(|column| same_name(&column.name, name)) {
                Some(column) => Ok(Output { name: name.clone(), ..Output::same(column) }),
                None if may_miss => Ok(Output::computed(name, lit(ScalarValue::Null))),
                None => Err(SparkError::column(name, &frame.names())),
            }
        });
        outputs.collect::<Result<Vec<_>>>()
    };
    let mut names = left.names();
    for name in right.names() {
        if !names.iter().any(|known| same_name(known, &name)) {
            if !may_miss {
                return Err(SparkError::column(&name, &left.names()));
            }
            names.push(name);
        }
    }
    let (a, b) = (select(&left, &names)?, select(&right, &names)?);
    Ok((left.project(a)?, right.project(b)?))
}
