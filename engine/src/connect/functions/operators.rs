//! Operators: arithmetic as Spark has it with ANSI mode off, comparisons across types, logic, `CASE`.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable as _, Like, Operator, lit};

use super::super::cast::to as cast_to;
use super::super::error::{Result, SparkError};
use super::{Call, choose};

/// A quotient: of whole numbers a double, and null where the divisor is zero.
pub(in super::super) fn divide(
    left: Expr,
    right: Expr,
    schema: &DFSchema,
) -> datafusion::error::Result<Expr> {
    let (from, by) = (left.get_type(schema)?, right.get_type(schema)?);
    let decimals =
        from.is_decimal() && (by.is_decimal() || by.is_integer()) || by.is_decimal() && from.is_integer();
    if decimals {
        return Ok(over(Operator::Divide, left, right));
    }
    Ok(over(Operator::Divide, cast_to(left, DataType::Float64), cast_to(right, DataType::Float64)))
}

/// An operation whose right side must not be zero: null where it is.
fn over(operator: Operator, left: Expr, right: Expr) -> Expr {
    let nonzero = match &right {
        Expr::Literal(value, _) if !value.is_null() && !is_zero(value) => right,
        _ => choose(right.clone().not_eq(lit(0)), right, None),
    };
    binary(left, operator, nonzero)
}

fn is_zero(value: &datafusion::common::ScalarValue) -> bool {
    let zero = datafusion::common::ScalarValue::new_zero(&value.data_type());
    zero.is_ok_and(|zero| zero == *value)
}

fn binary(left: Expr, operator: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
}

pub(super) fn call(call: &Call<'_>) -> Result<Option<Expr>> {
    let operator = match call.name {
        "+" => Operator::Plus,
        "-" if call.args.len() == 2 => Operator::Minus,
        "*" => Operator::Multiply,
        "=" | "==" => Operator::Eq,
        "!=" | "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        "<=>" => Operator::IsNotDistinctFrom,
        "and" => Operator::And,
        "or" => Operator::Or,
        "&" => Operator::BitwiseAnd,
        "|" => Operator::BitwiseOr,
        "^" => Operator::BitwiseXor,
        _ => return other(call),
    };
    let (left, right) = call.two()?;
    Ok(Some(match operator {
        Operator::Plus | Operator::Minus | Operator::Multiply => call.arithmetic(left, operator, right)?,
        Operator::And | Operator::Or | Operator::BitwiseAnd | Operator::BitwiseOr | Operator::BitwiseXor => {
            binary(left, operator, right)
        }
        _ => {
            let (left, right) = call.comparable(left, right)?;
            binary(left, operator, right)
        }
    }))
}

fn other(call: &Call<'_>) -> Result<Option<Expr>> {
    Ok(Some(match call.name {
        "/" | "try_divide" => {
            let (left, right) = call.two()?;
            let (left, right) = (call.number(left)?, call.number(right)?);
            divide(left, right, call.scope.frame.plan.schema())?
        }
        "%" | "mod" => {
            let (left, right) = call.two()?;
            over(Operator::Modulo, call.number(left)?, call.number(right)?)
        }
        "pmod" => {
            let (left, right) = call.two()?;
            let (left, right) = (call.number(left)?, call.number(right)?);
            let rest = over(Operator::Modulo, left, right.clone());
            choose(
                rest.clone().lt(lit(0)),
                over(Operator::Modulo, rest.clone() + right.clone(), right),
                Some(rest),
            )
        }
        "div" => {
            let (left, right) = call.two()?;
            let (left, right) = (call.number(left)?, call.number(right)?);
            if !call.type_of(&left)?.is_integer() || !call.type_of(&right)?.is_integer() {
                return Err(SparkError::unsupported("div of numbers that are not whole"));
            }
            over(Operator::Divide, cast_to(left, DataType::Int64), cast_to(right, DataType::Int64))
        }
        "-" | "negative" => {
            let value = call.number(call.one()?)?;
            Expr::Negative(Box::new(value))
        }
        "positive" => call.one()?,
        "not" | "!" => Expr::Not(Box::new(call.one()?)),
        "isnull" => Expr::IsNull(Box::new(call.one()?)),
        "isnotnull" => Expr::IsNotNull(Box::new(call.one()?)),
        "between" => {
            let (value, low, high) = call.three()?;
            let (above, low) = call.comparable(value.clone(), low)?;
            let (below, high) = call.comparable(value, high)?;
            above.gt_eq(low).and(below.lt_eq(high))
        }
        "in" => {
            let value = call.arg(0)?;
            let list = call.args[1..].to_vec();
            let of_one_type =
                {
                    let own = call.type_of(&value)?;
                    list.iter().map(|item| call.type_of(item)).collect::<Result<Vec<_>>>()?.iter().all(
                        |other| *other == own || other.is_null() || own.is_numeric() && other.is_numeric(),
                    )
                };
            if of_one_type && !list.is_empty() {
                Expr::InList(InList::new(Box::new(value), list, false))
            } else {
                let mut any = lit(false);
                for item in list {
                    let (left, right) = call.comparable(value.clone(), item)?;
                    any = any.or(left.eq(right));
                }
                any
            }
        }
        "when" => {
            let (pairs, rest) = call.args.as_chunks::<2>();
            if pairs.is_empty() {
                return Err(call.wrong("at least 2"));
            }
            let pairs =
                pairs.iter().map(|[condition, value]| (Box::new(condition.clone()), Box::new(value.clone())));
            Expr::Case(Case::new(None, pairs.collect(), rest.first().cloned().map(Box::new)))
        }
        "if" => {
            let (condition, value, otherwise) = call.three()?;
            choose(condition, value, Some(otherwise))
        }
        "like" | "ilike" => {
            let (value, pattern) = (call.arg(0)?, call.arg(1)?);
            let (value, pattern) = (Box::new(call.text(value)?), Box::new(pattern));
            Expr::Like(Like::new(false, value, pattern, Some('\\'), call.name == "ilike"))
        }
        "rlike" | "regexp" | "regexp_like" => {
            let (value, pattern) = call.two()?;
            call.known(&pattern)?;
            binary(call.text(value)?, Operator::RegexMatch, pattern)
        }
        _ => return Ok(None),
    }))
}

impl Call<'_> {
    /// A value that is calculated with: a text is the double that it holds.
    fn number(&self, expr: Expr) -> Result<Expr> {
        match self.type_of(&expr)? {
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => self.double(expr),
            DataType::Null => Ok(cast_to(expr, DataType::Float64)),
            _ => Ok(expr),
        }
    }

    fn arithmetic(&self, left: Expr, operator: Operator, right: Expr) -> Result<Expr> {
        let (left, right) = (self.number(left)?, self.number(right)?);
        let (a, b) = (self.type_of(&left)?, self.type_of(&right)?);
        for (data_type, _) in [(&a, &left), (&b, &right)] {
            if matches!(
                data_type,
                DataType::Boolean | DataType::Binary | DataType::List(_) | DataType::Struct(_)
            ) {
                let message = format!("{data_type} is no type to calculate with by \"{operator}\".");
                return Err(SparkError::analysis(message));
            }
        }
        // Whole numbers of one size stay as wide as they are, as in Java.
        Ok(binary(left, operator, right))
    }

    /// Two values as one type that they are compared as: a text beside a number is the number that it holds.
    fn comparable(&self, left: Expr, right: Expr) -> Result<(Expr, Expr)> {
        let (a, b) = (self.type_of(&left)?, self.type_of(&right)?);
        let is_text =
            |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
        let goal = |kind: &DataType| match kind {
            // Within a comparison with a text, whole numbers stay whole.
            kind if kind.is_numeric() || matches!(kind, DataType::Boolean | DataType::Date32) => {
                Some(kind.clone())
            }
            kind if super::super::types::is_instant(kind) => Some(super::super::types::instant()),
            _ => None,
        };
        Ok(match (is_text(&a), is_text(&b)) {
            (true, false) => match goal(&b) {
                Some(target) => (self.scope.cast_to(left, &target)?, right),
                None => (left, right),
            },
            (false, true) => match goal(&a) {
                Some(target) => (left, self.scope.cast_to(right, &target)?),
                None => (left, right),
            },
            _ => (left, right),
        })
    }
}
