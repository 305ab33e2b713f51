//! `collect_timed`: collects a result and reports how long each phase of the job took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::physical_plan::{ExecutionPlan, collect};

use super::{Dataset, Rows};
use crate::Result;

/// How long each phase of a job took, measured by client and scheduler. The scheduler's figures are whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Optimizing and encoding the plan, in this process.
    pub planning: Duration,
    /// Planning the stages before the first task, on the scheduler. It includes asking MongoDB for the collection and
    /// its ranges.
    pub scheduling: Duration,
    /// Running the tasks on the executors, from the first task to the end of the last stage, scans included.
    pub execution: Duration,
    /// Sending the job to the scheduler, and waiting for its report that the job is done.
    pub messages: Duration,
    /// Fetching the rows from the executors.
    pub fetching: Duration,
    /// The whole time.
    pub total: Duration,
}

impl Timings {
    /// Combines what was measured in this process (`planning` and `total`) with what Ballista's client reports in
    /// milliseconds: the time in the scheduler's queue, of the execution, and until the job was known to be done.
    fn new(planning: Duration, total: Duration, [queue, execution, job]: [u64; 3]) -> Self {
        let [scheduling, execution, job] = [queue, execution, job].map(Duration::from_millis);
        Self {
            planning,
            scheduling,
            execution,
            messages: job.saturating_sub(scheduling + execution),
            fetching: total.saturating_sub(planning).saturating_sub(job),
            total,
        }
    }
}

impl Dataset {
    /// Collects as [`collect`](Self::collect) does, and also returns the [`Timings`].
    pub async fn collect_timed(self) -> Result<(Rows, Timings)> {
        let started = Instant::now();
        let schema = Arc::new(self.frame.schema().as_arrow().clone());
        let context = Arc::new(self.frame.task_ctx());
        let plan = self.frame.create_physical_plan().await?;
        let planning = started.elapsed();
        let batches = collect(Arc::clone(&plan), context).await?;
        let total = started.elapsed();
        let reported = ["job_scheduling_in_ms", "job_execution_time_ms", "total_query_time_ms"];
        let reported = reported.map(|name| metric(plan.as_ref(), name).unwrap_or_default());
        Ok((Rows::new(schema, batches), Timings::new(planning, total, reported)))
    }
}

/// Returns a metric of the plan node that represents the job.
fn metric(plan: &dyn ExecutionPlan, name: &str) -> Option<u64> {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name(name));
    let own = own.and_then(|value| u64::try_from(value.as_usize()).ok());
    own.or_else(|| plan.children().into_iter().find_map(|child| metric(child.as_ref(), name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_to_the_whole() {
        let ms = Duration::from_millis;
        let timings = Timings::new(ms(5), ms(100), [10, 50, 70]);
        let expected = Timings {
            planning: ms(5),
            scheduling: ms(10),
            execution: ms(50),
            messages: ms(10),
            fetching: ms(25),
            total: ms(100),
        };
        assert_eq!(timings, expected);
        // The scheduler's milliseconds are rounded, and may add up to more than the total.
        assert_eq!(Timings::new(ms(1), ms(4), [2, 2, 3]).messages, Duration::ZERO);
    }
}
