//! The project's records as Arrow columns, whichever source they come from.
//!
//! [`PredictionRecord::FIELDS`] says which fields a prediction has and of which kind. Here each kind gets its type in Arrow.

use arrow::datatypes::{DataType, Field, TimeUnit};
use firesteel_proto::{FieldType, PredictionRecord};

/// The type of times: milliseconds, UTC.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// The columns of a prediction, all of them nullable, in the order in which documents store them.
pub(crate) fn prediction_fields() -> impl Iterator<Item = Field> {
    PredictionRecord::FIELDS.into_iter().map(|(name, kind)| {
        let data_type = match kind {
            FieldType::Text => DataType::Utf8,
            FieldType::Integer => DataType::Int64,
            FieldType::Boolean => DataType::Boolean,
            FieldType::Double => DataType::Float64,
            FieldType::Time => timestamp_type(),
        };
        Field::new(name, data_type, true)
    })
}
