//! The node of a plan that reads a shuffle: what earlier stages have written, here and on other executors.
//!
//! ```text
//!  files of this executor ───────▶ Ballista's reader ─┐
//!                                                     ├─▶ batches of the usual size
//!  files of others ─▶ remote ─▶ decode (every check) ─┘
//! ```
//!
//! Ballista's node decodes what other executors send without Arrow's checks, by a feature of a crate that cannot be left out.
//! So this node takes its place in every plan: files that lie here, which this process has written, are read by Ballista's;
//! everything that comes over the network is fetched and checked by this module.

mod decode;
mod remote;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::serde::scheduler::PartitionLocation;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coalesce::LimitedBatchCoalescer;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

pub(crate) use self::decode::decoded;
use super::shuffles::check_job_id;
use crate::peers::Clients;

/// Puts a [`CheckedReader`] in the place of each of Ballista's readers.
pub(super) fn with_checked_readers(
    plan: Arc<dyn ExecutionPlan>,
    work_dir: &str,
    clients: &Clients,
) -> Result<Arc<dyn ExecutionPlan>> {
    let replaced = plan.transform(|node| {
        if let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() {
            for location in reader.partition.iter().flatten() {
                // It becomes a part of a path.
                check_job_id(location.partition_id.job_id.as_str())
                    .map_err(|status| DataFusionError::Plan(status.message().to_owned()))?;
            }
            let reader =
                CheckedReader::new(reader.with_work_dir(work_dir.to_owned()), work_dir, clients.clone());
            return Ok(Transformed::yes(Arc::new(reader) as Arc<dyn ExecutionPlan>));
        }
        if node.downcast_ref::<RangeShuffleReaderExec>().is_some() {
            // Only the adaptive planner makes one, which the scheduler does not use.
            return Err(DataFusionError::NotImplemented("shuffles by range".to_owned()));
        }
        Ok(Transformed::no(node))
    });
    Ok(replaced?.data)
}

/// Reads a shuffle, and checks what comes from other executors.
#[derive(Debug)]
struct CheckedReader {
    /// Ballista's node, which reads what lies here.
    local: ShuffleReaderExec,
    work_dir: String,
    clients: Clients,
    /// What is counted of the rows of other executors.
    metrics: ExecutionPlanMetricsSet,
}

impl CheckedReader {
    fn new(local: ShuffleReaderExec, work_dir: &str, clients: Clients) -> Self {
        Self { local, work_dir: work_dir.to_owned(), clients, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// Whether a part lies here.
    fn is_here(&self, location: &PartitionLocation) -> bool {
        location.path(&self.work_dir).is_ok_and(|path| Path::new(&path).exists())
    }

    /// Splits the parts of `partition` into those that lie here and those that do not.
    fn split(&self, partition: usize, all_remote: bool) -> (Vec<PartitionLocation>, Vec<PartitionLocation>) {
        let mut locations = self.local.partition.get(partition).cloned().unwrap_or_default();
        // Tasks begin with different executors, so that they do not all ask the same one first.
        if !locations.is_empty() {
            let first = partition % locations.len();
            locations.rotate_left(first);
        }
        locations.into_iter().partition(|location| !all_remote && self.is_here(location))
    }
}

impl DisplayAs for CheckedReader {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.local.fmt_as(format, f)
    }
}

impl ExecutionPlan for CheckedReader {
    fn name(&self) -> &str {
        self.local.name()
    }

    fn schema(&self) -> SchemaRef {
        self.local.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.local.properties()
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

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.as_slice() {
            [] => Ok(self),
            _ => Err(DataFusionError::Plan("a reader of a shuffle has no children".to_owned())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        // A broadcast gives the same rows to everybody.
        let read = if self.local.broadcast { 0 } else { partition };
        let config = context.session_config();
        let (here, elsewhere) = self.split(read, config.ballista_shuffle_reader_force_remote_read());
        if elsewhere.is_empty() {
            return self.local.execute(partition, context);
        }
        let (schema, clients) = (self.schema(), self.clients.clone());
        let fetched = remote::fetch(clients, Arc::clone(&schema), elsewhere, config, &self.metrics, read);
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let coalescer = LimitedBatchCoalescer::new(Arc::clone(&schema), config.batch_size(), None);
        let fetched = coalesced(fetched, coalescer, baseline);
        let rows = if here.is_empty() {
            fetched
        } else {
            let mut local = self.local.clone();
            if let Some(locations) = local.partition.get_mut(read) {
                *locations = here;
            }
            stream::select(local.execute(partition, context)?, fetched).boxed()
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut all = self.local.metrics().unwrap_or_default();
        for metric in self.metrics.clone_inner().iter() {
            all.push(Arc::clone(metric));
        }
        Some(all)
    }
}

/// Gathers small batches into ones of the usual size.
fn coalesced(
    batches: BoxStream<'static, Result<RecordBatch>>,
    coalescer: LimitedBatchCoalescer,
    baseline: BaselineMetrics,
) -> BoxStream<'static, Result<RecordBatch>> {
    let state = (batches, coalescer, baseline, false);
    stream::try_unfold(state, |(mut batches, mut coalescer, baseline, mut ended)| async move {
        loop {
            if let Some(batch) = coalescer.next_completed_batch() {
                baseline.record_output(batch.num_rows());
                return Ok(Some((batch, (batches, coalescer, baseline, ended))));
            }
            if ended {
                return Ok(None);
            }
            match batches.try_next().await? {
                Some(batch) => {
                    let _timer = baseline.elapsed_compute().timer();
                    coalescer.push_batch(batch)?;
                }
                None => {
                    ended = true;
                    coalescer.finish()?;
                }
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use arrow::util::pretty::pretty_format_batches;
    use arrow_flight::flight_service_server::FlightServiceServer;
    use arrow_flight::utils::batches_to_flight_data;
    use axum::Router;
    use axum::routing::any;
    use ballista_core::client::BallistaClient;
    use ballista_core::error::BallistaError;
    use ballista_core::serde::scheduler::{
        ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification, PartitionId,
        PartitionStats, ShuffleLayout,
    };
    use datafusion::physical_plan::{Partitioning, collect};
    use datafusion::prelude::{SessionConfig, SessionContext};
    use firesteel_common::http;
    use firesteel_common::net::Dialer;
    use prost::Message as _;
    use tempfile::TempDir;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;
    use tonic::service::Routes;

    use super::decode::tests::{batch, broken_file, file};
    use super::*;
    use crate::cluster::executor::shuffles::Shuffles;
    use crate::peers::limited;

    async fn serve(router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, router, CancellationToken::new()));
        address
    }

    fn put(folder: &TempDir, partition: usize, bytes: &[u8]) {
        let path = folder.path().join(format!("job/1/{partition}/data.arrow"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// An executor that has the files of a folder.
    async fn executor(folder: &TempDir) -> SocketAddr {
        let shuffles = FlightServiceServer::new(Shuffles::new(folder.path().display().to_string()));
        serve(Routes::new(shuffles).into_axum_router()).await
    }

    fn location(address: SocketAddr, partition: usize, job: &str) -> PartitionLocation {
        PartitionLocation {
            map_partition_id: 0,
            partition_id: PartitionId::new(&job.into(), 1, partition),
            executor_meta: ExecutorMetadata {
                id: "other".to_owned(),
                host: address.ip().to_string(),
                port: address.port(),
                grpc_port: 0,
                specification: ExecutorSpecification::default(),
                os_info: ExecutorOperatingSystemSpecification::default(),
            },
            partition_stats: PartitionStats::new(Some(2), Some(1), Some(100)),
            file_id: None,
            is_sort_shuffle: false,
        }
    }

    /// A task that reads these parts, on an executor whose own files lie in `work`.
    fn reader(locations: Vec<PartitionLocation>, work: &TempDir) -> Result<Arc<dyn ExecutionPlan>> {
        let partitioning = Partitioning::UnknownPartitioning(1);
        let reader = ShuffleReaderExec::try_new(1, vec![locations], batch().schema(), partitioning)?;
        let clients = Clients::new(Dialer::default(), limited);
        with_checked_readers(Arc::new(reader), &work.path().display().to_string(), &clients)
    }

    async fn read(locations: Vec<PartitionLocation>, work: &TempDir) -> Result<Vec<RecordBatch>> {
        let config = SessionConfig::new_with_ballista().set_str("ballista.client.io_retry_wait_time_ms", "1");
        collect(reader(locations, work)?, SessionContext::new_with_config(config).task_ctx()).await
    }

    #[tokio::test]
    async fn what_lies_here_and_what_others_have_is_read_together() {
        let (own, others) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        put(&own, 0, &file());
        put(&others, 1, &file());
        put(&others, 2, &file());
        let address = executor(&others).await;
        let part = |partition| location(address, partition, "job");
        let rows = read(vec![part(0), part(1), part(2)], &own).await.unwrap();
        let text = pretty_format_batches(&rows).unwrap().to_string();
        assert_eq!(text.matches("aaaa").count(), 3, "{text}");
        assert_eq!(text.matches("dog").count(), 3, "dictionaries, too: {text}");

        let plan = reader(vec![part(0), part(1)], &own).unwrap();
        collect(Arc::clone(&plan), SessionContext::new().task_ctx()).await.unwrap();
        let metrics = plan.metrics().unwrap();
        assert_eq!(metrics.output_rows(), Some(4));
        let count = |name| metrics.sum_by_name(name).map(|value| value.as_usize());
        assert_eq!((count("local_partitions"), count("fetch_requests")), (Some(1), Some(1)));
    }

    #[tokio::test]
    async fn broken_data_of_another_executor_is_an_error_that_names_it() {
        let (own, others) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        put(&others, 0, &broken_file());
        let address = executor(&others).await;
        let error = read(vec![location(address, 0, "job")], &own).await.unwrap_err();
        let DataFusionError::External(inner) = error.find_root() else { panic!("{error:?}") };
        let failed = inner.downcast_ref::<BallistaError>().unwrap();
        let BallistaError::FetchFailed(id, 1, 0, words) = failed else { panic!("{failed:?}") };
        assert_eq!(id, "other");
        assert!(words.contains("no shuffle file") && words.contains("offset"), "{words}");
        assert!(words.contains(&address.to_string()), "{words}");
    }

    #[tokio::test]
    async fn an_executor_that_is_gone_is_a_failed_fetch() {
        let own = TempDir::new().unwrap();
        let gone = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
        let error = read(vec![location(gone, 0, "job")], &own).await.unwrap_err();
        assert!(error.to_string().contains(&gone.to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_plan_that_names_a_path_for_a_job_is_refused() {
        let own = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = reader(vec![location(address, 0, "../job")], &own).unwrap_err().to_string();
        assert!(error.contains("the id of a job"), "{error}");
    }

    /// A client fetches results by Flight's `DoGet`, which Ballista decodes with the checks.
    #[tokio::test]
    async fn broken_data_is_an_error_for_a_client_too() {
        // Without the dictionary, which Ballista's client would not understand.
        let batch = batch().project(&[0, 2]).unwrap();
        let mut messages = batches_to_flight_data(&batch.schema(), vec![batch.clone()]).unwrap();
        let last = messages.last_mut().unwrap();
        let offsets: Vec<u8> = [0_i32, 4, 8].iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let mut body = last.data_body.to_vec();
        if let Some(at) = body.windows(offsets.len()).position(|window| window == offsets) {
            body[at + 8..at + 12].copy_from_slice(&0x7fff_ff00_i32.to_le_bytes());
        }
        assert_ne!(body, last.data_body, "it is broken");
        last.data_body = body.into();
        let mut answer = Vec::new();
        for message in &messages {
            let bytes = message.encode_to_vec();
            answer.push(0);
            answer.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
            answer.extend(bytes);
        }
        let rogue = move || async move { ([("content-type", "application/grpc")], answer) };
        let address = serve(Router::new().fallback(any(rogue))).await;

        let mut client =
            BallistaClient::try_new("127.0.0.1", address.port(), 1 << 20, false, None, 1, 1, 0, 0)
                .await
                .unwrap();
        let part = PartitionId::new(&"job".into(), 1, 0);
        let layout = ShuffleLayout::Passthrough;
        let rows = client.fetch_partition("other", &part, None, layout, true).await.unwrap();
        let error = rows.try_collect::<Vec<_>>().await.unwrap_err().to_string();
        assert!(error.contains("offset"), "{error}");
    }
}
