//! The one physical node of all connectors: unary, over rows or over descriptors of what its partitions read.
//!
//! Ballista sends a task only the partitions that are its own by slicing the leaves that it knows. A leaf of any other kind is
//! sent whole, and then every task reads every partition. So a scan is not a leaf: its input is an in-memory table whose
//! partition *i* holds the descriptor of what partition *i* of the scan reads. Ballista slices that table, and the scan has as
//! many partitions as are left of it. A writer is the same node over the rows that it writes.
//!
//! What differs between nodes is an [`Operator`]: the columns that come out, what `EXPLAIN` shows, and what becomes of one
//! partition's input.

use std::fmt::{self, Debug};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, Partitioning, PlanProperties,
};

use crate::Error;

/// What one kind of [`OperatorExec`] does. All partitions and all tasks share one value.
pub trait Operator: Debug + Send + Sync + 'static {
    /// The node's name, such as `MongoScanExec`.
    fn name(&self) -> &'static str;

    /// The columns that come out.
    fn schema(&self) -> SchemaRef;

    /// When rows come out. By default as they are read.
    fn emission(&self) -> EmissionType {
        EmissionType::Incremental
    }

    /// The node's line in `EXPLAIN`, name included.
    fn fmt_as(&self, input: &Input<'_>, format: DisplayFormatType, f: &mut fmt::Formatter<'_>)
    -> fmt::Result;

    /// Runs one partition. `input` yields the descriptors, or the rows, of that partition.
    fn execute(
        self: Arc<Self>,
        input: SendableRecordBatchStream,
        execution: Execution<'_>,
    ) -> Result<SendableRecordBatchStream>;
}

/// The partition that is run, and what belongs to it.
#[derive(Debug)]
pub struct Execution<'a> {
    /// The partition, from 0.
    pub partition: usize,
    /// The task's session settings, memory and functions.
    pub context: Arc<TaskContext>,
    /// Where the node's metrics are registered.
    pub metrics: &'a ExecutionPlanMetricsSet,
}

/// The input of a node, for `EXPLAIN`.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a Arc<dyn ExecutionPlan>);

impl Input<'_> {
    /// How many partitions the node has.
    pub fn partitions(&self) -> usize {
        self.0.output_partitioning().partition_count()
    }

    /// The descriptors of all partitions; `None` where the input is not the table that they were put in.
    pub fn descriptors(&self) -> Option<Vec<RecordBatch>> {
        let source = self.0.downcast_ref::<DataSourceExec>()?;
        let source = source.data_source().downcast_ref::<MemorySourceConfig>()?;
        Some(source.partitions().iter().flatten().cloned().collect())
    }
}

/// A physical node with one input, which it has as many partitions as.
pub struct OperatorExec<O> {
    operator: Arc<O>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl<O: Operator> OperatorExec<O> {
    /// The node over an input: rows, or descriptors that came with a plan.
    pub fn new(operator: impl Into<Arc<O>>, input: Arc<dyn ExecutionPlan>) -> Self {
        let operator = operator.into();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(operator.schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            operator.emission(),
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { operator, input, properties: Arc::new(properties), metrics }
    }

    /// The node over descriptors, one batch a partition, which all have the columns `schema`.
    pub fn over(
        operator: impl Into<Arc<O>>,
        schema: SchemaRef,
        descriptors: Vec<RecordBatch>,
    ) -> Result<Self> {
        let partitions: Vec<Vec<RecordBatch>> = descriptors.into_iter().map(|batch| vec![batch]).collect();
        let source = MemorySourceConfig::try_new(&partitions, schema, None)?;
        Ok(Self::new(operator, DataSourceExec::from_data_source(source)))
    }

    /// The operator of the node.
    pub fn operator(&self) -> &Arc<O> {
        &self.operator
    }

    /// The input of the node: descriptors or rows.
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Where the metrics of all partitions are registered.
    pub(crate) fn metrics_set(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }
}

impl<O: Operator> Debug for OperatorExec<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(self.operator.name()).field("operator", &self.operator).finish_non_exhaustive()
    }
}

impl<O: Operator> DisplayAs for OperatorExec<O> {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operator.fmt_as(&Input(&self.input), format, f)
    }
}

impl<O: Operator> ExecutionPlan for OperatorExec<O> {
    fn name(&self) -> &str {
        self.operator.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(Arc::clone(&self.operator), input))),
            Err(_) => Err(DataFusionError::Internal(format!("{} has exactly one input", self.name()))),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let execution = Execution { partition, context, metrics: &self.metrics };
        Arc::clone(&self.operator).execute(input, execution)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The input of a decoded node that has one. `what` names the node in the error.
pub fn one_input(what: &str, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    match inputs {
        [input] => Ok(Arc::clone(input)),
        _ => {
            let message = format!("{what} has one input, not {}", inputs.len());
            Err(Error::PlanDecode { message }.into())
        }
    }
}
