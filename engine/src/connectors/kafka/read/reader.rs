//! Reads the offsets of one scan partition: a thread with a consumer of its own that decodes into batches, and the
//! stream of those batches.
//!
//! The two are joined by a channel of a few batches, so the thread waits where nobody takes the results, and librdkafka
//! fetches no further than its queue allows. A stream that is dropped ends the thread at its next poll.
//!
//! A range ends when a message at or behind its last offset has come, or when the partition has no more. Messages are
//! never counted: the offsets of compacted messages, transaction markers and aborted transactions yield none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{TryStreamExt, stream};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::decode::Decoder;
use super::spec::{OffsetRange, ScanSpec, ranges_of};
use crate::Error;
use crate::connectors::kafka::connection::offsets::log_of;
use crate::connectors::kafka::connection::{Client, Connection};
use crate::connectors::kafka::error::is_transient;
use crate::connectors::metrics::bytes_scanned;

/// Batches that wait to be taken.
const BATCHES_IN_FLIGHT: usize = 2;

/// A batch is finished at this size, whatever its rows: large messages must not fill the memory, and Arrow's offsets
/// end at 2 GiB.
const BATCH_BYTES: usize = 16 << 20;

/// How soon a thread notices that its stream is gone.
const POLL: Duration = Duration::from_millis(100);

/// A broker that answers, and yields nothing for so many fetch time-outs, is given up.
const PATIENCE: u32 = 4;

/// The rows of the ranges in `descriptors`.
pub(crate) fn read(
    spec: Arc<ScanSpec>,
    schema: SchemaRef,
    connection: Arc<Connection>,
    descriptors: SendableRecordBatchStream,
    metrics: &ExecutionPlanMetricsSet,
    partition: usize,
) -> Result<SendableRecordBatchStream> {
    let decoder = Decoder::new(Arc::clone(&schema), spec.format, spec.mode)?;
    let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
    let baseline = BaselineMetrics::new(metrics, partition);
    let bytes = bytes_scanned(metrics, partition);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let failed = match descriptors.map_ok(|batch| ranges_of(&batch)).try_collect::<Vec<_>>().await {
            Ok(ranges) => {
                let output = Output { sender: sender.clone(), decoder, baseline, bytes, rows: 0 };
                let thread = move || -> Result<()> {
                    let ranges = ranges.into_iter().collect::<Result<Vec<_>>>()?.concat();
                    Ok(Reader { spec, connection, output }.run(&ranges)?)
                };
                match tokio::task::spawn_blocking(thread).await {
                    Ok(done) => done.err(),
                    // A panic must not look like the end.
                    Err(error) => Some(DataFusionError::ExecutionJoin(Box::new(error))),
                }
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            // Nobody is left to tell where the receiver is gone.
            let _ = sender.send(Err(error)).await;
        }
    });
    let batches = stream::try_unfold((receiver, tasks), |(mut receiver, mut tasks)| async move {
        match receiver.recv().await {
            Some(batch) => Ok(Some((batch?, (receiver, tasks)))),
            None => match tasks.join_next().await {
                Some(Err(error)) => Err(DataFusionError::ExecutionJoin(Box::new(error))),
                _ => Ok(None),
            },
        }
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
}

/// Where messages go.
struct Output {
    sender: mpsc::Sender<Result<RecordBatch>>,
    decoder: Decoder,
    baseline: BaselineMetrics,
    bytes: Count,
    rows: u64,
}

/// Whether anyone wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    More,
    NoMore,
}

impl Output {
    fn push(&mut self, message: &impl Message, batch_rows: usize) -> crate::Result<Wanted> {
        let elapsed = self.baseline.elapsed_compute().clone();
        {
            let _timer = elapsed.timer();
            self.bytes.add(self.decoder.push(message)?);
        }
        self.rows += 1;
        if self.decoder.rows() >= batch_rows || self.decoder.bytes() >= BATCH_BYTES {
            return self.flush();
        }
        Ok(Wanted::More)
    }

    fn flush(&mut self) -> crate::Result<Wanted> {
        if self.decoder.rows() == 0 {
            return Ok(Wanted::More);
        }
        let batch = self.decoder.finish()?;
        self.baseline.record_output(batch.num_rows());
        Ok(if self.sender.blocking_send(Ok(batch)).is_ok() { Wanted::More } else { Wanted::NoMore })
    }
}

/// The thread's own.
struct Reader {
    spec: Arc<ScanSpec>,
    connection: Arc<Connection>,
    output: Output,
}

impl Reader {
    fn run(mut self, ranges: &[OffsetRange]) -> crate::Result<()> {
        let mut ranges = ranges.iter().filter(|range| range.len() > 0).peekable();
        if ranges.peek().is_none() || self.spec.limit == Some(0) {
            return Ok(());
        }
        let consumer = self.connection.consumer(self.spec.isolation, self.spec.fail_on_data_loss)?;
        let read = self.read_ranges(&consumer, ranges);
        // Closing a consumer takes tens of milliseconds, which nobody has to wait for.
        tokio::task::spawn_blocking(move || drop(consumer));
        read
    }

    fn read_ranges<'a>(
        &mut self,
        consumer: &Client,
        ranges: impl Iterator<Item = &'a OffsetRange>,
    ) -> crate::Result<()> {
        for range in ranges {
            if self.read_range(consumer, range)? == Wanted::NoMore {
                break;
            }
        }
        self.output.flush().map(drop)
    }

    fn read_range(&mut self, consumer: &Client, range: &OffsetRange) -> crate::Result<Wanted> {
        let spec = Arc::clone(&self.spec);
        let failed = |error: &KafkaError| self.connection.classify("fetch", &spec.topic, error);
        // Of every offset below it, the message has been taken or there is none.
        let mut next = range.start;
        assign(consumer, &spec.topic, range.partition, next).map_err(|error| failed(&error))?;
        let mut end = End::NotSeen;
        let mut watch = Watch::new(spec.fetch_timeout);
        while next < range.end {
            if self.output.sender.is_closed() {
                return Ok(Wanted::NoMore);
            }
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    watch.progress();
                    // One before `next` comes after a reset to the first offset that is left.
                    if message.offset() >= range.end {
                        break;
                    }
                    if message.offset() < next {
                        continue;
                    }
                    next = message.offset() + 1;
                    let wanted = self.output.push(&message, spec.batch_rows)?;
                    if wanted == Wanted::NoMore || spec.limit.is_some_and(|limit| self.output.rows >= limit) {
                        return Ok(Wanted::NoMore);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) if end == End::Confirmed => break,
                Some(Err(KafkaError::PartitionEOF(_))) => end = End::Seen,
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    return Err(self.lost(consumer, range, next));
                }
                Some(Err(error)) if !is_transient(&error) => return Err(failed(&error)),
                Some(Err(error)) => watch.error = Some(consumer.context().why(&error)),
                None => {}
            }
            if end == End::Seen {
                // The leader that said so may be a new one that has not caught up. Once it has, it is asked again.
                let log = log_of(consumer, &spec.topic, range.partition, self.connection.timeout());
                if log.is_ok_and(|log| log.high >= range.end) {
                    assign(consumer, &spec.topic, range.partition, next).map_err(|error| failed(&error))?;
                    end = End::Confirmed;
                }
            }
            if watch.is_over() {
                let log = log_of(consumer, &spec.topic, range.partition, self.connection.timeout());
                match log {
                    Err(error) => {
                        let why = watch.error.unwrap_or_else(|| consumer.context().why(&error));
                        return Err(self.connection.unreachable(&why));
                    }
                    Ok(log) if log.high < range.end && spec.fail_on_data_loss => {
                        return Err(self.lost(consumer, range, next));
                    }
                    Ok(log) if log.high < range.end => break,
                    Ok(_) if watch.is_given_up() => {
                        let message = format!(
                            "it yields nothing of topic `{}` partition {} after offset {next}",
                            spec.topic, range.partition
                        );
                        return Err(self.connection.unreachable(&message));
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(Wanted::More)
    }

    fn lost(&self, consumer: &Client, range: &OffsetRange, wanted: i64) -> Error {
        let topic = &self.spec.topic;
        match log_of(consumer, topic, range.partition, self.connection.timeout()) {
            Ok(log) => Error::OffsetsLost {
                topic: topic.clone(),
                partition: range.partition,
                wanted,
                earliest: log.low,
                latest: log.high,
            },
            Err(error) => self.connection.classify("fetch", topic, &error),
        }
    }
}

/// Whether a partition has said that it has no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotSeen,
    /// It has, when it may not have known better.
    Seen,
    /// It will, having everything that is to be read.
    Confirmed,
}

/// Looks whether anything moves.
struct Watch {
    timeout: Duration,
    deadline: Instant,
    missed: u32,
    error: Option<String>,
}

impl Watch {
    fn new(timeout: Duration) -> Self {
        Self { timeout, deadline: Instant::now() + timeout, missed: 0, error: None }
    }

    fn progress(&mut self) {
        (self.deadline, self.missed) = (Instant::now() + self.timeout, 0);
        self.error = None;
    }

    /// Whether a time-out has passed; the next begins.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        if now < self.deadline {
            return false;
        }
        (self.deadline, self.missed) = (now + self.timeout, self.missed + 1);
        true
    }

    fn is_given_up(&self) -> bool {
        self.missed >= PATIENCE
    }
}

fn assign(consumer: &Client, topic: &str, partition: i32, offset: i64) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    consumer.assign(&list)
}
