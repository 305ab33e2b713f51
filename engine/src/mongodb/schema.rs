//! The schemas that a collection is read with.
//!
//! A schema is declared, not guessed: every document must fit it. A missing field is null, a value of another type
//! is an error (FAILFAST in Spark's words).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::{Error, Result};

/// The type of BSON dates: milliseconds, UTC.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// The columns of the table `predictions`, in the order in which documents store them.
pub fn predictions_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        Field::new("_id", DataType::Utf8, false),
        text("producer_id"),
        Field::new("sequence", DataType::Int64, true),
        text("label"),
        text("predicted"),
        Field::new("correct", DataType::Boolean, true),
        Field::new("confidence", DataType::Float64, true),
        text("model"),
        Field::new("produced_at", timestamp_type(), true),
        Field::new("inferred_at", timestamp_type(), true),
    ]))
}

/// Checks that every field of `schema` has a type that can be decoded and a name that MongoDB takes as one field.
pub(crate) fn validate(collection: &str, schema: &Schema) -> Result<()> {
    for field in schema.fields() {
        let name = field.name();
        let fail = |message: String| {
            Err(Error::InvalidSchema { collection: collection.to_owned(), field: name.clone(), message })
        };
        // A dot means a nested field to MongoDB, and a leading dollar an operator.
        if name.is_empty() || name.starts_with('$') || name.contains(['.', '\0']) {
            return fail("a name may not be empty, start with `$` or hold a dot or a NUL".to_owned());
        }
        match field.data_type() {
            DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Float64
            | DataType::Utf8
            | DataType::Binary
            | DataType::Timestamp(TimeUnit::Millisecond, _) => {}
            other => return fail(format!("type {other} is not supported")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_predictions_schema_is_valid_and_others_are_checked() {
        validate("predictions", &predictions_schema()).unwrap();
        for (name, data_type) in [
            ("", DataType::Utf8),
            ("a.b", DataType::Utf8),
            ("$a", DataType::Utf8),
            ("a", DataType::Date32),
            ("a", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        ] {
            let schema = Schema::new(vec![Field::new(name, data_type, true)]);
            assert!(matches!(validate("c", &schema), Err(Error::InvalidSchema { .. })), "{schema:?}");
        }
    }
}
