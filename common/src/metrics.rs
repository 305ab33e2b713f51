//! How metrics are declared: instruments of the `prometheus` crate, gathered through registries that are passed around.
//!
//! There is no global registry. A component holds its instruments and counts in them; who reports on the component
//! gathers them through a [`registry`], which can add labels that the component does not know, such as its role.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

/// Upper bounds of the buckets of times, in seconds: 1 ms to 60 s.
pub const SECONDS: [f64; 15] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// A number that only grows.
#[must_use]
pub fn counter(name: &str, help: &str) -> IntCounter {
    valid(IntCounter::new(name, help))
}

/// Numbers that only grow, told apart by `labels`.
#[must_use]
pub fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    valid(IntCounterVec::new(Opts::new(name, help), labels))
}

/// Fractional numbers that only grow, told apart by `labels`.
#[must_use]
pub fn sums(name: &str, help: &str, labels: &[&str]) -> CounterVec {
    valid(CounterVec::new(Opts::new(name, help), labels))
}

/// A number of this moment.
#[must_use]
pub fn gauge(name: &str, help: &str) -> IntGauge {
    valid(IntGauge::new(name, help))
}

/// Numbers of this moment, told apart by `labels`.
#[must_use]
pub fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    valid(IntGaugeVec::new(Opts::new(name, help), labels))
}

/// How often a value was how large; `bounds` are the upper bounds of the buckets.
#[must_use]
pub fn histogram(name: &str, help: &str, bounds: &[f64]) -> Histogram {
    valid(Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec())))
}

/// How often values were how large, told apart by `labels`.
#[must_use]
pub fn histograms(name: &str, help: &str, bounds: &[f64], labels: &[&str]) -> HistogramVec {
    valid(HistogramVec::new(HistogramOpts::new(name, help).buckets(bounds.to_vec()), labels))
}

/// A registry of `instruments`, each of whose samples gets `labels` in addition to its own.
#[must_use]
pub fn registry(labels: &[(&str, &str)], instruments: Vec<Box<dyn Collector>>) -> Registry {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let registry = valid(Registry::new_custom(None, Some(labels)));
    for instrument in instruments {
        valid(registry.register(instrument));
    }
    registry
}

/// Adds an instrument to a registry, and returns it to be counted in.
#[must_use]
pub fn registered<C: Collector + Clone + 'static>(registry: &Registry, instrument: C) -> C {
    valid(registry.register(Box::new(instrument.clone())));
    instrument
}

#[expect(
    clippy::expect_used,
    reason = "names, labels and bounds are literals, which are either always valid or never; a test makes each of them"
)]
fn valid<T>(declared: prometheus::Result<T>) -> T {
    declared.expect("a metric is declared with a valid name, and once")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::metrics_text;

    #[test]
    fn metrics_as_text() {
        let outcomes = counters("a_total", "What a is", &["outcome"]);
        outcomes.with_label_values(&["o"]).inc_by(3);
        let now = gauge("b", "What b is");
        now.set(4);
        let nothing = gauges("c", "Of nothing", &["partition"]);
        let times = histogram("d_seconds", "What d is", &[0.005, 60.0]);
        times.observe(0.005);
        let role = registry(&[("role", "r")], vec![Box::new(outcomes)]);
        let plain = registry(&[], vec![Box::new(now), Box::new(nothing), Box::new(times)]);
        let expected = "\
# HELP a_total What a is
# TYPE a_total counter
a_total{outcome=\"o\",role=\"r\"} 3
# HELP b What b is
# TYPE b gauge
b 4
# HELP d_seconds What d is
# TYPE d_seconds histogram
d_seconds_bucket{le=\"0.005\"} 1
d_seconds_bucket{le=\"60\"} 1
d_seconds_bucket{le=\"+Inf\"} 1
d_seconds_sum 0.005
d_seconds_count 1
";
        let families = [role.gather(), plain.gather()].concat();
        assert_eq!(metrics_text(families).expect("text"), expected);
    }

    #[test]
    fn a_value_is_in_the_first_bucket_that_is_not_below_it() {
        let sizes = histogram("sizes", "Of batches", &[1.0, 2.0, 4.0]);
        for value in [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 1_000.0] {
            sizes.observe(value);
        }
        let families = registry(&[], vec![Box::new(sizes)]).gather();
        let told = families[0].get_metric()[0].get_histogram();
        let buckets: Vec<_> =
            told.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count())).collect();
        assert_eq!(buckets, [(1.0, 2), (2.0, 3), (4.0, 5)]);
        assert_eq!((told.get_sample_count(), told.get_sample_sum()), (7, 1_015.0));
        // The buckets of times are in order.
        let _ = histogram("times", "Of batches", &SECONDS);
    }
}
