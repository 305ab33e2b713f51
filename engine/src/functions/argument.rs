//! The argument types of registered functions: each reads one value from an Arrow array.

use arrow::array::{
    Array, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};

use crate::value::Timestamp;

/// The type of an argument. `&'static str` stands for a string of any lifetime: [`Item`](Self::Item) has the lifetime
/// of the call.
pub trait Argument: 'static {
    /// The argument of one call.
    type Item<'a>;
    /// The Arrow array that holds the arguments.
    #[doc(hidden)]
    type Column: Array + 'static;
    /// Returns the Arrow type to which the planner casts.
    fn data_type() -> DataType;
    /// Returns the argument in `row`, or `None` for a null that makes the result null.
    #[doc(hidden)]
    fn item(column: &Self::Column, row: usize) -> Option<Self::Item<'_>>;
}

macro_rules! argument {
    ($type:ty, $item:ty, $column:ty, $data_type:expr, $convert:expr) => {
        impl Argument for $type {
            type Item<'a> = $item;
            type Column = $column;

            fn data_type() -> DataType {
                $data_type
            }

            fn item(column: &Self::Column, row: usize) -> Option<Self::Item<'_>> {
                column.is_valid(row).then(|| $convert(column.value(row)))
            }
        }

        impl Arguments for $type {
            type Items<'a> = $item;

            fn data_types() -> Vec<DataType> {
                vec![$data_type]
            }

            fn each(columns: &[&dyn Array], mut call: impl FnMut(Self::Items<'_>)) -> Option<()> {
                <($type,)>::each(columns, |(item,)| call(item))
            }
        }
    };
}
argument!(&'static str, &'a str, StringArray, DataType::Utf8, std::convert::identity);
argument!(&'static [u8], &'a [u8], BinaryArray, DataType::Binary, std::convert::identity);
argument!(i64, i64, Int64Array, DataType::Int64, std::convert::identity);
argument!(f64, f64, Float64Array, DataType::Float64, std::convert::identity);
argument!(bool, bool, BooleanArray, DataType::Boolean, std::convert::identity);
argument!(Timestamp, Timestamp, TimestampMillisecondArray, timestamp(), Timestamp::from_millis);

/// Returns the type of timestamps in the tables: milliseconds in UTC.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

impl<T: Argument> Argument for Option<T> {
    type Item<'a> = Option<T::Item<'a>>;
    type Column = T::Column;

    fn data_type() -> DataType {
        T::data_type()
    }

    fn item(column: &Self::Column, row: usize) -> Option<Self::Item<'_>> {
        Some(T::item(column, row))
    }
}

/// The input of an aggregate: one [`Argument`], or a tuple of them.
pub trait Arguments: 'static {
    /// The arguments of one row.
    type Items<'a>;
    /// Returns the Arrow types to which the planner casts.
    fn data_types() -> Vec<DataType>;
    /// Calls `call` for each row whose arguments are not null. Returns `None` if the columns have other types.
    #[doc(hidden)]
    fn each(columns: &[&dyn Array], call: impl FnMut(Self::Items<'_>)) -> Option<()>;
}

macro_rules! arguments_of_tuple {
    ($($part:ident $index:tt),+) => {
        #[allow(non_snake_case, reason = "the type parameters name the parts")]
        impl<$($part: Argument),+> Arguments for ($($part,)+) {
            type Items<'a> = ($($part::Item<'a>,)+);

            fn data_types() -> Vec<DataType> {
                vec![$($part::data_type()),+]
            }

            fn each(columns: &[&dyn Array], mut call: impl FnMut(Self::Items<'_>)) -> Option<()> {
                let ($($part,)+) = ($(columns.get($index)?.as_any().downcast_ref::<$part::Column>()?,)+);
                for row in 0..columns.first()?.len() {
                    if let ($(Some($part),)+) = ($($part::item($part, row),)+) {
                        call(($($part,)+));
                    }
                }
                Some(())
            }
        }
    };
}
arguments_of_tuple!(A 0);
arguments_of_tuple!(A 0, B 1);
arguments_of_tuple!(A 0, B 1, C 2);
arguments_of_tuple!(A 0, B 1, C 2, D 3);
