//! Raw BSON documents into Arrow columns, with no document type in between.
//!
//! Conversions are those that lose nothing: integers of any width and whole doubles are read as integers, integers
//! that a double represents exactly are read as doubles, numbers of any kind as decimals where all their digits fit.
//! A missing field, a BSON null and an undefined are null. Where a statement writes what it reads, [`exact`] looks at each
//! value once more. Anything else does not fit, because a value that is silently
//! wrong is worse than a query that fails; what then happens is the mode's decision, see `schema::mode`:
//!
//! ```text
//!  documents ──▶ Record: a builder a column ──▶ row fits ──────────────────────────────▶ batch
//!                (nested records for documents,  └─ does not: fail, show or drop it ──┘
//!                 offsets for arrays)
//! ```

pub(crate) mod decimal;
pub(crate) mod elements;
pub(crate) mod exact;
pub(crate) mod json;
mod misfit;
pub(crate) mod record;
pub(crate) mod values;

use std::sync::Arc;

use arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::compute::filter;
use arrow::datatypes::{DataType, SchemaRef};
use bson::{RawBsonRef, RawDocument};

pub(crate) use self::elements::documents;
use self::misfit::{Misfit, Reason};
use self::record::Record;
use self::values::Values;
use crate::config::ReadMode;
use crate::connectors::mongodb::schema::mode::DecodeOptions;
use crate::{Error, Result};

/// Collects documents and turns them into batches.
pub(crate) struct Decoder {
    collection: String,
    /// The columns of the batches.
    schema: SchemaRef,
    mode: ReadMode,
    record: Record,
    /// Where each column that comes out is in `record`; `None` for the corrupt-record column.
    outputs: Vec<Option<usize>>,
    /// The corrupt-record column, where it is read.
    corrupt: Option<StringBuilder>,
    /// Which rows stay, where rows may be dropped.
    kept: Option<BooleanBufferBuilder>,
    rows: usize,
    /// The sizes of the documents of these rows, as an upper bound of what the columns hold.
    bytes: usize,
}

impl Decoder {
    /// A decoder of documents of `collection` that fails where one does not fit, for batches of about `batch_rows` rows.
    #[cfg(test)]
    pub(crate) fn new(collection: &str, schema: SchemaRef, batch_rows: usize) -> Result<Self> {
        Self::reading(collection, schema, batch_rows, &DecodeOptions::default())
    }

    /// A decoder that does with documents that do not fit what `reading` says.
    pub(crate) fn reading(
        collection: &str,
        schema: SchemaRef,
        batch_rows: usize,
        reading: &DecodeOptions,
    ) -> Result<Self> {
        let documents = reading.documents.as_ref().unwrap_or(&schema);
        let invalid = |field: &str, message: String| Error::InvalidSchema {
            collection: collection.to_owned(),
            field: field.to_owned(),
            message,
        };
        let Some(mut record) = Record::of(documents.fields(), batch_rows) else {
            let unsupported = documents.fields().iter().find(|field| Values::of(field, 0).is_none());
            let (name, data_type) =
                unsupported.map_or(("", &DataType::Null), |field| (field.name().as_str(), field.data_type()));
            return Err(invalid(name, format!("type {data_type} is not supported")));
        };
        record.write_back(&reading.written);
        let output = |field: &arrow::datatypes::FieldRef| {
            if reading.corrupt_record.as_ref() == Some(field.name()) {
                return Ok(None);
            }
            let index = documents.index_of(field.name());
            index.map(Some).map_err(|_| invalid(field.name(), "documents are not decoded into it".to_owned()))
        };
        Ok(Self {
            collection: collection.to_owned(),
            outputs: schema.fields().iter().map(output).collect::<Result<_>>()?,
            mode: reading.mode,
            record,
            corrupt: reading.corrupt_record.as_ref().map(|_| StringBuilder::new()),
            kept: (reading.mode == ReadMode::DropMalformed).then(|| BooleanBufferBuilder::new(batch_rows)),
            schema,
            rows: 0,
            bytes: 0,
        })
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
        let fits = self.record.push(document.as_bytes());
        self.rows += 1;
        self.bytes += document.as_bytes().len();
        if let Some(kept) = &mut self.kept {
            kept.append(fits.is_ok());
        }
        if let Some(corrupt) = &mut self.corrupt {
            if fits.is_err() {
                let mut text = String::new();
                json::document(document, &mut text);
                corrupt.append_value(text);
            } else {
                corrupt.append_null();
            }
        }
        match fits {
            Err(misfit) if self.mode.is_failfast() || self.would_change(&misfit) => {
                Err(self.error(document, &misfit))
            }
            _ => Ok(()),
        }
    }

    /// The documents so far as a batch, and none left.
    pub(crate) fn finish(&mut self) -> arrow::error::Result<RecordBatch> {
        let columns = self.record.finish()?;
        let corrupt = self.corrupt.as_mut().map(|corrupt| Arc::new(corrupt.finish()));
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            match (output, &corrupt) {
                (Some(index), _) => outputs.push(Arc::clone(&columns[*index])),
                (None, Some(corrupt)) => outputs.push(Arc::clone(corrupt) as _),
                (None, None) => {}
            }
        }
        let mut rows = self.rows;
        (self.rows, self.bytes) = (0, 0);
        if let Some(kept) = &mut self.kept {
            let kept = BooleanArray::new(kept.finish(), None);
            if kept.true_count() < rows {
                rows = kept.true_count();
                outputs = outputs.iter().map(|column| filter(column, &kept)).collect::<Result<_, _>>()?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), outputs, &options)
    }

    /// Whether a document that is shown or dropped where it does not fit would be written back as another one.
    fn would_change(&self, misfit: &Misfit) -> bool {
        matches!(misfit.reason, Reason::Changed(_)) || (misfit.written && self.mode == ReadMode::Permissive)
    }

    fn error(&self, document: &RawDocument, misfit: &Misfit) -> Error {
        let (expected, found) = match &misfit.reason {
            Reason::Changed(how) => {
                return Error::ChangedValue {
                    collection: self.collection.clone(),
                    id: display_id(document),
                    field: misfit.path(),
                    message: how.clone(),
                };
            }
            Reason::Other { expected, found } => (expected, format!("{found:?}")),
            Reason::Missing { expected, null: true } => (expected, "Null".to_owned()),
            Reason::Missing { expected, null: false } => (expected, "no such field".to_owned()),
            Reason::Damaged(message) => {
                return Error::MongoDb {
                    operation: "find",
                    collection: self.collection.clone(),
                    message: format!(
                        "document {} is not valid BSON at `{}`: {message}",
                        display_id(document),
                        misfit.path()
                    ),
                };
            }
        };
        Error::SchemaMismatch {
            collection: self.collection.clone(),
            id: display_id(document),
            field: misfit.path(),
            expected: expected.to_string(),
            found,
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

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Field, Float64Type, Int64Type, Schema, TimestampMillisecondType};
    use bson::{DateTime, RawBson, rawdoc};

    use super::*;
    use crate::connectors::mongodb::schema::timestamp_type;

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
