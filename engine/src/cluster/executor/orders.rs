//! The gRPC service by which the scheduler orders tasks from an executor.
//!
//! ```text
//!  scheduler ──LaunchMultiTask──▶ Orders ──▶ task runtime ──▶ statuses ──▶ Reporter ──UpdateTaskStatus──▶ scheduler
//! ```
//!
//! Ballista's own service binds its port without TLS, reports to whatever scheduler an order names, and keeps its drain in a
//! static of the process. This one reports to the scheduler that its registration belongs to and to no other, checks every
//! id that becomes a part of a path, and reports a task that panics as failed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ballista_core::error::BallistaError;
use ballista_core::serde::BallistaCodec;
use ballista_core::serde::protobuf::executor_grpc_server::ExecutorGrpc;
use ballista_core::serde::protobuf::{
    CancelTasksParams, CancelTasksResult, FailedTask, LaunchMultiTaskParams, LaunchMultiTaskResult,
    LaunchTaskParams, LaunchTaskResult, MultiTaskDefinition, OperatorMetricsSet, RemoveJobDataParams,
    RemoveJobDataResult, StopExecutorParams, StopExecutorResult, SuccessfulTask, TaskStatus, task_status,
};
use ballista_core::serde::scheduler::from_proto::get_task_definition_vec;
use ballista_core::serde::scheduler::{TaskDefinition, TaskKey};
use ballista_executor::execution_engine::ExecutionEngine;
use ballista_executor::executor::Executor as BallistaExecutor;
use datafusion::execution::TaskContext;
use futures::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::shuffles::check_job_id;
use crate::plan::caught::words;

/// The service. Clones share everything.
#[derive(Clone)]
pub(super) struct Orders(Arc<Inner>);

struct Inner {
    executor: Arc<BallistaExecutor>,
    engine: Arc<dyn ExecutionEngine>,
    codec: BallistaCodec,
    /// Where tasks run.
    runtime: Handle,
    /// The folder of shuffle files, by job.
    jobs: PathBuf,
    statuses: mpsc::UnboundedSender<TaskStatus>,
    /// Cancelled once the scheduler has removed the executor.
    removed: CancellationToken,
}

impl Orders {
    pub(super) fn new(
        executor: Arc<BallistaExecutor>,
        engine: Arc<dyn ExecutionEngine>,
        codec: BallistaCodec,
        runtime: Handle,
        jobs: PathBuf,
        statuses: mpsc::UnboundedSender<TaskStatus>,
        removed: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner { executor, engine, codec, runtime, jobs, statuses, removed }))
    }

    /// Decodes the tasks of a stage. An error is the plan's, and so is a panic of the decoder.
    fn decode(&self, order: MultiTaskDefinition) -> Result<Vec<TaskDefinition>, BallistaError> {
        let executor = &self.0.executor;
        let functions = &executor.function_registry;
        let decode = || {
            get_task_definition_vec(
                order,
                Arc::clone(&executor.runtime_producer),
                executor.produce_config(),
                functions.scalar_functions.clone(),
                functions.aggregate_functions.clone(),
                functions.window_functions.clone(),
                functions.higher_order_functions.clone(),
                self.0.codec.clone(),
            )
        };
        catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
            Err(BallistaError::Internal(format!("the decoder panicked: {}", words(panic.as_ref()))))
        })
    }

    /// Runs a task on the runtime of tasks, and hands its end to the reporter.
    fn start(&self, task: TaskDefinition) {
        let inner = Arc::clone(&self.0);
        self.0.runtime.spawn(async move {
            let status = inner.run(task).await;
            // Nobody listens any more once the registration is over.
            let _ = inner.statuses.send(status);
        });
    }
}

impl Inner {
    async fn run(&self, task: TaskDefinition) -> TaskStatus {
        let key = TaskKey { job_id: task.job_id.clone(), stage_id: task.stage_id, task_id: task.task_id };
        let mut status = TaskStatus {
            task_id: narrow(task.task_id),
            job_id: task.job_id.to_string(),
            stage_id: narrow(task.stage_id),
            stage_attempt_num: narrow(task.stage_attempt_num),
            launch_time: task.launch_time,
            start_exec_time: now(),
            end_exec_time: 0,
            metrics: Vec::new(),
            status: None,
        };
        tracing::debug!(job = %key.job_id, stage = key.stage_id, task = key.task_id, "a task starts");
        let ended = AssertUnwindSafe(self.execute(key.clone(), task)).catch_unwind().await;
        let ended = ended.unwrap_or_else(|panic| {
            Err(BallistaError::Internal(format!("a task panicked: {}", words(panic.as_ref()))))
        });
        status.end_exec_time = now();
        status.status = Some(match ended {
            Ok((successful, metrics)) => {
                status.metrics = metrics;
                task_status::Status::Successful(successful)
            }
            Err(error) => {
                tracing::info!(job = %key.job_id, stage = key.stage_id, task = key.task_id, %error, "a task failed");
                task_status::Status::Failed(FailedTask::from(error))
            }
        });
        status
    }

    async fn execute(
        &self,
        key: TaskKey,
        task: TaskDefinition,
    ) -> Result<(SuccessfulTask, Vec<OperatorMetricsSet>), BallistaError> {
        let executor = &self.executor;
        let stage = self.engine.create_query_stage_exec(
            key.job_id.clone(),
            key.stage_id,
            key.task_id,
            task.global_output_partition_ids,
            task.plan,
            &executor.work_dir,
            &task.session_config,
        )?;
        let runtime = executor.produce_runtime_for_session(
            &task.session_id,
            &task.session_config,
            task.vcores_consumed,
        )?;
        let name = format!(
            "TID {}/{}.{}/{}.{}",
            key.job_id, key.stage_id, task.stage_attempt_num, key.task_id, task.task_attempt_num
        );
        let functions = &task.function_registry;
        let context = TaskContext::new(
            Some(name),
            task.session_id,
            task.session_config,
            functions.scalar_functions.clone(),
            functions.higher_order_functions.clone(),
            functions.aggregate_functions.clone(),
            functions.window_functions.clone(),
            runtime,
        );
        let partitions = executor.execute_query_stage(key, Arc::clone(&stage), Arc::new(context)).await?;
        let metrics: Result<Vec<OperatorMetricsSet>, BallistaError> =
            stage.collect_plan_metrics().into_iter().map(TryInto::try_into).collect();
        let successful = SuccessfulTask {
            executor_id: executor.metadata.id.clone(),
            partitions,
            runtime_stats: stage.collect_runtime_stats_reports(),
            task_column_stats: stage.collect_column_stats(),
            // The next stage merges it, so without it the answer would be wrong.
            window_state: stage.collect_window_state_reports()?,
        };
        Ok((successful, metrics.unwrap_or_default()))
    }

    /// Removes the files of a job, or those of some of its stages. There may be none.
    async fn remove(&self, job: &str, stages: &[u32]) -> io::Result<()> {
        let job = self.jobs.join(job);
        let folders = match stages {
            [] => vec![job],
            stages => stages.iter().map(|stage| job.join(stage.to_string())).collect(),
        };
        for folder in folders {
            match tokio::fs::remove_dir_all(&folder).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// A number that came as one of 32 bits.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[tonic::async_trait]
impl ExecutorGrpc for Orders {
    async fn launch_task(&self, _: Request<LaunchTaskParams>) -> Result<Response<LaunchTaskResult>, Status> {
        Err(Status::unimplemented("tasks are ordered by LaunchMultiTask"))
    }

    async fn launch_multi_task(
        &self,
        request: Request<LaunchMultiTaskParams>,
    ) -> Result<Response<LaunchMultiTaskResult>, Status> {
        // The scheduler that the order names is not looked at: statuses go to the one that this executor belongs to.
        let orders = request.into_inner().multi_tasks;
        for order in &orders {
            check_job_id(&order.job_id)?;
        }
        let mut failed_jobs = Vec::new();
        for order in orders {
            let job = order.job_id.clone();
            match self.decode(order) {
                Ok(tasks) => tasks.into_iter().for_each(|task| self.start(task)),
                Err(error) => {
                    tracing::error!(job, %error, "cannot decode the tasks of a job");
                    if !failed_jobs.contains(&job) {
                        failed_jobs.push(job);
                    }
                }
            }
        }
        Ok(Response::new(LaunchMultiTaskResult { failed_jobs }))
    }

    async fn stop_executor(
        &self,
        request: Request<StopExecutorParams>,
    ) -> Result<Response<StopExecutorResult>, Status> {
        let StopExecutorParams { executor_id, reason, force } = request.into_inner();
        if executor_id == self.0.executor.metadata.id {
            tracing::info!(reason, force, "the scheduler stops this executor");
            self.0.removed.cancel();
        } else {
            tracing::warn!(executor_id, "an order to stop is for another executor");
        }
        Ok(Response::new(StopExecutorResult {}))
    }

    async fn cancel_tasks(
        &self,
        request: Request<CancelTasksParams>,
    ) -> Result<Response<CancelTasksResult>, Status> {
        let mut cancelled = true;
        for task in request.into_inner().task_infos {
            tracing::debug!(
                job = task.job_id,
                stage = task.stage_id,
                task = task.task_id,
                "cancelling a task"
            );
            let (stage, number) = (task.stage_id as usize, task.task_id as usize);
            if let Err(error) = self.0.executor.cancel_task(task.job_id.into(), stage, number).await {
                tracing::warn!(%error, "cannot cancel a task");
                cancelled = false;
            }
        }
        Ok(Response::new(CancelTasksResult { cancelled }))
    }

    async fn remove_job_data(
        &self,
        request: Request<RemoveJobDataParams>,
    ) -> Result<Response<RemoveJobDataResult>, Status> {
        let RemoveJobDataParams { job_id, remove_stage_ids } = request.into_inner();
        check_job_id(&job_id)?;
        match self.0.remove(&job_id, &remove_stage_ids).await {
            Ok(()) => Ok(Response::new(RemoveJobDataResult {})),
            Err(error) => Err(Status::internal(format!("cannot remove the files of job {job_id}: {error}"))),
        }
    }
}
