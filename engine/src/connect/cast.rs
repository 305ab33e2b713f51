//! Casts as Spark has them with ANSI mode off: what cannot be cast is null.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::functions::expr_fn;
use datafusion::logical_expr::{Case, Cast, Expr, TryCast, lit};

use super::error::{Kind, Result, SparkError};
use super::scope::Scope;
use super::types::{instant, is_instant};

/// A cast that cannot fail.
pub(super) fn to(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), data_type))
}

fn attempt(expr: Expr, data_type: DataType) -> Expr {
    Expr::TryCast(TryCast::new(Box::new(expr), data_type))
}

impl Scope<'_> {
    /// Casts a value as a program asks for it.
    pub(super) fn cast_to(&self, expr: Expr, target: &DataType) -> Result<Expr> {
        let source = self.type_of(&expr)?;
        if source == *target {
            return Ok(expr);
        }
        let refused = || {
            let (message, class) =
                (format!("Cannot cast {source} to {target}."), "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION");
            Err(SparkError::new(Kind::Analysis, class, "42K09", message))
        };
        let local = DataType::Timestamp(TimeUnit::Microsecond, Some(self.zone.into()));
        Ok(match (&source, target) {
            (DataType::Null, _) => to(expr, target.clone()),
            // Points in time are seen in the time zone of the session.
            (from, DataType::Utf8) if is_instant(from) => {
                // Without the zeros at the end of the fraction.
                let text = expr_fn::to_char(to(to(expr, instant()), local), lit("%Y-%m-%d %H:%M:%S%.6f"));
                expr_fn::rtrim(vec![expr_fn::rtrim(vec![text, lit("0")]), lit(".")])
            }
            (from, DataType::Date32) if is_instant(from) => {
                to(to(to(expr, instant()), local), DataType::Date32)
            }
            (from, DataType::Int64) if is_instant(from) => {
                let micros = to(to(expr, instant()), DataType::Int64);
                to(expr_fn::floor(to(micros, DataType::Float64) / lit(1e6)), DataType::Int64)
            }
            (from, DataType::Float64) if is_instant(from) => {
                to(to(to(expr, instant()), DataType::Int64), DataType::Float64) / lit(1e6)
            }
            (DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8, DataType::Timestamp(_, Some(_))) => {
                to(attempt(expr, local), instant())
            }
            (
                DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, None),
                DataType::Timestamp(_, Some(_)),
            ) => to(to(to(expr, DataType::Timestamp(TimeUnit::Microsecond, None)), local), instant()),
            (from, DataType::Timestamp(_, Some(_))) if from.is_integer() => {
                to(to(expr, DataType::Int64) * lit(1_000_000_i64), instant())
            }
            (from, DataType::Utf8) if from.is_floating() => {
                return Err(SparkError::unsupported(
                    "a cast of double to string; format_string and concat need one, too",
                ));
            }
            (DataType::Binary, DataType::Utf8) | (DataType::Utf8, DataType::Binary) => {
                to(expr, target.clone())
            }
            (DataType::List(_) | DataType::Struct(_) | DataType::Map(..), DataType::Utf8) => {
                return Err(SparkError::unsupported(format!("a cast of {source} to string")));
            }
            // Java cuts the fraction off, and takes what is too large for the largest.
            (from, to_type) if from.is_floating() && to_type.is_integer() => {
                let whole = expr_fn::trunc(vec![to(expr, DataType::Float64)]);
                saturated(whole, to_type)
            }
            (DataType::Boolean, to_type) if to_type.is_numeric() => to(expr, to_type.clone()),
            (from, DataType::Boolean) if from.is_numeric() => to(expr, DataType::Boolean),
            (DataType::Binary | DataType::Date32, to_type) if to_type.is_numeric() => return refused(),
            (from, DataType::Date32 | DataType::Binary) if from.is_numeric() => return refused(),
            (DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8, to_type) if to_type.is_numeric() => {
                let trimmed = expr_fn::btrim(vec![expr]);
                match to_type.is_integer() {
                    // "1.5" is 1, too.
                    true => {
                        let number = attempt(trimmed.clone(), to_type.clone());
                        let decimal = attempt(trimmed, DataType::Decimal128(38, 6));
                        let decimal = expr_fn::trunc(vec![to(decimal, DataType::Float64)]);
                        expr_fn::coalesce(vec![number, attempt(decimal, to_type.clone())])
                    }
                    false => attempt(trimmed, to_type.clone()),
                }
            }
            // Wider integers lose their upper bits.
            (from, to_type)
                if from.is_integer()
                    && to_type.is_integer()
                    && from.primitive_width() > to_type.primitive_width() =>
            {
                wrapped(to(expr, DataType::Int64), to_type)
            }
            _ => attempt(expr, target.clone()),
        })
    }
}

/// A double as an integer type, whose bounds it does not leave.
fn saturated(expr: Expr, target: &DataType) -> Expr {
    // Java goes by way of int where the type is narrower.
    let (low, high, bounds) = match target {
        DataType::Int64 => {
            (-9_223_372_036_854_775_808_f64, 9_223_372_036_854_775_807_f64, (lit(i64::MIN), lit(i64::MAX)))
        }
        _ => (f64::from(i32::MIN), f64::from(i32::MAX), (lit(i64::from(i32::MIN)), lit(i64::from(i32::MAX)))),
    };
    let not_a_number = expr_fn::isnan(expr.clone());
    let cases = vec![
        (Box::new(not_a_number), Box::new(lit(0_i64))),
        (Box::new(expr.clone().lt_eq(lit(low))), Box::new(bounds.0)),
        (Box::new(expr.clone().gt_eq(lit(high))), Box::new(bounds.1)),
    ];
    let number = Expr::Case(Case::new(None, cases, Some(Box::new(attempt(expr, DataType::Int64)))));
    match target {
        DataType::Int64 => number,
        DataType::Int32 => to(number, DataType::Int32),
        narrower => wrapped(number, narrower),
    }
}

/// The lower bits of a number of 64.
fn wrapped(expr: Expr, target: &DataType) -> Expr {
    let size: i64 = match target {
        DataType::Int8 => 1 << 8,
        DataType::Int16 => 1 << 16,
        _ => 1 << 32,
    };
    let half = size / 2;
    // Both remainders, so that what is below zero is not.
    let low = (expr % lit(size) + lit(size + half)) % lit(size) - lit(half);
    to(low, target.clone())
}
