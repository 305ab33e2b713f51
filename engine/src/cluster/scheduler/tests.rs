//! A scheduler without executors: what ends it, and what must not.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use ballista_core::serde::protobuf::UpdateTaskStatusParams;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::scheduler::{ExecutorData, ExecutorSpecification};
use ballista_scheduler::cluster::{ClusterState as _, JobState as _};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::overview::Overview;
use super::state::PANICKING;
use super::*;
use crate::Config;

async fn scheduler() -> Scheduler {
    let config = SchedulerConfig { bind_port: 0, ..SchedulerConfig::new(Config::default()) };
    let connectors = Arc::new(Connectors::new(&config.engine, Handle::current()));
    Scheduler::compose(&config, &connectors).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_whose_event_loop_has_ended_ends() {
    let scheduler = scheduler().await;
    let (server, executors) = (Arc::clone(&scheduler.parts.server), Arc::clone(&scheduler.parts.executors));
    let running = tokio::spawn(scheduler.run(CancellationToken::new()));
    let metadata = ExecutorMetadata {
        id: PANICKING.to_owned(),
        host: "localhost".to_owned(),
        port: 1,
        grpc_port: 2,
        specification: ExecutorSpecification::default().with_vcores(1),
        os_info: Identity::of(&Config::default()).to_os_info(),
    };
    let data = ExecutorData { executor_id: PANICKING.to_owned(), total_vcores: 1, available_vcores: 1 };
    executors.register_executor(metadata, data).await.unwrap();
    assert!(!running.is_finished());
    let report = UpdateTaskStatusParams { executor_id: PANICKING.to_owned(), task_status: Vec::new() };
    SchedulerGrpc::update_task_status(server.as_ref(), Request::new(report)).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await.expect("it ends").unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("its event loop has ended"), "{error}");
}

/// A table that cannot be planned.
#[derive(Debug)]
struct Panicking;

#[async_trait]
impl TableProvider for Panicking {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        panic!("no such partition")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_planning_panics_ends_with_a_reason() {
    let scheduler = scheduler().await;
    let (server, executors) = (Arc::clone(&scheduler.parts.server), Arc::clone(&scheduler.parts.executors));
    let jobs = Arc::clone(&scheduler.parts.jobs);
    let context = jobs.create_or_update_session("s", &jobs.produce_config()).await.unwrap();
    context.register_table("panicking", Arc::new(Panicking)).unwrap();
    let plan = context.state().create_logical_plan("SELECT n FROM panicking").await.unwrap();
    let job: JobId = server.submit_job("panics", context, &plan, None).await.unwrap();
    let failed = async {
        loop {
            let status = server.state.task_manager.get_job_status(&job).await.unwrap();
            if let Some(Status::Failed(failed)) = status.and_then(|status| status.status) {
                return failed.error;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reason = tokio::time::timeout(Duration::from_secs(20), failed).await.expect("it ends");
    assert!(reason.contains("the planner panicked: no such partition"), "{reason}");
    let jobs = Overview::take(&server, &executors).await.jobs;
    assert_eq!((jobs.queued, jobs.running), (0, 0));
}
