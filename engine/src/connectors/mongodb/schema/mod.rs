//! The schemas that a collection is read with: declared, inferred from a sample, or inferred with hints.
//!
//! | BSON | Arrow |
//! |---|---|
//! | bool, int, long, double, string | Boolean, Int32, Int64, Float64, Utf8 |
//! | binary | Binary; the subtype, where there is one alone, is marked in the field's metadata |
//! | date | Timestamp (milliseconds, UTC) |
//! | decimal | Decimal128 with 38 digits, as many behind the point as the sample has |
//! | object, array | Struct, List |
//! | objectId | Utf8, its 24 hexadecimal digits; marked in the field's metadata |
//! | any other, or several types that have nothing in common | Utf8: strings as they are, the rest as relaxed extended JSON; marked in the field's metadata |
//!
//! The marks, and what is written back as what, are in [`kind`].
//!
//! Names of fields are as in the documents; a name with a dot or a leading dollar cannot be a column.

pub(crate) mod hints;
pub(crate) mod kind;
pub(crate) mod mode;
pub(crate) mod names;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::connectors::records::prediction_fields;
pub(crate) use crate::connectors::records::timestamp_type;
use crate::{Error, Result};

/// The columns of the table `predictions`, in the order in which documents store them. Only the key is always there.
pub fn predictions_schema() -> SchemaRef {
    let fields = prediction_fields().map(|field| {
        let is_key = field.name() == "_id";
        field.with_nullable(!is_key)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Whether MongoDB takes `name` as one field: a dot means a nested field, and a leading dollar an operator.
pub(crate) fn is_column_name(name: &str) -> bool {
    !(name.is_empty() || name.starts_with('$') || name.contains(['.', '\0']))
}

/// Checks that every field of `schema` has a type that can be decoded and a name that MongoDB takes as one field.
pub(crate) fn validate(collection: &str, schema: &Schema) -> Result<()> {
    for field in schema.fields() {
        let fail = |message: String| {
            Err(Error::InvalidSchema {
                collection: collection.to_owned(),
                field: field.name().clone(),
                message,
            })
        };
        if !is_column_name(field.name()) {
            return fail("a name may not be empty, start with `$` or hold a dot or a NUL".to_owned());
        }
        if let Some(other) = unsupported(field.data_type()) {
            return fail(format!("type {other} is not supported"));
        }
    }
    Ok(())
}

/// The type, or the part of it, that documents cannot be decoded into.
fn unsupported(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Boolean
        | DataType::Int32
        | DataType::Int64
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Timestamp(TimeUnit::Millisecond, _) => None,
        DataType::Decimal128(_, scale) if *scale >= 0 => None,
        DataType::Struct(fields) if !fields.is_empty() => {
            fields.iter().find_map(|field| unsupported(field.data_type()))
        }
        DataType::List(element) => unsupported(element.data_type()),
        other => Some(other),
    }
}

/// `schema` with types that a statement can name turned into those that documents have: smaller numbers into those of
/// BSON, every kind of text into Utf8, timestamps into milliseconds in UTC.
pub(crate) fn normalize(schema: &Schema) -> Schema {
    let fields: Vec<Field> = schema.fields().iter().map(|field| normal_field(field)).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn normal_field(field: &Field) -> Field {
    field.clone().with_data_type(normal_type(field.data_type()))
}

fn normal_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Timestamp(..) => timestamp_type(),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| normal_field(field)).collect())
        }
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            DataType::List(Arc::new(normal_field(element)))
        }
        other => other.clone(),
    }
}

/// `columns`, those of a name in `hints` replaced, and the rest of `hints` behind them.
pub(crate) fn with_hints(columns: &Schema, hints: &Schema) -> Schema {
    let mut fields: Vec<Field> = columns
        .fields()
        .iter()
        .map(|field| hints.field_with_name(field.name()).unwrap_or(field).clone())
        .collect();
    let new = hints.fields().iter().filter(|hint| columns.field_with_name(hint.name()).is_err());
    fields.extend(new.map(|field| field.as_ref().clone()));
    Schema::new_with_metadata(fields, columns.metadata().clone())
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
            ("a", DataType::Struct(Vec::<Field>::new().into())),
            ("a", DataType::List(Arc::new(Field::new("item", DataType::Date32, true)))),
            ("a", DataType::Decimal128(10, -2)),
        ] {
            let schema = Schema::new(vec![Field::new(name, data_type, true)]);
            assert!(matches!(validate("c", &schema), Err(Error::InvalidSchema { .. })), "{schema:?}");
        }
    }

    #[test]
    fn types_of_statements_become_types_of_documents() {
        let list = |data_type| DataType::List(Arc::new(Field::new("item", data_type, true)));
        for (declared, expected) in [
            (DataType::Int16, DataType::Int32),
            (DataType::UInt32, DataType::Int64),
            (DataType::Float32, DataType::Float64),
            (DataType::Utf8View, DataType::Utf8),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), timestamp_type()),
            (list(DataType::Utf8View), list(DataType::Utf8)),
            (DataType::Decimal128(10, 2), DataType::Decimal128(10, 2)),
        ] {
            let schema = normalize(&Schema::new(vec![Field::new("a", declared, false)]));
            assert_eq!(schema, Schema::new(vec![Field::new("a", expected, false)]));
            validate("c", &schema).unwrap();
        }
        let unsigned = normalize(&Schema::new(vec![Field::new("a", DataType::UInt64, true)]));
        assert!(validate("c", &unsigned).is_err());
    }

    #[test]
    fn hints_replace_and_add() {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let columns = Schema::new(vec![field("a", DataType::Int32), field("b", DataType::Utf8)]);
        let hints = Schema::new(vec![field("c", DataType::Boolean), field("a", DataType::Int64)]);
        let expected = Schema::new(vec![
            field("a", DataType::Int64),
            field("b", DataType::Utf8),
            field("c", DataType::Boolean),
        ]);
        assert_eq!(with_hints(&columns, &hints), expected);
    }
}
