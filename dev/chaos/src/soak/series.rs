//! What a soak sees, a sample a second, and what has to hold of it: pure.

use crate::oracle::Finding;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The first part of the steady phase, in which pools and caches fill, and to which no later part is compared.
const WARM_UP: f64 = 0.2;
/// The share of the steady phase at whose beginning and end memory is averaged.
const PART: f64 = 0.2;
/// Memory that may come on top from the one part to the other: the sampling error of an allocator that gives back late.
const MORE_SHARE: f64 = 0.10;
const MORE_BYTES: f64 = (16 << 20) as f64;
/// Memory that an overload may take on top: what is in flight, which is bounded.
const OVERLOAD_BYTES: u64 = 160 << 20;
/// So many seconds of production may be under way in the steady phase.
const LAG_SECONDS: f64 = 15.0;

/// A phase of the soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// The rate that is held for long.
    Steady,
    /// A multiple of it.
    Overload,
    /// Nothing is produced any more; what is there is worked off.
    Drain,
}

/// One look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seconds since the steady phase began.
    pub(crate) at: f64,
    pub(crate) phase: Phase,
    /// Images in the topic since then, and predictions in the collection.
    pub(crate) produced: u64,
    pub(crate) stored: u64,
    /// Bytes of each process.
    pub(crate) memory: BTreeMap<String, u64>,
}

impl Sample {
    /// Images that are in the topic and not in the collection.
    pub(crate) fn lag(&self) -> u64 {
        self.produced.saturating_sub(self.stored)
    }
}

/// From produced to stored, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) images: usize,
    pub(crate) p50_ms: u32,
    pub(crate) p99_ms: u32,
    pub(crate) p99_9_ms: u32,
    pub(crate) max_ms: u32,
}

impl Latency {
    pub(crate) fn of(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self { images: times.len(), p50_ms: at(0.5), p99_ms: at(0.99), p99_9_ms: at(0.999), max_ms: at(1.0) }
    }
}

/// What did not hold: memory is flat, lag is bounded, and an overload is held back.
pub(crate) fn judge(samples: &[Sample], rate: f64) -> Vec<Finding> {
    let steady: Vec<&Sample> = samples.iter().filter(|sample| sample.phase == Phase::Steady).collect();
    let part = |from: f64, to: f64| {
        let index = |share: f64| ((steady.len() as f64) * share) as usize;
        steady.get(index(from)..index(to)).unwrap_or(&[])
    };
    let (early, late) = (part(WARM_UP, WARM_UP + PART), part(1.0 - PART, 1.0));
    let names: Vec<&String> = steady.last().map(|sample| sample.memory.keys().collect()).unwrap_or_default();
    let grown = names.iter().filter_map(|name| {
        let (before, after) = (mean(early, name)?, mean(late, name)?);
        let bound = before * (1.0 + MORE_SHARE) + MORE_BYTES;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        (after > bound).then(|| format!("{name}: from {:.0} to {:.0} MiB", mib(before), mib(after)))
    });
    let most = steady.iter().map(|sample| sample.lag()).max().unwrap_or(0);
    let bound = rate * LAG_SECONDS;
    let lagged = (most as f64 > bound).then(|| format!("{most} images, more than {bound:.0}"));
    let after = samples.iter().filter(|sample| sample.phase != Phase::Steady);
    let peak = |of: &mut dyn Iterator<Item = &Sample>, name: &String| {
        of.filter_map(|sample| sample.memory.get(name)).max().copied()
    };
    let overloaded = names.iter().filter_map(|name| {
        let (before, then) = (peak(&mut steady.iter().copied(), name)?, peak(&mut after.clone(), name)?);
        (then > before + OVERLOAD_BYTES)
            .then(|| format!("{name}: from {} to {} MiB", before >> 20, then >> 20))
    });
    let findings = [
        Finding::all("memory is flat at a steady rate", grown),
        Finding::all(&format!("lag is below {LAG_SECONDS} s of production at a steady rate"), lagged),
        Finding::all("an overload is held back, not kept in memory", overloaded),
    ];
    findings.into_iter().flatten().collect()
}

fn mean(samples: &[&Sample], name: &str) -> Option<f64> {
    let bytes: Vec<u64> = samples.iter().filter_map(|sample| sample.memory.get(name).copied()).collect();
    (!bytes.is_empty()).then(|| bytes.iter().sum::<u64>() as f64 / bytes.len() as f64)
}

/// How fast a counter rose at each sample, over the `window` seconds before it.
pub(crate) fn rates(samples: &[Sample], window: f64, of: impl Fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let rate = |(index, sample): (usize, &Sample)| {
        let before =
            samples[..index].iter().rev().take_while(|before| sample.at - before.at <= window).last()?;
        let seconds = sample.at - before.at;
        (seconds > 0.0).then(|| (sample.at, of(sample).saturating_sub(of(before)) as f64 / seconds))
    };
    samples.iter().enumerate().filter_map(rate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: usize, phase: Phase, lag: u64, mib: u64) -> Sample {
        let memory = [("x".to_owned(), mib << 20)].into();
        Sample { at: at as f64, phase, produced: at as u64 * 10 + lag, stored: at as u64 * 10, memory }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let latency = Latency::of((1..=1_000).rev().collect());
        let wanted = Latency { images: 1_000, p50_ms: 500, p99_ms: 990, p99_9_ms: 999, max_ms: 1_000 };
        assert_eq!(latency, wanted);
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn flat_is_fine_and_growth_lag_and_hoarding_are_found() {
        let check = |mib: fn(usize) -> u64, lag, overload, findings: usize| {
            let mut samples: Vec<Sample> =
                (0..100).map(|at| sample(at, Phase::Steady, lag, mib(at))).collect();
            samples.push(sample(100, Phase::Overload, 1_000, overload));
            assert_eq!(judge(&samples, 10.0).len(), findings);
        };
        check(|_| 100, 20, 100, 0);
        check(|at| if at < 20 { 50 } else { 100 }, 20, 100, 0);
        check(|at| 100 + at as u64, 20, 200, 1);
        check(|_| 100, 200, 100, 1);
        check(|_| 100, 20, 400, 1);
    }

    #[test]
    fn a_rate_is_taken_over_a_window() {
        let samples: Vec<Sample> = (0..5).map(|at| sample(at, Phase::Steady, 0, 1)).collect();
        let rates = rates(&samples, 2.0, |sample| sample.stored);
        assert_eq!(rates, [(1.0, 10.0), (2.0, 10.0), (3.0, 10.0), (4.0, 10.0)]);
    }
}
