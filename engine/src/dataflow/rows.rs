//! The collected rows of a result. They stay Arrow batches until they are converted to Rust tuples.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::FromRow;
use crate::Result;

/// The rows of a result, as Arrow batches.
#[derive(Clone, Debug)]
pub struct Rows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Rows {
    pub(super) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the rows as Arrow batches.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Converts each row to a tuple with one type per column, such as `(String, Option<i64>)`.
    ///
    /// Returns an [`Error::ResultType`](crate::Error::ResultType) for another number of columns, another type, or a
    /// null for a type that is not an `Option`.
    pub fn typed<T: FromRow>(&self) -> Result<Vec<T>> {
        let mut rows = Vec::with_capacity(self.len());
        for batch in &self.batches {
            T::read(batch.columns(), &mut rows)?;
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMillisecondArray};

    use super::*;
    use crate::Error;
    use crate::dataflow::Timestamp;

    fn rows(columns: Vec<(&str, ArrayRef)>) -> Rows {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        Rows::new(batch.schema(), vec![batch.clone(), batch])
    }

    #[test]
    fn rows_become_tuples() {
        let rows = rows(vec![
            ("key", Arc::new(StringArray::from(vec!["a", "b"]))),
            ("sum", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![7, 8]).with_timezone("UTC"))),
        ]);
        type Row = (String, Option<i64>, bool, Timestamp);
        let typed: Vec<Row> = rows.typed().unwrap();
        assert_eq!(typed.len(), 4);
        assert_eq!(typed[1], ("b".to_owned(), None, false, Timestamp::from_millis(8)));
    }

    #[test]
    fn a_row_of_another_type_names_the_column() {
        let rows = rows(vec![
            ("key", Arc::new(StringArray::from(vec!["a"]))),
            ("sum", Arc::new(Int64Array::from(vec![None]))),
        ]);
        for (error, column) in [
            (rows.typed::<(String,)>().unwrap_err(), 1),
            (rows.typed::<(String, i64, i64)>().unwrap_err(), 2),
            (rows.typed::<(i64, i64)>().unwrap_err(), 0),
            (rows.typed::<(String, i64)>().unwrap_err(), 1),
            (rows.typed::<(String, Option<bool>)>().unwrap_err(), 1),
        ] {
            assert!(matches!(&error, Error::ResultType { column: found, .. } if *found == column), "{error}");
        }
    }
}
