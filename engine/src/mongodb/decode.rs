//! Raw BSON documents into Arrow columns, with no document type in between.
//!
//! Conversions are those that lose nothing: integers of any width and whole doubles are read as integers, integers
//! that a double represents exactly are read as doubles. A missing field and a BSON null are null. Anything else is
//! an error that names the document, because a value that is silently wrong is worse than a query that fails.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch,
    RecordBatchOptions, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use bson::{RawBsonRef, RawDocument};

use crate::{Error, Result};

/// Collects documents and turns them into batches of `schema`.
pub(crate) struct Decoder {
    collection: String,
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    /// The sizes of the documents of these rows, as an upper bound of what the columns hold.
    bytes: usize,
}

struct Column {
    name: String,
    values: Values,
    nullable: bool,
    /// How many rows have a value or a null.
    filled: usize,
}

enum Values {
    Boolean(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
    Timestamp(TimestampMillisecondBuilder, DataType),
}

impl Decoder {
    /// A decoder of documents of `collection` for batches of about `batch_rows` rows.
    pub(crate) fn new(collection: &str, schema: SchemaRef, batch_rows: usize) -> Result<Self> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column::new(collection, field, batch_rows))
            .collect::<Result<_>>()?;
        Ok(Self { collection: collection.to_owned(), schema, columns, rows: 0, bytes: 0 })
    }

    /// How many documents wait for [`Self::finish`].
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The sizes of the documents that wait for [`Self::finish`].
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a document.
    pub(crate) fn push(&mut self, document: &RawDocument) -> Result<()> {
        // Documents of a collection mostly have their fields in one order, so the next field is mostly the next column.
        let mut expected = 0;
        for element in document.iter_elements() {
            let element = element.map_err(|error| self.damaged(document, &error))?;
            let key = element.key().as_str();
            let Some(index) = self.find(key, expected) else { continue };
            expected = index + 1;
            let column = &mut self.columns[index];
            if column.filled > self.rows {
                continue; // The server takes the first of two fields of one name.
            }
            let value = element.value().map_err(|error| self.damaged(document, &error))?;
            let null = matches!(value, RawBsonRef::Null | RawBsonRef::Undefined);
            let column = &mut self.columns[index];
            if (null && !column.nullable) || !column.values.append(&value) {
                let found = format!("{:?}", value.element_type());
                return Err(self.mismatch(document, index, found));
            }
            column.filled += 1;
        }
        self.rows += 1;
        self.bytes += document.as_bytes().len();
        for index in 0..self.columns.len() {
            let column = &mut self.columns[index];
            if column.filled < self.rows {
                if !column.nullable {
                    return Err(self.mismatch(document, index, "no such field".to_owned()));
                }
                column.values.append_null();
                column.filled += 1;
            }
        }
        Ok(())
    }

    /// The documents so far as a batch, and none left.
    pub(crate) fn finish(&mut self) -> arrow::error::Result<RecordBatch> {
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
    }

    fn find(&self, key: &str, expected: usize) -> Option<usize> {
        if self.columns.get(expected).is_some_and(|column| column.name == key) {
            return Some(expected);
        }
        self.columns.iter().position(|column| column.name == key)
    }

    fn mismatch(&self, document: &RawDocument, index: usize, found: String) -> Error {
        Error::SchemaMismatch {
            collection: self.collection.clone(),
            id: display_id(document),
            field: self.columns[index].name.clone(),
            expected: self.schema.field(index).data_type().to_string(),
            found,
        }
    }

    fn damaged(&self, document: &RawDocument, error: &dyn std::error::Error) -> Error {
        Error::MongoDb {
            operation: "find",
            collection: self.collection.clone(),
            message: format!("document {} is not valid BSON: {error}", display_id(document)),
        }
    }
}

/// An `_id` for a message.
fn display_id(document: &RawDocument) -> String {
    match document.get("_id") {
        Ok(Some(RawBsonRef::String(id))) => id.to_owned(),
        Ok(Some(RawBsonRef::ObjectId(id))) => id.to_hex(),
        Ok(Some(RawBsonRef::Int32(id))) => id.to_string(),
        Ok(Some(RawBsonRef::Int64(id))) => id.to_string(),
        Ok(Some(other)) => format!("{other:?}"),
        _ => "unknown".to_owned(),
    }
}

impl Column {
    fn new(collection: &str, field: &Field, rows: usize) -> Result<Self> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBuilder::with_capacity(rows)),
            DataType::Int32 => Values::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Values::Int64(Int64Builder::with_capacity(rows)),
            DataType::Float64 => Values::Float64(Float64Builder::with_capacity(rows)),
            DataType::Utf8 => Values::Utf8(StringBuilder::with_capacity(rows, rows * 16)),
            DataType::Binary => Values::Binary(BinaryBuilder::new()),
            timestamp @ DataType::Timestamp(TimeUnit::Millisecond, _) => {
                let builder =
                    TimestampMillisecondBuilder::with_capacity(rows).with_data_type(timestamp.clone());
                Values::Timestamp(builder, timestamp.clone())
            }
            other => {
                return Err(Error::InvalidSchema {
                    collection: collection.to_owned(),
                    field: field.name().clone(),
                    message: format!("type {other} is not supported"),
                });
            }
        };
        Ok(Self { name: field.name().clone(), values, nullable: field.is_nullable(), filled: 0 })
    }

    fn finish(&mut self) -> ArrayRef {
        self.filled = 0;
        match &mut self.values {
            Values::Boolean(values) => Arc::new(values.finish()),
            Values::Int32(values) => Arc::new(values.finish()),
            Values::Int64(values) => Arc::new(values.finish()),
            Values::Float64(values) => Arc::new(values.finish()),
            Values::Utf8(values) => Arc::new(values.finish()),
            Values::Binary(values) => Arc::new(values.finish()),
            Values::Timestamp(values, data_type) => {
                let array = values.finish();
                // A finished builder forgets its time zone.
                *values = TimestampMillisecondBuilder::new().with_data_type(data_type.clone());
                Arc::new(array)
            }
        }
    }
}

impl Values {
    /// Appends `value`, or a null; `false` where it is of another type.
    fn append(&mut self, value: &RawBsonRef<'_>) -> bool {
        if matches!(value, RawBsonRef::Null | RawBsonRef::Undefined) {
            self.append_null();
            return true;
        }
        match self {
            Self::Boolean(values) => value.as_bool().map(|value| values.append_value(value)),
            Self::Int32(values) => integer(value)
                .and_then(|value| i32::try_from(value).ok())
                .map(|value| values.append_value(value)),
            Self::Int64(values) => integer(value).map(|value| values.append_value(value)),
            Self::Float64(values) => double(value).map(|value| values.append_value(value)),
            Self::Utf8(values) => value.as_str().map(|value| values.append_value(value)),
            Self::Binary(values) => value.as_binary().map(|value| values.append_value(value.bytes)),
            Self::Timestamp(values, _) => {
                value.as_datetime().map(|value| values.append_value(value.timestamp_millis()))
            }
        }
        .is_some()
    }

    fn append_null(&mut self) {
        match self {
            Self::Boolean(values) => values.append_null(),
            Self::Int32(values) => values.append_null(),
            Self::Int64(values) => values.append_null(),
            Self::Float64(values) => values.append_null(),
            Self::Utf8(values) => values.append_null(),
            Self::Binary(values) => values.append_null(),
            Self::Timestamp(values, _) => values.append_null(),
        }
    }
}

/// 2^63 as a double: the first whole number that is too large for an `i64`.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;

fn integer(value: &RawBsonRef<'_>) -> Option<i64> {
    match *value {
        RawBsonRef::Int32(value) => Some(i64::from(value)),
        RawBsonRef::Int64(value) => Some(value),
        RawBsonRef::Double(value) if value.fract() == 0.0 && (-BEYOND_I64..BEYOND_I64).contains(&value) => {
            Some(value as i64)
        }
        _ => None,
    }
}

fn double(value: &RawBsonRef<'_>) -> Option<f64> {
    match *value {
        RawBsonRef::Double(value) => Some(value),
        RawBsonRef::Int32(value) => Some(f64::from(value)),
        RawBsonRef::Int64(value) => {
            let double = value as f64;
            (double < BEYOND_I64 && double as i64 == value).then_some(double)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type, Schema, TimestampMillisecondType};
    use bson::{DateTime, RawBson, rawdoc};

    use super::*;
    use crate::mongodb::schema::timestamp_type;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("whole", DataType::Int64, true),
            Field::new("real", DataType::Float64, true),
            Field::new("flag", DataType::Boolean, true),
            Field::new("at", timestamp_type(), true),
        ]))
    }

    #[test]
    fn documents_in_any_order_with_missing_fields_become_columns() {
        let mut decoder = Decoder::new("c", schema(), 8).unwrap();
        for round in 0..2 {
            for document in [
                rawdoc! { "_id": 1, "text": "a", "whole": 1, "real": 1.5, "flag": true, "at": DateTime::from_millis(7) },
                rawdoc! { "_id": 2, "at": DateTime::from_millis(-7), "extra": { "x": 1 }, "text": RawBson::Null, "whole": 2.0 },
                rawdoc! { "_id": 3, "real": 3_i64, "whole": i64::MAX, "flag": false },
                rawdoc! {},
            ] {
                decoder.push(&document).unwrap();
            }
            assert_eq!(decoder.rows(), 4);
            let batch = decoder.finish().unwrap();
            assert_eq!(batch.schema(), schema(), "round {round}");
            let text: Vec<_> = batch.column(0).as_string::<i32>().iter().collect();
            assert_eq!(text, [Some("a"), None, None, None]);
            let whole: Vec<_> = batch.column(1).as_primitive::<Int64Type>().iter().collect();
            assert_eq!(whole, [Some(1), Some(2), Some(i64::MAX), None]);
            let real: Vec<_> = batch.column(2).as_primitive::<Float64Type>().iter().collect();
            assert_eq!(real, [Some(1.5), None, Some(3.0), None]);
            let flag: Vec<_> = batch.column(3).as_boolean().iter().collect();
            assert_eq!(flag, [Some(true), None, Some(false), None]);
            let at: Vec<_> = batch.column(4).as_primitive::<TimestampMillisecondType>().iter().collect();
            assert_eq!(at, [Some(7), Some(-7), None, None]);
        }
    }

    #[test]
    fn a_null_where_none_may_be_names_the_document() {
        let schema = Arc::new(Schema::new(vec![Field::new("whole", DataType::Int64, false)]));
        for document in [rawdoc! { "_id": 7, "whole": RawBson::Null }, rawdoc! { "_id": 7 }] {
            let error =
                Decoder::new("c", Arc::clone(&schema) as SchemaRef, 8).unwrap().push(&document).unwrap_err();
            assert!(
                matches!(&error, Error::SchemaMismatch { id, field, .. } if id == "7" && field == "whole"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_first_of_two_fields_of_one_name_counts() {
        let mut decoder = Decoder::new("c", schema(), 8).unwrap();
        let mut twice = rawdoc! { "text": "first" };
        twice.append(bson::raw::cstr!("text"), "second");
        decoder.push(&twice).unwrap();
        let batch = decoder.finish().unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "first");
    }

    #[test]
    fn without_columns_rows_are_still_counted() {
        let mut decoder = Decoder::new("c", Arc::new(Schema::empty()), 8).unwrap();
        decoder.push(&rawdoc! { "_id": 1 }).unwrap();
        decoder.push(&rawdoc! { "_id": 2 }).unwrap();
        assert_eq!(decoder.finish().unwrap().num_rows(), 2);
    }

    #[test]
    fn a_value_of_another_type_names_the_document() {
        for (document, field, found) in [
            (rawdoc! { "_id": "x:1", "text": 5 }, "text", "Int32"),
            (rawdoc! { "_id": "x:1", "whole": 1.5 }, "whole", "Double"),
            (rawdoc! { "_id": "x:1", "whole": f64::NAN }, "whole", "Double"),
            (rawdoc! { "_id": "x:1", "whole": 1e19 }, "whole", "Double"),
            (rawdoc! { "_id": "x:1", "real": (1_i64 << 53) + 1 }, "real", "Int64"),
            (rawdoc! { "_id": "x:1", "real": i64::MAX }, "real", "Int64"),
            (rawdoc! { "_id": "x:1", "flag": 1 }, "flag", "Int32"),
            (rawdoc! { "_id": "x:1", "at": "2020-01-01" }, "at", "String"),
            (rawdoc! { "_id": "x:1", "text": ["a"] }, "text", "Array"),
        ] {
            let mut decoder = Decoder::new("predictions", schema(), 8).unwrap();
            match decoder.push(&document).unwrap_err() {
                Error::SchemaMismatch { collection, id, field: named, found: told, .. } => {
                    assert_eq!((collection.as_str(), id.as_str()), ("predictions", "x:1"));
                    assert_eq!((named.as_str(), told.as_str()), (field, found));
                }
                other => panic!("{document:?}: {other}"),
            }
        }
    }
}
