//! Fetches parts of a shuffle from other executors.
//!
//! Each part is a file, or a slice of one, that is sent as it lies on disk and decoded here. A part is fetched whole before
//! its first row is given, so a connection that breaks costs another attempt and repeats no row. How many parts and bytes
//! are under way at once is limited by Ballista's settings.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_flight::Action;
use ballista_core::error::BallistaError;
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::serde::protobuf;
use ballista_core::serde::scheduler::{Action as Fetch, PartitionLocation, ShuffleFileKind};
use ballista_core::utils::GrpcClientConfig;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};
use datafusion::prelude::SessionConfig;
use firesteel_common::error::root_cause;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::decode::Decoder;
use crate::peers::{Address, Clients};

/// The action by which Ballista sends a shuffle file as it lies on disk.
const AS_IT_LIES: &str = "IO_BLOCK_TRANSPORT";

/// What is counted while parts are fetched, under Ballista's names.
#[derive(Clone)]
struct Counts {
    parts: Count,
    requests: Count,
    retries: Count,
    bytes: Count,
    time: Time,
}

impl Counts {
    fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let count = |name| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            parts: count("remote_partitions"),
            requests: count("fetch_requests"),
            retries: count("fetch_retries"),
            bytes: count("decoded_bytes"),
            time: MetricBuilder::new(metrics).subset_time("fetch_time", partition),
        }
    }
}

/// Why an attempt has failed.
enum Failure {
    /// The connection or the other executor; the next attempt may succeed.
    Lost(String),
    /// What was sent; it would be sent again.
    Broken(String),
}

/// The rows of one part, and its share of the bytes that may be under way.
struct Part {
    batches: Vec<RecordBatch>,
    share: OwnedSemaphorePermit,
}

#[derive(Clone)]
struct Fetcher {
    clients: Clients,
    schema: SchemaRef,
    settings: GrpcClientConfig,
    /// The size of a part that does not say how large it is.
    usual_bytes: u64,
    most_bytes: u32,
    bytes: Arc<Semaphore>,
    counts: Counts,
}

/// Returns the rows of the parts at `locations`, of which `partition` consists, in any order.
pub(super) fn fetch(
    clients: Clients,
    schema: SchemaRef,
    locations: Vec<PartitionLocation>,
    config: &SessionConfig,
    metrics: &ExecutionPlanMetricsSet,
    partition: usize,
) -> BoxStream<'static, Result<RecordBatch>> {
    let ballista = config.ballista_config();
    let most_bytes = u32::try_from(ballista.shuffle_reader_max_bytes_in_flight()).unwrap_or(u32::MAX).max(1);
    let counts = Counts::new(metrics, partition);
    counts.parts.add(locations.len());
    let fetcher = Fetcher {
        clients,
        schema,
        settings: GrpcClientConfig::from(&ballista),
        usual_bytes: ballista.shuffle_reader_default_block_size_bytes(),
        most_bytes,
        bytes: Arc::new(Semaphore::new(most_bytes as usize)),
        counts,
    };
    let at_once = config.ballista_shuffle_reader_maximum_concurrent_requests().max(1);
    stream::iter(locations)
        .map(move |location| {
            let fetcher = fetcher.clone();
            // A task of its own each, so that parts are decoded side by side. It ends when the query does.
            async move {
                let part =
                    SpawnedTask::spawn(async move { fetcher.part(location).await }).join_unwind().await;
                part.map_err(|error| DataFusionError::External(Box::new(error)))?
            }
        })
        .buffer_unordered(at_once)
        .map_ok(|Part { batches, share }| {
            stream::iter(batches).map(move |batch| {
                let _under_way = &share;
                Ok(batch)
            })
        })
        .try_flatten()
        .boxed()
}

impl Fetcher {
    async fn part(&self, location: PartitionLocation) -> Result<Part> {
        let size = location.partition_stats.num_bytes().unwrap_or(self.usual_bytes);
        let size = u32::try_from(size).unwrap_or(u32::MAX).clamp(1, self.most_bytes);
        let share = Arc::clone(&self.bytes).acquire_many_owned(size).await;
        let share = share.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let _timer = self.counts.time.timer();
        let mut left = self.settings.io_retries_times;
        let message = loop {
            self.counts.requests.add(1);
            match self.attempt(&location).await {
                Ok(batches) => {
                    self.counts.bytes.add(batches.iter().map(RecordBatch::get_array_memory_size).sum());
                    return Ok(Part { batches, share });
                }
                Err(Failure::Lost(message)) if left > 0 => {
                    left -= 1;
                    self.counts.retries.add(1);
                    tracing::debug!(message, left, "cannot fetch a part of a shuffle, trying again");
                    tokio::time::sleep(Duration::from_millis(self.settings.io_retry_wait_time_ms)).await;
                }
                Err(Failure::Lost(message) | Failure::Broken(message)) => break message,
            }
        };
        // The scheduler lets the stage that has written the part run again.
        let part = location.partition_id;
        let failed =
            BallistaError::FetchFailed(location.executor_meta.id, part.stage_id, part.partition_id, message);
        Err(failed.into_datafusion())
    }

    async fn attempt(&self, location: &PartitionLocation) -> Result<Vec<RecordBatch>, Failure> {
        let executor = &location.executor_meta;
        let address = Address::new(&executor.host, executor.port, &self.settings);
        let lost = |status: Status| {
            let cause = std::error::Error::source(&status).map(|_| root_cause(&status));
            let words = cause.unwrap_or_else(|| status.message().to_owned());
            Failure::Lost(format!("executor {}:{}: {words}", address.host, address.port))
        };
        let broken = |error| {
            Failure::Broken(format!(
                "executor {}:{} sent what is no shuffle file: {error}",
                address.host, address.port
            ))
        };
        let body = request(location).map_err(|error| Failure::Broken(error.to_string()))?;
        let action = Action { r#type: AS_IT_LIES.to_owned(), body: body.into() };
        let unreachable =
            |words| Failure::Lost(format!("executor {}:{}: {words}", address.host, address.port));
        let mut client = self.clients.take(&address).await.map_err(unreachable)?;
        let mut blocks = client.do_action(action).await.map_err(lost)?.into_inner();
        let (mut decoder, mut batches) = (Decoder::new(Arc::clone(&self.schema)), Vec::new());
        while let Some(block) = blocks.message().await.map_err(lost)? {
            decoder.push(Buffer::from(block.body), &mut batches).map_err(broken)?;
        }
        decoder.finish().map_err(broken)?;
        drop(blocks);
        self.clients.give_back(address, client);
        Ok(batches)
    }
}

/// The bytes of a request for a part.
fn request(location: &PartitionLocation) -> Result<Vec<u8>, BallistaError> {
    let part = &location.partition_id;
    let fetch = Fetch::FetchPartition {
        job_id: part.job_id.clone(),
        stage_id: part.stage_id,
        partition_id: part.partition_id,
        host: location.executor_meta.host.clone(),
        port: location.executor_meta.port,
        file_id: location.file_id,
        layout: location.layout(),
        file_kind: ShuffleFileKind::Data,
        byte_ranges: Vec::new(),
    };
    let fetch: protobuf::Action = fetch.try_into()?;
    Ok(fetch.encode_to_vec())
}
