//! What a program over the engine usually imports.

pub use datafusion::prelude::{col, lit};

pub use crate::dataflow::{ExprExt, Reducer, not};
pub use crate::{Config, Session};
