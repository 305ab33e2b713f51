//! Which columns of a statement come out of a collection unchanged, so that they are written back as they were read.
//!
//! A statement such as `INSERT INTO t SELECT _id, v + 1 AS v, u FROM s` computes `v` and copies `_id` and `u`. A computed
//! value is written as the table declares it. A copied one keeps its BSON type: where the table leaves that open, the column's
//! kind is that of its source; and the scan is told to look whether each value comes back as it was ([`exact`]).
//!
//! A column is followed from the writers down to the scans by position through projections, and by name through nodes that
//! hand on what they get. A column that cannot be followed counts as computed.
//!
//! [`exact`]: crate::connectors::mongodb::read::decode::exact

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use super::exec::WriteSpec;
use crate::Error;
use crate::connectors::mongodb::read::decode::exact::Written;
use crate::connectors::mongodb::read::scan::MongoScanExec;
use crate::connectors::mongodb::schema::kind::{computed, same_shape, written};

/// A column of a scan that a column of a plan is.
struct Source {
    scan: Arc<dyn ExecutionPlan>,
    field: Arc<Field>,
    /// Whether its values were grouped, so that a row stands for several documents.
    grouped: bool,
}

/// The columns that rows of `input` are written with, and `input` with scans that look whether what they read comes back.
///
/// # Errors
/// A column is read from another BSON type than the table declares.
pub(super) fn write_back(
    spec: &WriteSpec,
    input: Arc<dyn ExecutionPlan>,
) -> Result<(SchemaRef, Arc<dyn ExecutionPlan>)> {
    let nulls_decided = spec.config.ignore_nulls || spec.config.nulls_decided;
    let mut columns = Vec::new();
    let mut checks: Vec<(Arc<dyn ExecutionPlan>, Vec<Written>)> = Vec::new();
    for (position, table) in spec.schema.fields().iter().enumerate() {
        let mut sources = sources(&input, position);
        sources.retain(|source| same_shape(source.field.data_type(), table.data_type()));
        let column = column(table, &sources).map_err(|reason| Error::InvalidWrite {
            collection: spec.collection.clone(),
            message: format!(
                "column `{}`: {reason}; declare it as it was read (option schemaHints), or write an expression in its \
                 place",
                table.name()
            ),
        })?;
        let nulls_are_written = nulls_decided && !spec.config.ignore_nulls;
        let column = if nulls_are_written { computed(&column) } else { column };
        for source in sources.into_iter().filter(|source| !source.grouped) {
            let field = column.clone().with_name(source.field.name());
            let check = Written { field, nulls_decided };
            match checks.iter_mut().find(|(scan, _)| Arc::ptr_eq(scan, &source.scan)) {
                Some((_, checked)) if checked.contains(&check) => {}
                Some((_, checked)) => checked.push(check),
                None => checks.push((source.scan, vec![check])),
            }
        }
        columns.push(column);
    }
    let schema = Schema::new_with_metadata(columns, spec.schema.metadata().clone());
    let input = input.transform_down(|node| {
        let checked = checks.iter().find(|(scan, _)| Arc::ptr_eq(scan, &node));
        Ok(match (checked, node.downcast_ref::<MongoScanExec>()) {
            (Some((_, written)), Some(scan)) => {
                Transformed::yes(Arc::new(scan.writing_back(written.clone())) as Arc<dyn ExecutionPlan>)
            }
            _ => Transformed::no(node),
        })
    })?;
    Ok((Arc::new(schema), input.data))
}

/// How a column of the table is written whose values have these sources.
fn column(table: &Field, sources: &[Source]) -> Result<Field, String> {
    let mut column = computed(table);
    for source in sources {
        column = written(&column, &source.field)?;
    }
    // Of several sources, in some of which a null is a field that is not there, none can say what a null is.
    let alike = sources.windows(2).all(|pair| match pair {
        [one, other] => {
            one.field.data_type() == other.field.data_type() && one.field.metadata() == other.field.metadata()
        }
        _ => true,
    });
    Ok(if alike { column } else { computed(&column) })
}

/// The columns of scans that a column of `plan` is; none where it is computed.
fn sources(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Vec<Source> {
    if let Some(scan) = plan.downcast_ref::<MongoScanExec>() {
        let spec = scan.spec();
        let field = spec.schema.fields().get(column);
        // The corrupt-record column is of no document.
        let field = field.filter(|field| spec.decode.corrupt_record.as_ref() != Some(field.name()));
        let source =
            |field: &Arc<Field>| Source { scan: Arc::clone(plan), field: Arc::clone(field), grouped: false };
        return field.map(source).into_iter().collect();
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let column = projection.expr().get(column).and_then(|one| unchanged(&one.expr, projection.input()));
        return column.map(|column| sources(projection.input(), column)).unwrap_or_default();
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let group = aggregate.group_expr().expr().get(column);
        let column = group.and_then(|(expr, _)| unchanged(expr, aggregate.input()));
        let grouped = column.map(|column| sources(aggregate.input(), column)).unwrap_or_default();
        return grouped.into_iter().map(|source| Source { grouped: true, ..source }).collect();
    }
    if plan.is::<UnionExec>() || plan.is::<InterleaveExec>() {
        return plan.children().into_iter().flat_map(|child| sources(child, column)).collect();
    }
    let schema = plan.schema();
    let Some(field) = schema.fields().get(column) else { return Vec::new() };
    let mut found = Vec::new();
    for child in plan.children() {
        let below = child.schema();
        let same = |(_, other): &(usize, &Arc<Field>)| {
            other.name() == field.name() && other.data_type() == field.data_type()
        };
        for (index, _) in below.fields().iter().enumerate().filter(same) {
            found.extend(sources(child, index));
        }
    }
    found
}

/// The column of `input` whose values an expression gives as they are. A cast between types that differ in what they say of
/// their parts alone changes nothing.
fn unchanged(expr: &Arc<dyn PhysicalExpr>, input: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(column.index());
    }
    let cast = expr.downcast_ref::<CastExpr>()?;
    let from = cast.expr().data_type(&input.schema()).ok()?;
    if same_shape(&from, cast.cast_type()) { unchanged(cast.expr(), input) } else { None }
}
