//! How often a value was how large: an array of atomics, so that counting one costs two additions and no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of times, in nanoseconds: 1 ms to 60 s.
const TIMES: [u64; 15] = [
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Values in buckets. They are counted as whole numbers of a small unit, and told in a large one.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// The largest value of each bucket, in the small unit; the last bucket has none.
    bounds: &'static [u64],
    /// How many of the small unit are one of the large one.
    scale: f64,
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment, in its large unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    /// The upper bound of each bucket but the last, and how many values lie at or below it.
    pub(crate) cumulative: Vec<(f64, u64)>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

impl Histogram {
    /// Of whole numbers.
    pub(crate) fn numbers(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1.0)
    }

    /// Of times from 1 ms to 60 s, told in seconds.
    pub(crate) fn times() -> Self {
        Self::seconds(&TIMES)
    }

    /// Of times; `bounds` are nanoseconds, told in seconds.
    pub(super) fn seconds(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1e9)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, scale, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value, in the small unit.
    pub(crate) fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time.
    pub(crate) fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// What was counted so far. Buckets and count agree; the sum may be a value ahead.
    pub(crate) fn told(&self) -> Told {
        let (mut cumulative, mut count) = (Vec::with_capacity(self.bounds.len()), 0);
        for (index, bucket) in self.counts.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            if let Some(bound) = self.bounds.get(index) {
                cumulative.push((*bound as f64 / self.scale, count));
            }
        }
        Told { cumulative, count, sum: self.sum.load(Ordering::Relaxed) as f64 / self.scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_is_not_below_it() {
        let histogram = Histogram::numbers(&[1, 2, 4]);
        for value in [0, 1, 2, 3, 4, 5, 1_000] {
            histogram.observe(value);
        }
        let told = histogram.told();
        assert_eq!(told.cumulative, [(1.0, 2), (2.0, 3), (4.0, 5)]);
        assert_eq!((told.count, told.sum), (7, 1_015.0));
    }

    #[test]
    fn times_are_told_in_seconds() {
        let histogram = Histogram::seconds(&[1_000_000, 2_500_000_000]);
        histogram.observe_time(Duration::from_millis(1));
        histogram.observe_time(Duration::from_millis(500));
        let told = histogram.told();
        assert_eq!(told.cumulative, [(0.001, 1), (2.5, 2)]);
        assert_eq!((told.count, told.sum), (2, 0.501));
    }
}
