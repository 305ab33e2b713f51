//! What a cluster is doing: its executors, the jobs that run on it and how far their tasks are.
//!
//! ```text
//!  Session ── name of the job ──▶ scheduler ── execution graph ──▶ routes: GET /api/firesteel/activity
//!     └──────────── Watch: how far is it, cancel it ◀── client ◀──────┘
//! ```
//!
//! Ballista tells a client the id of its job with the first change of the job's state, which for a job of one stage is
//! its end, and tells it nothing about tasks. So every job of a session carries a name of its own, and the scheduler
//! answers by name. Embedded engines and clusters serve the same route beside their gRPC service.
//!
//! A task is counted as one partition of its stage, as in Spark. Ballista may run several partitions in one task; they
//! then finish together.

mod client;
mod routes;

use serde::{Deserialize, Serialize};

pub(crate) use client::JobClient;
pub use client::Watch;
pub(crate) use routes::routes;

/// How the names of all jobs of our sessions begin. Those of other clients have names of their own.
pub(crate) const NAME_PREFIX: &str = "firesteel/";

/// Where a scheduler tells its [`Activity`].
pub(crate) const ACTIVITY_PATH: &str = "/api/firesteel/activity";

/// What a cluster is doing at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The executors that are registered, sorted by host and port.
    pub executors: Vec<ExecutorInfo>,
    /// The jobs that are planned and not finished, the oldest first.
    pub jobs: Vec<Job>,
}

/// A process that runs tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorInfo {
    /// The name that it gave itself when it started.
    pub id: String,
    /// Where results are fetched from.
    pub host: String,
    /// Where results are fetched from.
    pub port: u16,
    /// How many partitions it works on at once.
    pub vcores: u32,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The scheduler's name for it.
    pub id: String,
    /// The name that the session gave it, which ends in the query's text where there is one.
    pub name: String,
    /// When it started, in milliseconds since 1970.
    pub started_at: u64,
    /// Its stages, in the order in which they run. An adaptive plan gains stages while it runs.
    pub stages: Vec<Stage>,
}

/// A part of a job that runs without exchanging rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its number in the job, from 1.
    pub id: usize,
    /// Whether it runs.
    pub state: StageState,
    /// How many tasks it has. None while that depends on a stage before it.
    pub tasks: Option<usize>,
    /// How many tasks have finished.
    pub done: usize,
    /// How many tasks are on an executor now.
    pub running: usize,
}

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// For the stages that it reads from.
    Waiting,
    /// Its tasks run, or wait for an executor.
    Running,
    /// All its tasks have finished.
    Done,
    /// It was given up.
    Failed,
}

/// How far a job is, in two lines' worth of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The first stage that has not finished, counted from 1.
    pub stage: usize,
    /// The stages that are known so far.
    pub stages: usize,
    /// Finished tasks of the stages that run now.
    pub done: usize,
    /// Tasks of the stages that run now.
    pub tasks: usize,
    /// Tasks on an executor.
    pub running: usize,
}

impl Job {
    /// How far it is.
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
