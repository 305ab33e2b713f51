//! Reads the ranges of one partition: a task that fetches raw batches, and a stream that decodes them.
//!
//! The two are joined by a channel of a few batches, so that the server works on the next batch while this one is
//! decoded, and stops when nobody takes the results. Dropping the stream ends the task and closes the cursor.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::raw_batch_cursor::RawBatch;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::decode::Decoder;
use super::fault::classify;
use super::scan::{ScanSpec, ranges_of};

/// Raw batches that wait to be decoded.
const BATCHES_IN_FLIGHT: usize = 2;

/// The rows of the ranges in `descriptors`.
pub(crate) fn read(
    spec: Arc<ScanSpec>,
    connection: Arc<Connection>,
    descriptors: SendableRecordBatchStream,
    metrics: &ExecutionPlanMetricsSet,
    partition: usize,
) -> Result<SendableRecordBatchStream> {
    let schema = Arc::clone(&spec.schema);
    let decoding = Decoding {
        decoder: Decoder::reading(&spec.collection, Arc::clone(&schema), spec.batch_rows, &spec.reading)?,
        batch_rows: spec.batch_rows,
        collection: spec.collection.clone(),
        baseline: BaselineMetrics::new(metrics, partition),
        bytes: MetricBuilder::new(metrics).counter("bson_bytes", partition),
    };
    let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        if let Err(error) = fetch(&spec, &connection, descriptors, &sender).await {
            // Nobody is left to tell where the receiver is gone.
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(decode(schema, receiver, decoding, tasks))
}

/// Sends every raw batch of every range, in order.
async fn fetch(
    spec: &ScanSpec,
    connection: &Connection,
    mut descriptors: SendableRecordBatchStream,
    sender: &mpsc::Sender<Result<RawBatch>>,
) -> Result<()> {
    let failed = |error: &mongodb::error::Error| connection.failed("find", &spec.collection, error);
    let database = connection.database(&spec.database).await?;
    let find = spec.find();
    let batch = u32::try_from(spec.batch_rows).unwrap_or(u32::MAX);
    while let Some(descriptor) = descriptors.try_next().await? {
        for range in ranges_of(&descriptor)? {
            let cursor = database.run_cursor_command(find.command(&range)).batch_size(batch).batch().await;
            let mut cursor = cursor.map_err(|error| failed(&error))?;
            while let Some(raw) = cursor.next().await {
                let raw = raw.map_err(|error| failed(&error));
                let stop = raw.is_err();
                if sender.send(raw).await.is_err() || stop {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// An Arrow batch is finished at this size, whatever its rows: a few large documents must not fill the memory, and
/// Arrow's offsets end at 2 GiB. One document has 16 MiB at most.
const BATCH_BYTES: usize = 16 << 20;

struct Decoding {
    decoder: Decoder,
    batch_rows: usize,
    collection: String,
    baseline: BaselineMetrics,
    bytes: Count,
}

impl Decoding {
    /// Decodes one raw batch into as many Arrow batches as it fills. What is left waits for the next.
    fn take(&mut self, raw: &RawBatch) -> Result<Vec<RecordBatch>> {
        let elapsed = self.baseline.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let documents = raw.doc_slices().map_err(|error| classify("find", &self.collection, &error))?;
        self.bytes.add(documents.as_bytes().len());
        let mut batches = Vec::with_capacity(1);
        for document in documents {
            let document = document.map_err(|error| DataFusionError::External(Box::new(error)))?;
            let Some(document) = document.as_document() else { continue };
            self.decoder.push(document)?;
            if self.decoder.rows() >= self.batch_rows || self.decoder.bytes() >= BATCH_BYTES {
                batches.push(self.finish()?);
            }
        }
        Ok(batches)
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let batch = self.decoder.finish()?;
        self.baseline.record_output(batch.num_rows());
        Ok(batch)
    }
}

fn decode(
    schema: SchemaRef,
    receiver: mpsc::Receiver<Result<RawBatch>>,
    decoding: Decoding,
    tasks: JoinSet<()>,
) -> SendableRecordBatchStream {
    let state = Some((receiver, decoding, tasks));
    let batches = stream::try_unfold(state, |state| async move {
        let Some((mut receiver, mut decoding, mut tasks)) = state else { return Ok(None) };
        loop {
            match receiver.recv().await {
                Some(raw) => {
                    let batches = decoding.take(&raw?)?;
                    if !batches.is_empty() {
                        return Ok(Some((batches, Some((receiver, decoding, tasks)))));
                    }
                }
                None => {
                    // The channel also closes when the fetching task panics: that must not look like the end.
                    if let Some(Err(error)) = tasks.join_next().await {
                        return Err(DataFusionError::ExecutionJoin(Box::new(error)));
                    }
                    if decoding.decoder.rows() == 0 {
                        return Ok(None);
                    }
                    return Ok(Some((vec![decoding.finish()?], None)));
                }
            }
        }
    });
    let rows = batches.map_ok(|batches| stream::iter(batches.into_iter().map(Ok))).try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
