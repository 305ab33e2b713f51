//! The columns of a topic's table: those of the record first, then where and when it came.
//!
//! All columns of a record are nullable: a message without a value, a tombstone, has none of them, and an image may have no
//! label.

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
    let int = |name| Field::new(name, DataType::Int32, true);
    let long = |name| Field::new(name, DataType::Int64, true);
    let headers = || Field::new("headers", DataType::List(header_item()), true);
    let id = [text("producer_id"), long("sequence")];

    let mut fields: Vec<Field> = match format {
        Format::Raw => {
            vec![bytes("key"), bytes("value"), headers()]
        }
        Format::Images => {
            let rest = [time("produced_at"), text("label"), text("encoding"), bytes("data")];
            id.into_iter().chain(rest).collect()
        }
        Format::Predictions => {
            // A document's key and whether the model was right follow from the other fields.
            prediction_fields().filter(|field| !matches!(field.name().as_str(), "_id" | "correct")).collect()
        }
        Format::Letters => {
            let source = [text("source_topic"), int("source_partition"), long("source_offset")];
            let why = [text("class"), text("message"), text("producer_id")];
            let counts = [int("attempts"), int("replays"), long("size")];
            source.into_iter().chain(why).chain(counts).chain([headers(), bytes("value")]).collect()
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
    } else if mode == Mode::Permissive && format != Format::Letters {
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
        assert_eq!(
            names(Format::Letters, Mode::Permissive),
            "source_topic source_partition source_offset class message producer_id attempts replays size headers value \
             topic partition offset timestamp"
        );
    }
}
