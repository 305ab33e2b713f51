//! The groups of a range as columns, over which the engine evaluates expressions, once a group.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;

/// A column whose BSON type is part of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) column: usize,
    /// Whether a NaN has a tag of its own.
    pub(super) nan: bool,
}

/// The groups of a range as columns.
#[derive(Debug)]
pub(super) struct GroupColumns<'a> {
    /// The columns of the scan; those that are no key are null.
    pub(super) key: RecordBatch,
    pub(super) documents: Int64Array,
    pub(super) accumulators: Vec<ArrayRef>,
    pub(super) tags: &'a [Tag],
    /// For each tag and group, whether the group's values are null.
    pub(super) nulls: Vec<Vec<bool>>,
}

impl GroupColumns<'_> {
    /// `expr` for each group.
    pub(super) fn evaluate(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<ArrayRef> {
        expr.evaluate(&self.key)?.into_array(self.documents.len())
    }

    /// For which groups `expr` is true.
    pub(super) fn condition(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Vec<bool>> {
        let values = self.evaluate(expr)?;
        let values = values.as_boolean_opt();
        let values =
            values.ok_or_else(|| DataFusionError::Internal("a condition is not boolean".to_owned()))?;
        Ok(values.iter().map(|value| value == Some(true)).collect())
    }

    /// The documents of the groups in which none of `columns` is null.
    pub(super) fn present(&self, columns: &[usize]) -> Int64Array {
        let is_null = |row: usize| {
            columns.iter().any(|column| match self.tags.iter().position(|tag| tag.column == *column) {
                Some(tag) => self.nulls[tag][row],
                None => self.key.column(*column).is_null(row),
            })
        };
        let counts = self.documents.values().iter().enumerate();
        counts.map(|(row, count)| Some(if is_null(row) { 0 } else { *count })).collect()
    }

    /// An accumulator's values.
    pub(super) fn values(&self, accumulator: usize) -> Result<ArrayRef> {
        let values = self.accumulators.get(accumulator).cloned();
        values.ok_or_else(|| DataFusionError::Internal("an accumulator is missing".to_owned()))
    }

    /// An accumulator's values as counts.
    pub(super) fn integers(&self, accumulator: usize) -> Result<Int64Array> {
        let values = self.values(accumulator)?;
        let integers = values.as_primitive_opt::<Int64Type>().cloned();
        integers.ok_or_else(|| DataFusionError::Internal("a count is not an integer".to_owned()))
    }
}
