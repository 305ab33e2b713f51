//! Sends plans to the scheduler, and fetches the results: what a session does that has a cluster.
//!
//! ```text
//!  plan ──▶ scheduler ──states of the job──▶ where the parts of the result lie ──▶ executors, or the scheduler for them
//!                                                                                  └▶ rows, in the order of the parts
//! ```
//!
//! Ballista's client opens a connection for the plan and one for each part of the result, one after the other, and closes them.
//! With TLS the handshakes alone were a fifth of a short query. Here the plan goes over the connection that the session has
//! anyway, and results over those of a pool, of which a few are asked ahead.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::root_as_message;
use arrow::record_batch::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, Ticket};
use async_trait::async_trait;
use ballista_core::ids::new_instance_id;
use ballista_core::planner::BallistaQueryPlanner;
use ballista_core::serde::protobuf::action::ActionType;
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::get_job_status_result::FlightProxy;
use ballista_core::serde::protobuf::{
    Action, ExecuteQueryParams, FetchPartition, KeyValuePair, PartitionLocation, ShuffleFileKind,
    ShuffleLayout, SuccessfulJob, job_status,
};
use datafusion::catalog::Session;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use datafusion::prelude::SessionConfig;
use datafusion_proto::logical_plan::{AsLogicalPlan as _, LogicalExtensionCodec};
use datafusion_proto::protobuf::LogicalPlanNode;
use firesteel_common::net::Dialer;
use futures::future;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use tonic::{Code, Status};

use crate::Error;
use crate::connectors::registry::Connectors;
use crate::error::decode;
use crate::jobs::JobClient;
use crate::limits::check_buffers;
use crate::peers::{Clients, authority, host_and_port, lost_connection, patient};
use crate::plan::codec;

/// How many parts of a result are asked for at once. The rows of the next one wait in the window of its connection.
const PARTS_AHEAD: usize = 2;

/// The ways to a cluster. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Submitter {
    jobs: JobClient,
    clients: Clients,
    codec: Arc<dyn LogicalExtensionCodec>,
}

impl Submitter {
    /// The ways to the scheduler of `jobs` and to its executors.
    pub(crate) fn new(jobs: JobClient, dialer: Dialer, connectors: &Arc<Connectors>) -> Self {
        Self { jobs, clients: Clients::new(dialer, patient), codec: codec::logical(connectors) }
    }

    /// Runs a query and returns its rows.
    async fn run(self, query: ExecuteQueryParams) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let (job, proxy) = self.finished(query).await?;
        let parts = job.partition_location.into_iter().map(move |part| {
            let (submitter, proxy) = (self.clone(), proxy.clone());
            // A task of its own: a connection has to get ready in time, however long the rows of the part before are read.
            async move {
                let rows = SpawnedTask::spawn(submitter.part(part, proxy)).join_unwind().await;
                rows.map_err(|error| DataFusionError::External(Box::new(error)))?
            }
        });
        Ok(stream::iter(parts).buffered(PARTS_AHEAD).try_flatten().boxed())
    }

    /// Submits a query and waits for its end.
    async fn finished(&self, query: ExecuteQueryParams) -> Result<(SuccessfulJob, Option<FlightProxy>)> {
        let failed = |status| refused(status, &format!("the scheduler at {}", self.jobs.address()));
        let mut states = self.jobs.submit(query).await.map_err(failed)?;
        while let Some(state) = states.message().await.map_err(failed)? {
            let Some(status) = state.status else { continue };
            match status.status {
                Some(job_status::Status::Failed(failure)) => {
                    let text = format!("Job {} failed: {}", status.job_id, failure.error);
                    return Err(DataFusionError::Execution(text));
                }
                Some(job_status::Status::Successful(job)) => return Ok((job, state.flight_proxy)),
                Some(job_status::Status::Queued(_) | job_status::Status::Running(_)) | None => {}
            }
        }
        Err(lost(format!("the scheduler at {} has ended the answer before the job", self.jobs.address())))
    }

    /// The rows of one part of a result.
    async fn part(
        self,
        part: PartitionLocation,
        proxy: Option<FlightProxy>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let layout = ShuffleLayout::from(part.layout());
        let (Some(id), Some(executor)) = (part.partition_id, part.executor_meta) else {
            return Err(DataFusionError::Internal("a part of a result that is nowhere".to_owned()));
        };
        let nowhere = |address: &str| DataFusionError::Internal(format!("results at `{address}`"));
        let elsewhere = |address: &str| host_and_port(address).ok_or_else(|| nowhere(address));
        let (host, port) = match proxy {
            Some(FlightProxy::External(address)) => elsewhere(&address)?,
            Some(FlightProxy::Local(true)) => elsewhere(self.jobs.address())?,
            Some(FlightProxy::Local(false)) | None => {
                let port = u16::try_from(executor.port).map_err(|_| nowhere(&executor.port.to_string()))?;
                (executor.host.clone(), port)
            }
        };
        let fetch = FetchPartition {
            job_id: id.job_id,
            stage_id: id.stage_id,
            partition_id: id.partition_id,
            host: executor.host,
            port: executor.port,
            file_id: part.file_id,
            layout: layout.into(),
            file_kind: ShuffleFileKind::Data.into(),
            byte_ranges: Vec::new(),
        };
        let action = Action { action_type: Some(ActionType::FetchPartition(fetch)), settings: Vec::new() };
        let ticket = Ticket { ticket: action.encode_to_vec().into() };
        let peer = authority(&host, port);
        // Whatever the reason, the part is not there: it may be made anew. But a batch that is too large is so the next time.
        let sent = self.clients.output(&host, port, ticket).await.map_err(|status| match status.code() {
            Code::OutOfRange => DataFusionError::Execution(status.message().to_owned()),
            _ => lost(format!("no result from {peer}: {}", status.message())),
        })?;
        let sent = sent.map_err(|status| FlightError::Tonic(Box::new(status)));
        let sent = sent.and_then(|data| future::ready(checked(data)));
        let rows = FlightRecordBatchStream::new_from_flight_data(sent).map_err(move |error| match error {
            FlightError::Tonic(status) => refused(*status, &peer),
            other => DataFusionError::External(Box::new(other)),
        });
        Ok(rows.boxed())
    }
}

/// Checks rows before Arrow's reader sees them.
fn checked(data: FlightData) -> Result<FlightData, FlightError> {
    // What cannot be read is the reader's to tell.
    if let Ok(message) = root_as_message(&data.data_header) {
        check_buffers(message, &data.data_body)?;
    }
    Ok(data)
}

/// The error that a status of `peer` is.
fn refused(status: Status, peer: &str) -> DataFusionError {
    if let Some(words) = lost_connection(&status) {
        return lost(format!("{peer}: {words}"));
    }
    let error = match (decode(status.message()), status.code()) {
        (Some(ours), _) => ours,
        (None, Code::Unauthenticated | Code::PermissionDenied) => {
            Error::Refused { role: "the scheduler", message: status.message().to_owned() }
        }
        (None, _) => return DataFusionError::Execution(status.message().to_owned()),
    };
    error.into()
}

fn lost(message: String) -> DataFusionError {
    Error::LostWork { message }.into()
}

/// Plans a session's queries: nearly all are sent to the scheduler as they are.
#[derive(Debug)]
pub(super) struct SubmittingPlanner {
    /// Plans what is not: the session's own tables of its catalog, and `EXPLAIN ANALYZE`, which asks for figures of a job.
    pub(super) ballista: BallistaQueryPlanner<LogicalPlanNode>,
    pub(super) submitter: Submitter,
}

#[async_trait]
impl QueryPlanner for SubmittingPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planned = self.ballista.create_physical_plan(plan, session).await?;
        if planned.name() != "DistributedQueryExec" {
            return Ok(planned);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(planned.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(SubmittedQuery {
            submitter: self.submitter.clone(),
            plan: plan.clone(),
            session: session.session_id().to_owned(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

/// A query that runs on the cluster.
#[derive(Debug)]
struct SubmittedQuery {
    submitter: Submitter,
    plan: LogicalPlan,
    session: String,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SubmittedQuery {
    fn message(&self, config: &SessionConfig) -> Result<ExecuteQueryParams> {
        let node = LogicalPlanNode::try_from_logical_plan(&self.plan, self.submitter.codec.as_ref())?;
        let entries = config.options().entries();
        let settings = entries.into_iter().map(|entry| KeyValuePair { key: entry.key, value: entry.value });
        Ok(ExecuteQueryParams {
            query: Some(Query::LogicalPlan(node.encode_to_vec())),
            settings: settings.collect(),
            session_id: self.session.clone(),
            operation_id: new_instance_id(),
        })
    }
}

impl DisplayAs for SubmittedQuery {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmittedQuery: scheduler={}", self.submitter.jobs.address())?;
        match format {
            DisplayFormatType::TreeRender => Ok(()),
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "\n{}", self.plan.display_indent())
            }
        }
    }
}

impl ExecutionPlan for SubmittedQuery {
    fn name(&self) -> &str {
        "SubmittedQuery"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.properties.eq_properties.schema())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let query = self.message(context.session_config())?;
        let rows = MetricBuilder::new(&self.metrics).output_rows(partition);
        let stream = stream::once(self.submitter.clone().run(query)).try_flatten();
        let stream = stream.inspect_ok(move |batch| rows.add(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
