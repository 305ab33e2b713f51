//! `reduce_by_key` and `count_by_key`: one row for each key.
//!
//! The reduction is an aggregation: each partition reduces its own rows first, and what is sent between machines is one
//! row for each key and partition.

use datafusion::functions_aggregate::expr_fn::{avg, count, max, min, sum};
use datafusion::logical_expr::{Expr, lit};

use super::Dataset;
use super::aggregate::aggregate;
use super::map::KeyValues;
use super::pairs::{unalias, value_name};
use crate::{Error, Result};

/// How the values of one key become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reducer {
    /// The sum. Nulls do not count; only nulls give null.
    Sum,
    /// How many values are not null.
    Count,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The mean.
    Avg,
}

impl Reducer {
    fn apply(self, value: Expr) -> Expr {
        match self {
            Self::Sum => sum(value),
            Self::Count => count(value),
            Self::Min => min(value),
            Self::Max => max(value),
            Self::Avg => avg(value),
        }
    }
}

/// One reducer for every part of the value, or one for each.
pub trait Reducers {
    /// The reducers, in order.
    fn into_reducers(self, values: usize) -> Vec<Reducer>;
}

impl Reducers for Reducer {
    fn into_reducers(self, values: usize) -> Vec<Reducer> {
        vec![self; values]
    }
}

impl Reducers for Vec<Reducer> {
    fn into_reducers(self, _: usize) -> Vec<Reducer> {
        self
    }
}

macro_rules! reducers_of_tuple {
    ($($part:ident: $type:ty),+) => {
        impl Reducers for ($($type,)+) {
            fn into_reducers(self, _: usize) -> Vec<Reducer> {
                let ($($part,)+) = self;
                vec![$($part),+]
            }
        }
    };
}
reducers_of_tuple!(a: Reducer, b: Reducer);
reducers_of_tuple!(a: Reducer, b: Reducer, c: Reducer);
reducers_of_tuple!(a: Reducer, b: Reducer, c: Reducer, d: Reducer);
reducers_of_tuple!(a: Reducer, b: Reducer, c: Reducer, d: Reducer, e: Reducer);
reducers_of_tuple!(a: Reducer, b: Reducer, c: Reducer, d: Reducer, e: Reducer, f: Reducer);

impl KeyValues {
    /// Reduces the values of each key: a row of the parts of the key, then one reduced value for each part of the
    /// value. `reducers` is one [`Reducer`] for all parts, or a tuple with one for each.
    pub fn reduce_by_key(self, reducers: impl Reducers) -> Result<Dataset> {
        let reducers = reducers.into_reducers(self.value.len());
        if reducers.len() != self.value.len() {
            return Err(Error::Reducers { values: self.value.len(), reducers: reducers.len() });
        }
        let reduced = self.value.into_iter().zip(reducers).enumerate().map(|(index, (value, reducer))| {
            let name = value_name(index, &value);
            reducer.apply(unalias(value)).alias(name)
        });
        aggregate(self.data.frame, self.key, reduced.collect())
    }

    /// How many pairs each key has: a row of the parts of the key, then the count.
    pub fn count_by_key(self) -> Result<Dataset> {
        aggregate(self.data.frame, self.key, vec![count(lit(1_i64)).alias("count")])
    }

    /// Keeps the pairs whose row satisfies `predicate`, which names columns of the row.
    pub fn filter(self, predicate: Expr) -> Result<Self> {
        Ok(Self { data: self.data.filter(predicate)?, ..self })
    }
}
