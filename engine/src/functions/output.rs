//! The result types of registered functions: each becomes one value of an Arrow array.

use std::fmt::Display;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::DataType;

use super::argument::timestamp;
use crate::value::Timestamp;

/// An owned value that an Arrow array can hold.
pub trait Value: Sized {
    /// Returns the Arrow type.
    fn data_type() -> DataType;
    /// Builds an array of values.
    #[doc(hidden)]
    fn array(values: Vec<Option<Self>>) -> ArrayRef;
}

/// The result of a function: a [`Value`], an `Option` of one, or a `Result` of either.
pub trait Output {
    /// The type of the value.
    type Value: Value;
    /// Returns the value, `None` for a null, or the message of an error.
    #[doc(hidden)]
    fn into_value(self) -> Result<Option<Self::Value>, String>;
}

macro_rules! value {
    ($type:ty, $data_type:expr, $array:expr) => {
        impl Value for $type {
            fn data_type() -> DataType {
                $data_type
            }

            fn array(values: Vec<Option<Self>>) -> ArrayRef {
                Arc::new($array(values))
            }
        }

        impl Output for $type {
            type Value = Self;

            fn into_value(self) -> Result<Option<Self>, String> {
                Ok(Some(self))
            }
        }
    };
}
value!(String, DataType::Utf8, StringArray::from);
value!(Vec<u8>, DataType::Binary, BinaryArray::from_iter);
value!(i64, DataType::Int64, Int64Array::from);
value!(f64, DataType::Float64, Float64Array::from);
value!(bool, DataType::Boolean, BooleanArray::from);
value!(Timestamp, timestamp(), |values: Vec<Option<Timestamp>>| {
    let millis = values.into_iter().map(|value| value.map(Timestamp::millis));
    millis.collect::<TimestampMillisecondArray>().with_timezone("UTC")
});

impl<T: Value> Output for Option<T> {
    type Value = T;

    fn into_value(self) -> Result<Option<T>, String> {
        Ok(self)
    }
}

impl<T: Output, E: Display> Output for Result<T, E> {
    type Value = T::Value;

    fn into_value(self) -> Result<Option<T::Value>, String> {
        self.map_err(|error| error.to_string())?.into_value()
    }
}
