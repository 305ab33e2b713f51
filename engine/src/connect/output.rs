//! Batches of rows as Spark's clients get them: Spark's types, in streams of Arrow IPC.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::StreamWriter;

use super::error::Result;
use super::types::{UTC, delivered, is_instant};

/// The most rows of a batch that is sent.
const ROWS: usize = 10_000;

/// The type that a client gets, with the time zone of the session.
fn in_zone(data_type: &DataType, zone: &str) -> Result<DataType> {
    Ok(match delivered(data_type)? {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(unit, Some(zone.into())),
        other => other,
    })
}

/// The schema that a client gets.
pub(super) fn delivered_schema(schema: &Schema, zone: &str) -> Result<SchemaRef> {
    let field = |field: &Arc<Field>| {
        Ok(Field::new(field.name(), in_zone(field.data_type(), zone)?, field.is_nullable()))
    };
    Ok(Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Result<Vec<_>>>()?)))
}

/// A column as a client gets it.
pub(super) fn delivered_column(array: &ArrayRef, zone: &str) -> Result<ArrayRef> {
    let target = in_zone(array.data_type(), zone)?;
    if *array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    // A point in time without a zone is one in UTC, and not one on the clocks of the session.
    let array = match array.data_type() {
        kind @ DataType::Timestamp(_, None) if is_instant(kind) => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            cast(&micros, &DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())))?
        }
        _ => Arc::clone(array),
    };
    Ok(cast(&array, &target)?)
}

/// A batch as a client gets it, with the names and types of `schema`.
pub(super) fn delivered_batch(batch: &RecordBatch, schema: &SchemaRef, zone: &str) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        let column = delivered_column(column, zone)?;
        match column.data_type() == field.data_type() {
            true => Ok(column),
            false => Ok(cast(&column, field.data_type())?),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    // What a plan takes for never null may be null where rows meet no others.
    let fields = schema.fields().iter().zip(&columns);
    let fields = fields.map(|(field, column)| {
        let nullable = field.is_nullable() || column.null_count() > 0;
        field.as_ref().clone().with_nullable(nullable)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// Pieces of a batch that are small enough to send.
pub(super) fn pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(ROWS);
    starts.map(move |start| batch.slice(start, ROWS.min(batch.num_rows() - start)))
}

/// A batch as a stream of Arrow IPC that is whole in itself.
pub(super) fn encode(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, TimestampMillisecondArray, UInt64Array};
    use arrow::ipc::reader::StreamReader;

    use super::*;

    #[test]
    fn rows_get_types_names_and_the_zone_of_the_session() {
        let columns: [(&str, ArrayRef); 2] = [
            ("#n", Arc::new(UInt64Array::from(vec![7]))),
            ("#t", Arc::new(TimestampMillisecondArray::from(vec![1_000]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let visible = Schema::new(vec![
            Field::new("n", DataType::UInt64, false),
            Field::new("t", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        ]);
        let schema = delivered_schema(&visible, "Europe/Berlin").unwrap();
        let sent = encode(&delivered_batch(&batch, &schema, "Europe/Berlin").unwrap()).unwrap();
        let read = StreamReader::try_new(sent.as_slice(), None).unwrap().next().unwrap().unwrap();
        assert_eq!(read.schema().field(0).name(), "n");
        assert_eq!(read.column(0).as_ref(), &Int64Array::from(vec![7]) as &dyn arrow::array::Array);
        let expected = TimestampMillisecondArray::from(vec![1_000]);
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into()));
        assert_eq!(read.column(1).data_type(), &zoned);
        let utc = cast(&cast(read.column(1), &DataType::Int64).unwrap(), &DataType::Int64).unwrap();
        assert_eq!(
            utc.as_ref(),
            &Int64Array::from(vec![expected.value(0) * 1000]) as &dyn arrow::array::Array
        );
    }

    #[test]
    fn a_large_batch_is_sent_in_pieces() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..25_000));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let rows: Vec<usize> = pieces(&batch).map(|piece| piece.num_rows()).collect();
        assert_eq!(rows, [10_000, 10_000, 5_000]);
    }
}
