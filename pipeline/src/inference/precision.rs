//! The numbers in which a model computes, and the setting that asks for them. For the server, `classify` in SQL and
//! `firesteel evaluate`.

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

/// What a model is asked to compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrecisionSetting {
    /// The fastest precision here whose accuracy is good enough: see [`auto`](super::auto).
    Auto,
    /// This one.
    Named(Precision),
}

/// A text that names no [`PrecisionSetting`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no precision: expected {names}", names = PrecisionSetting::NAMES.join(", "))]
pub struct UnknownPrecisionSetting(String);

impl PrecisionSetting {
    /// How [`PrecisionSetting::Auto`] is written.
    pub const AUTO: &'static str = "auto";
    /// All that can be asked for: [`PrecisionSetting::AUTO`], then [`Precision::NAMES`].
    pub const NAMES: [&'static str; 4] =
        [Self::AUTO, Precision::NAMES[0], Precision::NAMES[1], Precision::NAMES[2]];
}

/// [`Precision::DEFAULT`], because the same everywhere is the safer thing to ask for.
impl Default for PrecisionSetting {
    fn default() -> Self {
        Self::Named(Precision::DEFAULT)
    }
}

impl From<Precision> for PrecisionSetting {
    fn from(precision: Precision) -> Self {
        Self::Named(precision)
    }
}

impl fmt::Display for PrecisionSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => Self::AUTO,
            Self::Named(precision) => precision.name(),
        })
    }
}

impl FromStr for PrecisionSetting {
    type Err = UnknownPrecisionSetting;

    fn from_str(text: &str) -> Result<Self, UnknownPrecisionSetting> {
        if text.trim().eq_ignore_ascii_case(Self::AUTO) {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Named).map_err(|UnknownPrecision(text)| UnknownPrecisionSetting(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_written_as_it_is_read() {
        let settings = [PrecisionSetting::Auto].into_iter().chain(Precision::ALL.map(PrecisionSetting::from));
        assert!(settings.clone().map(|setting| setting.to_string()).eq(PrecisionSetting::NAMES));
        for setting in settings {
            assert_eq!(setting.to_string().parse(), Ok(setting));
        }
        assert_eq!(" Auto".parse(), Ok(PrecisionSetting::Auto));
        let error = "fast".parse::<PrecisionSetting>().expect_err("no precision").to_string();
        assert_eq!(error, "\"fast\" is no precision: expected auto, f32, bf16, int8");
    }

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
