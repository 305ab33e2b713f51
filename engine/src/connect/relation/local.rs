//! Rows that come out of the plan itself: what a client has sent, and numbers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions_nested::expr_fn;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use firesteel_proto::spark::connect::{LocalRelation, Range};

use super::super::error::{Result, SparkError};
use super::super::frame::Frame;
use super::super::types;
use super::Translator;

/// The most values of a local relation: they travel within the plan.
const MOST_VALUES: usize = 500_000;

/// The most numbers of a range, which one task makes.
const MOST_NUMBERS: i128 = 50_000_000;

/// The numbers of a range.
pub(super) fn range(range: &Range) -> Result<Frame> {
    let (start, end, step) = (range.start.unwrap_or(0), range.end, range.step);
    if step == 0 {
        return Err(SparkError::argument("The step of a range is zero."));
    }
    let count = (i128::from(end) - i128::from(start)) / i128::from(step);
    if count > MOST_NUMBERS {
        return Err(SparkError::unsupported(format!(
            "a range of {count} numbers; {MOST_NUMBERS} are the most"
        )));
    }
    let numbers = expr_fn::range(lit(start), lit(end), lit(step)).alias("id");
    let plan = LogicalPlanBuilder::empty(true).project(vec![numbers])?.unnest_column("id")?.build()?;
    Ok(Frame::new(plan))
}

impl Translator<'_> {
    /// The rows that a client has sent.
    pub(super) fn local(&self, local: &LocalRelation) -> Result<Frame> {
        let declared = match local.schema.as_deref() {
            Some(text) => Some(Arc::new(types::schema_from_spark(&types::ddl::parse(text)?)?)),
            None => None,
        };
        let batches = match &local.data {
            Some(data) => read(data)?,
            None => Vec::new(),
        };
        let sent = batches.first().map(RecordBatch::schema);
        let schema =
            declared.clone().or(sent).ok_or_else(|| SparkError::incomplete("the columns of local rows"))?;
        let values: usize = batches.iter().map(|batch| batch.num_rows() * batch.num_columns().max(1)).sum();
        if values > MOST_VALUES {
            let what =
                format!("{values} values within a plan; {MOST_VALUES} are the most. A file holds more");
            return Err(SparkError::unsupported(what));
        }
        let rows = rows(&batches, &schema)?;
        Ok(Frame::new(plan(rows, &schema)?))
    }
}

fn read(data: &[u8]) -> Result<Vec<RecordBatch>> {
    let reader = StreamReader::try_new(std::io::Cursor::new(data), None)?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}

fn rows(batches: &[RecordBatch], schema: &SchemaRef) -> Result<Vec<Vec<Expr>>> {
    let mut rows = Vec::new();
    for batch in batches {
        if batch.num_columns() != schema.fields().len() {
            let (has, names) = (batch.num_columns(), schema.fields().len());
            return Err(SparkError::argument(format!(
                "The rows have {has} columns, and their schema has {names}."
            )));
        }
        let columns = batch.columns().iter().zip(schema.fields());
        let columns =
            columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| Ok(lit(ScalarValue::try_from_array(column, row)?)));
            rows.push(values.collect::<Result<Vec<Expr>>>()?);
        }
    }
    Ok(rows)
}

/// The plan of rows that are known.
pub(super) fn plan(rows: Vec<Vec<Expr>>, schema: &Schema) -> Result<LogicalPlan> {
    let named = |index: usize| format!("column{}", index + 1);
    let fields = schema.fields().iter();
    if rows.is_empty() || schema.fields().is_empty() {
        let columns =
            fields.map(|field| Ok(lit(ScalarValue::try_from(field.data_type())?).alias(field.name())));
        let columns = columns.collect::<Result<Vec<Expr>>>()?;
        let one = LogicalPlanBuilder::empty(true).project(columns)?;
        return Ok(one.filter(lit(false))?.build()?);
    }
    let inner: Vec<_> = fields
        .enumerate()
        .map(|(index, field)| field.as_ref().clone().with_name(named(index)).with_nullable(true))
        .collect();
    let inner = Arc::new(DFSchema::try_from(Schema::new(inner))?);
    let columns = schema.fields().iter().enumerate();
    let columns: Vec<Expr> =
        columns.map(|(index, field)| Expr::Column(named(index).into()).alias(field.name())).collect();
    Ok(LogicalPlanBuilder::values_with_schema(rows, &inner)?.project(columns)?.build()?)
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn count(plan: LogicalPlan) -> usize {
        let state = SessionContext::new().state();
        datafusion::dataframe::DataFrame::new(state, plan).count().await.unwrap()
    }

    #[tokio::test]
    async fn a_range_has_its_numbers() {
        for (start, end, step, rows) in [(0, 5, 1, 5), (5, 0, -2, 3), (0, 0, 1, 0), (3, 1, 1, 0)] {
            let frame = range(&Range { start: Some(start), end, step, num_partitions: None }).unwrap();
            assert_eq!(frame.names(), ["id"]);
            assert_eq!(count(frame.plan).await, rows, "{start} {end} {step}");
        }
        assert!(range(&Range { start: None, end: i64::MAX, step: 1, num_partitions: None }).is_err());
        assert!(range(&Range { start: None, end: 1, step: 0, num_partitions: None }).is_err());
    }

    #[tokio::test]
    async fn rows_that_are_known_keep_names_and_types() {
        let schema = types::schema_from_spark(&types::ddl::parse("`a b` INT, c STRING").unwrap()).unwrap();
        let empty = plan(Vec::new(), &schema).unwrap();
        assert_eq!(empty.schema().field(0).name(), "a b");
        assert_eq!(count(empty).await, 0);
        let one = plan(vec![vec![lit(1), lit("x")]], &schema).unwrap();
        assert_eq!(one.schema().field(1).data_type(), &arrow::datatypes::DataType::Utf8);
        assert_eq!(count(one).await, 1);
    }
}
