//! The numbers in which a model computes. One enum for the server, `classify` in SQL and `firesteel evaluate`.

use std::fmt;
use std::str::FromStr;

/// The number format of weights and activations. Sums are always taken in more bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Precision {
    /// 32-bit floating point: the reference.
    #[default]
    F32,
    /// bfloat16: the exponent of f32 with 8 bits of fraction.
    Bf16,
    /// 8-bit integers, with a scale a channel of the weights and one an activation.
    Int8,
}

/// A text that names no [`Precision`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no precision: expected {names}", names = Precision::NAMES.join(", "))]
pub struct UnknownPrecision(String);

impl Precision {
    /// The default.
    pub const DEFAULT: Self = Self::F32;
    /// All of them, the most exact first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 3] = ["f32", "bf16", "int8"];

    /// How settings, models and predictions write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Bytes of one weight.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
            Self::Int8 => 1,
        }
    }
}

impl Precision {
    /// Adjacent channels that share a word of 32 bits.
    pub(super) const fn unit(self) -> usize {
        4 / self.bytes()
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, UnknownPrecision> {
        let named =
            Self::ALL.into_iter().find(|precision| precision.name().eq_ignore_ascii_case(text.trim()));
        named.ok_or_else(|| UnknownPrecision(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_written_as_it_is_read() {
        assert_eq!(Precision::ALL.map(Precision::name), Precision::NAMES);
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse::<Precision>(), Ok(precision));
        }
        assert_eq!(" BF16 ".parse::<Precision>(), Ok(Precision::Bf16));
        assert_eq!(format!("{:>5}|", Precision::F32), "  f32|");
        assert_eq!(Precision::default(), Precision::DEFAULT);
    }

    #[test]
    fn anything_else_is_an_error_that_names_them_all() {
        for text in ["", "f16", "fp32", "int8,f32"] {
            let error = text.parse::<Precision>().expect_err("no precision").to_string();
            assert_eq!(error, format!("{text:?} is no precision: expected f32, bf16, int8"));
        }
    }
}
