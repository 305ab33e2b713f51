//! Operators of SQL as Spark has them: `/` of whole numbers is a double, and of zero null.

use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::functions::divide;

/// Plans operators for sessions of Spark's clients.
#[derive(Debug)]
pub(super) struct SparkOperators;

impl ExprPlanner for SparkOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        match expr.op {
            BinaryOperator::Divide => Ok(PlannerResult::Planned(divide(expr.left, expr.right, schema)?)),
            _ => Ok(PlannerResult::Original(expr)),
        }
    }
}
