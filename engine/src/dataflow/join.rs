//! `join`: pairs of two datasets that have the same key.

use datafusion::common::{Column, JoinType};
use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};

use super::Dataset;
use super::map::KeyValues;
use super::pairs::{column, key_name, named};
use crate::{Error, Result};

impl KeyValues {
    /// The pairs of this and of `other` that have the same key: key, value of this, value of `other`. As in SQL and in
    /// Spark's tables, a null is equal to nothing.
    pub fn join(self, other: Self) -> Result<Self> {
        self.join_as(other, JoinType::Inner)
    }

    /// As [`join`](Self::join), and the pairs of this whose key `other` has not, with nulls for its value.
    pub fn left_outer_join(self, other: Self) -> Result<Self> {
        self.join_as(other, JoinType::Left)
    }

    /// As [`join`](Self::join), and the pairs of `other` whose key this has not, with nulls for its value.
    pub fn right_outer_join(self, other: Self) -> Result<Self> {
        self.join_as(other, JoinType::Right)
    }

    /// As [`join`](Self::join), and the pairs of either whose key the other has not.
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

    /// Key and value as columns whose names neither the other side nor its source has.
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
