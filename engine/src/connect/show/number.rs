//! Numbers and dates as Java writes them.

use arrow::temporal_conversions::date32_to_datetime;

/// A double as `Double.toString` has it: with an exponent below 0.001 and from ten million on.
pub(in super::super) fn double(value: f64) -> String {
    java(value, value.abs(), &format!("{value:?}"), &format!("{value:e}"))
}

/// A float as `Float.toString` has it.
pub(in super::super) fn float(value: f32) -> String {
    java(f64::from(value), f64::from(value.abs()), &format!("{value:?}"), &format!("{value:e}"))
}

fn java(value: f64, size: f64, plain: &str, exponent: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return plain.to_owned();
    }
    let (digits, power) = exponent.split_once('e').unwrap_or((exponent, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{power}")
}

/// A date as `2024-02-29`.
pub(in super::super) fn date(days: i32) -> String {
    date32_to_datetime(days).map_or_else(|| days.to_string(), |date| date.format("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_java_does() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (100.0 / 3.0, "33.333333333333336"),
            (1e7, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (9_999_999.0, "9999999.0"),
            (0.001, "0.001"),
            (0.000_12, "1.2E-4"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (1e300, "1.0E300"),
        ] {
            assert_eq!(double(value), text);
        }
        assert_eq!(float(0.1), "0.1");
        assert_eq!(date(19_782), "2024-02-29");
    }
}
