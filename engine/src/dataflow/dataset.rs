//! [`Dataset`]: rows that are not computed yet. Transformations build a logical plan, actions run it.
//!
//! A transformation returns another dataset, or [`KeyValues`](super::KeyValues), and runs nothing. An action (`collect`,
//! `take`, `count`) hands the plan to [`Run`], which returns record batches.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, SortExpr};
use futures::future::BoxFuture;

use super::{Exprs, FromRow, Rows};
use crate::Result;
use crate::plan::Run;

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
