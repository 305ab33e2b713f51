//! What executors report of their tasks, checked before the event loop sees it.
//!
//! The graph of a job refuses broken reports by itself, see [`super::recovery`]. The event loop acts on a report before
//! that: it gives the slots of the task back to the executor that reports. So the door takes out what cannot be true.

use ballista_core::JobId;
use ballista_core::serde::protobuf::TaskStatus;
use tonic::Status;

use super::Server;
use super::recovery::check;

/// Keeps the reports that the event loop may act on. The error says what is wrong with the others, if any of them is
/// broken; what is left is good all the same.
pub(super) async fn keep_usable(
    server: &Server,
    executor: &str,
    reports: &mut Vec<TaskStatus>,
) -> Result<(), Status> {
    let running = server.state.task_manager.get_running_job_cache();
    let (mut kept, mut refused) = (Vec::with_capacity(reports.len()), None);
    for report in reports.drain(..) {
        // A job that has ended may still get reports. Ballista ignores them.
        let Some(job) = running.get(&JobId::from(report.job_id.as_str())) else { continue };
        let graph = job.execution_graph.read().await;
        match check(graph.stages(), executor, &report) {
            Ok(()) => kept.push(report),
            Err(reason) if reason.is_broken() => {
                tracing::warn!(job = report.job_id, executor, %reason, "the report of a task is refused");
                let job = &report.job_id;
                refused.get_or_insert_with(|| {
                    Status::invalid_argument(format!("a report on job `{job}` is refused: {reason}"))
                });
            }
            Err(reason) => {
                tracing::debug!(job = report.job_id, executor, %reason, "the report of a task comes too late");
            }
        }
    }
    *reports = kept;
    refused.map_or(Ok(()), Err)
}
