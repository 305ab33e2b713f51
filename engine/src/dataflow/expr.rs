//! What expressions lack to read well in a map.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

/// Casts, as methods.
pub trait ExprExt {
    /// As a 64-bit integer; a boolean becomes 0 or 1.
    fn cast_to_i64(self) -> Expr;
    /// As a double.
    fn cast_to_f64(self) -> Expr;
}

impl ExprExt for Expr {
    fn cast_to_i64(self) -> Expr {
        datafusion::logical_expr::cast(self, DataType::Int64)
    }

    fn cast_to_f64(self) -> Expr {
        datafusion::logical_expr::cast(self, DataType::Float64)
    }
}

/// The negation of a boolean expression.
pub fn not(expr: Expr) -> Expr {
    datafusion::logical_expr::not(expr)
}
