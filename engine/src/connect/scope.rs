//! What expressions mean something in.

use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable as _};

use super::error::Result;
use super::frame::Frame;

/// The columns of rows, and the functions and the time zone of a session.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) state: &'a SessionState,
    pub(super) frame: &'a Frame,
    pub(super) zone: &'a str,
    /// The functions that the program has registered.
    pub(super) registered: &'a [String],
}

impl Scope<'_> {
    /// The type of an expression.
    pub(super) fn type_of(&self, expr: &Expr) -> Result<DataType> {
        Ok(expr.get_type(self.frame.plan.schema())?)
    }

    /// Whether the program has registered a function.
    pub(super) fn is_registered(&self, name: &str) -> bool {
        self.registered.iter().any(|known| known == name)
    }

    /// What Spark calls a column of the engine.
    pub(super) fn visible_name(&self, column: &Column) -> String {
        let visible = self.frame.columns.iter().find(|visible| visible.column == *column);
        visible.map_or_else(|| column.name.clone(), |visible| visible.name.clone())
    }
}
