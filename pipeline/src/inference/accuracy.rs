//! How accurate a model is in each precision, as its manifest tells it, and how much of that may be given up for speed.

use super::precision::Precision;
use std::collections::BTreeMap;

/// The accuracy by precision, each as the share of labelled images that are named rightly, all measured on the same images.
#[derive(Debug, Clone, PartialEq)]
pub struct Accuracy {
    figures: BTreeMap<Precision, f64>,
    tolerance: f64,
}

/// No figures.
impl Default for Accuracy {
    fn default() -> Self {
        Self { figures: BTreeMap::new(), tolerance: Self::TOLERANCE }
    }
}

impl Accuracy {
    /// By how much a precision may be less accurate than f32 where nothing else is said: half a point of 100.
    pub const TOLERANCE: f64 = 0.005;

    /// Figures and tolerance, shares from 0 to 1.
    ///
    /// # Errors
    /// The figure that is none, as the rest of a sentence.
    pub fn new(figures: BTreeMap<Precision, f64>, tolerance: f64) -> Result<Self, String> {
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        if let Some((precision, share)) = figures.iter().find(|(_, share)| !is_share(**share)) {
            return Err(format!("has {share} for {precision}, expected a share from 0 to 1"));
        }
        if !is_share(tolerance) {
            return Err(format!("has the tolerance {tolerance}, expected a share from 0 to 1"));
        }
        Ok(Self { figures, tolerance })
    }

    /// The shares that are known.
    #[must_use]
    pub fn figures(&self) -> &BTreeMap<Precision, f64> {
        &self.figures
    }

    /// The share in `precision`, where it is known.
    #[must_use]
    pub fn of(&self, precision: Precision) -> Option<f64> {
        self.figures.get(&precision).copied()
    }

    /// By how much a precision may be less accurate than f32.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// Whether `precision` is accurate enough: f32 always, another one if the figures of both say so.
    #[must_use]
    pub fn allows(&self, precision: Precision) -> bool {
        /// What is equal in decimals stays equal.
        const ROUNDING: f64 = 1e-9;
        match (self.of(Precision::F32), self.of(precision)) {
            _ if precision == Precision::F32 => true,
            (Some(f32), Some(share)) => share >= f32 - self.tolerance - ROUNDING,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accuracy(f32: f64, int8: f64, tolerance: f64) -> Accuracy {
        let figures = BTreeMap::from([(Precision::F32, f32), (Precision::Int8, int8)]);
        Accuracy::new(figures, tolerance).expect("shares")
    }

    #[test]
    fn what_is_not_known_is_not_allowed() {
        let none = Accuracy::default();
        assert_eq!(Precision::ALL.map(|precision| none.allows(precision)), [true, false, false]);
        let lone = BTreeMap::from([(Precision::Int8, 1.0)]);
        let lone = Accuracy::new(lone, Accuracy::TOLERANCE).expect("a share");
        assert!(!lone.allows(Precision::Int8), "there is nothing to compare it with");
        let both = accuracy(0.9306, 0.9297, Accuracy::TOLERANCE);
        assert_eq!(Precision::ALL.map(|precision| both.allows(precision)), [true, false, true]);
        assert!(accuracy(0.9306, 0.9256, 0.005).allows(Precision::Int8), "the tolerance itself is within it");
        assert!(!accuracy(0.9306, 0.9255, 0.005).allows(Precision::Int8));
    }

    #[test]
    fn only_shares_are_figures() {
        let of = |share| Accuracy::new(BTreeMap::from([(Precision::Bf16, share)]), 0.0);
        let error = of(93.06).expect_err("percent");
        assert_eq!(error, "has 93.06 for bf16, expected a share from 0 to 1");
        assert!(of(f64::NAN).is_err() && of(-0.1).is_err());
        assert!(Accuracy::new(BTreeMap::new(), 1.5).is_err());
    }

    proptest! {
        #[test]
        fn a_larger_tolerance_allows_no_less(f32 in 0.0..=1.0, int8 in 0.0..=1.0, small in 0.0..=1.0, more in 0.0..=1.0) {
            let large = f64::min(1.0, small + more);
            let allows = |tolerance| accuracy(f32, int8, tolerance).allows(Precision::Int8);
            prop_assert!(!allows(small) || allows(large));
            prop_assert!(int8 < f32 || allows(0.0), "what is no less accurate is always allowed");
        }
    }
}
