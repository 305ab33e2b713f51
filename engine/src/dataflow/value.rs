//! Single values of a result as Rust types.

use std::marker::PhantomData;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};

use crate::{Error, Result};

/// A point in time, in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `millis` milliseconds after 1970-01-01 UTC.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn millis(self) -> i64 {
        self.0
    }
}

/// A type that a column's values convert to: `String`, `i64`, `u64`, `f64`, `bool`, `Vec<u8>`, [`Timestamp`], a `Vec` of
/// them for a list, and `Option`s of them where there may be nulls.
pub trait FromValue: Sized {
    /// The type's name, for an error.
    const NAME: &'static str;
    /// The Arrow type that values are read from.
    #[doc(hidden)]
    fn arrow_type() -> DataType;
    /// The value in `row` of an array of [`Self::arrow_type`], which is not null.
    #[doc(hidden)]
    fn value(array: &dyn Array, row: usize) -> Option<Self>;
    /// What a null is, where it is anything.
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

/// Reads one column as values of `T`.
pub(super) struct Reader<T> {
    column: usize,
    array: ArrayRef,
    found: DataType,
    values: PhantomData<T>,
}

impl<T: FromValue> Reader<T> {
    /// A reader of the column at position `column`, if its type is of the same family as `T`.
    pub(super) fn new(column: usize, array: &ArrayRef) -> Result<Self> {
        let (found, wanted) = (array.data_type().clone(), T::arrow_type());
        // Unsafe in Arrow's sense is honest in ours: a value that does not fit is an error and not a null.
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let array =
            if same_family(&found, &wanted) { cast_with_options(array, &wanted, &strict).ok() } else { None };
        match array {
            Some(array) => Ok(Self { column, array, found, values: PhantomData }),
            None => Err(Error::ResultType { column, expected: T::NAME, found: found.to_string() }),
        }
    }

    pub(super) fn get(&self, row: usize) -> Result<T> {
        let null = self.array.is_null(row);
        let value = if null { T::null() } else { T::value(&self.array, row) };
        value.ok_or_else(|| {
            let found = if null { format!("a null of type {}", self.found) } else { self.found.to_string() };
            Error::ResultType { column: self.column, expected: T::NAME, found }
        })
    }
}

/// Whether a cast changes only the width or the encoding. Arrow would also turn a number into a string.
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
