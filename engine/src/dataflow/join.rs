//! Joins of two datasets of pairs by their keys.

use datafusion::common::{Column, JoinType};
use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};

use super::expr::{column, key_name, named};
use super::{Dataset, KeyValues};
use crate::{Error, Result};

impl KeyValues {
    /// Joins the pairs of `self` and `other` that have the same key. The result has the key, the value of `self` and
    /// the value of `other`. As in SQL and in Spark's tables, a null equals nothing.
    pub fn join(self, other: Self) -> Result<Self> {
        self.join_as(other, JoinType::Inner)
    }

    /// Joins as [`join`](Self::join) does, and keeps the pairs of `self` whose key `other` lacks, with nulls for the
    /// value of `other`.
    pub fn left_outer_join(self, other: Self) -> Result<Self> {
        self.join_as(other, JoinType::Left)
    }

    /// Joins as [`join`](Self::join) does, and keeps the pairs of `other` whose key `self` lacks, with nulls for the
    /// value of `self`.
    pub fn right_outer_join(self, other: Self) -> Result<Self> {
        self.join_as(other, JoinType::Right)
    }

    /// Joins as [`join`](Self::join) does, and keeps the pairs of either side whose key the other side lacks.
    pub fn full_outer_join(self, other: Self) -> Result<Self> {
        self.join_as(other, JoinType::Full)
    }

    fn join_as(self, other: Self, join: JoinType) -> Result<Self> {
        if self.key.len() != other.key.len() {
            return Err(Error::Keys { left: self.key.len(), right: other.key.len() });
        }
        let names: Vec<String> =
            self.key.iter().enumerate().map(|(index, part)| key_name(index, part)).collect();
        let left = self.side("left")?;
        let right = other.side("right")?;
        let columns = |names: &[String]| names.iter().map(Column::new_unqualified).collect::<Vec<_>>();
        let (state, plan) = left.frame.into_parts();
        let (_, other) = right.frame.into_parts();
        let on = (columns(&left.keys), columns(&right.keys));
        let plan = LogicalPlanBuilder::from(plan).join(other, join, on, None)?.build()?;

        let key = left.keys.iter().zip(&right.keys).zip(names).map(|((left, right), name)| {
            let (left, right) = (column(left), column(right));
            let key = match join {
                JoinType::Right => right,
                JoinType::Full => coalesce(vec![left, right]),
                _ => left,
            };
            key.alias(name)
        });
        Ok(Self {
            data: Dataset::new(DataFrame::new(state, plan)),
            key: key.collect(),
            value: left.values.into_iter().chain(right.values).map(column).collect(),
        })
    }

    /// Renames the columns of key and value, so that no name appears on both sides of the join or in a source.
    fn side(self, side: &str) -> Result<Side> {
        let names = |parts: &[Expr], what| {
            (0..parts.len()).map(|index| format!("{side}_{what}_{index}")).collect::<Vec<_>>()
        };
        let (keys, values) = (names(&self.key, "key"), names(&self.value, "value"));
        let mut columns = named(self.key, |index, _| keys[index].clone());
        columns.extend(named(self.value, |index, _| values[index].clone()));
        Ok(Side { frame: self.data.frame.select(columns)?, keys, values })
    }
}

/// One side of a join.
struct Side {
    frame: DataFrame,
    keys: Vec<String>,
    values: Vec<String>,
}
