//! The graph of a job that loses executors, without a cluster: the tests start, report and lose its tasks one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use ballista_core::execution_plans::SortShuffleWriterExec;
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::task_status::Status;
use ballista_core::serde::protobuf::{
    FailedTask, FetchPartitionError, OperatorMetric, OperatorMetricsSet, RunningTask, ShuffleWritePartition,
    SuccessfulTask, TaskStatus,
};
use ballista_core::serde::scheduler::{
    ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification,
};
use ballista_scheduler::planner::DefaultDistributedPlanner;
use ballista_scheduler::scheduler_server::event::QueryStageSchedulerEvent;
use ballista_scheduler::state::execution_graph::{ExecutionGraph as _, StaticExecutionGraph};
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::{StageCommitGraph, check};

/// A job, and how often its abort was requested.
struct Job {
    graph: StageCommitGraph,
    aborts: Arc<AtomicUsize>,
}

/// A task that runs on an executor.
#[derive(Clone, Debug)]
struct Task {
    stage: usize,
    attempt: usize,
    number: usize,
    outputs: usize,
    executor: ExecutorMetadata,
}

fn executor(id: &str) -> ExecutorMetadata {
    ExecutorMetadata {
        id: id.to_owned(),
        host: "localhost".to_owned(),
        port: 1,
        grpc_port: 2,
        specification: ExecutorSpecification::default().with_vcores(2),
        os_info: ExecutorOperatingSystemSpecification::default(),
    }
}

impl Task {
    /// A report of this task.
    fn status(&self, status: Option<Status>) -> TaskStatus {
        TaskStatus {
            task_id: u32::try_from(self.number).unwrap(),
            job_id: "job".to_owned(),
            stage_id: u32::try_from(self.stage).unwrap(),
            stage_attempt_num: u32::try_from(self.attempt).unwrap(),
            launch_time: 0,
            start_exec_time: 0,
            end_exec_time: 0,
            metrics: Vec::new(),
            status,
        }
    }

    fn success(&self) -> Status {
        let partition = |partition| ShuffleWritePartition {
            partition_id: partition,
            num_batches: 1,
            num_rows: 1,
            num_bytes: 1,
            file_id: None,
            is_sort_shuffle: false,
        };
        Status::Successful(SuccessfulTask {
            executor_id: self.executor.id.clone(),
            partitions: (0..self.outputs as u64).map(partition).collect(),
            runtime_stats: Vec::new(),
            task_column_stats: Vec::new(),
            window_state: Vec::new(),
        })
    }
}

impl Job {
    /// Plans a job of two stages: four partitions are counted by key, and two merge the counts.
    async fn new() -> Self {
        let config = SessionConfig::new_with_ballista().with_target_partitions(2);
        let context = SessionContext::new_with_config(config.clone());
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false)]));
        let part = |n: i64| {
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![n, n + 1]))])
                .unwrap()
        };
        let parts = (0..4).map(|n| vec![part(n)]).collect();
        context.register_table("t", Arc::new(MemTable::try_new(schema, parts).unwrap())).unwrap();
        let frame = context.sql("SELECT k, count(*) FROM t GROUP BY k").await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let inner = StaticExecutionGraph::new(
            "scheduler",
            &"job".into(),
            "",
            "session",
            plan,
            0,
            Arc::new(config),
            &mut DefaultDistributedPlanner::new(),
            None,
        );
        let aborts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&aborts);
        let aborter = Arc::new(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let mut graph = StageCommitGraph::new(Box::new(inner.unwrap()), aborter);
        graph.revive();
        assert_eq!(graph.stage_count(), 2);
        Self { graph, aborts }
    }

    fn aborts(&self) -> usize {
        self.aborts.load(Ordering::SeqCst)
    }

    /// Starts the next task of a runnable stage on an executor.
    fn start(&mut self, executor: &ExecutorMetadata) -> Option<Task> {
        let stage = self.graph.fetch_running_stage(&[])?;
        let partitions = stage.pending.next_slice(1);
        assert_eq!(partitions.len(), 1, "a stage that can run has something to do");
        let number = stage.task_infos.len();
        stage.task_infos.push(TaskInfo {
            task_id: number,
            scheduled_time: 0,
            launch_time: 0,
            start_exec_time: 0,
            end_exec_time: 0,
            finish_time: 0,
            task_status: Status::Running(RunningTask { executor_id: executor.id.clone() }),
            global_input_partition_ids: partitions,
            vcores_consumed: 1,
        });
        let plan = stage.plan.as_ref();
        // Any other writer writes one output per input partition.
        let sorted = plan.downcast_ref::<SortShuffleWriterExec>();
        let outputs = sorted.map_or(1, |writer| writer.shuffle_output_partitioning().partition_count());
        let attempt = stage.stage_attempt_num;
        Some(Task { stage: stage.stage_id, attempt, number, outputs, executor: executor.clone() })
    }

    /// Reports the final status of a task.
    fn report(&mut self, task: &Task, status: Status) -> Vec<QueryStageSchedulerEvent> {
        self.send(&task.executor, vec![task.status(Some(status))])
    }

    fn send(
        &mut self,
        executor: &ExecutorMetadata,
        statuses: Vec<TaskStatus>,
    ) -> Vec<QueryStageSchedulerEvent> {
        let events = self.graph.update_task_status(executor, statuses, 4, 4).unwrap();
        self.graph.revive();
        events
    }

    fn succeed(&mut self, task: &Task) -> Vec<QueryStageSchedulerEvent> {
        let status = task.success();
        self.report(task, status)
    }

    fn lose(&mut self, executor: &ExecutorMetadata) {
        self.graph.reset_stages_on_lost_executor(&executor.id).unwrap();
        self.graph.revive();
    }

    /// Counts the outputs of the first stage that the second one has been given.
    fn inputs(&self) -> usize {
        let inputs = |stage: &ExecutionStage| match stage {
            ExecutionStage::UnResolved(stage) => Some(stage.inputs.clone()),
            ExecutionStage::Resolved(stage) => Some(stage.inputs.clone()),
            ExecutionStage::Running(stage) => Some(stage.inputs.clone()),
            ExecutionStage::Successful(_) | ExecutionStage::Failed(_) => None,
        };
        let inputs = self.graph.stages().values().filter_map(inputs).flatten();
        inputs.map(|(_, output)| output.partition_locations.values().map(Vec::len).sum::<usize>()).sum()
    }

    /// Runs all tasks of the first stage, on these executors in turn.
    fn finish_leaves(&mut self, on: &[&ExecutorMetadata]) {
        let tasks: Vec<Task> = (0..4).map(|n| self.start(on[n % on.len()]).unwrap()).collect();
        for task in &tasks {
            assert_eq!(task.stage, 1);
            self.succeed(task);
        }
    }
}

/// The failure of a task that cannot fetch what an executor has written.
fn lost_input(executor: &str) -> Status {
    let lost = FetchPartitionError { executor_id: executor.to_owned(), map_stage_id: 1, map_partition_id: 0 };
    Status::Failed(FailedTask {
        error: "fetch".to_owned(),
        retryable: false,
        count_to_failures: false,
        failed_reason: Some(FailedReason::FetchPartitionError(lost)),
    })
}

#[tokio::test]
async fn a_lost_executors_leaves_run_again_and_count_once() {
    let (mut job, a, b) = (Job::new().await, executor("a"), executor("b"));
    let done = job.start(&a).unwrap();
    let running = job.start(&a).unwrap();
    let other = job.start(&b).unwrap();
    job.succeed(&done);
    job.succeed(&other);
    job.lose(&a);
    assert_eq!(job.aborts(), 0, "leaves are recovered within the job");
    // The output of the lost executor does not count, and reports of its running tasks are ignored.
    let rest: Vec<Task> = std::iter::from_fn(|| job.start(&b).filter(|task| task.stage == 1)).collect();
    assert_eq!(rest.len(), 3, "one pending, one done and one running on the lost executor");
    job.succeed(&running);
    rest.iter().for_each(|task| drop(job.succeed(task)));
    assert_eq!(job.inputs(), 4 * done.outputs, "each task's output once");
    assert_eq!(job.aborts(), 0);
    for _ in 0..2 {
        let task = job.start(&b).unwrap();
        assert_eq!(task.stage, 2);
        job.succeed(&task);
    }
    assert!(job.graph.is_successful());
    assert_eq!(job.graph.output_locations().len(), 2);
}

#[tokio::test]
async fn a_stage_commits_its_results_as_a_whole() {
    let (mut job, a, b) = (Job::new().await, executor("a"), executor("b"));
    job.finish_leaves(&[&a, &b]);
    let (first, second) = (job.start(&a).unwrap(), job.start(&b).unwrap());
    assert!(job.succeed(&first).is_empty());
    assert!(job.graph.output_locations().is_empty(), "half a result is not committed");
    let running: Vec<usize> = job.graph.running_tasks().iter().map(|task| task.task_id).collect();
    assert_eq!(running, [second.number], "a task that has reported holds no slot");
    assert!(!job.succeed(&second).is_empty());
    assert!(job.graph.is_successful());
    assert_eq!((job.graph.output_locations().len(), job.aborts()), (2, 0));
}

#[tokio::test]
async fn a_job_is_aborted_when_a_finished_stage_is_lost() {
    let (mut job, a, b) = (Job::new().await, executor("a"), executor("b"));
    job.finish_leaves(&[&a, &b]);
    let task = job.start(&b).unwrap();
    job.lose(&a);
    assert_eq!(job.aborts(), 1, "the second stage reads what is gone");
    assert!(job.succeed(&task).is_empty(), "nothing that comes now may complete it");
    assert!(!job.graph.is_successful());
    assert!(job.graph.running_tasks().is_empty(), "no slot is held");
    job.lose(&b);
    assert_eq!(job.aborts(), 1, "requested once");
}

#[tokio::test]
async fn a_job_is_aborted_when_pending_results_are_lost() {
    let (mut job, a, b) = (Job::new().await, executor("a"), executor("b"));
    job.finish_leaves(&[&b]);
    let (first, second) = (job.start(&a).unwrap(), job.start(&b).unwrap());
    job.succeed(&first);
    job.lose(&a);
    assert_eq!(job.aborts(), 1, "half of the result is gone");
    job.succeed(&second);
    assert!(!job.graph.is_successful());
}

#[tokio::test]
async fn a_job_is_aborted_when_a_task_cannot_fetch_its_input() {
    let (mut job, a, b) = (Job::new().await, executor("a"), executor("b"));
    job.finish_leaves(&[&a, &b]);
    let task = job.start(&b).unwrap();
    assert!(job.report(&task, lost_input("a")).is_empty());
    assert_eq!(job.aborts(), 1);
}

#[tokio::test]
async fn the_loss_of_an_uninvolved_executor_changes_nothing() {
    let (mut job, a, b) = (Job::new().await, executor("a"), executor("b"));
    job.finish_leaves(&[&b]);
    let task = job.start(&b).unwrap();
    job.lose(&a);
    assert_eq!(job.aborts(), 0);
    let other = job.start(&b).unwrap();
    job.succeed(&task);
    job.succeed(&other);
    assert!(job.graph.is_successful());
}

/// Each of these would end Ballista's event loop, or be believed.
#[tokio::test]
async fn a_broken_report_is_refused_and_the_job_goes_on() {
    let (mut job, a, b) = (Job::new().await, executor("a"), executor("b"));
    let task = job.start(&a).unwrap();
    let running = |id: &str| Some(Status::Running(RunningTask { executor_id: id.to_owned() }));
    let good = task.status(Some(task.success()));
    let cases = [
        ("no status", &a, task.status(None)),
        (
            "a task that does not exist",
            &a,
            TaskStatus { task_id: 4_000_000_000, ..task.status(running("a")) },
        ),
        ("the next task", &a, TaskStatus { task_id: 1, ..good.clone() }),
        ("a stage that does not exist", &a, TaskStatus { stage_id: u32::MAX, ..good.clone() }),
        ("a later attempt", &a, TaskStatus { stage_attempt_num: 7, ..good.clone() }),
        ("another executor", &b, task.status(running("b"))),
        ("an executor that reports for another", &b, good.clone()),
        (
            "a later attempt of a stage that waits",
            &a,
            TaskStatus { stage_id: 2, stage_attempt_num: 1, ..task.status(Some(lost_input("a"))) },
        ),
    ];
    for (what, from, status) in cases {
        let refused = check(job.graph.stages(), &from.id, &status).unwrap_err();
        assert!(refused.is_broken(), "{what}: {refused}");
        assert!(job.send(from, vec![status]).is_empty(), "{what}");
        assert_eq!(job.graph.running_tasks().len(), 1, "{what}");
    }
    assert_eq!((job.aborts(), job.inputs()), (0, 0));
    // The good ones of a call count, beside a broken one.
    job.send(&a, vec![TaskStatus { task_id: 9, ..good.clone() }, good]);
    assert_eq!(job.inputs(), task.outputs);
}

#[tokio::test]
async fn a_task_that_is_reported_twice_counts_once() {
    let (mut job, a) = (Job::new().await, executor("a"));
    let task = job.start(&a).unwrap();
    let done = task.status(Some(task.success()));
    job.send(&a, vec![done.clone(), done.clone()]);
    job.send(&a, vec![done]);
    assert_eq!(job.inputs(), task.outputs);
    for task in std::iter::from_fn(|| job.start(&a).filter(|task| task.stage == 1)).collect::<Vec<_>>() {
        job.succeed(&task);
    }
    // The same while a report is pending.
    let (first, second) = (job.start(&a).unwrap(), job.start(&a).unwrap());
    let done = first.status(Some(first.success()));
    job.send(&a, vec![done.clone(), done.clone()]);
    job.send(&a, vec![done]);
    job.succeed(&second);
    assert!(job.graph.is_successful());
    assert_eq!(job.graph.output_locations().len(), 2);
}

#[tokio::test]
async fn a_graph_that_panics_ends_its_job_and_not_the_scheduler() {
    let (mut job, a) = (Job::new().await, executor("a"));
    let (first, second) = (job.start(&a).unwrap(), job.start(&a).unwrap());
    // What Ballista takes as an index when the task has ended.
    let stage = job.graph.fetch_running_stage(&[]).unwrap();
    stage.task_infos[first.number].global_input_partition_ids = vec![999];
    assert!(job.succeed(&first).is_empty());
    assert_eq!(job.aborts(), 1);
    assert!(job.succeed(&second).is_empty() && !job.graph.is_successful());
}

#[tokio::test]
async fn metrics_that_do_not_fit_lose_no_output() {
    let (mut job, a) = (Job::new().await, executor("a"));
    let counted = |sets: usize| vec![OperatorMetricsSet { metrics: Vec::new() }; sets];
    let unknown = OperatorMetricsSet { metrics: vec![OperatorMetric { metric: None, partition: None }] };
    for metrics in [counted(2), counted(1), vec![unknown.clone(), unknown]] {
        let task = job.start(&a).unwrap();
        job.send(&a, vec![TaskStatus { metrics, ..task.status(Some(task.success())) }]);
    }
    let last = job.start(&a).unwrap();
    job.succeed(&last);
    assert_eq!(job.inputs(), 4 * last.outputs, "each task's output once");
}
