//! A pushed aggregate as a physical node.
//!
//! Like a scan it is unary over descriptors of ranges, so that Ballista slices it. The partial aggregate that it stands
//! for is no input but a part of it: no optimizer touches it, and it runs only for a range that has to be read.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bson::{Bson, Document, doc};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, Time,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, ExecutionPlanProperties};
use futures::{StreamExt, TryStreamExt, stream};

use super::compile::Group;
use super::groups::{Collector, Misfit};
use super::range::condition;
use crate::Error;
use crate::connectors::descriptors::{Execution, Input, Operator, OperatorExec};
use crate::connectors::metrics::{ScanMetrics, bytes_scanned};
use crate::connectors::mongodb::connection::Connection;
use crate::connectors::mongodb::read::partition::{IdRange, ScanPartition, partitions_of};
use crate::connectors::mongodb::read::scan::MongoScanExec;
use crate::connectors::mongodb::read::spec::ScanSpec;

/// A range with more groups is read: the server's work is no longer less than that, and groups are held in memory.
const MAX_GROUPS: usize = 200_000;

/// Computes partial states of an aggregate on the server.
pub(crate) type MongoGroupExec = OperatorExec<MongoGroup>;

impl MongoGroupExec {
    /// The node for a partial aggregate over a scan; `None` where that cannot be pushed.
    pub(super) fn of(aggregate: &AggregateExec) -> Result<Option<Self>> {
        let Some(group) = Group::of(aggregate) else { return Ok(None) };
        let mut found = None;
        let reading: Arc<dyn ExecutionPlan> = Arc::new(aggregate.clone());
        let reading = reading.transform_up(|node| {
            let Some(scan) = node.downcast_ref::<MongoScanExec>() else { return Ok(Transformed::no(node)) };
            found = Some((scan.spec().clone(), Arc::clone(scan.connection()), Arc::clone(scan.input())));
            let whole = MongoScanExec::try_new(
                scan.spec().clone(),
                Arc::clone(scan.connection()),
                &[ScanPartition::full()],
            )?;
            Ok(Transformed::yes(Arc::new(whole) as Arc<dyn ExecutionPlan>))
        })?;
        let Some((scan, connection, descriptors)) = found else { return Ok(None) };
        if reading.data.output_partitioning().partition_count() != 1 {
            return Ok(None);
        }
        Ok(Some(Self::new(MongoGroup { group, scan, connection, reading: reading.data }, descriptors)))
    }

    /// The node whose [`Self::reading`] this is, over descriptors that came with a plan.
    pub(crate) fn decoded(
        reading: &Arc<dyn ExecutionPlan>,
        descriptors: Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let node = reading.downcast_ref::<AggregateExec>().map(Self::of).transpose()?.flatten();
        let node = node.ok_or_else(|| Error::PlanDecode {
            message: "an aggregate of MongoDB cannot be computed by its server".to_owned(),
        })?;
        Ok(Self::new(Arc::clone(node.operator()), descriptors))
    }

    /// The same over one partition that is the whole collection.
    pub(super) fn over_everything(&self) -> Result<Self> {
        let MongoGroup { scan, connection, .. } = self.operator().as_ref();
        let scan = MongoScanExec::try_new(scan.clone(), Arc::clone(connection), &[ScanPartition::full()])?;
        Ok(Self::new(Arc::clone(self.operator()), Arc::clone(scan.input())))
    }

    /// The partial aggregate that reads a range instead.
    pub(crate) fn reading(&self) -> &Arc<dyn ExecutionPlan> {
        &self.operator().reading
    }

    pub(super) fn scan(&self) -> &ScanSpec {
        &self.operator().scan
    }
}

impl Operator for MongoGroup {
    fn name(&self) -> &'static str {
        "MongoGroupExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.group.output)
    }

    fn emission(&self) -> EmissionType {
        EmissionType::Final
    }

    fn fmt_as(&self, input: &Input<'_>, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, scan, .. } = self;
        let by: Vec<String> = group.by.iter().map(ToString::to_string).collect();
        write!(
            f,
            "MongoGroupExec: collection={}.{}, partitions={}, group=[{}], pipeline=[",
            scan.database,
            scan.collection,
            input.partitions(),
            by.join(", ")
        )?;
        if let Some(filter) = &scan.filter {
            write!(f, "{}, ", doc! { "$match": filter })?;
        }
        let read = if scan.cluster_time.is_some() { "snapshot" } else { "plain" };
        write!(f, "{}], read={read}", group.stage())
    }

    fn execute(
        self: Arc<Self>,
        descriptors: SendableRecordBatchStream,
        Execution { partition, context, metrics }: Execution<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = Metrics::new(metrics, partition);
        let counted = metrics.baseline.clone();
        let schema = self.schema();
        let parts = descriptors
            .map(|batch| Ok::<_, DataFusionError>(stream::iter(partitions_of(&batch?)?.into_iter().map(Ok))))
            .try_flatten();
        let states = parts
            .and_then(move |part| {
                let (group, context, metrics) = (Arc::clone(&self), Arc::clone(&context), metrics.clone());
                async move { group.answer(&part, context, &metrics).await }
            })
            .try_flatten()
            .inspect_ok(move |batch| counted.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, states)))
    }
}

#[derive(Clone)]
struct Metrics {
    baseline: BaselineMetrics,
    /// Documents in the groups.
    documents: Count,
    /// Ranges that were read instead.
    ranges_read: Count,
    server_time: Time,
    /// Bytes of the server's answers.
    bytes: Count,
}

impl Metrics {
    fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            baseline: BaselineMetrics::new(metrics, partition),
            documents: counter("grouped_documents"),
            ranges_read: counter("ranges_read"),
            server_time: MetricBuilder::new(metrics).subset_time("server_time", partition),
            bytes: bytes_scanned(metrics, partition),
        }
    }
}

/// Tells the bytes that a range takes which is read: its scan is no node of the plan, and counts by itself.
struct Counted {
    reading: Arc<dyn ExecutionPlan>,
    /// What has been told.
    told: usize,
    bytes: Count,
}

impl Counted {
    fn tell(&mut self) {
        let mut read = 0;
        // It fails nowhere: nothing in it does.
        let _ = self.reading.apply(|node| {
            read += usize::try_from(ScanMetrics::of(node.as_ref()).bytes).unwrap_or(usize::MAX);
            Ok(TreeNodeRecursion::Continue)
        });
        self.bytes.add(read.saturating_sub(self.told));
        self.told = self.told.max(read);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tell();
    }
}

/// The aggregate that all partitions share.
#[derive(Debug)]
pub(crate) struct MongoGroup {
    group: Group,
    scan: ScanSpec,
    connection: Arc<Connection>,
    reading: Arc<dyn ExecutionPlan>,
}

/// The server's answer for one range.
enum Answer {
    States(RecordBatch),
    /// The range has to be read, for this reason.
    Read(Misfit),
}

impl MongoGroup {
    /// The partial states of a range.
    async fn answer(
        &self,
        part: &ScanPartition,
        context: Arc<TaskContext>,
        metrics: &Metrics,
    ) -> Result<SendableRecordBatchStream> {
        let started = Instant::now();
        let answer = match part {
            ScanPartition::Ids(range) => self.group(range, metrics).await,
            // An aggregate cannot start behind a record.
            ScanPartition::Records(_) => Ok(Answer::Read(Misfit("records are read".to_owned()))),
        };
        metrics.server_time.add_elapsed(started);
        match answer? {
            Answer::States(states) => {
                let rows = self.scan.batch_rows.max(1);
                let slices = (0..states.num_rows())
                    .step_by(rows)
                    .map(|start| states.slice(start, rows.min(states.num_rows() - start)));
                let schema = Arc::clone(&self.group.output);
                Ok(Box::pin(MemoryStream::try_new(slices.collect(), schema, None)?))
            }
            Answer::Read(Misfit(reason)) => {
                tracing::debug!(collection = %self.scan.collection, %reason, "a range is read, not grouped");
                metrics.ranges_read.add(1);
                let reading = self.read(part)?;
                let rows = reading.execute(0, context)?;
                let mut counted = Counted { reading, told: 0, bytes: metrics.bytes.clone() };
                let schema = Arc::clone(&self.group.output);
                let rows = rows.inspect(move |_| counted.tell());
                Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
            }
        }
    }

    /// Has the server group a range.
    async fn group(&self, range: &IdRange, metrics: &Metrics) -> Result<Answer> {
        let failed =
            |error: &mongodb::error::Error| self.connection.failed("aggregate", &self.scan.collection, error);
        let database = self.connection.database(&self.scan.database).await?;
        let command = self.command(self.condition(range, &database).await?);
        let batch = u32::try_from(self.scan.batch_rows).unwrap_or(u32::MAX);
        let mut cursor = match database.run_cursor_command(command).batch_size(batch).batch().await {
            Ok(cursor) => cursor,
            Err(error) => return refused(failed(&error)),
        };
        let mut groups = Collector::new(&self.group);
        while let Some(raw) = cursor.next().await {
            let raw = match raw {
                Ok(raw) => raw,
                Err(error) => return refused(failed(&error)),
            };
            let documents = raw.doc_slices().map_err(|error| failed(&error))?;
            metrics.bytes.add(documents.as_bytes().len());
            for document in documents {
                let document = document.map_err(|error| DataFusionError::External(Box::new(error)))?;
                let Some(document) = document.as_document() else { continue };
                if let Err(misfit) = groups.push(document) {
                    return Ok(Answer::Read(misfit));
                }
            }
            if groups.len() > MAX_GROUPS {
                return Ok(Answer::Read(Misfit("too many groups".to_owned())));
            }
        }
        let documents = groups.documents();
        // An expression that fails over the groups fails over the documents too, with an error that tells why.
        match groups.finish() {
            Ok(states) => {
                metrics.documents.add(usize::try_from(documents).unwrap_or_default());
                Ok(Answer::States(states))
            }
            Err(error) => Ok(Answer::Read(Misfit(error.to_string()))),
        }
    }

    /// The condition that a document is in `range`.
    async fn condition(&self, range: &IdRange, database: &mongodb::Database) -> Result<Option<Document>> {
        let (first, last) = match (&range.lower, &range.upper) {
            (None, Some(_)) => (self.end(1, database).await?, None),
            (Some(_), None) => (None, self.end(-1, database).await?),
            _ => (None, None),
        };
        Ok(condition(range, first.as_ref(), last.as_ref()))
    }

    /// The first or last `_id` of the collection.
    async fn end(&self, order: i32, database: &mongodb::Database) -> Result<Option<Bson>> {
        let mut find = doc! {
            "find": &self.scan.collection,
            "projection": { "_id": 1 },
            "sort": { "_id": order },
            "limit": 1,
            "singleBatch": true,
        };
        self.at_snapshot(&mut find);
        let answer = database.run_command(find).await;
        let answer = answer.map_err(|error| self.connection.failed("find", &self.scan.collection, &error))?;
        let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let first = batch.ok().and_then(|batch| batch.first()).and_then(Bson::as_document);
        Ok(first.and_then(|document| document.get("_id")).cloned())
    }

    fn command(&self, range: Option<Document>) -> Document {
        let mut conditions: Vec<Document> = range.into_iter().chain(self.scan.filter.clone()).collect();
        let mut pipeline = Vec::new();
        match conditions.len() {
            0 => {}
            1 => pipeline.push(doc! { "$match": conditions.swap_remove(0) }),
            _ => pipeline.push(doc! { "$match": { "$and": conditions } }),
        }
        pipeline.push(self.group.stage());
        let mut command = doc! {
            "aggregate": &self.scan.collection,
            "pipeline": pipeline,
            "cursor": { "batchSize": i64::try_from(self.scan.batch_rows).unwrap_or(i64::MAX) },
            "allowDiskUse": true,
            // Strings are equal and ordered by their bytes, as in Arrow.
            "collation": { "locale": "simple" },
        };
        self.at_snapshot(&mut command);
        command
    }

    fn at_snapshot(&self, command: &mut Document) {
        if let Some(time) = self.scan.cluster_time {
            command.insert("readConcern", doc! { "level": "snapshot", "atClusterTime": time });
        }
    }

    /// The plan that reads `part`.
    fn read(&self, part: &ScanPartition) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = Arc::clone(&self.reading).transform_up(|node| {
            if !node.is::<MongoScanExec>() {
                return Ok(Transformed::no(node));
            }
            let parts = std::slice::from_ref(part);
            let scan = MongoScanExec::try_new(self.scan.clone(), Arc::clone(&self.connection), parts)?;
            Ok(Transformed::yes(Arc::new(scan) as Arc<dyn ExecutionPlan>))
        })?;
        Ok(plan.data)
    }
}

/// A server that cannot run the command, which a view's collation or a limit of its own may cause, may still be read.
fn refused(error: DataFusionError) -> Result<Answer> {
    match &error {
        DataFusionError::External(_) if matches!(Error::carried(&error), Some(Error::MongoDb { .. })) => {
            Ok(Answer::Read(Misfit(Error::from(error).to_string())))
        }
        _ => Err(error),
    }
}
