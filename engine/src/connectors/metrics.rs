//! What scans count, and how it is read off a finished plan: the one place that knows the names of those metrics.
//!
//! A scan counts while it runs, in the metrics of its physical node. An executor adds the counts up once a task has ended.
//! Both ends use this module, so a scan cannot count under a name that nobody reads.

use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricValue};

/// The metric for the bytes that a scan received from its source. DataFusion's scans of files use the same name.
pub const BYTES_SCANNED: &str = "bytes_scanned";

/// Metrics of DataFusion's scans of files that say how long they read.
const SCAN_TIMES: [&str; 2] = ["scan_time", "time_elapsed_scanning_total"];

/// The counter for the bytes that `partition` of a scan receives from its source.
pub fn bytes_scanned(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Count {
    MetricBuilder::new(metrics).counter(BYTES_SCANNED, partition)
}

/// The totals of one physical node that read, over all of its partitions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ScanMetrics {
    /// Rows that came out.
    pub(crate) rows: u64,
    /// Bytes that came in; 0 where the source does not count them.
    pub(crate) bytes: u64,
    /// Time spent reading and decoding.
    pub(crate) time: Duration,
}

impl ScanMetrics {
    /// Reads the metrics of a node that has run.
    pub(crate) fn of(plan: &dyn ExecutionPlan) -> Self {
        let mut read = Self::default();
        let Some(metrics) = plan.metrics() else { return read };
        for metric in metrics.iter() {
            match metric.value() {
                MetricValue::OutputRows(rows) => read.rows += rows.value() as u64,
                MetricValue::ElapsedCompute(time) => read.time += Duration::from_nanos(time.value() as u64),
                MetricValue::Count { name, count } if name == BYTES_SCANNED => {
                    read.bytes += count.value() as u64;
                }
                MetricValue::Time { name, time } if SCAN_TIMES.contains(&name.as_ref()) => {
                    read.time += Duration::from_nanos(time.value() as u64);
                }
                _ => {}
            }
        }
        read
    }
}
