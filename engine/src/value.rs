//! Arrow values as Rust types: single values, and rows as tuples.
//!
//! Collected results and the states of registered aggregate functions are read this way. A value that does not fit its
//! type is an error that names the column, never a null.

use std::marker::PhantomData;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};

use crate::{Error, Result};

/// A point in time, in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the time `millis` milliseconds after 1970-01-01 UTC.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since 1970-01-01 UTC.
    pub fn millis(self) -> i64 {
        self.0
    }
}

/// A type that a column's values convert to: `String`, `i64`, `u64`, `f64`, `bool`, `Vec<u8>`, [`Timestamp`], a `Vec`
/// of them for a list, and `Option`s of them where there may be nulls.
pub trait FromValue: Sized {
    /// The type's name in error messages.
    const NAME: &'static str;
    /// Returns the Arrow type that values are read from.
    #[doc(hidden)]
    fn arrow_type() -> DataType;
    /// Returns the value in `row` of an array of [`Self::arrow_type`]. The caller has checked that it is not null.
    #[doc(hidden)]
    fn value(array: &dyn Array, row: usize) -> Option<Self>;
    /// Returns what a null converts to, or `None` where a null is an error.
    #[doc(hidden)]
    fn null() -> Option<Self> {
        None
    }
}

impl FromValue for String {
    const NAME: &'static str = "a string";

    fn arrow_type() -> DataType {
        DataType::Utf8
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        Some(array.as_string_opt::<i32>()?.value(row).to_owned())
    }
}

impl FromValue for i64 {
    const NAME: &'static str = "a 64-bit integer";

    fn arrow_type() -> DataType {
        DataType::Int64
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        Some(array.as_primitive_opt::<Int64Type>()?.value(row))
    }
}

impl FromValue for u64 {
    const NAME: &'static str = "an integer that is not negative";

    fn arrow_type() -> DataType {
        DataType::Int64
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        i64::value(array, row)?.try_into().ok()
    }
}

impl FromValue for f64 {
    const NAME: &'static str = "a double";

    fn arrow_type() -> DataType {
        DataType::Float64
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        Some(array.as_primitive_opt::<Float64Type>()?.value(row))
    }
}

impl FromValue for bool {
    const NAME: &'static str = "a boolean";

    fn arrow_type() -> DataType {
        DataType::Boolean
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        Some(array.as_boolean_opt()?.value(row))
    }
}

impl FromValue for Timestamp {
    const NAME: &'static str = "a timestamp";

    fn arrow_type() -> DataType {
        DataType::Timestamp(TimeUnit::Millisecond, None)
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        Some(Self(array.as_primitive_opt::<TimestampMillisecondType>()?.value(row)))
    }
}

impl FromValue for Vec<u8> {
    const NAME: &'static str = "bytes";

    fn arrow_type() -> DataType {
        DataType::Binary
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        Some(array.as_binary_opt::<i32>()?.value(row).to_owned())
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    const NAME: &'static str = "a list";

    fn arrow_type() -> DataType {
        DataType::new_list(T::arrow_type(), true)
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        let values = array.as_list_opt::<i32>()?.value(row);
        let value = |row| if values.is_null(row) { T::null() } else { T::value(&values, row) };
        (0..values.len()).map(value).collect()
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const NAME: &'static str = T::NAME;

    fn arrow_type() -> DataType {
        T::arrow_type()
    }

    fn value(array: &dyn Array, row: usize) -> Option<Self> {
        T::value(array, row).map(Some)
    }

    fn null() -> Option<Self> {
        Some(None)
    }
}

/// A tuple of [`FromValue`] types to which a row converts.
pub trait FromRow: Sized {
    /// Appends one tuple for each row of the columns.
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

/// Reads one column as values of `T`.
struct Reader<T> {
    column: usize,
    array: ArrayRef,
    found: DataType,
    values: PhantomData<T>,
}

impl<T: FromValue> Reader<T> {
    /// Creates a reader of the column at position `column`. The type of `array` must be of the same family as `T`.
    fn new(column: usize, array: &ArrayRef) -> Result<Self> {
        let (found, wanted) = (array.data_type().clone(), T::arrow_type());
        // With `safe`, Arrow would turn a value that does not fit into a null instead of an error.
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let array =
            if same_family(&found, &wanted) { cast_with_options(array, &wanted, &strict).ok() } else { None };
        match array {
            Some(array) => Ok(Self { column, array, found, values: PhantomData }),
            None => Err(Error::ResultType { column, expected: T::NAME, found: found.to_string() }),
        }
    }

    fn get(&self, row: usize) -> Result<T> {
        let null = self.array.is_null(row);
        let value = if null { T::null() } else { T::value(&self.array, row) };
        value.ok_or_else(|| {
            let found = if null { format!("a null of type {}", self.found) } else { self.found.to_string() };
            Error::ResultType { column: self.column, expected: T::NAME, found }
        })
    }
}

/// Returns whether a cast changes only the width or the encoding. Arrow itself would also turn a number into a string.
fn same_family(found: &DataType, wanted: &DataType) -> bool {
    match wanted {
        DataType::Utf8 => matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        DataType::Binary => matches!(found, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
        DataType::List(wanted) => match found {
            DataType::List(found) | DataType::LargeList(found) | DataType::FixedSizeList(found, _) => {
                same_family(found.data_type(), wanted.data_type())
            }
            _ => false,
        },
        DataType::Int64 => found.is_integer(),
        DataType::Float64 => found.is_floating(),
        DataType::Timestamp(..) => matches!(found, DataType::Timestamp(..)),
        other => found == other,
    }
}
