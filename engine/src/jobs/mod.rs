//! The activity of a cluster: its executors, and its running jobs with the progress of their tasks.
//!
//! ```text
//!  Session ── name of the job ──▶ scheduler ── execution graph ──▶ routes: GET /api/firesteel/activity
//!     └──────────────── Watch: progress, cancel ◀── client ◀──────────┘
//! ```
//!
//! A client learns the id of its job with the first change of the job's state, which for a job of one stage is
//! its end, and learns nothing about tasks. So every job of a session has a unique name, and the scheduler answers by
//! name. Embedded engines and clusters serve the same route beside their gRPC service.
//!
//! One partition of a stage counts as one task, as in Spark. Ballista may run several partitions in one task; they then
//! finish together.

mod client;
mod routes;

use serde::{Deserialize, Serialize};

pub(crate) use client::JobClient;
pub use client::Watch;
pub(crate) use routes::routes;

/// The prefix of the names of all jobs of our sessions. Jobs of other clients have names of their own.
pub(crate) const NAME_PREFIX: &str = "firesteel/";

/// The route of a scheduler that returns its [`Activity`].
pub(crate) const ACTIVITY_PATH: &str = "/api/firesteel/activity";

/// The executors and the running jobs of a cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The registered executors, sorted by host and port.
    pub executors: Vec<ExecutorInfo>,
    /// The jobs that have been planned and have not finished, the oldest first.
    pub jobs: Vec<Job>,
}

/// A process that runs tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorInfo {
    /// The id under which it has registered.
    pub id: String,
    /// The host from which results are fetched.
    pub host: String,
    /// The Arrow Flight port from which results are fetched.
    pub port: u16,
    /// The number of partitions that it processes at once.
    pub vcores: u32,
}

/// A running job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The id that the scheduler gave it.
    pub id: String,
    /// The name that the session gave it, which ends with the text of the query if there is one.
    pub name: String,
    /// The start time in milliseconds since 1970.
    pub started_at: u64,
    /// The stages, in the order in which they run. An adaptive plan gains stages while it runs.
    pub stages: Vec<Stage>,
}

/// A part of a job within which no rows are shuffled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The number of the stage in the job, from 1.
    pub id: usize,
    /// The state of the stage.
    pub state: StageState,
    /// The number of tasks; `None` while it depends on an earlier stage.
    pub tasks: Option<usize>,
    /// The number of finished tasks.
    pub done: usize,
    /// The number of tasks that are on an executor now.
    pub running: usize,
}

/// The state of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// The stage waits for the stages that it reads.
    Waiting,
    /// The tasks run, or wait for an executor.
    Running,
    /// All tasks have finished.
    Done,
    /// The stage has failed.
    Failed,
}

/// The progress of a job, summed over its stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The position of the first stage that has not finished, from 1.
    pub stage: usize,
    /// The number of stages that are known so far.
    pub stages: usize,
    /// The number of finished tasks of the running stages.
    pub done: usize,
    /// The number of tasks of the running stages.
    pub tasks: usize,
    /// The number of tasks that are on an executor now.
    pub running: usize,
}

impl Job {
    /// Returns the progress of the job.
    pub fn progress(&self) -> Progress {
        let finished = self.stages.iter().filter(|stage| stage.state == StageState::Done).count();
        let active = || self.stages.iter().filter(|stage| stage.state == StageState::Running);
        Progress {
            stage: (finished + 1).min(self.stages.len()),
            stages: self.stages.len(),
            done: active().map(|stage| stage.done).sum(),
            tasks: active().filter_map(|stage| stage.tasks).sum(),
            running: active().map(|stage| stage.running).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(id: usize, state: StageState, tasks: Option<usize>, done: usize, running: usize) -> Stage {
        Stage { id, state, tasks, done, running }
    }

    #[test]
    fn progress_counts_the_tasks_of_the_stages_that_run() {
        use StageState::{Done, Running, Waiting};
        let progress = |stage, stages, done, tasks, running| Progress { stage, stages, done, tasks, running };
        let cases = [
            (vec![], progress(0, 0, 0, 0, 0)),
            (vec![stage(1, Waiting, None, 0, 0)], progress(1, 1, 0, 0, 0)),
            (vec![stage(1, Running, Some(8), 3, 2), stage(2, Waiting, None, 0, 0)], progress(1, 2, 3, 8, 2)),
            (
                vec![
                    stage(1, Running, Some(8), 3, 2),
                    stage(2, Running, Some(4), 1, 1),
                    stage(3, Waiting, None, 0, 0),
                ],
                progress(1, 3, 4, 12, 3),
            ),
            (vec![stage(1, Done, Some(8), 8, 0), stage(2, Running, Some(2), 0, 2)], progress(2, 2, 0, 2, 2)),
            (vec![stage(1, Done, Some(8), 8, 0)], progress(1, 1, 0, 0, 0)),
        ];
        for (stages, expected) in cases {
            let job = Job { id: "j".into(), name: String::new(), started_at: 0, stages };
            assert_eq!(job.progress(), expected, "{job:?}");
        }
    }

    #[test]
    fn the_wire_format_is_what_its_readers_expect() {
        let job = Job {
            id: "j".into(),
            name: "n".into(),
            started_at: 7,
            stages: vec![stage(1, StageState::Running, Some(8), 3, 2)],
        };
        let activity = Activity { executors: Vec::new(), jobs: vec![job] };
        let text = serde_json::to_string(&activity).unwrap();
        let expected = r#"{"executors":[],"jobs":[{"id":"j","name":"n","started_at":7,"stages":[{"id":1,"state":"running","tasks":8,"done":3,"running":2}]}]}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Activity>(expected).unwrap(), activity);
    }
}
