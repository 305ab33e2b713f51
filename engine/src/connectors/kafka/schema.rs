//! The columns of a topic's table: those of the record first, then where and when it came.
//!
//! All columns of a record are nullable: a message without a value, a tombstone, has none of them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::config::{Format, Mode};
use crate::connectors::records::{prediction_fields, timestamp_type};

/// Key and value of a header.
pub(super) fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

/// The element of the column `headers`.
pub(super) fn header_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), false))
}

/// All columns of a table.
pub(crate) fn table_schema(format: Format, mode: Mode) -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let bytes = |name| Field::new(name, DataType::Binary, true);
    let time = |name| Field::new(name, timestamp_type(), true);
    let id = [text("producer_id"), Field::new("sequence", DataType::Int64, true)];

    let mut fields: Vec<Field> = match format {
        Format::Raw => {
            let headers = Field::new("headers", DataType::List(header_item()), true);
            vec![bytes("key"), bytes("value"), headers]
        }
        Format::Images => {
            let rest = [time("produced_at"), text("label"), text("encoding"), bytes("data")];
            id.into_iter().chain(rest).collect()
        }
        Format::Predictions => {
            // A document's key and whether the model was right follow from the other fields.
            prediction_fields().filter(|field| !matches!(field.name().as_str(), "_id" | "correct")).collect()
        }
    };
    fields.extend([
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        time("timestamp"),
    ]);
    if format == Format::Raw {
        fields.push(Field::new("timestamp_type", DataType::Int32, false));
    } else if mode == Mode::Permissive {
        fields.push(bytes("_corrupt_record"));
    }
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_fields_come_first_and_then_where_they_were() {
        let names = |format, mode| {
            let schema = table_schema(format, mode);
            schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names(Format::Images, Mode::FailFast),
            "producer_id sequence produced_at label encoding data topic partition offset timestamp"
        );
        assert_eq!(
            names(Format::Predictions, Mode::Permissive),
            "producer_id sequence label predicted confidence model produced_at inferred_at topic partition offset \
             timestamp _corrupt_record"
        );
        assert_eq!(
            names(Format::Raw, Mode::Permissive),
            "key value headers topic partition offset timestamp timestamp_type"
        );
    }
}
