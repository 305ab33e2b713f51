//! Reads one partition of a scan: a task that fetches raw batches, and a stream that decodes them.
//!
//! The two are joined by a channel of a few batches, so that the server works on the next batch while this one is
//! decoded, and stops when nobody takes the results. Dropping the stream ends the task and closes the cursor.
//!
//! The server knows no end for a scan over a range of records. Each batch says which record it ends with. For the batch in
//! which the range's last record lies, the server is asked for the records' numbers. All of it happens at one snapshot, so
//! both answers are about the same documents. A range whose last record does not come up is an error, never a shorter result.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bson::RawDocument;
use datafusion::common::runtime::JoinSet;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::Database;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use tokio::sync::mpsc;

use super::decode::{self, Decoder};
use super::find::Find;
use super::partition::{RECORD, RecordIdRange, ScanPartition, partitions_of};
use super::spec::ScanSpec;
use crate::Error;
use crate::connectors::metrics::bytes_scanned;
use crate::connectors::mongodb::connection::Connection;
use crate::connectors::mongodb::error::classify;

/// Raw batches that wait to be decoded.
const BATCHES_IN_FLIGHT: usize = 2;

/// The rows of the partitions that `descriptors` name.
pub(crate) fn read(
    spec: Arc<ScanSpec>,
    connection: Arc<Connection>,
    descriptors: SendableRecordBatchStream,
    metrics: &ExecutionPlanMetricsSet,
    partition: usize,
) -> Result<SendableRecordBatchStream> {
    let schema = Arc::clone(&spec.schema);
    let decoding = Decoding {
        decoder: Decoder::reading(&spec.collection, Arc::clone(&schema), spec.batch_rows, &spec.decode)?,
        batch_rows: spec.batch_rows,
        collection: spec.collection.clone(),
        baseline: BaselineMetrics::new(metrics, partition),
        bytes: bytes_scanned(metrics, partition),
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

/// A raw batch and how many of its leading documents belong to this partition; `None`: all of them.
struct Fetched {
    raw: RawBatch,
    documents: Option<usize>,
}

/// Sends every raw batch of every partition that is named, in order.
async fn fetch(
    spec: &ScanSpec,
    connection: &Connection,
    mut descriptors: SendableRecordBatchStream,
    sender: &mpsc::Sender<Result<Fetched>>,
) -> Result<()> {
    let database = connection.database(&spec.database).await?;
    let fetching = Fetching { spec, connection, database: &database, find: spec.find(), sender };
    while let Some(descriptor) = descriptors.try_next().await? {
        for part in partitions_of(&descriptor)? {
            if fetching.fetch(&part).await?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether the stream of batches still has a reader.
type Taken = ControlFlow<()>;

struct Fetching<'a> {
    spec: &'a ScanSpec,
    connection: &'a Connection,
    database: &'a Database,
    find: Find<'a>,
    sender: &'a mpsc::Sender<Result<Fetched>>,
}

impl Fetching<'_> {
    fn failed(&self, error: &mongodb::error::Error) -> DataFusionError {
        self.connection.failed("find", &self.spec.collection, error)
    }

    async fn send(&self, raw: RawBatch, documents: Option<usize>) -> Taken {
        match self.sender.send(Ok(Fetched { raw, documents })).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    async fn fetch(&self, part: &ScanPartition) -> Result<Taken> {
        let batch = u32::try_from(self.spec.batch_rows).unwrap_or(u32::MAX);
        let cursor =
            self.database.run_cursor_command(self.find.command(part)).batch_size(batch).batch().await;
        let cursor = cursor.map_err(|error| self.failed(&error))?;
        match part {
            ScanPartition::Records(RecordIdRange { after, through: Some(through) }) => {
                self.records(cursor, *after, *through).await
            }
            ScanPartition::Ids(_) | ScanPartition::Records(RecordIdRange { through: None, .. }) => {
                self.everything(cursor).await
            }
        }
    }

    async fn everything(&self, mut cursor: RawBatchCursor) -> Result<Taken> {
        while let Some(raw) = cursor.next().await {
            let raw = raw.map_err(|error| self.failed(&error))?;
            if self.send(raw, None).await.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Sends the batches of `cursor`, which starts behind the record `after`, up to and including the record `through`.
    async fn records(
        &self,
        mut cursor: RawBatchCursor,
        mut after: Option<i64>,
        through: i64,
    ) -> Result<Taken> {
        let limit = self.spec.limit.filter(|limit| *limit > 0);
        let mut yielded = 0_u64;
        while let Some(raw) = cursor.next().await {
            let raw = raw.map_err(|error| self.failed(&error))?;
            let ended_with = ended_with(raw.as_raw_document());
            match place(ended_with, through) {
                Place::Before => {
                    if limit.is_some() {
                        yielded += self.documents(&raw)? as u64;
                    }
                    if self.send(raw, None).await.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    after = ended_with.or(after);
                }
                Place::At => return Ok(self.send(raw, None).await),
                Place::Behind => {
                    let inside = self.count(after, through, self.documents(&raw)?).await?;
                    return Ok(self.send(raw, Some(inside)).await);
                }
            }
        }
        // A limit ends a scan before its last record.
        if limit.is_some_and(|limit| yielded >= limit) {
            return Ok(ControlFlow::Continue(()));
        }
        let message = format!("the scan ended before record {through}, which was there when it was planned");
        Err(self.broken(message))
    }

    fn documents(&self, raw: &RawBatch) -> Result<usize> {
        Ok(raw.doc_slices().map_err(|error| self.failed(&error))?.into_iter().count())
    }

    fn broken(&self, message: String) -> DataFusionError {
        Error::MongoDb { operation: "find", collection: self.spec.collection.clone(), message }.into()
    }

    /// Counts the documents of a batch that belong to a range of records: those that follow the record `after`, up to and
    /// including the record `through`. The batch has `most` documents, and at least one of them lies behind `through`.
    ///
    /// With `after` 10 and `through` 20, a batch of the records 12, 18 and 25 has two.
    async fn count(&self, after: Option<i64>, through: i64, most: usize) -> Result<usize> {
        if most == 0 {
            return Ok(0);
        }
        let answer = self.database.run_command(self.find.records(after, most)).await;
        let answer = answer.map_err(|error| self.failed(&error))?;
        let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let batch = batch.map_err(|error| self.broken(error.to_string()))?;
        let numbers: Option<Vec<i64>> =
            batch.iter().map(|found| found.as_document()?.get_i64(RECORD).ok()).collect();
        let numbers = numbers.ok_or_else(|| self.broken("a document has no record".to_owned()))?;
        inside(&numbers, through, most).ok_or_else(|| {
            let message = format!("the records of a batch of {most} documents do not fit into an answer");
            self.broken(format!("{message}: lower the table option `batchRows`"))
        })
    }
}

/// Counts the records in `numbers` up to and including `through`. `None` where the count is not certain: fewer than `most`
/// numbers came, and none of them lies behind `through`.
fn inside(numbers: &[i64], through: i64, most: usize) -> Option<usize> {
    let inside = numbers.iter().take_while(|number| **number <= through).count();
    (inside < numbers.len() || numbers.len() == most).then_some(inside)
}

/// The record that an answer ends with, by its token; `None` where nothing was looked at.
fn ended_with(answer: &RawDocument) -> Option<i64> {
    let token = answer.get_document("cursor").ok()?.get_document("postBatchResumeToken").ok()?;
    token.get_i64(RECORD).ok()
}

/// Where a batch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    At,
    Behind,
}

fn place(ended_with: Option<i64>, through: i64) -> Place {
    match ended_with.map(|record| record.cmp(&through)) {
        None | Some(Ordering::Less) => Place::Before,
        Some(Ordering::Equal) => Place::At,
        Some(Ordering::Greater) => Place::Behind,
    }
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
    fn take(&mut self, fetched: &Fetched) -> Result<Vec<RecordBatch>> {
        let elapsed = self.baseline.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let documents =
            fetched.raw.doc_slices().map_err(|error| classify("find", &self.collection, &error))?;
        self.bytes.add(documents.as_bytes().len());
        let mut batches = Vec::with_capacity(1);
        for document in decode::documents(documents).take(fetched.documents.unwrap_or(usize::MAX)) {
            let document = document.map_err(|error| DataFusionError::External(Box::new(error)))?;
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
    receiver: mpsc::Receiver<Result<Fetched>>,
    decoding: Decoding,
    tasks: JoinSet<()>,
) -> SendableRecordBatchStream {
    let state = Some((receiver, decoding, tasks));
    let batches = stream::try_unfold(state, |state| async move {
        let Some((mut receiver, mut decoding, mut tasks)) = state else { return Ok(None) };
        loop {
            match receiver.recv().await {
                Some(fetched) => {
                    let batches = decoding.take(&fetched?)?;
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

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn what_is_inside_is_known_where_one_lies_behind_or_all_came() {
        for (numbers, most, expected) in [
            (&[1, 5, 7, 9][..], 4, Some(3)),
            (&[1, 5, 7, 9], 40, Some(3)),
            (&[1, 5, 7], 3, Some(3)),
            (&[1, 5, 7], 4, None),
            (&[8], 2, Some(0)),
            (&[], 2, None),
        ] {
            assert_eq!(inside(numbers, 7, most), expected, "{numbers:?} of {most}");
        }
    }

    #[test]
    fn a_batch_ends_before_at_or_behind_the_last_record() {
        for (token, expected) in [
            (rawdoc! { "$recordId": 6_i64 }, Place::Before),
            (rawdoc! { "$recordId": 7_i64 }, Place::At),
            (rawdoc! { "$recordId": 8_i64 }, Place::Behind),
            (rawdoc! { "$recordId": bson::RawBson::Null }, Place::Before),
        ] {
            let answer = rawdoc! { "cursor": { "nextBatch": [], "postBatchResumeToken": token } };
            assert_eq!(place(ended_with(&answer), 7), expected, "{answer:?}");
        }
        assert_eq!(ended_with(&rawdoc! { "cursor": { "nextBatch": [] } }), None);
    }
}
