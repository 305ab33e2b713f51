//! The ten classes of CIFAR-10, in the order of the model's outputs.

use crate::error::{Error, Result, excerpt};
use std::fmt;

/// One of the ten classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Label {
    Airplane,
    Automobile,
    Bird,
    Cat,
    Deer,
    Dog,
    Frog,
    Horse,
    Ship,
    Truck,
}

impl Label {
    /// Every class, in the order of the model's outputs.
    pub const ALL: [Self; 10] = [
        Self::Airplane,
        Self::Automobile,
        Self::Bird,
        Self::Cat,
        Self::Deer,
        Self::Dog,
        Self::Frog,
        Self::Horse,
        Self::Ship,
        Self::Truck,
    ];

    /// Their names, in the same order.
    pub const NAMES: [&'static str; 10] =
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

    /// The name on the wire and in MongoDB.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Reads the name in field `field`; the field is named in the error.
    pub fn parse(field: &'static str, value: &str) -> Result<Self> {
        Self::NAMES
            .iter()
            .position(|name| *name == value)
            .map(|index| Self::ALL[index])
            .ok_or_else(|| Error::UnknownLabel { field, value: excerpt(value) })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_agree() {
        for label in Label::ALL {
            assert_eq!(Label::parse("label", label.name()), Ok(label));
        }
        assert!(Label::parse("label", "Cat").is_err());
    }
}
