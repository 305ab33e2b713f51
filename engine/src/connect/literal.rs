//! Spark's literals as values of the engine.

use std::sync::Arc;

use arrow::array::new_empty_array;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use datafusion::common::scalar::ScalarStructBuilder;
use firesteel_proto::spark::connect::expression::Literal;
use firesteel_proto::spark::connect::expression::literal::LiteralType;
use firesteel_proto::spark::connect::expression::literal::specialized_array::ValueType;

use super::error::{Result, SparkError};
use super::types::{UTC, from_spark};

/// The value of a literal.
pub(super) fn value(literal: &Literal) -> Result<ScalarValue> {
    let kind =
        literal.literal_type.as_ref().ok_or_else(|| SparkError::incomplete("the value of a literal"))?;
    Ok(match kind {
        LiteralType::Null(data_type) => ScalarValue::try_from(&from_spark(data_type)?)?,
        LiteralType::Binary(bytes) => ScalarValue::Binary(Some(bytes.to_vec())),
        LiteralType::Boolean(value) => ScalarValue::Boolean(Some(*value)),
        LiteralType::Byte(value) => ScalarValue::Int8(i8::try_from(*value).ok()),
        LiteralType::Short(value) => ScalarValue::Int16(i16::try_from(*value).ok()),
        LiteralType::Integer(value) => ScalarValue::Int32(Some(*value)),
        LiteralType::Long(value) => ScalarValue::Int64(Some(*value)),
        LiteralType::Float(value) => ScalarValue::Float32(Some(*value)),
        LiteralType::Double(value) => ScalarValue::Float64(Some(*value)),
        LiteralType::Decimal(decimal) => {
            let text = &decimal.value;
            number(text, decimal.precision, decimal.scale).ok_or_else(|| {
                SparkError::argument(format!("{text:?} is no decimal number of at most 38 digits."))
            })?
        }
        LiteralType::String(text) => ScalarValue::Utf8(Some(text.clone())),
        LiteralType::Date(days) => ScalarValue::Date32(Some(*days)),
        LiteralType::Timestamp(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), Some(UTC.into())),
        LiteralType::TimestampNtz(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), None),
        LiteralType::DayTimeInterval(micros) => ScalarValue::DurationMicrosecond(Some(*micros)),
        LiteralType::YearMonthInterval(months) => ScalarValue::IntervalYearMonth(Some(*months)),
        LiteralType::CalendarInterval(interval) => ScalarValue::new_interval_mdn(
            interval.months,
            interval.days,
            interval
                .microseconds
                .checked_mul(1000)
                .ok_or_else(|| SparkError::argument("An interval is too long."))?,
        ),
        LiteralType::Array(array) => {
            let values = array.elements.iter().map(value).collect::<Result<Vec<_>>>()?;
            let element = match (&array.element_type, values.first()) {
                (Some(element), _) => from_spark(element)?,
                (None, Some(first)) => first.data_type(),
                (None, None) => DataType::Null,
            };
            list(&values, element)?
        }
        LiteralType::SpecializedArray(array) => {
            let missing = || SparkError::incomplete("the values of an array");
            let (values, element): (Vec<ScalarValue>, DataType) =
                match array.value_type.as_ref().ok_or_else(missing)? {
                    ValueType::Bools(them) => {
                        (them.values.iter().map(|v| (*v).into()).collect(), DataType::Boolean)
                    }
                    ValueType::Ints(them) => {
                        (them.values.iter().map(|v| (*v).into()).collect(), DataType::Int32)
                    }
                    ValueType::Longs(them) => {
                        (them.values.iter().map(|v| (*v).into()).collect(), DataType::Int64)
                    }
                    ValueType::Floats(them) => {
                        (them.values.iter().map(|v| (*v).into()).collect(), DataType::Float32)
                    }
                    ValueType::Doubles(them) => {
                        (them.values.iter().map(|v| (*v).into()).collect(), DataType::Float64)
                    }
                    ValueType::Strings(them) => {
                        (them.values.iter().map(|v| v.as_str().into()).collect(), DataType::Utf8)
                    }
                };
            list(&values, element)?
        }
        LiteralType::Struct(literal) => {
            let values = literal.elements.iter().map(value).collect::<Result<Vec<_>>>()?;
            let fields = match literal.struct_type.as_ref().map(from_spark).transpose()? {
                Some(DataType::Struct(fields)) if fields.len() == values.len() => fields,
                _ => values
                    .iter()
                    .enumerate()
                    .map(|(index, value)| Field::new(format!("col{}", index + 1), value.data_type(), true))
                    .collect::<Fields>(),
            };
            let mut builder = ScalarStructBuilder::new();
            for (field, value) in fields.iter().zip(values) {
                builder = builder.with_scalar(Arc::clone(field), value.cast_to(field.data_type())?);
            }
            builder.build()?
        }
        LiteralType::Map(_) => return Err(SparkError::unsupported("a map as a literal")),
    })
}

fn list(values: &[ScalarValue], element: DataType) -> Result<ScalarValue> {
    let values = values.iter().map(|value| value.cast_to(&element)).collect::<Result<Vec<_>, _>>()?;
    let array = match values.is_empty() {
        true => new_empty_array(&element),
        false => ScalarValue::iter_to_array(values)?,
    };
    let array = datafusion::common::utils::SingleRowListArrayBuilder::new(array)
        .with_field(&Field::new("element", element, true))
        .build_list_scalar();
    Ok(array)
}

/// A decimal number out of its digits; the type is as wide as they are where none is given.
fn number(text: &str, precision: Option<i32>, scale: Option<i32>) -> Option<ScalarValue> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit())
    {
        return None;
    }
    let scale = match scale {
        Some(scale) => usize::try_from(scale).ok()?,
        None => fraction.len(),
    };
    if fraction.len() > scale || scale > 38 {
        return None;
    }
    let padded = format!("{whole}{fraction}{}", "0".repeat(scale - fraction.len()));
    let unscaled: i128 = padded.parse().ok()?;
    let needed = u8::try_from(unscaled.to_string().len().max(scale).max(1)).ok()?;
    let precision = match precision {
        Some(precision) => u8::try_from(precision).ok().filter(|digits| (needed..=38).contains(digits))?,
        None => needed,
    };
    let scale = i8::try_from(scale).ok()?;
    (precision <= 38).then_some(ScalarValue::Decimal128(Some(sign * unscaled), precision, scale))
}

#[cfg(test)]
mod tests {
    use firesteel_proto::spark::connect::expression::literal;
    use firesteel_proto::spark::connect::{Bools, Strings};

    use super::*;

    fn of(kind: LiteralType) -> Result<ScalarValue> {
        value(&Literal { literal_type: Some(kind), data_type: None })
    }

    #[test]
    fn decimals_have_the_width_of_their_digits() {
        for (text, expected) in [
            ("1.50", Some((150, 3, 2))),
            ("-0.05", Some((-5, 2, 2))),
            ("12", Some((12, 2, 0))),
            ("0", Some((0, 1, 0))),
            ("", None),
            ("1e5", None),
            ("999999999999999999999999999999999999999", None),
        ] {
            let expected = expected.map(|(value, p, s)| ScalarValue::Decimal128(Some(value), p, s));
            assert_eq!(number(text, None, None), expected, "{text}");
        }
        assert_eq!(number("1.5", Some(10), Some(2)), Some(ScalarValue::Decimal128(Some(150), 10, 2)));
    }

    #[test]
    fn arrays_and_structs_hold_values() {
        let strings = Strings { values: vec!["a".to_owned(), "b".to_owned()] };
        let array = literal::SpecializedArray { value_type: Some(ValueType::Strings(strings)) };
        assert!(matches!(of(LiteralType::SpecializedArray(array)).unwrap(), ScalarValue::List(_)));
        let none = literal::SpecializedArray { value_type: Some(ValueType::Bools(Bools { values: vec![] })) };
        assert!(of(LiteralType::SpecializedArray(none)).is_ok());
        assert!(value(&Literal { literal_type: None, data_type: None }).is_err());
    }
}
