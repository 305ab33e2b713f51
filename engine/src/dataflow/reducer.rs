//! The reductions that [`KeyValues::reduce_by_key`](super::KeyValues::reduce_by_key) knows, one for all parts of a
//! value or one for each.

use datafusion::functions_aggregate::expr_fn::{avg, count, max, min, sum};
use datafusion::logical_expr::Expr;

/// How the values of one key are reduced to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reducer {
    /// The sum. Nulls are skipped; the sum of nulls alone is null.
    Sum,
    /// The number of values that are not null.
    Count,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The mean.
    Avg,
}

impl Reducer {
    pub(super) fn apply(self, value: Expr) -> Expr {
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
    /// Returns one reducer for each of the `values` parts of the value, in order.
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
