//! Collected rows, and their conversion to Rust types.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::value::{FromValue, Reader};
use crate::{Error, Result};

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

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows as batches.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Converts each row: to a tuple with one type a column, such as `(String, Option<i64>)`.
    ///
    /// Another number of columns, another type, or a null for a type that is not an `Option` is an
    /// [`Error::ResultType`].
    pub fn typed<T: FromRow>(&self) -> Result<Vec<T>> {
        let mut rows = Vec::with_capacity(self.len());
        for batch in &self.batches {
            T::read(batch.columns(), &mut rows)?;
        }
        Ok(rows)
    }
}

/// A type that a row converts to: a tuple of [`FromValue`] types.
pub trait FromRow: Sized {
    /// Appends one value for each row of the columns.
    fn read(columns: &[ArrayRef], rows: &mut Vec<Self>) -> Result<()>;
}

macro_rules! row_of_tuple {
    ($count:literal: $($part:ident $index:tt),+) => {
        impl<$($part: FromValue),+> FromRow for ($($part,)+) {
            fn read(columns: &[ArrayRef], rows: &mut Vec<Self>) -> Result<()> {
                if columns.len() != $count {
                    return Err(Error::ResultType {
                        column: columns.len().min($count),
                        expected: concat!("the last of ", $count, " columns"),
                        found: format!("one of {} columns", columns.len()),
                    });
                }
                let readers = ($(Reader::<$part>::new($index, &columns[$index])?,)+);
                for row in 0..columns[0].len() {
                    rows.push(($(readers.$index.get(row)?,)+));
                }
                Ok(())
            }
        }
    };
}
row_of_tuple!(1: A 0);
row_of_tuple!(2: A 0, B 1);
row_of_tuple!(3: A 0, B 1, C 2);
row_of_tuple!(4: A 0, B 1, C 2, D 3);
row_of_tuple!(5: A 0, B 1, C 2, D 3, E 4);
row_of_tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
row_of_tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
row_of_tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Int64Array, StringArray, TimestampMillisecondArray};

    use super::*;
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
    fn what_does_not_fit_is_told() {
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
            assert!(matches!(&error, Error::ResultType { column: told, .. } if *told == column), "{error}");
        }
    }
}
