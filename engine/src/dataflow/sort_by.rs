//! `sort_by` and `sort_by_key`: rows in order.

use datafusion::logical_expr::SortExpr;

use super::Dataset;
use super::map::{Exprs, KeyValues};
use super::pairs::{column, key_name};
use crate::Result;

impl Dataset {
    /// The rows, sorted by `keys`, the smallest first where `ascending`. Nulls count as smaller than anything, as in
    /// Spark.
    pub fn sort_by(self, keys: impl Exprs, ascending: bool) -> Result<Self> {
        let keys = keys.into_exprs().into_iter();
        let keys = keys.map(|key| SortExpr::new(key, ascending, ascending)).collect();
        Ok(Self::new(self.frame.sort(keys)?))
    }
}

impl KeyValues {
    /// The pairs as rows, sorted by key: see [`Dataset::sort_by`] and [`rows`](Self::rows).
    pub fn sort_by_key(self, ascending: bool) -> Result<Dataset> {
        let keys: Vec<_> =
            self.key.iter().enumerate().map(|(index, part)| column(key_name(index, part))).collect();
        self.rows()?.sort_by(keys, ascending)
    }
}
