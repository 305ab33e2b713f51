//! Values that are missing: filled, dropped, replaced.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::functions::expr_fn::{coalesce, isnan, nanvl};
use datafusion::logical_expr::{Case, Expr, LogicalPlanBuilder, lit};
use firesteel_proto::spark::connect as proto;

use super::super::cast::to as cast_to;
use super::super::error::{Result, SparkError};
use super::super::frame::{Frame, Output, Visible, same_name};
use super::super::literal;
use super::Translator;

/// Whether a value of one type may stand in a column of another.
fn fits(value: &DataType, column: &DataType) -> bool {
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    value.is_numeric() && column.is_numeric() || is_text(value) && is_text(column) || value == column
}

fn checked(frame: &Frame, names: &[String]) -> Result<()> {
    match names.iter().find(|name| !frame.columns.iter().any(|column| same_name(&column.name, name))) {
        Some(absent) => Err(SparkError::column(absent, &frame.names())),
        None => Ok(()),
    }
}

impl Translator<'_> {
    pub(super) async fn fill(&self, fill: &proto::NaFill) -> Result<Frame> {
        let frame = self.input(fill.input.as_deref()).await?;
        checked(&frame, &fill.cols)?;
        let values = fill.values.iter().map(literal::value).collect::<Result<Vec<ScalarValue>>>()?;
        let outputs = frame.columns.iter().map(|column| {
            let place = fill.cols.iter().position(|name| same_name(name, &column.name));
            let value = match (fill.cols.is_empty(), place) {
                (true, _) => values.first(),
                (false, Some(_)) if values.len() == 1 => values.first(),
                (false, Some(place)) => values.get(place),
                (false, None) => None,
            };
            let kind = frame.data_type(column)?;
            Ok(match value {
                Some(value) if fits(&value.data_type(), &kind) => {
                    let own = Expr::Column(column.column.clone());
                    let value = cast_to(lit(value.clone()), kind.clone());
                    // A number that is none counts as missing, too.
                    let own = if kind.is_floating() {
                        nanvl(own, cast_to(lit(ScalarValue::Null), kind))
                    } else {
                        own
                    };
                    Output::computed(&column.name, coalesce(vec![own, value]))
                }
                _ => Output::same(column),
            })
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        frame.project(outputs)
    }

    pub(super) async fn drop_nulls(&self, drop: &proto::NaDrop) -> Result<Frame> {
        let frame = self.input(drop.input.as_deref()).await?;
        checked(&frame, &drop.cols)?;
        let looked_at = |column: &&Visible| {
            drop.cols.is_empty() || drop.cols.iter().any(|name| same_name(name, &column.name))
        };
        let there = frame.columns.iter().filter(looked_at).map(|column| {
            let value = Expr::Column(column.column.clone());
            let known = Expr::IsNotNull(Box::new(value.clone()));
            Ok(match frame.data_type(column)?.is_floating() {
                true => known.and(Expr::Not(Box::new(isnan(value)))),
                false => known,
            })
        });
        let there = there.collect::<Result<Vec<Expr>>>()?;
        let condition = match drop.min_non_nulls {
            None => there.into_iter().reduce(Expr::and),
            Some(least) => {
                let one = |known: Expr| {
                    Expr::Case(Case::new(
                        None,
                        vec![(Box::new(known), Box::new(lit(1)))],
                        Some(Box::new(lit(0))),
                    ))
                };
                let number = there.into_iter().map(one).reduce(|a, b| a + b);
                number.map(|number| number.gt_eq(lit(least)))
            }
        };
        let Some(condition) = condition else { return Ok(frame) };
        let plan = LogicalPlanBuilder::from(frame.plan.clone()).filter(condition)?.build()?;
        Ok(frame.over(plan))
    }

    pub(super) async fn replace(&self, replace: &proto::NaReplace) -> Result<Frame> {
        let frame = self.input(replace.input.as_deref()).await?;
        checked(&frame, &replace.cols)?;
        let mut pairs = Vec::new();
        for replacement in &replace.replacements {
            let (Some(old), Some(new)) = (&replacement.old_value, &replacement.new_value) else {
                return Err(SparkError::incomplete("a value that replaces another"));
            };
            pairs.push((literal::value(old)?, literal::value(new)?));
        }
        let outputs = frame.columns.iter().map(|column| {
            let kind = frame.data_type(column)?;
            let meant =
                replace.cols.is_empty() || replace.cols.iter().any(|name| same_name(name, &column.name));
            let own = Expr::Column(column.column.clone());
            let mut cases = Vec::new();
            for (old, new) in
                pairs.iter().filter(|(old, _)| meant && (old.is_null() || fits(&old.data_type(), &kind)))
            {
                let is_old = match old.is_null() {
                    true => Expr::IsNull(Box::new(own.clone())),
                    false => own.clone().eq(lit(old.clone())),
                };
                cases.push((Box::new(is_old), Box::new(cast_to(lit(new.clone()), kind.clone()))));
            }
            Ok(match cases.is_empty() {
                true => Output::same(column),
                false => {
                    Output::computed(&column.name, Expr::Case(Case::new(None, cases, Some(Box::new(own)))))
                }
            })
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        frame.project(outputs)
    }
}
