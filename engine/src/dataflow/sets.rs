//! `select`, `union` and `distinct`: rows to rows.

use super::Dataset;
use super::map::Exprs;
use crate::Result;

impl Dataset {
    /// One column for each of `columns`.
    pub fn select(self, columns: impl Exprs) -> Result<Self> {
        Ok(Self::new(self.frame.select(columns.into_exprs())?))
    }

    /// The rows of this and of `other`, whose columns are matched by position. A row that is in both is there twice:
    /// follow with [`distinct`](Self::distinct) for a union of sets.
    pub fn union(self, other: Self) -> Result<Self> {
        Ok(Self::new(self.frame.union(other.frame)?))
    }

    /// Every row once.
    pub fn distinct(self) -> Result<Self> {
        Ok(Self::new(self.frame.distinct()?))
    }
}
