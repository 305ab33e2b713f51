//! Functions of dates and of points in time, which are seen in the time zone of the session.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::functions::expr_fn;
use datafusion::logical_expr::{Expr, lit};

use super::super::cast::to as cast_to;
use super::super::error::{Result, SparkError};
use super::super::types::{instant, is_instant};
use super::Call;

/// Parts of a date and how the engine calls them.
const PARTS: [(&str, &str); 12] = [
    ("year", "year"),
    ("quarter", "quarter"),
    ("month", "month"),
    ("day", "day"),
    ("dayofmonth", "day"),
    ("dayofyear", "doy"),
    ("weekofyear", "week"),
    ("hour", "hour"),
    ("minute", "minute"),
    ("second", "second"),
    ("dayofweek", "dow"),
    ("weekday", "dow"),
];

/// Letters of Java's patterns and those of the engine's.
const PATTERNS: [(&str, &str); 16] = [
    ("yyyy", "%Y"),
    ("yy", "%y"),
    ("y", "%Y"),
    ("MMMM", "%B"),
    ("MMM", "%b"),
    ("MM", "%m"),
    ("dd", "%d"),
    ("DDD", "%j"),
    ("HH", "%H"),
    ("hh", "%I"),
    ("mm", "%M"),
    ("ss", "%S"),
    ("SSSSSS", "%6f"),
    ("SSS", "%3f"),
    ("EEEE", "%A"),
    ("E", "%a"),
];

pub(super) fn call(call: &Call<'_>) -> Result<Option<Expr>> {
    if let Some((_, part)) = PARTS.iter().find(|(name, _)| *name == call.name) {
        let value = call.local(call.one()?)?;
        let number = cast_to(expr_fn::date_part(lit(*part), value), DataType::Int32);
        return Ok(Some(match call.name {
            // Sunday is 1.
            "dayofweek" => number + lit(1),
            // Monday is 0.
            "weekday" => (number + lit(6)) % lit(7),
            _ => number,
        }));
    }
    Ok(Some(match call.name {
        "current_date" | "curdate" if call.args.is_empty() => {
            let now = call.local(expr_fn::now())?;
            cast_to(now, DataType::Date32)
        }
        "current_timestamp" | "now" if call.args.is_empty() => cast_to(expr_fn::now(), instant()),
        "date_add" | "dateadd" => {
            let (date, days) = call.two()?;
            call.moved(date, call.int(days)?)?
        }
        "date_sub" => {
            let (date, days) = call.two()?;
            call.moved(date, Expr::Negative(Box::new(call.int(days)?)))?
        }
        "datediff" | "date_diff" => {
            let (end, start) = call.two()?;
            cast_to(call.date(end)?, DataType::Int32) - cast_to(call.date(start)?, DataType::Int32)
        }
        "to_date" => match call.args.as_slice() {
            [value] => call.date(value.clone())?,
            _ => return Err(SparkError::unsupported("to_date with a pattern")),
        },
        "to_timestamp" => match call.args.as_slice() {
            [value] => call.scope.cast_to(value.clone(), &instant())?,
            _ => return Err(SparkError::unsupported("to_timestamp with a pattern")),
        },
        "date_format" => {
            let (value, pattern) = call.two()?;
            let value = match call.type_of(&value)? {
                DataType::Date32 => value,
                DataType::Utf8 => call.local(call.scope.cast_to(value, &instant())?)?,
                _ => call.local(value)?,
            };
            expr_fn::to_char(value, lit(translated(&call.known(&pattern)?)?))
        }
        "date_trunc" => {
            let (unit, value) = call.two()?;
            let unit = unit_of(&call.known(&unit)?)?;
            let value = call.local(call.scope.cast_to(value, &instant())?)?;
            cast_to(expr_fn::date_trunc(lit(unit), value), instant())
        }
        "trunc" => {
            let (date, unit) = call.two()?;
            let unit = unit_of(&call.known(&unit)?)?;
            let at = cast_to(call.date(date)?, DataType::Timestamp(TimeUnit::Microsecond, None));
            cast_to(expr_fn::date_trunc(lit(unit), at), DataType::Date32)
        }
        "unix_timestamp" | "to_unix_timestamp" if call.args.len() == 1 => {
            let at = call.scope.cast_to(call.one()?, &instant())?;
            call.long(at)?
        }
        "unix_millis" => {
            cast_to(call.scope.cast_to(call.one()?, &instant())?, DataType::Int64) / lit(1000_i64)
        }
        "unix_micros" => cast_to(call.scope.cast_to(call.one()?, &instant())?, DataType::Int64),
        "timestamp_seconds" => call.scope.cast_to(call.long(call.one()?)?, &instant())?,
        "timestamp_millis" => cast_to(call.long(call.one()?)? * lit(1000_i64), instant()),
        "timestamp_micros" => cast_to(call.long(call.one()?)?, instant()),
        "last_day" | "add_months" | "months_between" | "next_day" | "from_unixtime" => {
            return Err(SparkError::unsupported(format!("the function {}", call.name)));
        }
        _ => return Ok(None),
    }))
}

fn unit_of(text: &str) -> Result<&'static str> {
    Ok(match text.to_lowercase().as_str() {
        "year" | "yyyy" | "yy" => "year",
        "quarter" => "quarter",
        "month" | "mon" | "mm" => "month",
        "week" => "week",
        "day" | "dd" => "day",
        "hour" => "hour",
        "minute" => "minute",
        "second" => "second",
        "millisecond" => "millisecond",
        "microsecond" => "microsecond",
        other => return Err(SparkError::argument(format!("{other:?} is no unit of time."))),
    })
}

/// A pattern of Java's as the engine writes it.
fn translated(pattern: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        if letter == '\'' {
            let inner = &rest[1..];
            let end = inner
                .find('\'')
                .ok_or_else(|| SparkError::argument(format!("The pattern {pattern:?} is open.")))?;
            out.push_str(&inner[..end].replace('%', "%%"));
            rest = &inner[end + 1..];
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            out.push_str(if letter == '%' { "%%" } else { &rest[..letter.len_utf8()] });
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        let length = rest.chars().take_while(|next| *next == letter).count();
        let run = &rest[..length];
        let known = PATTERNS.iter().find(|(java, _)| *java == run);
        let (_, ours) =
            known.ok_or_else(|| SparkError::unsupported(format!("{run:?} in the pattern {pattern:?}")))?;
        out.push_str(ours);
        rest = &rest[length..];
    }
    Ok(out)
}

impl Call<'_> {
    /// A point in time as the clocks of the session show it; a date stays one.
    fn local(&self, value: Expr) -> Result<Expr> {
        let zone = DataType::Timestamp(TimeUnit::Microsecond, Some(self.scope.zone.into()));
        Ok(match self.type_of(&value)? {
            kind if is_instant(&kind) => cast_to(cast_to(value, instant()), zone),
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
                cast_to(self.scope.cast_to(value, &instant())?, zone)
            }
            _ => value,
        })
    }

    fn date(&self, value: Expr) -> Result<Expr> {
        self.scope.cast_to(value, &DataType::Date32)
    }

    fn moved(&self, date: Expr, days: Expr) -> Result<Expr> {
        let number = cast_to(self.date(date)?, DataType::Int32);
        Ok(cast_to(number + days, DataType::Date32))
    }
}
