//! A consumer's metrics and its readiness, read from its [`Stats`].

use super::health_state::Standing;
use super::stats::Predictions;
use super::{Stats, images, predictions};
use crate::health::{HealthSource, Readiness};
use firesteel_common::metrics::{gauges, registry};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Registry};
use std::sync::Arc;

/// The health of one consumer, for a health server.
#[derive(Debug, Clone)]
pub struct Metrics {
    topic: String,
    stats: Arc<Stats>,
    /// The instruments of every consumer, labelled with its role.
    of_role: Registry,
    /// The instruments of this kind of consumer alone.
    of_kind: Registry,
    /// The counts by class of a prediction consumer, which have no sample before the first prediction.
    by_class: Option<IntCounterVec>,
}

impl Metrics {
    /// The metrics of the image consumer that counts in `stats`.
    #[must_use]
    pub fn images(config: &images::Config, stats: Arc<Stats>) -> Self {
        let own: Vec<Box<dyn Collector>> =
            vec![Box::new(stats.image_time.clone()), Box::new(stats.unknown_labels.clone())];
        Self::new(images::ROLE, config.images_topic.clone(), stats, own)
    }

    /// The metrics of the prediction consumer that counts in `stats`.
    #[must_use]
    pub fn predictions(config: &predictions::Config, stats: Arc<Stats>) -> Self {
        let Predictions { counts, unlabelled, .. } = &stats.predictions;
        let own: Vec<Box<dyn Collector>> = vec![Box::new(counts.clone()), Box::new(unlabelled.clone())];
        let by_class = Some(counts.clone());
        Self {
            by_class,
            ..Self::new(predictions::ROLE, config.predictions_topic.clone(), Arc::clone(&stats), own)
        }
    }

    fn new(role: &str, topic: String, stats: Arc<Stats>, own: Vec<Box<dyn Collector>>) -> Self {
        let shared: Vec<Box<dyn Collector>> = vec![
            Box::new(stats.records.clone()),
            Box::new(stats.in_flight.clone()),
            Box::new(stats.retries.clone()),
            Box::new(stats.lost.clone()),
        ];
        let (of_role, of_kind) = (registry(&[("role", role)], shared), registry(&[], own));
        Self { topic, stats, of_role, of_kind, by_class: None }
    }

    /// Where the consumer stands in each partition. Built for each request, because partitions come and go.
    fn partitions(&self) -> Vec<MetricFamily> {
        let lags = gauges(
            "firesteel_consumer_lag_records",
            "Records of a partition of this consumer that are not complete, those in flight included",
            &["partition"],
        );
        let headroom = gauges(
            "firesteel_consumer_headroom_records",
            "Records that Kafka may remove from a partition before one that this consumer has not completed; at 0 images are lost",
            &["partition"],
        );
        let time_left = gauges(
            "firesteel_consumer_retention_left_seconds",
            "Seconds until the topic's retention may remove the oldest record in flight; no sample where retention is not known",
            &["partition"],
        );
        for (partition, standing) in self.stats.health.partitions() {
            let Standing { lag, headroom: records, seconds_left } = standing;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole seconds, within the years of a retention"
            )]
            let seconds = seconds_left.map(|seconds| seconds as i64);
            let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            for (gauge, value) in
                [(&lags, lag.map(whole)), (&headroom, records.map(whole)), (&time_left, seconds)]
            {
                if let Some(value) = value {
                    gauge.with_label_values(&[partition.to_string()]).set(value);
                }
            }
        }
        let mut families = Vec::new();
        for gauge in [lags, headroom, time_left] {
            let gathered = registry(&[("topic", &self.topic)], vec![Box::new(gauge.clone())]).gather();
            // Without a partition, a family without a sample: the metric is known before there is one.
            families.extend(if gathered.is_empty() { gauge.collect() } else { gathered });
        }
        families
    }
}

impl HealthSource for Metrics {
    fn readiness(&self) -> Readiness {
        let reasons = self.stats.health.reasons();
        if reasons.is_empty() { Readiness::Ready } else { Readiness::NotReady(reasons) }
    }

    fn families(&self) -> Vec<MetricFamily> {
        // A family without a sample is not gathered: the metric is known before there is one.
        let by_class = self.by_class.iter().flat_map(Collector::collect);
        let empty = by_class.filter(|family| family.get_metric().is_empty()).collect();
        [self.of_role.gather(), self.partitions(), self.of_kind.gather(), empty].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::conformance::prediction;
    use firesteel_proto::{Label, PredictionRecord};
    use std::collections::BTreeMap;

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
        stats.succeeded.inc_by(5);
        stats.dead_lettered.inc_by(2);
        stats.in_flight.add(3);
        stats.retries.inc_by(4);
        stats.image_time.observe(0.003);
        stats.superseded.inc();
        stats.lost.inc_by(9);
        stats.unknown_labels.inc_by(2);
        let standing = Standing { lag: Some(7), headroom: Some(30), seconds_left: Some(61.5) };
        let unknown = Standing { lag: Some(0), ..Standing::default() };
        stats.health.set_partitions(BTreeMap::from([(0, standing), (3, unknown)]));
        let expected = [
            "firesteel_records_in_flight role=consume-images 3",
            "firesteel_records_lost_total role=consume-images 9",
            "firesteel_records_total outcome=dead_lettered,role=consume-images 2",
            "firesteel_records_total outcome=succeeded,role=consume-images 5",
            "firesteel_records_total outcome=superseded,role=consume-images 1",
            "firesteel_retries_total role=consume-images 4",
            "firesteel_consumer_lag_records partition=0,topic=images 7",
            "firesteel_consumer_lag_records partition=3,topic=images 0",
            "firesteel_consumer_headroom_records partition=0,topic=images 30",
            "firesteel_consumer_retention_left_seconds partition=0,topic=images 61",
            "firesteel_image_seconds  1",
            "firesteel_unknown_labels_total  2",
        ];
        assert_eq!(samples(&metrics), expected);
        assert!(matches!(metrics.readiness(), Readiness::NotReady(why) if why.len() == 2));
        stats.health.topics_exist();
        stats.health.joined_group();
        assert_eq!(metrics.readiness(), Readiness::Ready);
    }

    #[test]
    fn the_prediction_consumer_tells_each_class_and_what_has_none() {
        let stats = Arc::new(Stats::default());
        let metrics = Metrics::predictions(&predictions::Config::default(), Arc::clone(&stats));
        let names = || metrics.families().iter().map(|family| family.name().to_owned()).collect::<Vec<_>>();
        let known = names();
        assert!(known.iter().any(|name| name == "firesteel_predictions_total"), "{known:?}");

        let label = |name: &str| Label::parse("label", name).expect("a label");
        let record = |truth: Option<&str>, said: &str| PredictionRecord {
            label: truth.map(label),
            predicted: label(said),
            ..prediction(1, 1, 1)
        };
        for (truth, said) in [("cat", "cat"), ("cat", "cat"), ("cat", "dog"), ("dog", "cat")] {
            stats.predictions.count(&record(Some(truth), said));
        }
        stats.predictions.count(&record(None, "cat"));
        let samples = samples(&metrics);
        let of = |what: &str| samples.iter().filter(|sample| sample.starts_with(what)).count();
        assert_eq!(of("firesteel_predictions_total "), 4);
        for sample in [
            "predictions_total correct=true,label=cat 2",
            "predictions_total correct=false,label=cat 1",
            "predictions_total correct=true,label=dog 0",
            "predictions_total correct=false,label=dog 1",
            "unlabelled_predictions_total  1",
        ] {
            let sample = format!("firesteel_{sample}");
            assert!(samples.contains(&sample), "{sample} in {samples:?}");
        }
        assert_eq!(of("firesteel_image_seconds"), 0);
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(names()), sorted(known), "each family is told once, with samples or without");
    }
}
