//! The metrics of an executor. Their names start with `firesteel_`; their help texts say what they count.
//!
//! DataFusion counts what scans read in the nodes of the plan, so the counters of a task are added up when it has
//! ended.

use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use firesteel_common::metrics::{self, counters, histogram, registered, sums};
use prometheus::{CounterVec, Histogram, IntCounterVec, IntGauge, Registry};

use crate::connectors::connector::{Connector, ScanNode};
use crate::connectors::metrics::ScanMetrics;
use crate::connectors::registry::Connectors;

/// Upper bounds of the buckets of task times, in seconds.
const TASK_SECONDS: [f64; 10] = [0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0];

/// What DataFusion's own scans read from.
const FILES: &str = "files";

/// The metrics of one executor process.
#[derive(Debug)]
pub(super) struct ExecutorMetrics {
    pub(super) registry: Registry,
    /// The nodes of connectors that read from outside.
    scans: Vec<ScanNode>,
    running: IntGauge,
    tasks: IntCounterVec,
    task_seconds: Histogram,
    rows: IntCounterVec,
    bytes: IntCounterVec,
    partitions: IntCounterVec,
    seconds: CounterVec,
    memory_used: IntGauge,
    memory_limit: IntGauge,
    slots: IntGauge,
    connected: IntGauge,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskOutcome {
    Completed,
    Failed,
    Cancelled,
}

impl TaskOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl ExecutorMetrics {
    pub(super) fn new(connectors: &Connectors) -> Self {
        let registry = Registry::new();
        let gauge = |name, help| registered(&registry, metrics::gauge(name, help));
        let of_source = |name, help| registered(&registry, counters(name, help, &["source"]));
        let times = histogram("firesteel_task_seconds", "Time of tasks that ran to their end", &TASK_SECONDS);
        let tasks = counters("firesteel_tasks_total", "Tasks that ended, by outcome", &["outcome"]);
        let seconds =
            sums("firesteel_scan_seconds_total", "Time that scans spent reading and decoding", &["source"]);
        let metrics = Self {
            scans: connectors.iter().flat_map(Connector::scans).copied().collect(),
            running: gauge("firesteel_running_tasks", "Tasks that run"),
            tasks: registered(&registry, tasks),
            task_seconds: registered(&registry, times),
            rows: of_source("firesteel_scan_rows_total", "Rows that scans read"),
            bytes: of_source(
                "firesteel_scan_bytes_total",
                "Bytes that scans read, where their source counts them",
            ),
            partitions: of_source("firesteel_scan_partitions_total", "Partitions that scans read"),
            seconds: registered(&registry, seconds),
            memory_used: gauge("firesteel_memory_pool_used_bytes", "Memory that tasks have reserved"),
            memory_limit: gauge(
                "firesteel_memory_pool_limit_bytes",
                "Memory that tasks may reserve; 0 = no limit",
            ),
            slots: gauge("firesteel_slots", "Tasks that can run at once"),
            connected: gauge("firesteel_scheduler_connected", "1 when the last heartbeat was answered"),
            registry,
        };
        for outcome in [TaskOutcome::Completed, TaskOutcome::Failed, TaskOutcome::Cancelled] {
            metrics.tasks.with_label_values(&[outcome.label()]);
        }
        for source in metrics.scans.iter().map(|scan| scan.label).chain([FILES]) {
            for counters in [&metrics.rows, &metrics.bytes, &metrics.partitions] {
                counters.with_label_values(&[source]);
            }
            metrics.seconds.with_label_values(&[source]);
        }
        metrics
    }

    pub(super) fn task_started(&self) {
        self.running.inc();
    }

    pub(super) fn task_ended(&self, outcome: TaskOutcome, took: Duration, plan: &Arc<dyn ExecutionPlan>) {
        self.running.dec();
        self.tasks.with_label_values(&[outcome.label()]).inc();
        if outcome == TaskOutcome::Completed {
            self.task_seconds.observe(took.as_secs_f64());
        }
        self.count_scans(plan);
    }

    /// Returns the number of running tasks.
    pub(super) fn running(&self) -> i64 {
        self.running.get()
    }

    /// Sets the gauges that are read only when the metrics are requested.
    pub(super) fn update_gauges(
        &self,
        pool: &dyn MemoryPool,
        limit: Option<usize>,
        slots: usize,
        connected: bool,
    ) {
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.memory_used.set(whole(pool.reserved()));
        self.memory_limit.set(whole(limit.unwrap_or(0)));
        self.slots.set(whole(slots));
        self.connected.set(i64::from(connected));
    }

    fn count_scans(&self, plan: &Arc<dyn ExecutionPlan>) {
        if let Some(source) = self.source_of(plan) {
            let read = ScanMetrics::of(plan.as_ref());
            self.rows.with_label_values(&[source]).inc_by(read.rows);
            self.bytes.with_label_values(&[source]).inc_by(read.bytes);
            self.seconds.with_label_values(&[source]).inc_by(read.time.as_secs_f64());
            let partitions = plan.output_partitioning().partition_count();
            self.partitions.with_label_values(&[source]).inc_by(partitions as u64);
            // Below one of our scans is only the list of what it reads.
            return;
        }
        for child in plan.children() {
            self.count_scans(child);
        }
    }

    /// What a node reads from, if it reads from outside.
    fn source_of(&self, plan: &Arc<dyn ExecutionPlan>) -> Option<&'static str> {
        let files = |node: &DataSourceExec| node.data_source().downcast_ref::<FileScanConfig>().is_some();
        if plan.downcast_ref::<DataSourceExec>().is_some_and(files) {
            return Some(FILES);
        }
        self.scans.iter().find(|scan| scan.name == plan.name()).map(|scan| scan.label)
    }
}
