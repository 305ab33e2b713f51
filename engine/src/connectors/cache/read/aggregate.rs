//! `GROUP BY` over cached text, counted by the keys of dictionaries.
//!
//! The node stands over the aggregate that DataFusion planned, and over nothing else. It does that aggregate's work in another
//! way, with DataFusion's own accumulators, so sums, nulls and types are the same. The aggregate below says what to compute and
//! travels by DataFusion's own codec. It does the work itself where this node cannot: where the keys are no dictionaries, or
//! where an operator in between is not known here.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};

use super::groups::Groups;
use super::pipeline::{Columns, Pipeline};
use super::scan::Chunk;
use crate::connectors::cache::config::STRIDE;
use crate::connectors::cache::schema::is_text;

/// Whether an aggregate is of the kind: groups by columns of text, each row once, any order.
pub(crate) fn suits(aggregate: &AggregateExec) -> bool {
    let group = aggregate.group_expr();
    let input = aggregate.input_schema();
    let text =
        |expr: &Arc<dyn PhysicalExpr>| expr.data_type(&input).is_ok_and(|data_type| is_text(&data_type));
    matches!(aggregate.mode(), AggregateMode::Partial | AggregateMode::Single)
        && group.is_single()
        && !group.expr().is_empty()
        && group.expr().iter().all(|(expr, _)| text(expr))
        && aggregate.limit_options().is_none()
        && aggregate.aggr_expr().iter().all(|aggr| {
            !aggr.is_distinct() && aggr.order_bys().is_empty() && aggr.groups_accumulator_supported()
        })
}

/// Does the work of the aggregate below it.
#[derive(Debug)]
pub(crate) struct CachedAggregateExec {
    aggregate: Arc<dyn ExecutionPlan>,
    metrics: ExecutionPlanMetricsSet,
}

impl CachedAggregateExec {
    pub(crate) fn new(aggregate: Arc<dyn ExecutionPlan>) -> Self {
        Self { aggregate, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// How to do it, where it can be done.
    fn over_dictionaries(&self) -> Option<DictionaryAggregate> {
        let aggregate =
            self.aggregate.downcast_ref::<AggregateExec>().filter(|aggregate| suits(aggregate))?;
        let pipeline = Pipeline::of(aggregate.input())?;
        let keys: Vec<Arc<dyn PhysicalExpr>> =
            aggregate.group_expr().expr().iter().map(|(expr, _)| Arc::clone(expr)).collect();
        let origins = keys.iter().map(|key| pipeline.origin(key)).collect::<Option<Vec<usize>>>()?;
        Some(DictionaryAggregate {
            keys,
            origins,
            pipeline,
            functions: aggregate.aggr_expr().to_vec(),
            filters: aggregate.filter_expr().to_vec(),
            partial: *aggregate.mode() == AggregateMode::Partial,
            schema: self.aggregate.schema(),
        })
    }
}

/// An aggregate in parts.
#[derive(Debug)]
struct DictionaryAggregate {
    pipeline: Pipeline,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of the scan that are the keys.
    origins: Vec<usize>,
    functions: Vec<Arc<AggregateFunctionExpr>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Whether states come out, or values.
    partial: bool,
    schema: SchemaRef,
}

impl DictionaryAggregate {
    /// Whether it is_profitable for a table whose first rows are these.
    fn is_profitable(&self, chunk: &Chunk) -> bool {
        let dictionary = |array: &ArrayRef| matches!(array.data_type(), DataType::Dictionary(..));
        self.origins.iter().all(|origin| chunk.columns.get(*origin).is_some_and(dictionary))
    }

    fn run(
        &self,
        first: Chunk,
        rest: impl Iterator<Item = Result<Chunk>>,
        input: &SchemaRef,
    ) -> Result<RecordBatch> {
        let mut groups = Groups::new(self.keys.len());
        let mut accumulators = self
            .functions
            .iter()
            .map(|function| function.create_groups_accumulator())
            .collect::<Result<Vec<Box<dyn GroupsAccumulator>>>>()?;
        let mut assigned = Vec::new();
        for chunk in std::iter::once(Ok(first)).chain(rest) {
            let chunk = chunk?;
            for from in (0..chunk.rows).step_by(STRIDE) {
                let rows = STRIDE.min(chunk.rows - from);
                let arrays = chunk.columns.iter().map(|column| column.slice(from, rows)).collect();
                let columns = self.pipeline.run(Columns { schema: Arc::clone(input), rows, arrays })?;
                if columns.rows == 0 {
                    continue;
                }
                let keys = self.keys.iter().map(|key| columns.evaluate(key)).collect::<Result<Vec<_>>>()?;
                groups.assign(&keys, &mut assigned)?;
                for ((function, filter), accumulator) in
                    self.functions.iter().zip(&self.filters).zip(&mut accumulators)
                {
                    let values = function.expressions();
                    let values =
                        values.iter().map(|value| columns.value(value)).collect::<Result<Vec<_>>>()?;
                    let mask = filter.as_ref().map(|filter| columns.mask(filter)).transpose()?;
                    accumulator.update_batch(&values, &assigned, mask.as_ref(), groups.len())?;
                }
            }
        }
        let mut columns = groups.keys(&self.schema)?;
        for accumulator in &mut accumulators {
            if self.partial {
                columns.extend(accumulator.state(EmitTo::All)?);
            } else {
                columns.push(accumulator.evaluate(EmitTo::All)?);
            }
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl DisplayAs for CachedAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CachedAggregateExec: by the keys of dictionaries")
    }
}

impl ExecutionPlan for CachedAggregateExec {
    fn name(&self) -> &'static str {
        "CachedAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.aggregate]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(aggregate), true) => Ok(Arc::new(Self::new(aggregate))),
            _ => Err(DataFusionError::Internal("CachedAggregateExec has exactly one input".to_owned())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(aggregation) = self.over_dictionaries() else {
            return self.aggregate.execute(partition, context);
        };
        let aggregate = Arc::clone(&self.aggregate);
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let schema = aggregate.schema();
        let batches = stream::once(async move {
            let scan = aggregation
                .pipeline
                .scan()
                .ok_or_else(|| DataFusionError::Internal("a pipeline starts at a scan".to_owned()))?;
            let mut chunks = scan.chunks(partition, Arc::clone(&context)).await?;
            let Some(first) = chunks.next().transpose()? else { return Ok(stream::empty().boxed()) };
            if !aggregation.is_profitable(&first) {
                return Ok(aggregate.execute(partition, context)?.boxed());
            }
            let timer = baseline.elapsed_compute().timer();
            let batch = aggregation.run(first, chunks, &scan.schema())?;
            timer.done();
            baseline.record_output(batch.num_rows());
            Ok::<_, DataFusionError>(stream::iter((batch.num_rows() > 0).then_some(Ok(batch))).boxed())
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.try_flatten())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
