//! Numbers as exact decimals: what BSON's Decimal128, integers and doubles have in common.
//!
//! A double stands for the shortest decimal that reads back as the same double, as every language prints it.

use std::str::FromStr;

use bson::{Decimal128, RawBsonRef};

/// `coefficient · 10^exponent`, below zero where `negative`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    coefficient: u128,
    exponent: i32,
}

/// The most digits of an Arrow Decimal128.
pub(crate) const MAX_DIGITS: u32 = 38;

/// Trailing zeros behind the point are kept up to this many digits, as in prices: `1.50`.
const KEPT_SCALE: i32 = 18;

/// The largest coefficient of a Decimal128: 34 digits.
const MAX_COEFFICIENT: u128 = 10_u128.pow(34) - 1;

impl Decimal {
    /// `None` for infinities and NaN.
    ///
    /// The layout is binary integer significand, IEEE 754-2008 3.5.2: a sign, 14 bits of exponent with a bias of 6176,
    /// and the coefficient. Two set bits in front of the exponent stand for a coefficient that would be too large,
    /// which counts as zero, or for infinity and NaN.
    pub(crate) fn of_decimal128(value: Decimal128) -> Option<Self> {
        let bits = u128::from_le_bytes(value.bytes());
        let negative = bits >> 127 == 1;
        if (bits >> 122) & 0b11110 == 0b11110 {
            return None;
        }
        let (exponent, coefficient) = if (bits >> 125) & 0b11 == 0b11 {
            ((bits >> 111) & 0x3fff, 0)
        } else {
            ((bits >> 113) & 0x3fff, bits & ((1 << 113) - 1))
        };
        let coefficient = if coefficient > MAX_COEFFICIENT { 0 } else { coefficient };
        let exponent = i32::try_from(exponent).ok()? - 6176;
        Some(Self { negative, coefficient, exponent })
    }

    pub(crate) fn of_integer(value: i64) -> Self {
        Self { negative: value < 0, coefficient: u128::from(value.unsigned_abs()), exponent: 0 }
    }

    /// `None` for infinities and NaN.
    pub(crate) fn of_double(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{:e}", value.abs());
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let coefficient = format!("{whole}{fraction}").parse().ok()?;
        let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        Some(Self { negative: value.is_sign_negative(), coefficient, exponent })
    }

    /// The value of an Arrow Decimal128 with `precision` digits, `scale` of them behind the point; `None` where that
    /// cannot hold this number exactly.
    pub(crate) fn unscaled(&self, precision: u8, scale: i8) -> Option<i128> {
        if self.coefficient == 0 {
            return Some(0);
        }
        let shift = self.exponent + i32::from(scale);
        let power = 10_u128.checked_pow(shift.unsigned_abs())?;
        let value = if shift >= 0 {
            self.coefficient.checked_mul(power)?
        } else if self.coefficient.is_multiple_of(power) {
            self.coefficient / power
        } else {
            return None;
        };
        if value >= 10_u128.checked_pow(u32::from(precision))? {
            return None;
        }
        let value = i128::try_from(value).ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// How many digits it has before the point and behind it.
    pub(crate) fn digits(&self) -> (u32, u32) {
        let (mut coefficient, mut exponent) = (self.coefficient, self.exponent);
        if coefficient == 0 {
            exponent = exponent.clamp(-KEPT_SCALE, 0);
        }
        while exponent < -KEPT_SCALE && coefficient != 0 && coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        let digits = coefficient.checked_ilog10().map_or(0, |log| i32::try_from(log).unwrap_or(0) + 1);
        let before = u32::try_from(digits + exponent).unwrap_or(0);
        (if coefficient == 0 { 0 } else { before }, u32::try_from(-exponent).unwrap_or(0))
    }
}

/// The BSON decimal with the digits `unscaled`, `scale` of them behind the point. It keeps zeros at its end.
///
/// # Errors
/// More digits than a BSON decimal has.
pub(crate) fn to_decimal128(unscaled: i128, scale: i8) -> Result<Decimal128, String> {
    let text = format!("{unscaled}E{}", -i32::from(scale));
    Decimal128::from_str(&text).map_err(|error| format!("{text}: {error}"))
}

/// A number as a decimal; `None` for infinities and NaN, and for what is no number.
pub(crate) fn number(value: RawBsonRef<'_>) -> Option<Decimal> {
    match value {
        RawBsonRef::Int32(value) => Some(Decimal::of_integer(i64::from(value))),
        RawBsonRef::Int64(value) => Some(Decimal::of_integer(value)),
        RawBsonRef::Double(value) => Decimal::of_double(value),
        RawBsonRef::Decimal128(value) => Decimal::of_decimal128(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Option<Decimal> {
        Decimal::of_decimal128(text.parse().unwrap())
    }

    #[test]
    fn extremes_of_decimal128() {
        let largest = "9999999999999999999999999999999999";
        for (text, precision, scale, expected) in [
            ("1.50", 38, 2, Some(150)),
            ("-1.50", 38, 4, Some(-15_000)),
            ("1.50", 38, 1, Some(15)),
            ("1.55", 38, 1, None),
            (largest, 34, 0, Some(10_i128.pow(34) - 1)),
            (largest, 33, 0, None),
            ("9999999999999999999999999999999999E+4", 38, 0, Some((10_i128.pow(34) - 1) * 10_000)),
            ("9999999999999999999999999999999999E+5", 38, 0, None),
            ("9.999999999999999999999999999999999E+6144", 38, 0, None),
            ("1E-6176", 38, 38, None),
            ("0E-6176", 38, 0, Some(0)),
            ("0E+6111", 38, 18, Some(0)),
            ("-0", 38, 0, Some(0)),
            ("1E-38", 38, 38, Some(1)),
        ] {
            let found = decimal(text).unwrap().unscaled(precision, scale);
            assert_eq!(found, expected, "{text} as decimal({precision}, {scale})");
        }
        for text in ["NaN", "Infinity", "-Infinity"] {
            assert_eq!(decimal(text), None, "{text}");
        }
        // A coefficient of more than 34 digits is not canonical, and zero.
        let mut bytes = [0xff; 16];
        bytes[15] = 0b0110_1111;
        assert_eq!(Decimal::of_decimal128(Decimal128::from_bytes(bytes)).unwrap().unscaled(38, 0), Some(0));
    }

    #[test]
    fn a_decimal_keeps_its_zeros() {
        for (unscaled, scale, expected) in
            [(150, 2, "1.50"), (0, 2, "0.00"), (-7, 0, "-7"), (1, 18, "0.000000000000000001")]
        {
            let made = to_decimal128(unscaled, scale).unwrap();
            assert_eq!(made.bytes(), expected.parse::<Decimal128>().unwrap().bytes(), "{expected}");
        }
        assert!(to_decimal128(10_i128.pow(37) + 1, 0).is_err());
    }

    #[test]
    fn digits_before_and_behind_the_point() {
        for (text, expected) in [
            ("1.50", (1, 2)),
            ("0", (0, 0)),
            ("0.00", (0, 2)),
            ("0E-6176", (0, 18)),
            ("0.001", (0, 3)),
            ("1E+30", (31, 0)),
            ("1.0000000000000000000000000", (1, 18)),
            ("1E-6176", (0, 6176)),
        ] {
            assert_eq!(decimal(text).unwrap().digits(), expected, "{text}");
        }
        assert_eq!(Decimal::of_integer(i64::MIN).digits(), (19, 0));
        assert_eq!(Decimal::of_double(0.1).unwrap().digits(), (0, 1));
        assert_eq!(Decimal::of_double(-1e300).unwrap().digits(), (301, 0));
        assert_eq!(Decimal::of_double(f64::NAN), None);
    }

    proptest! {
        #[test]
        fn numbers_come_out_as_they_were_written(whole in any::<i64>(), behind in 0..18_usize) {
            let text = format!("{whole}{}{}", if behind > 0 { "." } else { "" }, "7".repeat(behind));
            prop_assume!(text.trim_start_matches('-').replace('.', "").len() <= 34);
            let number = decimal(&text);
            let expected: i128 = text.replace('.', "").parse().unwrap();
            prop_assert_eq!(number.unwrap().unscaled(38, i8::try_from(behind).unwrap()), Some(expected));
        }

        #[test]
        fn what_has_few_enough_digits_fits(bits in any::<f64>(), extra in 0..4_u32) {
            let Some(number) = Decimal::of_double(bits) else { return Ok(()) };
            let (before, behind) = number.digits();
            if before + behind + extra <= MAX_DIGITS {
                let scale = i8::try_from(behind + extra).unwrap();
                prop_assert!(number.unscaled(38, scale).is_some(), "{} at {}", bits, scale);
            }
        }
    }
}
