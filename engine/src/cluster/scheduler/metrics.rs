//! The metrics of a scheduler. Their names start with `firesteel_`; their help texts say what they count.
//!
//! Jobs are counted when Ballista's event loop reports them. The gauges of slots and tasks are set when the metrics are
//! requested, so they are never out of date.

use std::sync::OnceLock;

use ballista_core::JobId;
use ballista_core::error::{BallistaError, Result as BallistaResult};
use ballista_scheduler::metrics::SchedulerMetricsCollector;
use firesteel_common::http;
use firesteel_common::metrics::{self, counter, counters, histogram, registered};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry, TEXT_FORMAT};

/// The upper bounds of the buckets of job times, in seconds.
const JOB_SECONDS: [f64; 12] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

type OnSubmitted = Box<dyn Fn(&JobId) + Send + Sync>;

/// The metrics of one scheduler.
pub(super) struct SchedulerMetrics {
    pub(super) registry: Registry,
    /// The action for each job that was planned, before its first task.
    on_submitted: OnceLock<OnSubmitted>,
    submitted: IntCounter,
    ended: IntCounterVec,
    job_seconds: Histogram,
    planning_seconds: Histogram,
    pub(super) gauges: Gauges,
}

/// The gauges that are set when the metrics are requested.
#[derive(Debug)]
pub(super) struct Gauges {
    pub(super) executors: IntGauge,
    pub(super) draining: IntGauge,
    pub(super) slots: IntGauge,
    pub(super) free_slots: IntGauge,
    pub(super) running_jobs: IntGauge,
    pub(super) queued_jobs: IntGauge,
    pub(super) running_tasks: IntGauge,
    pub(super) pending_tasks: IntGauge,
}

impl SchedulerMetrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let gauge = |name, help| registered(&registry, metrics::gauge(name, help));
        let seconds = |name, help| registered(&registry, histogram(name, help, &JOB_SECONDS));
        let submitted = counter("firesteel_jobs_submitted_total", "Jobs that were planned");
        let ended = counters("firesteel_jobs_total", "Jobs that ended, by outcome", &["outcome"]);
        for outcome in ["completed", "failed", "cancelled"] {
            ended.with_label_values(&[outcome]);
        }
        Self {
            on_submitted: OnceLock::new(),
            submitted: registered(&registry, submitted),
            ended: registered(&registry, ended),
            job_seconds: seconds(
                "firesteel_job_seconds",
                "Time of completed jobs, from the queue to the result",
            ),
            planning_seconds: seconds(
                "firesteel_job_planning_seconds",
                "Time from the queue to the first task",
            ),
            gauges: Gauges {
                executors: gauge("firesteel_executors", "Executors that take tasks"),
                draining: gauge("firesteel_executors_draining", "Executors that end what they have begun"),
                slots: gauge("firesteel_slots", "Tasks that can run at once: the vcores of all executors"),
                free_slots: gauge("firesteel_free_slots", "Slots without a task"),
                running_jobs: gauge("firesteel_running_jobs", "Jobs with tasks that run or wait"),
                queued_jobs: gauge("firesteel_queued_jobs", "Jobs that are being planned"),
                running_tasks: gauge("firesteel_running_tasks", "Tasks that run"),
                pending_tasks: gauge(
                    "firesteel_pending_tasks",
                    "Tasks that could run if there were a free slot",
                ),
            },
            registry,
        }
    }
}

impl SchedulerMetrics {
    /// Sets the action for each job that was planned, before its first task. Only the first call has an effect.
    pub(super) fn on_submitted(&self, action: impl Fn(&JobId) + Send + Sync + 'static) {
        let _ = self.on_submitted.set(Box::new(action));
    }
}

fn seconds_between(from: u64, to: u64) -> f64 {
    std::time::Duration::from_millis(to.saturating_sub(from)).as_secs_f64()
}

impl SchedulerMetricsCollector for SchedulerMetrics {
    fn record_submitted(&self, job: &JobId, queued_at: u64, submitted_at: u64) {
        if let Some(action) = self.on_submitted.get() {
            action(job);
        }
        self.submitted.inc();
        self.planning_seconds.observe(seconds_between(queued_at, submitted_at));
    }

    fn record_completed(&self, job: &JobId, queued_at: u64, completed_at: u64) {
        self.ended.with_label_values(&["completed"]).inc();
        let seconds = seconds_between(queued_at, completed_at);
        self.job_seconds.observe(seconds);
        tracing::info!(%job, seconds, "job completed");
    }

    fn record_failed(&self, job: &JobId, _: u64, _: u64) {
        self.ended.with_label_values(&["failed"]).inc();
        tracing::info!(%job, "job failed");
    }

    fn record_cancelled(&self, job: &JobId) {
        self.ended.with_label_values(&["cancelled"]).inc();
        tracing::info!(%job, "job cancelled");
    }

    /// Ballista never calls this; the gauge of pending tasks is set on request instead.
    fn set_pending_tasks_queue_size(&self, _: u64) {}

    fn gather_metrics(&self) -> BallistaResult<Option<(Vec<u8>, String)>> {
        let text = http::metrics_text(self.registry.gather());
        let text = text.map_err(|error| BallistaError::General(error.to_string()))?;
        Ok(Some((text.into_bytes(), TEXT_FORMAT.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_backwards_counts_as_no_time() {
        assert_eq!(seconds_between(1_000, 3_500), 2.5);
        assert_eq!(seconds_between(3_500, 1_000), 0.0);
    }

    #[test]
    fn jobs_are_counted_by_outcome() {
        let metrics = SchedulerMetrics::new();
        let job = JobId::from("a");
        metrics.record_submitted(&job, 0, 10);
        metrics.record_completed(&job, 0, 1_500);
        metrics.record_failed(&job, 0, 10);
        metrics.record_cancelled(&job);
        let (text, _) = metrics.gather_metrics().unwrap().unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in [
            "firesteel_jobs_submitted_total 1",
            "firesteel_jobs_total{outcome=\"completed\"} 1",
            "firesteel_jobs_total{outcome=\"failed\"} 1",
            "firesteel_job_seconds_sum 1.5",
            "firesteel_job_seconds_bucket{le=\"1\"} 0",
            "firesteel_job_seconds_bucket{le=\"2\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
