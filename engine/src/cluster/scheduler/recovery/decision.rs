//! Decides whether a job must be aborted, from a view of its stages. Pure: it changes nothing and calls nobody.

use std::collections::{HashMap, HashSet};

use ballista_core::serde::protobuf::task_status::Status;
use ballista_scheduler::state::execution_stage::{ExecutionStage, StageOutput};

/// What has happened to a job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// A task could not fetch its input. The stage that made the input would have to start again.
    InputLost,
    /// An executor was lost, with its tasks and with the output of those that had finished there.
    ExecutorLost(&'a str),
    /// Reports, or the loss of an executor, were applied to the stages.
    StagesChanged,
}

/// A task on an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task<'a> {
    pub(super) id: usize,
    pub(super) executor: &'a str,
}

/// Output of a task that a stage has been given to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Input<'a> {
    pub(super) stage: usize,
    pub(super) task: Task<'a>,
}

/// What the decision depends on in one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StageView<'a> {
    /// The stage's number in the job.
    pub(super) id: usize,
    /// Whether its tasks run or wait for an executor.
    pub(super) is_running: bool,
    /// Whether it reads no other stage.
    pub(super) is_leaf: bool,
    /// What it has been given to read; empty once it has finished or failed.
    pub(super) inputs: Vec<Input<'a>>,
    pub(super) running: Vec<Task<'a>>,
    pub(super) finished: Vec<Task<'a>>,
}

/// Returns the views of all stages of a job.
pub(super) fn views(stages: &HashMap<usize, ExecutionStage>) -> Vec<StageView<'_>> {
    stages.iter().map(|(id, stage)| StageView::new(*id, stage)).collect()
}

impl<'a> StageView<'a> {
    fn new(id: usize, stage: &'a ExecutionStage) -> Self {
        let inputs: Option<&HashMap<usize, StageOutput>> = match stage {
            ExecutionStage::UnResolved(stage) => Some(&stage.inputs),
            ExecutionStage::Resolved(stage) => Some(&stage.inputs),
            ExecutionStage::Running(stage) => Some(&stage.inputs),
            ExecutionStage::Successful(_) | ExecutionStage::Failed(_) => None,
        };
        let mut view = Self {
            id,
            is_running: matches!(stage, ExecutionStage::Running(_)),
            is_leaf: inputs.is_some_and(HashMap::is_empty),
            ..Self::default()
        };
        for (source, output) in inputs.into_iter().flatten() {
            view.inputs.extend(output.partition_locations.values().flatten().map(|location| {
                let task = Task { id: location.map_partition_id, executor: &location.executor_meta.id };
                Input { stage: *source, task }
            }));
        }
        for task in stage.task_infos().unwrap_or_default() {
            match &task.task_status {
                Status::Running(running) => {
                    view.running.push(Task { id: task.task_id, executor: &running.executor_id });
                }
                Status::Successful(finished) => {
                    view.finished.push(Task { id: task.task_id, executor: &finished.executor_id });
                }
                Status::Failed(_) => {}
            }
        }
        view
    }

    /// Returns whether the stage recovers by itself from the loss of an executor: a running leaf runs the lost tasks
    /// again, and any other stage must not have used the executor.
    fn survives_loss_of(&self, executor: &str) -> bool {
        let on_executor = |task: &Task<'_>| task.executor == executor;
        if !self.is_running {
            return !self.finished.iter().any(on_executor);
        }
        self.is_leaf
            || !(self.inputs.iter().any(|input| on_executor(&input.task))
                || self.running.iter().any(on_executor))
    }
}

/// Returns whether a job in this state must be aborted after `event`, because its result could be wrong.
pub(super) fn must_abort(event: Event<'_>, stages: &[StageView<'_>]) -> bool {
    match event {
        Event::InputLost => true,
        Event::ExecutorLost(executor) => !stages.iter().all(|stage| stage.survives_loss_of(executor)),
        Event::StagesChanged => has_partial_input(stages),
    }
}

/// Returns whether some stage would read output of a task that is not finished.
fn has_partial_input(stages: &[StageView<'_>]) -> bool {
    let finished: HashSet<(usize, usize)> =
        stages.iter().flat_map(|stage| stage.finished.iter().map(|task| (stage.id, task.id))).collect();
    let mut inputs = stages.iter().flat_map(|stage| &stage.inputs);
    inputs.any(|input| !finished.contains(&(input.stage, input.task.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: usize, executor: &str) -> Task<'_> {
        Task { id, executor }
    }

    /// A running stage 1 that reads nothing, with these tasks.
    fn leaf<'a>(running: &[Task<'a>], finished: &[Task<'a>]) -> StageView<'a> {
        StageView {
            id: 1,
            is_running: true,
            is_leaf: true,
            inputs: Vec::new(),
            running: running.to_vec(),
            finished: finished.to_vec(),
        }
    }

    /// A stage 1 that has finished, with these tasks.
    fn finished<'a>(tasks: &[Task<'a>]) -> StageView<'a> {
        StageView { is_running: false, is_leaf: false, ..leaf(&[], tasks) }
    }

    /// A stage 2 that has been given the output of these tasks of stage 1.
    fn reader<'a>(is_running: bool, inputs: &[Task<'a>], running: &[Task<'a>]) -> StageView<'a> {
        let inputs = inputs.iter().map(|task| Input { stage: 1, task: *task }).collect();
        StageView { id: 2, is_running, inputs, running: running.to_vec(), ..StageView::default() }
    }

    #[test]
    fn a_lost_input_always_aborts() {
        assert!(must_abort(Event::InputLost, &[leaf(&[], &[])]));
    }

    #[test]
    fn only_a_running_leaf_survives_the_loss_of_its_executor() {
        let on_a = [task(0, "a")];
        let on_b = [task(0, "b")];
        for (stages, expected, why) in [
            (vec![leaf(&on_a, &[])], false, "a leaf runs its task again"),
            (vec![leaf(&[], &on_a), reader(false, &on_a, &[])], false, "its output is taken back with it"),
            (vec![finished(&on_a)], true, "a finished stage would start again"),
            (vec![finished(&on_b)], false, "a finished stage on other executors"),
            (vec![finished(&on_b), reader(true, &on_b, &on_a)], true, "a task that reads others"),
            (vec![finished(&on_b), reader(true, &on_a, &on_b)], true, "an input on the executor"),
            (vec![finished(&on_b), reader(true, &on_b, &on_b)], false, "a reader on other executors"),
            (vec![], false, "no stage"),
        ] {
            assert_eq!(must_abort(Event::ExecutorLost("a"), &stages), expected, "{why}");
        }
    }

    #[test]
    fn output_of_a_task_that_is_not_finished_aborts() {
        let (first, second) = (task(0, "a"), task(1, "a"));
        for (stages, expected, why) in [
            (
                vec![leaf(&[second], &[first]), reader(false, &[first], &[])],
                false,
                "what is read is finished",
            ),
            (
                vec![leaf(&[second], &[first]), reader(false, &[first, second], &[])],
                true,
                "one task still runs",
            ),
            (
                vec![finished(&[first, second]), reader(true, &[first, second], &[])],
                false,
                "all are finished",
            ),
            (
                vec![finished(&[first]), reader(true, &[first, second], &[])],
                true,
                "the second run lacks one task",
            ),
            (vec![reader(true, &[first], &[])], true, "the stage is gone"),
            (vec![leaf(&[first], &[])], false, "nothing is read"),
        ] {
            assert_eq!(must_abort(Event::StagesChanged, &stages), expected, "{why}");
        }
    }
}
