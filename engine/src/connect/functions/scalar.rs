//! Functions of numbers, nulls and hashes.

use arrow::datatypes::DataType;
use datafusion::functions::expr_fn;
use datafusion::logical_expr::{Expr, lit};

use super::super::cast::to as cast_to;
use super::super::error::{Result, SparkError};
use super::super::types;
use super::{Call, choose};

/// Functions of a double that mean the same in both.
const OF_DOUBLE: [(&str, &str); 18] = [
    ("acos", "acos"),
    ("acosh", "acosh"),
    ("asin", "asin"),
    ("asinh", "asinh"),
    ("atan", "atan"),
    ("atanh", "atanh"),
    ("cbrt", "cbrt"),
    ("cos", "cos"),
    ("cosh", "cosh"),
    ("degrees", "degrees"),
    ("exp", "exp"),
    ("radians", "radians"),
    ("sin", "sin"),
    ("sinh", "sinh"),
    ("sqrt", "sqrt"),
    ("tan", "tan"),
    ("tanh", "tanh"),
    ("signum", "signum"),
];

pub(super) fn call(call: &Call<'_>) -> Result<Option<Expr>> {
    let name = if call.name == "sign" { "signum" } else { call.name };
    if let Some((_, engine)) = OF_DOUBLE.iter().find(|(spark, _)| *spark == name) {
        let value = call.double(call.one()?)?;
        return Ok(Some(call.engine(engine, vec![value])?));
    }
    Ok(Some(match name {
        "abs" => expr_fn::abs(call.one()?),
        "atan2" => {
            let (y, x) = call.two()?;
            expr_fn::atan2(call.double(y)?, call.double(x)?)
        }
        "pow" | "power" => {
            let (base, exponent) = call.two()?;
            expr_fn::power(call.double(base)?, call.double(exponent)?)
        }
        // A logarithm of what is not above zero is null.
        "ln" | "log10" | "log2" => logarithm(call, name, call.one()?)?,
        "log" => match call.args.as_slice() {
            [value] => logarithm(call, "ln", value.clone())?,
            [base, value] => {
                let (value, base) =
                    (logarithm(call, "ln", value.clone())?, logarithm(call, "ln", base.clone())?);
                super::divide(value, base, call.scope.frame.plan.schema())?
            }
            _ => return Err(call.wrong("[1, 2]")),
        },
        "floor" | "ceil" | "ceiling" => {
            let value = call.one()?;
            match call.type_of(&value)? {
                kind if kind.is_integer() => call.long(value)?,
                DataType::Decimal128(precision, scale) => {
                    let digits =
                        u8::try_from(i16::from(precision) - i16::from(scale) + 1).unwrap_or(38).clamp(1, 38);
                    let whole = if name == "floor" { expr_fn::floor(value) } else { expr_fn::ceil(value) };
                    cast_to(whole, DataType::Decimal128(digits, 0))
                }
                _ => {
                    let value = call.double(value)?;
                    call.long(if name == "floor" { expr_fn::floor(value) } else { expr_fn::ceil(value) })?
                }
            }
        }
        "round" => {
            let value = call.arg(0)?;
            let digits = match call.args.get(1) {
                Some(digits) => call.known_number(digits)?,
                None => 0,
            };
            match call.type_of(&value)? {
                kind if kind.is_integer() && digits >= 0 => value,
                DataType::Float32 | DataType::Float64 => expr_fn::round(vec![value, lit(digits)]),
                other => return Err(SparkError::unsupported(format!("round of {other} to {digits} digits"))),
            }
        }
        "coalesce" if !call.args.is_empty() => expr_fn::coalesce(call.args.clone()),
        "nvl" | "ifnull" => {
            let (value, otherwise) = call.two()?;
            expr_fn::coalesce(vec![value, otherwise])
        }
        "nvl2" => {
            let (value, there, absent) = call.three()?;
            choose(Expr::IsNotNull(Box::new(value)), there, Some(absent))
        }
        "nullif" => {
            let (value, other) = call.two()?;
            expr_fn::nullif(value, other)
        }
        "isnan" => {
            let value = call.double(call.one()?)?;
            expr_fn::coalesce(vec![expr_fn::isnan(value), lit(false)])
        }
        "nanvl" => {
            let (value, otherwise) = call.two()?;
            expr_fn::nanvl(value, otherwise)
        }
        "greatest" if call.args.len() > 1 => expr_fn::greatest(call.args.clone()),
        "least" if call.args.len() > 1 => expr_fn::least(call.args.clone()),
        "bitwise_not" | "~" => {
            let value = call.one()?;
            let kind = call.type_of(&value)?;
            cast_to(Expr::Negative(Box::new(value)) - lit(1), kind)
        }
        "md5" => {
            let value = call.one()?;
            cast_to(expr_fn::md5(value), DataType::Utf8)
        }
        "sha2" => {
            let (value, bits) = call.two()?;
            let digest = match call.known_number(&bits)? {
                224 => expr_fn::sha224(value),
                0 | 256 => expr_fn::sha256(value),
                384 => expr_fn::sha384(value),
                512 => expr_fn::sha512(value),
                other => return Err(SparkError::argument(format!("sha2 has no {other} bits."))),
            };
            expr_fn::encode(digest, lit("hex"))
        }
        "pi" if call.args.is_empty() => lit(std::f64::consts::PI),
        "e" if call.args.is_empty() => lit(std::f64::consts::E),
        "version" if call.args.is_empty() => lit(super::super::settings::SPARK_VERSION),
        "typeof" => {
            let kind = call.type_of(&call.one()?)?;
            lit(types::ddl::name(&types::to_spark(&kind)?).to_lowercase())
        }
        "struct" | "named_struct" => {
            let mut args = Vec::new();
            if name == "named_struct" {
                args.clone_from(&call.args);
            } else {
                for (index, value) in call.args.iter().enumerate() {
                    let name = match value {
                        Expr::Column(column) => call.scope.visible_name(column),
                        _ => format!("col{}", index + 1),
                    };
                    args.extend([lit(name), value.clone()]);
                }
            }
            expr_fn::named_struct(args)
        }
        _ => return Ok(None),
    }))
}

fn logarithm(call: &Call<'_>, name: &str, value: Expr) -> Result<Expr> {
    let value = call.double(value)?;
    let result = call.engine(name, vec![value.clone()])?;
    Ok(choose(value.gt(lit(0.0)), result, None))
}
