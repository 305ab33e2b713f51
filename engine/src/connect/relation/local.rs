//! Rows that come out of the plan itself: what a client has sent, and numbers.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::root_as_message;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions::expr_fn::least;
use datafusion::functions_nested::expr_fn;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use firesteel_proto::spark::connect::{LocalRelation, Range};

use super::super::error::{Result, SparkError};
use super::super::frame::Frame;
use super::super::types;
use super::Translator;
use crate::limits::{check_buffers, is_compressed};

/// What a message of a stream begins with.
const MARK: [u8; 4] = [0xFF; 4];

/// The most values of a local relation: they travel within the plan.
const MOST_VALUES: usize = 500_000;

/// The most numbers of a range, which one task makes.
const MOST_NUMBERS: i128 = 50_000_000;

/// The most numbers of a range that are a constant of the plan.
const BLOCK: i128 = 8_192;

/// The numbers of a range.
pub(super) fn range(range: &Range) -> Result<Frame> {
    let (start, end, step) = (range.start.unwrap_or(0), range.end, range.step);
    if step == 0 {
        return Err(SparkError::argument("The step of a range is zero."));
    }
    let (distance, wide) = (i128::from(end) - i128::from(start), i128::from(step));
    // Rounded up: the last step may go beyond the end.
    let count = ((distance + wide - wide.signum()) / wide).max(0);
    if count > MOST_NUMBERS {
        return Err(SparkError::unsupported(format!(
            "a range of {count} numbers; {MOST_NUMBERS} are the most"
        )));
    }
    let of = |numbers: Expr, name: &str| {
        let one = LogicalPlanBuilder::empty(true).project(vec![numbers.alias(name)])?;
        one.unnest_column(name)
    };
    if count <= BLOCK {
        return Ok(Frame::new(of(expr_fn::range(lit(start), lit(end), lit(step)), "id")?.build()?));
    }
    // An array of constants is made when the plan is, and travels within it. So only that of the blocks is one.
    let count = i64::try_from(count).map_err(|_| SparkError::argument("A range is too long."))?;
    let block = i64::try_from(BLOCK).map_err(|_| SparkError::argument("A block is too long."))?;
    let blocks = of(expr_fn::range(lit(0_i64), lit(count), lit(block)), "block")?;
    let ends = least(vec![col("block") + lit(block), lit(count)]);
    let places = expr_fn::range(col("block"), ends, lit(1_i64)).alias("place");
    let places = blocks.project(vec![places])?.unnest_column("place")?;
    let numbers = (lit(start) + col("place") * lit(step)).alias("id");
    Ok(Frame::new(places.project(vec![numbers])?.build()?))
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
    check(data)?;
    let reader = StreamReader::try_new(std::io::Cursor::new(data), None)?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}

/// Checks what the messages of a stream claim, before Arrow's reader believes it.
fn check(mut data: &[u8]) -> Result<()> {
    let damaged = || SparkError::argument("The local rows are no stream of Arrow.");
    while let Some((mut size, mut rest)) = data.split_first_chunk::<4>() {
        if *size == MARK {
            (size, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        }
        let size = usize::try_from(i32::from_le_bytes(*size)).map_err(|_| damaged())?;
        if size == 0 {
            return Ok(());
        }
        let (head, rest) = rest.split_at_checked(size).ok_or_else(damaged)?;
        let message = root_as_message(head).map_err(|_| damaged())?;
        let size = usize::try_from(message.bodyLength()).map_err(|_| damaged())?;
        let (body, rest) = rest.split_at_checked(size).ok_or_else(damaged)?;
        if is_compressed(message) {
            return Err(SparkError::unsupported("local rows that are compressed"));
        }
        check_buffers(message, body)?;
        data = rest;
    }
    Ok(())
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
    use arrow::array::AsArray as _;
    use arrow::datatypes::Int64Type;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn count(plan: LogicalPlan) -> usize {
        let state = SessionContext::new().state();
        datafusion::dataframe::DataFrame::new(state, plan).count().await.unwrap()
    }

    #[tokio::test]
    async fn a_range_has_its_numbers() {
        let (low, high) = (i64::MIN, i64::MAX);
        for (start, end, step, rows) in [
            (0, 5, 1, 5),
            (5, 0, -2, 3),
            (0, 0, 1, 0),
            (3, 1, 1, 0),
            (0, 8_192, 1, 8_192),
            (0, 8_193, 1, 8_193),
            (10, -100_000, -3, 33_337),
            (low, high, 1 << 50, 16_384),
        ] {
            let frame = range(&Range { start: Some(start), end, step, num_partitions: None }).unwrap();
            assert_eq!(frame.names(), ["id"]);
            assert_eq!(count(frame.plan).await, rows, "{start} {end} {step}");
        }
        let frame = range(&Range { start: Some(-5), end: 20_000, step: 2, num_partitions: None }).unwrap();
        let state = SessionContext::new().state();
        let batches = datafusion::dataframe::DataFrame::new(state, frame.plan).collect().await.unwrap();
        let numbers = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
        let mut numbers: Vec<i64> = numbers.copied().collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq((-5..20_000).step_by(2)));
        assert!(range(&Range { start: None, end: i64::MAX, step: 1, num_partitions: None }).is_err());
        assert!(range(&Range { start: None, end: 1, step: 0, num_partitions: None }).is_err());
    }

    #[test]
    fn rows_that_claim_what_is_not_there_are_refused() {
        let column: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let sent = super::super::super::output::encode(&batch).unwrap();
        assert_eq!(read(&sent).unwrap(), [batch]);
        for length in 1..sent.len() {
            // What ends between two messages is whole; everywhere else it is refused.
            assert!(read(&sent[..length]).map_or(true, |batches| batches.len() == 1), "{length}");
        }
        assert!(read(&[0xFF; 64]).is_err());
        assert!(read(&[0x7F; 64]).is_err());
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
