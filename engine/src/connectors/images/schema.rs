//! The columns of a table over a folder of images.
//!
//! Those of [`FILE_COLUMNS`] are known when the folder is listed. Only [`IMAGE`] and [`ERROR`] need the files themselves.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::folder::{Folder, ImageFile};
use crate::config::ReadMode;
use crate::connectors::records::timestamp_type;

/// The columns that a listing knows.
pub(crate) const FILE_COLUMNS: [&str; 4] = ["path", "label", "size", "modified"];

/// The file's bytes.
pub(crate) const IMAGE: &str = "image";

/// Why there are none.
pub(crate) const ERROR: &str = "_error";

/// The columns that a listing knows, as a schema.
pub(crate) fn listing_schema() -> Schema {
    let [path, label, size, modified] = FILE_COLUMNS;
    Schema::new(vec![
        Field::new(path, DataType::Utf8, false),
        Field::new(label, DataType::Utf8, true),
        Field::new(size, DataType::Int64, false),
        Field::new(modified, timestamp_type(), false),
    ])
}

/// What a listing knows of files, in the order of [`FILE_COLUMNS`].
pub(crate) fn listing(folder: &Folder, labels: bool, files: &[ImageFile]) -> [ArrayRef; 4] {
    let paths: StringArray = files.iter().map(|file| Some(folder.path(&file.relative))).collect();
    let names: StringArray = files.iter().map(|file| file.label().filter(|_| labels)).collect();
    let sizes: Int64Array = files.iter().map(|file| i64::try_from(file.size).ok()).collect();
    let times: TimestampMillisecondArray = files.iter().map(|file| Some(file.modified)).collect();
    [Arc::new(paths), Arc::new(names), Arc::new(sizes), Arc::new(times.with_timezone("UTC"))]
}

/// All columns of a table.
pub(crate) fn table_schema(mode: ReadMode) -> SchemaRef {
    let mut fields: Vec<Field> =
        listing_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new(IMAGE, DataType::Binary, true));
    if mode == ReadMode::Permissive {
        fields.push(Field::new(ERROR, DataType::Utf8, true));
    }
    Arc::new(Schema::new(fields))
}

/// Whether columns need the files themselves.
pub(crate) fn reads_files(columns: &Schema) -> bool {
    columns.fields().iter().any(|field| matches!(field.name().as_str(), IMAGE | ERROR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_a_column_only_where_it_may_be_needed() {
        let names = |mode| {
            let schema = table_schema(mode);
            schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(ReadMode::FailFast), "path label size modified image");
        assert_eq!(names(ReadMode::Permissive), "path label size modified image _error");
    }

    #[test]
    fn what_a_listing_knows_needs_no_file() {
        let schema = table_schema(ReadMode::Permissive);
        for (columns, reads) in
            [(vec![], false), (vec![0, 1, 2, 3], false), (vec![4], true), (vec![0, 5], true)]
        {
            assert_eq!(reads_files(&schema.project(&columns).unwrap()), reads, "{columns:?}");
        }
    }
}
