//! What all partitions of a scan share, and what each of them reads: files, as rows of a descriptor.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};

use crate::Error;
use crate::config::ReadMode;
use crate::connectors::images::config::Reading;
use crate::connectors::images::folder::{Folder, ImageFile};
use crate::connectors::images::schema::table_schema;

/// The part of a scan that all of its partitions share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScanSpec {
    pub(crate) folder: Folder,
    pub(crate) reading: Reading,
    /// The table's columns that come out, by position.
    pub(crate) columns: Vec<usize>,
    pub(crate) batch_rows: usize,
}

impl ScanSpec {
    /// The columns that come out.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        Ok(Arc::new(table_schema(self.reading.mode).project(&self.columns)?))
    }

    /// Refuses a file that is larger than one may be.
    pub(crate) fn check_size(&self, file: &ImageFile) -> crate::Result<()> {
        let most = self.reading.max_bytes;
        if file.size <= most {
            return Ok(());
        }
        Err(self.unread(
            file,
            &format!("it has {} bytes, and the table option maxBytes allows {most}", file.size),
        ))
    }

    /// The error for a file that has no image.
    pub(crate) fn unread(&self, file: &ImageFile, message: &str) -> Error {
        let message = match self.reading.mode {
            ReadMode::FailFast => {
                format!("{message}; the table option mode 'PERMISSIVE' makes its image null")
            }
            _ => message.to_owned(),
        };
        Error::Location { location: self.folder.path(&file.relative), message }
    }
}

/// The columns of a descriptor.
pub(crate) fn descriptor_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("size", DataType::Int64, false),
        Field::new("modified", DataType::Int64, false),
    ]))
}

/// Files as rows.
pub(crate) fn describe(files: &[ImageFile]) -> Result<RecordBatch> {
    let paths: StringArray = files.iter().map(|file| Some(&file.relative)).collect();
    let sizes: Int64Array = files.iter().map(|file| i64::try_from(file.size).ok()).collect();
    let times: Int64Array = files.iter().map(|file| Some(file.modified)).collect();
    let columns = vec![Arc::new(paths) as _, Arc::new(sizes) as _, Arc::new(times) as _];
    Ok(RecordBatch::try_new(descriptor_schema(), columns)?)
}

/// The files in the rows of a descriptor batch.
pub(crate) fn files_of(batch: &RecordBatch) -> Result<Vec<ImageFile>> {
    let [paths, sizes, times] = batch.columns() else {
        return Err(DataFusionError::Internal("a descriptor has three columns".to_owned()));
    };
    let other = || DataFusionError::Internal("a descriptor holds a path, a size and a time".to_owned());
    let paths = paths.as_string_opt::<i32>().ok_or_else(other)?;
    let sizes = sizes.as_primitive_opt::<Int64Type>().ok_or_else(other)?.values();
    let times = times.as_primitive_opt::<Int64Type>().ok_or_else(other)?.values();
    let rows = paths.iter().zip(sizes).zip(times);
    rows.map(|((path, &size), &modified)| {
        let relative = path.ok_or_else(other)?.to_owned();
        Ok(ImageFile { relative, size: u64::try_from(size).map_err(|_| other())?, modified })
    })
    .collect()
}

/// How many bytes the files of a descriptor batch have.
pub(crate) fn bytes_of(batch: &RecordBatch) -> u64 {
    files_of(batch).map_or(0, |files| files.iter().map(|file| file.size).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_keep_their_files() {
        let file =
            |relative: &str, size, modified| ImageFile { relative: relative.to_owned(), size, modified };
        for files in
            [vec![], vec![file("a.jpg", 0, -1)], vec![file("é/b c.png", 1 << 40, 5), file("x", 2, 0)]]
        {
            let batch = describe(&files).unwrap();
            assert_eq!(files_of(&batch).unwrap(), files);
            assert_eq!(bytes_of(&batch), files.iter().map(|file| file.size).sum::<u64>());
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_named_with_the_option() {
        let spec = |mode| ScanSpec {
            folder: Folder::parse("/data").unwrap(),
            reading: Reading { mode, max_bytes: 10, ..Reading::default() },
            columns: vec![],
            batch_rows: 1,
        };
        let file = |size| ImageFile { relative: "cat/a.jpg".to_owned(), size, modified: 0 };
        assert!(spec(ReadMode::FailFast).check_size(&file(10)).is_ok());
        let told = spec(ReadMode::FailFast).check_size(&file(11)).unwrap_err().to_string();
        assert!(told.contains("/data/cat/a.jpg") && told.contains("maxBytes allows 10"), "{told}");
        assert!(told.contains("PERMISSIVE"), "{told}");
        let told = spec(ReadMode::Permissive).check_size(&file(11)).unwrap_err().to_string();
        assert!(!told.contains("PERMISSIVE"), "{told}");
    }
}
