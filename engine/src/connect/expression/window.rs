//! Functions over windows.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use firesteel_proto::spark::connect::expression::window::WindowFrame as SparkFrame;
use firesteel_proto::spark::connect::expression::window::window_frame::{
    FrameBoundary, FrameType, frame_boundary,
};
use firesteel_proto::spark::connect::expression::{ExprType, Window};

use super::super::error::{Result, SparkError};
use super::super::scope::Scope;
use super::super::{cast, functions, literal};

impl Scope<'_> {
    /// Translates a function over a window.
    pub(super) fn window(&self, window: &Window) -> Result<Expr> {
        let function = self.required(window.window_function.as_deref())?;
        let Some(ExprType::UnresolvedFunction(call)) = &function.expr_type else {
            return Err(SparkError::unsupported("a window over what is no call of a function"));
        };
        let order_by = self.order(&window.order_spec)?;
        let partition_by = self.exprs(&window.partition_spec)?;
        let ranking = match functions::is_of_windows(&call.function_name) {
            true => Some(functions::window(self, &call.function_name, self.exprs(&call.arguments)?)?),
            false => None,
        };
        let (fun, args, distinct, filter, null_treatment, integer) = match ranking {
            Some((function, arguments)) => {
                // Where Spark's numbers have 32 bits.
                let integer = matches!(
                    call.function_name.to_lowercase().as_str(),
                    "row_number" | "rank" | "dense_rank" | "ntile"
                );
                (WindowFunctionDefinition::WindowUDF(function), arguments, false, None, None, integer)
            }
            None => match self.call(&call.function_name, &call.arguments, call.is_distinct)? {
                Expr::AggregateFunction(aggregate) => {
                    let params = aggregate.params;
                    let function = WindowFunctionDefinition::AggregateUDF(aggregate.func);
                    (function, params.args, params.distinct, params.filter, params.null_treatment, false)
                }
                _ => {
                    let what = format!("{} over a window", call.function_name);
                    return Err(SparkError::unsupported(what));
                }
            },
        };
        let ordered = !order_by.is_empty();
        let window_frame = match &window.frame_spec {
            Some(frame) => self.window_frame(frame)?,
            None => WindowFrame::new(ordered.then_some(false)),
        };
        let params = WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame,
            filter,
            null_treatment,
            distinct,
        };
        let expr = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
        Ok(if integer { cast::to(expr, DataType::Int32) } else { expr })
    }

    fn window_frame(&self, frame: &SparkFrame) -> Result<WindowFrame> {
        let units = match frame.frame_type() {
            FrameType::Row => WindowFrameUnits::Rows,
            FrameType::Range => WindowFrameUnits::Range,
            FrameType::Undefined => return Err(SparkError::incomplete("the kind of a window's frame")),
        };
        let start = bound(frame.lower.as_deref(), units, true)?;
        let end = bound(frame.upper.as_deref(), units, false)?;
        Ok(WindowFrame::new_bounds(units, start, end))
    }
}

fn bound(
    boundary: Option<&FrameBoundary>,
    units: WindowFrameUnits,
    is_start: bool,
) -> Result<WindowFrameBound> {
    use frame_boundary::Boundary;
    let boundary = boundary.and_then(|boundary| boundary.boundary.as_ref());
    let boundary = boundary.ok_or_else(|| SparkError::incomplete("an end of a window's frame"))?;
    let distance = match boundary {
        Boundary::CurrentRow(_) => return Ok(WindowFrameBound::CurrentRow),
        Boundary::Unbounded(_) if is_start => {
            return Ok(WindowFrameBound::Preceding(ScalarValue::UInt64(None)));
        }
        Boundary::Unbounded(_) => return Ok(WindowFrameBound::Following(ScalarValue::UInt64(None))),
        Boundary::Value(expr) => match &expr.expr_type {
            Some(ExprType::Literal(value)) => match literal::value(value)? {
                ScalarValue::Int32(Some(distance)) => i64::from(distance),
                ScalarValue::Int64(Some(distance)) => distance,
                _ => return Err(SparkError::unsupported("a frame of a window by other than whole numbers")),
            },
            _ => return Err(SparkError::unsupported("a frame of a window by other than whole numbers")),
        },
    };
    let size = match units {
        WindowFrameUnits::Rows => ScalarValue::UInt64(Some(distance.unsigned_abs())),
        _ => ScalarValue::Int64(Some(distance.checked_abs().unwrap_or(i64::MAX))),
    };
    Ok(match distance {
        0 => WindowFrameBound::CurrentRow,
        before if before < 0 => WindowFrameBound::Preceding(size),
        _ => WindowFrameBound::Following(size),
    })
}
