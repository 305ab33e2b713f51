//! Times, and what can be said of them. Pure, but for the clock.

use std::time::{Duration, Instant};

/// The times of one way, in seconds, in the order of the rounds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Times {
    seconds: Vec<f64>,
}

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.seconds.push(time.as_secs_f64());
    }

    /// The share `quantile` of the times is at most this long. 0 without times.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self::quantile(&self.seconds, quantile)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    pub(crate) fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    pub(crate) fn seconds(&self) -> &[f64] {
        &self.seconds
    }
}

/// The share `quantile` of the figures is at most this. 0 without figures.
pub(crate) fn quantile(figures: &[f64], quantile: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    // The median of an even number is the mean of the two in the middle.
    #[expect(clippy::cast_precision_loss, reason = "a handful of rounds")]
    let place = last as f64 * quantile.clamp(0.0, 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the last index")]
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// What work gave, and how long it took.
pub(crate) async fn time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Duration)> {
    let start = Instant::now();
    let answer = work.await?;
    Ok((answer, start.elapsed()))
}

/// Whether a figure is what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
}

/// A figure that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) bound: Bound,
    pub(crate) wanted: f64,
    pub(crate) measured: f64,
    pub(crate) unit: &'static str,
}

impl Goal {
    pub(crate) fn met(&self) -> bool {
        match self.bound {
            Bound::AtLeast => self.measured >= self.wanted,
            Bound::AtMost => self.measured <= self.wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(seconds: &[f64]) -> Times {
        Times { seconds: seconds.to_vec() }
    }

    #[test]
    fn quantiles() {
        assert_eq!(times(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(times(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(times(&[5.0]).quantile(0.95), 5.0);
        assert_eq!((times(&[3.0, 1.0]).min(), times(&[3.0, 1.0]).max()), (1.0, 3.0));
        assert_eq!(times(&[]).median(), 0.0);
    }

    #[test]
    fn goals() {
        let goal = |bound, measured| Goal { what: String::new(), bound, wanted: 1.3, measured, unit: "x" };
        assert!(goal(Bound::AtLeast, 1.3).met() && !goal(Bound::AtLeast, 1.29).met());
        assert!(goal(Bound::AtMost, 1.3).met() && !goal(Bound::AtMost, 1.31).met());
    }
}
