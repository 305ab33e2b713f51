//! Functions of texts.

use arrow::datatypes::DataType;
use datafusion::functions::expr_fn;
use datafusion::functions_nested::expr_fn::{array_element, string_to_array};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};

use super::super::cast::to as cast_to;
use super::super::error::{Result, SparkError};
use super::{Call, choose};

/// Stands between the parts of a text that a pattern has split: no text of people has it.
const SEPARATOR: &str = "\u{10FFFE}";

pub(super) fn call(call: &Call<'_>) -> Result<Option<Expr>> {
    Ok(Some(match call.name {
        "upper" | "ucase" => expr_fn::upper(call.text(call.one()?)?),
        "lower" | "lcase" => expr_fn::lower(call.text(call.one()?)?),
        "trim" | "ltrim" | "rtrim" | "btrim" => {
            let function = if call.name == "trim" { "btrim" } else { call.name };
            let args = match call.args.as_slice() {
                [value] => vec![call.text(value.clone())?, lit(" ")],
                // Spark writes what is cut off first, but in btrim.
                [first, second] if call.name == "btrim" => vec![first.clone(), second.clone()],
                [cut, value] if call.name != "trim" => vec![value.clone(), cut.clone()],
                [value, cut] => vec![value.clone(), cut.clone()],
                _ => return Err(call.wrong("[1, 2]")),
            };
            call.engine(function, args)?
        }
        "length" | "char_length" | "character_length" | "len" => {
            let value = call.text(call.one()?)?;
            cast_to(expr_fn::character_length(value), DataType::Int32)
        }
        "reverse" if !matches!(call.type_of(&call.one()?)?, DataType::List(_)) => {
            expr_fn::reverse(call.text(call.one()?)?)
        }
        "repeat" => {
            let (value, times) = call.two()?;
            expr_fn::repeat(call.text(value)?, call.long(times)?)
        }
        "replace" => {
            let with = if call.args.len() == 2 { lit("") } else { call.arg(2)? };
            expr_fn::replace(call.text(call.arg(0)?)?, call.arg(1)?, with)
        }
        "substring" | "substr" => substring(call)?,
        "left" => {
            let (value, length) = call.two()?;
            let (value, length) = (call.text(value)?, call.long(length)?);
            choose(length.clone().gt(lit(0_i64)), expr_fn::left(value, length), Some(lit("")))
        }
        "right" => {
            let (value, length) = call.two()?;
            let (value, length) = (call.text(value)?, call.long(length)?);
            choose(length.clone().gt(lit(0_i64)), expr_fn::right(value, length), Some(lit("")))
        }
        "lpad" | "rpad" => {
            let pad = if call.args.len() == 2 { lit(" ") } else { call.arg(2)? };
            let args = vec![call.text(call.arg(0)?)?, call.long(call.arg(1)?)?, pad];
            call.engine(call.name, args)?
        }
        "instr" => {
            let (value, part) = call.two()?;
            cast_to(expr_fn::strpos(call.text(value)?, part), DataType::Int32)
        }
        "locate" | "position" if call.args.len() == 2 => {
            let (part, value) = call.two()?;
            cast_to(expr_fn::strpos(call.text(value)?, part), DataType::Int32)
        }
        "concat" if call.args.iter().all(|arg| !matches!(call.type_of(arg), Ok(DataType::List(_)))) => {
            let mut args = call.args.iter().cloned();
            let mut whole = call.text(args.next().unwrap_or_else(|| lit("")))?;
            for next in args {
                // Unlike DataFusion's function, the operator is null where a part is.
                let next = Box::new(call.text(next)?);
                whole = Expr::BinaryExpr(BinaryExpr::new(Box::new(whole), Operator::StringConcat, next));
            }
            whole
        }
        "concat_ws" => {
            let separator = call.arg(0)?;
            let parts =
                call.args[1..].iter().cloned().map(|part| call.text(part)).collect::<Result<Vec<_>>>()?;
            expr_fn::concat_ws(separator, parts)
        }
        "ascii" => expr_fn::ascii(call.text(call.one()?)?),
        "contains" => {
            let (value, part) = call.two()?;
            expr_fn::contains(call.text(value)?, part)
        }
        "startswith" | "startsWith" => {
            let (value, part) = call.two()?;
            expr_fn::starts_with(call.text(value)?, part)
        }
        "endswith" => {
            let (value, part) = call.two()?;
            expr_fn::ends_with(call.text(value)?, part)
        }
        "translate" => {
            let (value, from, to) = call.three()?;
            expr_fn::translate(call.text(value)?, from, to)
        }
        "split_part" => {
            let (value, separator, index) = call.three()?;
            expr_fn::split_part(call.text(value)?, separator, call.long(index)?)
        }
        "regexp_replace" => {
            let (value, pattern, with) = (call.arg(0)?, call.arg(1)?, call.arg(2)?);
            let with = groups(&call.known(&with)?);
            expr_fn::regexp_replace(call.text(value)?, lit(call.known(&pattern)?), lit(with), Some(lit("g")))
        }
        "regexp_extract" => {
            let (value, pattern) = (call.text(call.arg(0)?)?, call.known(&call.arg(1)?)?);
            let group = match call.args.get(2) {
                Some(group) => call.known_number(group)?,
                None => 1,
            };
            if group < 0 {
                return Err(SparkError::argument("regexp_extract has no groups below 0."));
            }
            // The whole match becomes a group, too.
            let matched = expr_fn::regexp_match(value.clone(), lit(format!("({pattern})")), None);
            let found = expr_fn::coalesce(vec![array_element(matched, lit(group + 1)), lit("")]);
            choose(Expr::IsNotNull(Box::new(value)), found, None)
        }
        "split" => {
            let (value, pattern) = (call.text(call.arg(0)?)?, call.known(&call.arg(1)?)?);
            if call.args.get(2).is_some_and(|limit| call.known_number(limit).map_or(true, |limit| limit > 0))
            {
                return Err(SparkError::unsupported("split with a limit"));
            }
            if pattern.is_empty() {
                return Err(SparkError::unsupported("split by an empty pattern"));
            }
            match pattern.chars().any(|letter| r"\.[]{}()*+?^$|".contains(letter)) {
                false => {
                    string_to_array(value, lit(pattern), lit(datafusion::common::ScalarValue::Utf8(None)))
                }
                true => {
                    let marked = expr_fn::regexp_replace(value, lit(pattern), lit(SEPARATOR), Some(lit("g")));
                    string_to_array(marked, lit(SEPARATOR), lit(datafusion::common::ScalarValue::Utf8(None)))
                }
            }
        }
        _ => return Ok(None),
    }))
}

/// Spark counts from 1, and from the end below 0; 0 is 1.
fn substring(call: &Call<'_>) -> Result<Expr> {
    let value = call.text(call.arg(0)?)?;
    let length = call.args.get(2).map(|length| call.long(length.clone())).transpose()?;
    let at = call.known_number(&call.arg(1)?)?;
    let start = match at {
        0 => lit(1_i64),
        at if at > 0 => lit(at),
        at => cast_to(expr_fn::character_length(value.clone()), DataType::Int64) + lit(at + 1),
    };
    Ok(match length {
        Some(length) => {
            let none = length.clone().lt_eq(lit(0_i64));
            choose(none, lit(""), Some(expr_fn::substring(value, start, length)))
        }
        None => expr_fn::substr(value, start),
    })
}

/// Java writes `$1` for a group, Rust `${1}`.
fn groups(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '$' if letters.peek().is_some_and(char::is_ascii_digit) => {
                out.push_str("${");
                while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                    out.push(digit);
                }
                out.push('}');
            }
            '\\' => match letters.next() {
                Some('$') => out.push_str("$$"),
                Some(next) => out.push(next),
                None => {}
            },
            letter => out.push(letter),
        }
    }
    out
}
