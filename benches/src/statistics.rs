//! The figures of a measurement, and what can be said of them. Pure, but for the clock.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The times of one variant, in seconds, in the order of the rounds.
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

    pub(crate) fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures::of(self.seconds.clone())
    }
}

/// The figures of all rounds and their summary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: Vec<f64>,
}

impl Figures {
    /// All of them are 0 without rounds.
    pub(crate) fn of(rounds: Vec<f64>) -> Self {
        let [median, min, max] = [0.5, 0.0, 1.0].map(|share| quantile(&rounds, share));
        Self { median, min, max, rounds }
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

/// How many times `divisor` goes into `dividend`. 0 where that cannot be said.
pub(crate) fn quotient(dividend: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { dividend / divisor } else { 0.0 }
}

/// What work gave, and how long it took.
pub(crate) async fn time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Duration)> {
    let start = Instant::now();
    let answer = work.await?;
    Ok((answer, start.elapsed()))
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
        assert_eq!(times(&[]).median(), 0.0);
    }

    #[test]
    fn figures() {
        let median = |rounds: &[f64]| Figures::of(rounds.to_vec()).median;
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!((median(&[]), median(&[7.0])), (0.0, 7.0));
        let figures = times(&[3.0, 1.0]).figures();
        assert_eq!((figures.min, figures.max, figures.rounds), (1.0, 3.0, vec![3.0, 1.0]));
    }
}
