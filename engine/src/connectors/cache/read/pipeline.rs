//! What lies between the scan of a cached table and an aggregate over it: projections and filters, run over columns in the
//! form in which memory holds them.
//!
//! A column of text stays a dictionary on its way to the group key. Only an expression that looks into it gets the text.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter, prep_null_mask_filter};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::scan::CachedScanExec;

/// Columns of the same length. Each has the type that `schema` says, or is a dictionary of it.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    pub(super) rows: usize,
    pub(super) arrays: Vec<ArrayRef>,
}

/// One operator.
#[derive(Clone, Debug)]
enum Step {
    Project { exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
    Filter { predicate: Arc<dyn PhysicalExpr>, keep: Option<Vec<usize>>, schema: SchemaRef },
}

/// The operators over a scan, the lowest first.
#[derive(Debug)]
pub(crate) struct Pipeline {
    scan: Arc<dyn ExecutionPlan>,
    steps: Vec<Step>,
}

impl Pipeline {
    /// The operators of `plan`, where they are all known and end in the scan of a cached table.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let (mut plan, mut steps) = (Arc::clone(plan), Vec::new());
        loop {
            if plan.downcast_ref::<CachedScanExec>().is_some() {
                steps.reverse();
                return Some(Self { scan: plan, steps });
            }
            let next = if let Some(project) = plan.downcast_ref::<ProjectionExec>() {
                let exprs = project.expr().iter().map(|expr| Arc::clone(&expr.expr)).collect();
                steps.push(Step::Project { exprs, schema: plan.schema() });
                Arc::clone(project.input())
            } else if let Some(select) = plan.downcast_ref::<FilterExec>() {
                if select.fetch().is_some() {
                    return None;
                }
                let keep = select.projection().as_ref().map(|kept| kept.to_vec());
                let predicate = Arc::clone(select.predicate());
                steps.push(Step::Filter { predicate, keep, schema: plan.schema() });
                Arc::clone(select.input())
            } else {
                return None;
            };
            plan = next;
        }
    }

    pub(super) fn scan(&self) -> Option<&CachedScanExec> {
        self.scan.downcast_ref()
    }

    /// The column of the scan that an expression over the pipeline's output is, where it is one.
    pub(super) fn origin(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
        let mut index = expr.downcast_ref::<Column>()?.index();
        for step in self.steps.iter().rev() {
            index = match step {
                Step::Project { exprs, .. } => exprs.get(index)?.downcast_ref::<Column>()?.index(),
                Step::Filter { keep: Some(keep), .. } => *keep.get(index)?,
                Step::Filter { keep: None, .. } => index,
            };
        }
        Some(index)
    }

    /// Runs the operators.
    pub(super) fn run(&self, mut columns: Columns) -> Result<Columns> {
        for step in &self.steps {
            columns = match step {
                Step::Project { exprs, schema } => Columns {
                    schema: Arc::clone(schema),
                    rows: columns.rows,
                    arrays: exprs.iter().map(|expr| columns.evaluate(expr)).collect::<Result<_>>()?,
                },
                Step::Filter { predicate, keep, schema } => {
                    let mask = columns.mask(predicate)?;
                    let kept: Vec<&ArrayRef> = match keep {
                        None => columns.arrays.iter().collect(),
                        Some(keep) => keep.iter().filter_map(|index| columns.arrays.get(*index)).collect(),
                    };
                    let arrays = kept.into_iter().map(|array| filter(array, &mask));
                    Columns {
                        schema: Arc::clone(schema),
                        rows: mask.true_count(),
                        arrays: arrays.collect::<std::result::Result<_, _>>()?,
                    }
                }
            };
        }
        Ok(columns)
    }
}

impl Columns {
    /// An expression over these columns. A plain column comes as it is, a dictionary as a dictionary.
    pub(super) fn evaluate(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<ArrayRef> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.arrays.get(column.index()).cloned().ok_or_else(|| missing(column));
        }
        // Only the columns that the expression uses are given their text.
        let mut used: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
        used.sort_unstable();
        used.dedup();
        let expr = Arc::clone(expr).transform(|node| {
            let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
            let place = used.binary_search(&column.index()).map_err(|_| missing(column))?;
            let moved: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), place));
            Ok(Transformed::yes(moved))
        })?;
        let schema: SchemaRef = Arc::new(Schema::new(self.schema.project(&used)?.fields().clone()));
        let arrays = used.iter().map(|index| self.text(*index)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)?;
        expr.data.evaluate(&batch)?.into_array(self.rows)
    }

    /// An expression over these columns, in the type that the plan says.
    pub(super) fn value(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<ArrayRef> {
        match expr.downcast_ref::<Column>() {
            Some(column) => self.text(column.index()),
            None => self.evaluate(expr),
        }
    }

    /// Where a predicate is true.
    pub(super) fn mask(&self, predicate: &Arc<dyn PhysicalExpr>) -> Result<BooleanArray> {
        let mask = self.value(predicate)?;
        let mask = mask
            .as_boolean_opt()
            .ok_or_else(|| DataFusionError::Internal("a predicate is true or false".to_owned()))?;
        Ok(if arrow::array::Array::null_count(mask) > 0 { prep_null_mask_filter(mask) } else { mask.clone() })
    }

    fn text(&self, index: usize) -> Result<ArrayRef> {
        let (array, field) = self
            .arrays
            .get(index)
            .zip(self.schema.fields().get(index))
            .ok_or_else(|| DataFusionError::Internal(format!("there is no column {index}")))?;
        if array.data_type() == field.data_type() {
            return Ok(Arc::clone(array));
        }
        Ok(cast(array, field.data_type())?)
    }
}

fn missing(column: &Column) -> DataFusionError {
    DataFusionError::Internal(format!("there is no column {} at {}", column.name(), column.index()))
}
