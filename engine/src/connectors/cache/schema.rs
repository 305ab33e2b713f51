//! The columns of what the cache sends through plans: descriptors of scans, and reports of jobs. A cached table itself has the
//! schema of the query whose result it keeps.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// The columns of a descriptor: a row group of a file.
pub(crate) fn descriptor_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("file", DataType::Utf8, false),
        Field::new("row_group", DataType::UInt32, false),
        Field::new("rows", DataType::UInt64, false),
    ]))
}

/// The columns of a job's report: a row for each row group, and one without a file, so that a task that wrote nothing reports
/// the time as well.
pub(crate) fn report_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("file", DataType::Utf8, true),
        Field::new("row_group", DataType::UInt32, false),
        Field::new("rows", DataType::UInt64, false),
        Field::new("time", DataType::UInt32, true),
        Field::new("increment", DataType::UInt32, true),
    ]))
}

/// The form in which memory holds text with few values: a dictionary.
pub(crate) fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Whether a column is text, which may be held as a dictionary.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}
