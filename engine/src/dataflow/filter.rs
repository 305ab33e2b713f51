//! `filter`: keeps the rows for which a predicate is true.

use datafusion::logical_expr::Expr;

use super::Dataset;
use crate::Result;

impl Dataset {
    /// The rows for which `predicate` is true. Where the source can evaluate it, it does.
    pub fn filter(self, predicate: Expr) -> Result<Self> {
        Ok(Self::new(self.frame.filter(predicate)?))
    }
}
