//! The search for the highest rate that holds.

use anyhow::Context as _;

/// What the first rate is multiplied with until one does not hold, or divided by until one does.
const STEP: f64 = 1.3;
/// A rate that holds and one that does not are close enough: a tenth of it lies between them.
const CLOSE: f64 = 1.1;
/// No rate below this share of the first one is tried.
const LOWEST: f64 = 0.25;

/// Rates are tried upward from the first one until one does not hold, or downward until one does, and then in between.
///
/// The first one is what is stored at full speed. It is a guess and no bound: the making of the images is part of it, which is
/// what makes it too low, and whole batches wait at full speed, which makes it too high.
#[derive(Debug)]
pub(super) struct Search {
    first: f64,
    holds: Option<f64>,
    fails: Option<f64>,
}

impl From<f64> for Search {
    /// A search from a rate in images a second.
    fn from(first: f64) -> Self {
        Self { first, holds: None, fails: None }
    }
}

impl Search {
    /// The rate to try next, while there is one.
    pub(super) fn next(&self) -> Option<f64> {
        match (self.holds, self.fails) {
            (None, None) => Some(self.first),
            (Some(holds), None) => Some(holds * STEP),
            (None, Some(fails)) => Some(fails / STEP).filter(|rate| *rate >= self.first * LOWEST),
            (Some(holds), Some(fails)) => (fails > holds * CLOSE).then(|| (holds * fails).sqrt()),
        }
    }

    /// Notes whether a rate has held.
    pub(super) fn tried(&mut self, rate: f64, held: bool) {
        *(if held { &mut self.holds } else { &mut self.fails }) = Some(rate);
    }

    /// The highest rate that has held.
    pub(super) fn found(self) -> anyhow::Result<f64> {
        let lowest = self.first * LOWEST;
        self.holds.with_context(|| format!("no rate above {lowest:.0} images a second holds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate that is found where `limit` is the highest that holds, and how many were tried.
    fn found(first: f64, limit: f64) -> (anyhow::Result<f64>, usize) {
        let mut search = Search::from(first);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            search.tried(rate, rate <= limit);
            tries += 1;
        }
        (search.found(), tries)
    }

    #[test]
    fn the_highest_rate_is_found_from_above_and_from_below() {
        for limit in [60, 99, 100, 101, 183, 290, 1_000].map(f64::from) {
            let (rate, tries) = found(100.0, limit);
            let rate = rate.expect("one of them holds");
            assert!(rate <= limit && limit <= rate * CLOSE, "{rate} of {limit}");
            assert!(tries <= 12, "{tries} for {limit}");
        }
    }

    #[test]
    fn a_machine_that_holds_nothing_is_told() {
        let error = found(100.0, 20.0).0.expect_err("nothing holds");
        assert_eq!(error.to_string(), "no rate above 25 images a second holds");
    }
}
