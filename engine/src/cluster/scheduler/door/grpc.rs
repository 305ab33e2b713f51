//! Ballista's gRPC service behind the checks of who asks.
//!
//! | method | who may |
//! |---|---|
//! | `ExecuteQuery`, `ExecuteQueryPush` | a reader, or a writer where the plan writes; logical plans only |
//! | `GetJobStatus`, `GetJobMetrics`, `CancelJob`, `CleanJobData` | the owner of the job, an admin, a member |
//! | `CreateUpdateSession`, `RemoveSession` | a reader; a session of Ballista's lasts for one query |
//! | `RegisterExecutor`, `HeartBeatFromExecutor`, `UpdateTaskStatus`, `ExecutorStopped`, `PollWork` | a member |
//!
//! A physical plan is refused whoever sends it: it names files and their sizes as it likes, and no client needs it.
//! A heartbeat of an executor that is not registered is refused: Ballista would take it for a registration, and the tasks that
//! such an executor still has were given to others. Its answers tell executors the timeout that their
//! [lease](crate::lease) is made of.
//!
//! Ballista takes a registration apart without looking, so what it would panic at is refused here.

use std::sync::Arc;

use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::protobuf::{
    CancelJobParams, CancelJobResult, CleanJobDataParams, CleanJobDataResult, CreateUpdateSessionParams,
    CreateUpdateSessionResult, ExecuteQueryParams, ExecuteQueryResult, ExecutorRegistration,
    ExecutorStoppedParams, ExecutorStoppedResult, GetJobMetricsParams, GetJobMetricsResult,
    GetJobStatusParams, GetJobStatusResult, HeartBeatParams, HeartBeatResult, PollWorkParams, PollWorkResult,
    RegisterExecutorParams, RegisterExecutorResult, RemoveSessionParams, RemoveSessionResult,
    UpdateTaskStatusParams, UpdateTaskStatusResult,
};
use ballista_scheduler::cluster::ClusterState as _;
use datafusion_proto::logical_plan::AsLogicalPlan as _;
use datafusion_proto::protobuf::LogicalPlanNode;
use firesteel_common::access::{Caller, Role};
use tonic::{Request, Response, Status};

use super::owners::Owners;
use super::{Door, caller, invalid, plan};
use crate::cluster::scheduler::Server;
use crate::cluster::scheduler::reports::keep_usable;
use crate::lease::TIMEOUT_HEADER;
use crate::limits::check_plan;
use crate::plan::caught;

type Answer<T> = Result<Response<T>, Status>;

/// The door of gRPC.
#[derive(Clone)]
pub(in crate::cluster::scheduler) struct GrpcDoor(pub(super) Arc<Door>);

impl GrpcDoor {
    fn server(&self) -> &Server {
        &self.0.server
    }

    /// Checks that a member of the cluster asks.
    fn member<T>(request: &Request<T>) -> Result<(), Status> {
        Ok(caller(request)?.member()?)
    }

    /// The answer to an executor, which tells it the timeout.
    fn with_timeout<T>(&self, mut answer: Response<T>) -> Response<T> {
        let millis = u64::try_from(self.0.executors.timeout().as_millis()).unwrap_or(u64::MAX);
        answer.metadata_mut().insert(TIMEOUT_HEADER, millis.into());
        answer
    }

    /// Checks that whoever asks may see and end a job.
    fn owner<T>(&self, request: &Request<T>, job: &str) -> Result<(), Status> {
        Ok(self.0.owners.check(&caller(request)?, job)?)
    }

    /// Checks that whoever asks may run a query, and returns them.
    fn submitter(&self, request: &Request<ExecuteQueryParams>) -> Result<Caller, Status> {
        let caller = caller(request)?;
        caller.needs(Role::Reader)?;
        if let Some(Query::LogicalPlan(bytes)) = &request.get_ref().query {
            check_plan(bytes, self.0.connectors.limits()).map_err(|error| invalid(&error))?;
        }
        match &request.get_ref().query {
            // Decoded a second time for those alone whom the answer keeps from something.
            Some(Query::LogicalPlan(bytes)) if caller.needs(Role::Writer).is_err() => {
                caller.needs(self.role_of(bytes)?)?;
            }
            Some(Query::PhysicalPlan(_)) => {
                return Err(Status::permission_denied(
                    "physical plans are not taken from clients: send the logical plan, or SQL over Arrow Flight SQL",
                ));
            }
            // Ballista has the right words for the rest.
            _ => {}
        }
        Ok(caller)
    }

    fn role_of(&self, bytes: &[u8]) -> Result<Role, Status> {
        let codec = self.server().state.codec.logical_extension_codec();
        let decode = || {
            let node = LogicalPlanNode::try_decode(bytes)?;
            plan::role_of(&node.try_into_logical_plan(&self.0.decoding, codec)?)
        };
        caught::catch("the decoder of plans", decode)
            .map_err(|error| Status::invalid_argument(format!("the plan cannot be read: {error}")))
    }
}

/// Checks what Ballista takes for granted in a registration.
fn complete(registration: Option<&ExecutorRegistration>) -> Result<(), Status> {
    let Some(registration) = registration else { return Ok(()) };
    let ports = [registration.port, registration.grpc_port];
    let missing = match registration {
        _ if registration.specification.is_none() => "a specification",
        _ if registration.os_info.is_none() => "its operating system",
        _ if ports.iter().any(|port| u16::try_from(*port).is_err()) => "ports below 65536",
        _ => return Ok(()),
    };
    Err(Status::invalid_argument(format!("the registration of an executor has {missing}")))
}

#[tonic::async_trait]
impl SchedulerGrpc for GrpcDoor {
    type ExecuteQueryPushStream = <Server as SchedulerGrpc>::ExecuteQueryPushStream;

    async fn execute_query_push(
        &self,
        request: Request<ExecuteQueryParams>,
    ) -> Answer<Self::ExecuteQueryPushStream> {
        let caller = self.submitter(&request)?;
        caught::answer(Owners::submitting(&caller, self.server().execute_query_push(request))).await
    }

    async fn execute_query(&self, request: Request<ExecuteQueryParams>) -> Answer<ExecuteQueryResult> {
        let caller = self.submitter(&request)?;
        caught::answer(Owners::submitting(&caller, self.server().execute_query(request))).await
    }

    async fn get_job_status(&self, request: Request<GetJobStatusParams>) -> Answer<GetJobStatusResult> {
        self.owner(&request, &request.get_ref().job_id)?;
        self.server().get_job_status(request).await
    }

    async fn get_job_metrics(&self, request: Request<GetJobMetricsParams>) -> Answer<GetJobMetricsResult> {
        self.owner(&request, &request.get_ref().job_id)?;
        self.server().get_job_metrics(request).await
    }

    async fn cancel_job(&self, request: Request<CancelJobParams>) -> Answer<CancelJobResult> {
        self.owner(&request, &request.get_ref().job_id)?;
        SchedulerGrpc::cancel_job(self.server(), request).await
    }

    async fn clean_job_data(&self, request: Request<CleanJobDataParams>) -> Answer<CleanJobDataResult> {
        self.owner(&request, &request.get_ref().job_id)?;
        self.server().clean_job_data(request).await
    }

    async fn create_update_session(
        &self,
        request: Request<CreateUpdateSessionParams>,
    ) -> Answer<CreateUpdateSessionResult> {
        caller(&request)?.needs(Role::Reader)?;
        self.server().create_update_session(request).await
    }

    async fn remove_session(&self, request: Request<RemoveSessionParams>) -> Answer<RemoveSessionResult> {
        caller(&request)?.needs(Role::Reader)?;
        self.server().remove_session(request).await
    }

    async fn register_executor(
        &self,
        request: Request<RegisterExecutorParams>,
    ) -> Answer<RegisterExecutorResult> {
        Self::member(&request)?;
        complete(request.get_ref().metadata.as_ref())?;
        self.server().register_executor(request).await.map(|answer| self.with_timeout(answer))
    }

    async fn heart_beat_from_executor(&self, request: Request<HeartBeatParams>) -> Answer<HeartBeatResult> {
        Self::member(&request)?;
        complete(request.get_ref().metadata.as_ref())?;
        let executor = &request.get_ref().executor_id;
        if self.0.executors.get_executor_metadata(executor).await.is_err() {
            return Err(Status::failed_precondition(format!(
                "executor `{executor}` is not registered, or was given up: it has to register anew"
            )));
        }
        self.server().heart_beat_from_executor(request).await.map(|answer| self.with_timeout(answer))
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusParams>,
    ) -> Answer<UpdateTaskStatusResult> {
        Self::member(&request)?;
        let mut params = request.into_inner();
        let refused = keep_usable(self.server(), &params.executor_id, &mut params.task_status).await;
        if !params.task_status.is_empty() {
            SchedulerGrpc::update_task_status(self.server(), Request::new(params)).await?;
        }
        refused.map(|()| Response::new(UpdateTaskStatusResult { success: true }))
    }

    async fn executor_stopped(
        &self,
        request: Request<ExecutorStoppedParams>,
    ) -> Answer<ExecutorStoppedResult> {
        Self::member(&request)?;
        self.server().executor_stopped(request).await
    }

    async fn poll_work(&self, request: Request<PollWorkParams>) -> Answer<PollWorkResult> {
        Self::member(&request)?;
        complete(request.get_ref().metadata.as_ref())?;
        self.server().poll_work(request).await
    }
}
