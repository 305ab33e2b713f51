//! A consumer's metrics and its readiness, read from its [`Stats`].

use super::{Stats, images, predictions};
use crate::health::{Readiness, Watched, counter, gauge, histogram, labels};
use prometheus::proto::MetricFamily;
use std::sync::Arc;

/// What a health server tells of one consumer.
#[derive(Debug, Clone)]
pub struct Metrics {
    role: &'static str,
    topic: String,
    stats: Arc<Stats>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Images,
    Predictions,
}

impl Metrics {
    /// Of the image consumer that counts in `stats`.
    #[must_use]
    pub fn images(config: &images::Config, stats: Arc<Stats>) -> Self {
        Self { role: images::ROLE, topic: config.images_topic.clone(), stats, kind: Kind::Images }
    }

    /// Of the prediction consumer that counts in `stats`.
    #[must_use]
    pub fn predictions(config: &predictions::Config, stats: Arc<Stats>) -> Self {
        let topic = config.predictions_topic.clone();
        Self { role: predictions::ROLE, topic, stats, kind: Kind::Predictions }
    }
}

impl Watched for Metrics {
    fn readiness(&self) -> Readiness {
        let reasons = self.stats.standing.reasons();
        if reasons.is_empty() { Readiness::Ready } else { Readiness::NotReady(reasons) }
    }

    fn families(&self) -> Vec<MetricFamily> {
        let Self { role, topic, stats, kind } = self;
        let now = stats.snapshot();
        let record = |outcome, count| (labels([("role", *role), ("outcome", outcome)]), count);
        let of_role = |value| [(labels([("role", *role)]), value)];
        let lags = stats.standing.lags().into_iter().map(|(partition, lag)| {
            (labels([("topic", topic.as_str()), ("partition", partition.to_string().as_str())]), lag)
        });
        let mut families = vec![
            counter(
                "firesteel_records_total",
                "Records whose result, or whose dead letter, is durable",
                [record("succeeded", now.succeeded), record("dead_lettered", now.dead_lettered)],
            ),
            gauge(
                "firesteel_records_in_flight",
                "Records received from Kafka and not yet complete",
                of_role(now.in_flight),
            ),
            counter(
                "firesteel_retries_total",
                "Tries at a dependency that failed for a passing reason",
                of_role(now.retries),
            ),
            gauge(
                "firesteel_consumer_lag_records",
                "Records of a partition of this consumer that are not complete, those in flight included",
                lags,
            ),
        ];
        families.push(match kind {
            Kind::Images => histogram(
                "firesteel_image_seconds",
                "From the poll that brought an image to the acknowledgement of its prediction",
                &stats.image_time,
            ),
            Kind::Predictions => counter(
                "firesteel_predictions_total",
                "Predictions that are durable in MongoDB, by the true class; one that comes twice counts twice",
                stats.predictions.told().map(|(label, correct, count)| {
                    let correct = if correct { "true" } else { "false" };
                    (labels([("label", label.name()), ("correct", correct)]), count)
                }),
            ),
        });
        families
    }
}

#[cfg(test)]
mod tests {
    use super::super::stats::add;
    use super::*;
    use firesteel_proto::Label;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// Every sample, as the name of its family, its labels and its value.
    fn samples(metrics: &Metrics) -> Vec<String> {
        let mut samples = Vec::new();
        for family in metrics.families() {
            assert!(!family.help().is_empty(), "{} has no help", family.name());
            for metric in family.get_metric() {
                let labels =
                    metric.get_label().iter().map(|label| format!("{}={}", label.name(), label.value()));
                let labels = labels.collect::<Vec<_>>().join(",");
                let value = metric.get_counter().get_value()
                    + metric.get_gauge().get_value()
                    + metric.get_histogram().get_sample_count() as f64;
                samples.push(format!("{} {labels} {value}", family.name()));
            }
        }
        samples
    }

    #[test]
    fn the_image_consumer_tells_records_lag_and_times() {
        let stats = Arc::new(Stats::default());
        let metrics = Metrics::images(&images::Config::default(), Arc::clone(&stats));
        add(&stats.succeeded, 5);
        add(&stats.dead_lettered, 2);
        add(&stats.in_flight, 3);
        add(&stats.retries, 4);
        stats.image_time.observe_time(Duration::from_millis(3));
        stats.standing.set_lags(BTreeMap::from([(0, 7), (3, 0)]));
        let expected = [
            "firesteel_records_total role=consume-images,outcome=succeeded 5",
            "firesteel_records_total role=consume-images,outcome=dead_lettered 2",
            "firesteel_records_in_flight role=consume-images 3",
            "firesteel_retries_total role=consume-images 4",
            "firesteel_consumer_lag_records topic=images,partition=0 7",
            "firesteel_consumer_lag_records topic=images,partition=3 0",
            "firesteel_image_seconds  1",
        ];
        assert_eq!(samples(&metrics), expected);
        assert!(matches!(metrics.readiness(), Readiness::NotReady(why) if why.len() == 2));
        stats.standing.topics_are_there();
        stats.standing.has_joined();
        assert_eq!(metrics.readiness(), Readiness::Ready);
    }

    #[test]
    fn the_prediction_consumer_tells_every_class_from_the_start() {
        let stats = Arc::new(Stats::default());
        let metrics = Metrics::predictions(&predictions::Config::default(), Arc::clone(&stats));
        stats.predictions.count(Label::Cat, true);
        stats.predictions.count(Label::Cat, true);
        stats.predictions.count(Label::Cat, false);
        let samples = samples(&metrics);
        let of = |what: &str| samples.iter().filter(|sample| sample.starts_with(what)).count();
        assert_eq!(of("firesteel_predictions_total "), 20);
        for sample in ["label=cat,correct=true 2", "label=cat,correct=false 1", "label=dog,correct=true 0"] {
            let sample = format!("firesteel_predictions_total {sample}");
            assert!(samples.contains(&sample), "{sample} in {samples:?}");
        }
        assert_eq!(of("firesteel_image_seconds"), 0);
    }
}
