//! Recovery of a job that loses executors, without counting a row twice or leaving one out.
//!
//! Ballista passes the output of each finished task on to the stages that read it. Suppose an executor is lost, and the
//! stage of that task has to start again because its own input is gone. The output that was passed on stays with the
//! readers, next to the output of the second run: half of a join is then counted twice. Two rules prevent that:
//!
//! * **A stage commits as a whole.** The output of a stage that reads other stages, or is the last, is passed on only
//!   when all its tasks have finished. Until then the reports of its tasks are pending, and they are dropped when the
//!   stage starts again.
//! * **Only leaf tasks are recovered within a job**: tasks of a running stage that reads no other stage. If a finished
//!   stage, or one that reads others, had to start again, the job is aborted with a reason: with one part of its input
//!   from the first run and another from the second, Ballista 55 has been seen to count rows twice and to leave rows
//!   out. The same holds if a stage has been given the output of a task that Ballista itself does not list as finished.
//!   A session then runs a query that only reads again: see [`Run`](crate::plan::Run).
//!
//! ```text
//!  task reports, lost executors ──▶ graph (pass-through) ──▶ commit (what is pending) ──▶ Ballista's graph
//!                                                               │ asks
//!                                                               ├▶ check (pure): can the report be true?
//!                                                               └▶ decision (pure): must the job be aborted?
//! ```

mod check;
mod commit;
mod decision;
mod graph;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ballista_core::JobId;

use crate::Error;

pub(super) use check::check;
pub(super) use graph::StageCommitGraph;

/// Aborts a job that must not go on, with the reason. It is called at most once for a job.
pub(super) type JobAborter = Arc<dyn Fn(JobId, Error) + Send + Sync>;
