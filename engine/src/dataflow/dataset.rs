//! [`Dataset`]: rows that are not computed yet. Transformations build a logical plan, actions run it.
//!
//! A transformation returns another dataset or [`KeyValues`] and runs nothing. An action (`collect`, `take`, `count`)
//! hands the plan to [`Run`], which returns record batches.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::{Column, UnnestOptions};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, SortExpr};
use futures::future::BoxFuture;

use super::expr::{column, key_name, named};
use super::{Exprs, FromRow, KeyValues, Rows};
use crate::Result;
use crate::plan::Run;

/// The column that [`Dataset::flat_map`] unnests: one element of the list per row.
const ELEMENT: &str = "value_0";

/// A distributed table of rows, not yet computed.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub(super) frame: DataFrame,
}

impl Dataset {
    pub(crate) fn new(frame: DataFrame) -> Self {
        Self { frame }
    }

    pub(crate) fn into_frame(self) -> DataFrame {
        self.frame
    }

    /// Returns the names of the columns.
    pub fn columns(&self) -> Vec<String> {
        self.frame.schema().fields().iter().map(|field| field.name().clone()).collect()
    }
}

/// Transformations to rows.
impl Dataset {
    /// Keeps the rows for which `predicate` is true. The source evaluates the predicate where it can.
    pub fn filter(self, predicate: Expr) -> Result<Self> {
        Ok(Self::new(self.frame.filter(predicate)?))
    }

    /// Computes one column for each of `columns`.
    pub fn select(self, columns: impl Exprs) -> Result<Self> {
        Ok(Self::new(self.frame.select(columns.into_exprs())?))
    }

    /// Appends the rows of `other`, whose columns are matched by position. A row that is in both datasets appears
    /// twice: follow with [`distinct`](Self::distinct) for a union of sets.
    pub fn union(self, other: Self) -> Result<Self> {
        Ok(Self::new(self.frame.union(other.frame)?))
    }

    /// Removes duplicate rows.
    pub fn distinct(self) -> Result<Self> {
        Ok(Self::new(self.frame.distinct()?))
    }

    /// Sorts the rows by `keys`, the smallest first where `ascending`. Nulls count as smaller than anything, as in
    /// Spark.
    pub fn sort_by(self, keys: impl Exprs, ascending: bool) -> Result<Self> {
        let keys = keys.into_exprs().into_iter();
        let keys = keys.map(|key| SortExpr::new(key, ascending, ascending)).collect();
        Ok(Self::new(self.frame.sort(keys)?))
    }

    /// Keeps at most `count` rows.
    pub fn limit(self, count: usize) -> Result<Self> {
        Ok(Self::new(self.frame.limit(0, Some(count))?))
    }
}

/// Transformations to pairs.
impl Dataset {
    /// Turns each row into a pair of `key` and `value`. Both may be tuples of expressions.
    pub fn map(self, key: impl Exprs, value: impl Exprs) -> KeyValues {
        KeyValues { data: self, key: key.into_exprs(), value: value.into_exprs() }
    }

    /// Turns each row into one pair of `key` and element for every element of `list`, which is an expression whose
    /// value is a list: such as `make_array(vec![col("label"), col("predicted")])`, or a column of lists. A row whose
    /// list is empty or null gives no pair.
    pub fn flat_map(self, key: impl Exprs, list: impl Into<Expr>) -> Result<KeyValues> {
        let key = key.into_exprs();
        let names: Vec<String> = key.iter().enumerate().map(|(index, part)| key_name(index, part)).collect();
        let mut columns = named(key, key_name);
        columns.push(list.into().alias(ELEMENT));
        let (state, plan) = self.frame.select(columns)?.into_parts();
        let lists = vec![Column::new_unqualified(ELEMENT)];
        // As in Spark, an empty list gives no row.
        let options = UnnestOptions::new().with_preserve_nulls(false);
        let plan = LogicalPlanBuilder::from(plan).unnest_columns_with_options(lists, options)?.build()?;
        Ok(KeyValues {
            data: Self::new(DataFrame::new(state, plan)),
            key: names.into_iter().map(column).collect(),
            value: vec![column(ELEMENT)],
        })
    }
}

/// Actions.
impl Dataset {
    /// Runs the plan and collects its rows in this process, in no particular order unless the plan sorts them.
    pub async fn collect(self) -> Result<Rows> {
        let schema = Arc::new(self.frame.schema().as_arrow().clone());
        Ok(Rows::new(schema, self.batches().await?))
    }

    /// Runs the plan and converts each row, such as to `(String, i64)`.
    pub async fn collect_as<T: FromRow>(self) -> Result<Vec<T>> {
        self.collect().await?.typed()
    }

    /// Runs the plan and returns the rows as Arrow batches.
    pub fn batches(self) -> BoxFuture<'static, Result<Vec<RecordBatch>>> {
        Box::pin(async move {
            let (state, plan) = self.frame.into_parts();
            Run::start(state, plan).await?.collect().await
        })
    }

    /// Runs the plan and collects its first `count` rows. Where the plan does not sort, any rows may be the first.
    pub async fn take(self, count: usize) -> Result<Rows> {
        self.limit(count)?.collect().await
    }

    /// Runs the plan and counts its rows.
    pub fn count(self) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move { Ok(self.frame.count().await? as u64) })
    }

    /// Returns the optimized logical plan and the physical plan as text.
    pub async fn explain(self) -> Result<String> {
        let rows: Vec<(String, String)> = Self::new(self.frame.explain(false, false)?).collect_as().await?;
        Ok(rows.into_iter().map(|(kind, plan)| format!("{kind}\n{plan}\n")).collect())
    }
}
