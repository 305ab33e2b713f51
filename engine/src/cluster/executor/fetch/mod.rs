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

mod clients;
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
use datafusion::common::Statistics;
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

pub(super) use self::clients::Clients;

/// Puts a [`CheckedReader`] in the place of each of Ballista's readers.
pub(super) fn with_checked_readers(
    plan: Arc<dyn ExecutionPlan>,
    work_dir: &str,
    clients: &Clients,
) -> Result<Arc<dyn ExecutionPlan>> {
    let replaced = plan.transform(|node| {
        if let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() {
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

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        self.local.partition_statistics(partition)
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
