//! What a program over the engine usually imports.

pub use datafusion::functions_aggregate::expr_fn::{
    avg, count, count_distinct, max, median, min, stddev, sum,
};
pub use datafusion::functions_nested::expr_fn::make_array;
pub use datafusion::logical_expr::Expr;
pub use datafusion::prelude::{col, lit};

pub use crate::dataflow::{Dataset, ExprExt, KeyValues, Reducer, not};
pub use crate::functions::{Aggregate, Functions};
pub use crate::{Config, Session};
