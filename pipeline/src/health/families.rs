//! From what was counted to Prometheus' families of metrics, and from those to text.

use super::Histogram;
use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

/// Names and values that tell the metrics of a family apart.
pub(crate) type Labels = Vec<(&'static str, String)>;

pub(crate) fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// What only grows.
pub(crate) fn counter(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, u64)>,
) -> MetricFamily {
    let metric = |(labels, value): (Labels, u64)| {
        let mut counter = proto::Counter::default();
        counter.set_value(value as f64);
        let mut metric = labelled(labels);
        metric.set_counter(counter);
        metric
    };
    family(MetricType::COUNTER, name, help, values.into_iter().map(metric).collect())
}

/// What is so at this moment.
pub(crate) fn gauge(name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) -> MetricFamily {
    let metric = |(labels, value): (Labels, u64)| {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value as f64);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        metric
    };
    family(MetricType::GAUGE, name, help, values.into_iter().map(metric).collect())
}

/// How often a value was how large.
pub(crate) fn histogram(name: &str, help: &str, values: &Histogram) -> MetricFamily {
    let told = values.told();
    let bucket = |(bound, count): &(f64, u64)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*count);
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(told.cumulative.iter().map(bucket).collect());
    histogram.set_sample_count(told.count);
    histogram.set_sample_sum(told.sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(MetricType::HISTOGRAM, name, help, vec![metric])
}

/// Prometheus' text format.
pub(super) fn text(mut families: Vec<MetricFamily>) -> Result<String, prometheus::Error> {
    // One with nothing in it, such as the lag of no partitions, is an error to the encoder.
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&families)
}

fn labelled(labels: Labels) -> Metric {
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    Metric::from_label(labels.into_iter().map(pair).collect())
}

fn family(kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_as_text() {
        let times = Histogram::seconds(&[5_000_000, 60_000_000_000]);
        times.observe(5_000_000);
        let nothing: [(Labels, u64); 0] = [];
        let families = vec![
            counter("a_total", "What a is", [(labels([("role", "r"), ("outcome", "o")]), 3)]),
            gauge("b", "What b is", [(labels([]), 4)]),
            gauge("c", "Of nothing", nothing),
            histogram("d_seconds", "What d is", &times),
        ];
        let expected = "\
# HELP a_total What a is
# TYPE a_total counter
a_total{role=\"r\",outcome=\"o\"} 3
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
        assert_eq!(text(families).expect("text"), expected);
    }
}
