//! The images that producers send: CIFAR-10's test set, 10,000 JPEG files with their true classes.
//!
//! The file is Parquet with columns `name` (text), `label` (the class's number), `class` (its name) and `jpeg`
//! (bytes). The shipped one is part of the program; another of the same columns can be given. Everything is
//! checked on load, so that what a producer sends is right by construction: a label is one of the ten and agrees
//! with its number, an image is not empty. Which row a producer sends when is a pure function, [`row`].

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use firesteel_proto::Label;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// The shipped file.
static SHIPPED: &[u8] = include_bytes!("../assets/cifar10-test.parquet");
/// How the shipped file is called in an error.
const SHIPPED_NAME: &str = "(shipped) cifar10-test.parquet";

/// An image of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name in the data set.
    pub name: String,
    /// Its true class.
    pub label: Label,
    /// A JPEG file; never empty.
    pub jpeg: Bytes,
}

/// Images in the order of their file; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    images: Vec<Image>,
}

/// The row of a data set of `rows` that producer `producer` sends as its image `sequence`, when every producer
/// sends `images`: producer *k* sends rows *k·images* to *(k+1)·images − 1*, wrapping at the end.
#[must_use]
pub fn row(producer: u64, images: u64, sequence: u64, rows: usize) -> usize {
    let first = u128::from(producer) * u128::from(images) % rows.max(1) as u128;
    row_after(usize::try_from(first).unwrap_or(0), sequence, rows)
}

/// The row of a data set of `rows` that a producer whose first image is that of row `first` sends as its image `sequence`.
#[must_use]
pub fn row_after(first: usize, sequence: u64, rows: usize) -> usize {
    let row = (first as u128 + u128::from(sequence)) % rows.max(1) as u128;
    usize::try_from(row).unwrap_or(0)
}

impl Dataset {
    /// Reads `path`, or the shipped file. Blocks: 10 MB are decompressed and checked.
    ///
    /// # Errors
    /// A `Dataset…` error that names the file, and the column and types or the row.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        match path {
            None => Self::parse(Bytes::from_static(SHIPPED), Path::new(SHIPPED_NAME)),
            Some(path) => {
                let bytes = std::fs::read(path)
                    .map_err(|source| Error::DatasetFile { path: path.to_owned(), source })?;
                Self::parse(bytes.into(), path)
            }
        }
    }

    /// Reads a whole file that is in memory; `path` is for errors.
    fn parse(file: Bytes, path: &Path) -> Result<Self> {
        let format = |source| Error::DatasetFormat { path: path.to_owned(), source };
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(format)?;
        let mut images = Vec::new();
        for batch in reader {
            let batch = batch.map_err(|e| format(ParquetError::External(Box::new(e))))?;
            append(&mut images, &batch, path)?;
        }
        if images.is_empty() {
            return Err(Error::DatasetRow {
                path: path.to_owned(),
                row: 0,
                reason: "the file has no rows".into(),
            });
        }
        Ok(Self { images })
    }

    /// What tells this data set from others: a digest of its images and their classes, in their order.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for image in &self.images {
            digest.update([image.label as u8]);
            digest.update((image.jpeg.len() as u64).to_le_bytes());
            digest.update(&image.jpeg);
        }
        let hexadecimal = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("sha256:{hexadecimal}")
    }

    /// Every image, in the order of the file.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }
}

fn append(images: &mut Vec<Image>, batch: &RecordBatch, path: &Path) -> Result<()> {
    let names = column(batch, path, "name", &DataType::Utf8, "text")?;
    let labels = column(batch, path, "label", &DataType::Int64, "an integer")?;
    let classes = column(batch, path, "class", &DataType::Utf8, "text")?;
    let jpegs = column(batch, path, "jpeg", &DataType::Binary, "bytes")?;
    let (names, classes) = (names.as_string::<i32>(), classes.as_string::<i32>());
    let (labels, jpegs) = (labels.as_primitive::<Int64Type>(), jpegs.as_binary::<i32>());
    for index in 0..batch.num_rows() {
        let bad = |reason: String| Error::DatasetRow { path: PathBuf::from(path), row: images.len(), reason };
        let nulls =
            [names.is_null(index), labels.is_null(index), classes.is_null(index), jpegs.is_null(index)];
        if nulls.contains(&true) {
            return Err(bad("a column is null".to_owned()));
        }
        let label = Label::parse("class", classes.value(index)).map_err(|error| bad(error.to_string()))?;
        if labels.value(index) != label as i64 {
            let number = labels.value(index);
            return Err(bad(format!("label {number} is not the number of class {label}, {}", label as i64)));
        }
        let jpeg = Bytes::copy_from_slice(jpegs.value(index));
        if jpeg.is_empty() {
            return Err(bad("the image has no data".to_owned()));
        }
        images.push(Image { name: names.value(index).to_owned(), label, jpeg });
    }
    Ok(())
}

/// Column `name` as `kind`; another width or offset size of the same kind is converted.
fn column(
    batch: &RecordBatch,
    path: &Path,
    name: &'static str,
    kind: &DataType,
    expected: &'static str,
) -> Result<ArrayRef> {
    let bad = |found: String| Error::DatasetColumn { path: path.to_owned(), column: name, expected, found };
    let array = batch.column_by_name(name).ok_or_else(|| bad("no such column".to_owned()))?;
    let found = array.data_type();
    // A dictionary is a way to store a column, not another type of it.
    let value = match found {
        DataType::Dictionary(_, value) => value.as_ref(),
        plain => plain,
    };
    let same_kind = match kind {
        DataType::Utf8 => matches!(value, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        DataType::Binary => matches!(value, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
        _ => value.is_integer(),
    };
    if !same_kind {
        return Err(bad(found.to_string()));
    }
    cast(array, kind).map_err(|error| bad(format!("{found}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BinaryArray, Int64Array, StringArray};
    use parquet::arrow::ArrowWriter;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn parquet(columns: Vec<(&str, ArrayRef)>) -> Bytes {
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("written");
        writer.into_inner().expect("closed").into()
    }

    fn columns() -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("name", Arc::new(StringArray::from(vec!["a", "b"]))),
            ("label", Arc::new(Int64Array::from(vec![3, 9]))),
            ("class", Arc::new(StringArray::from(vec!["cat", "truck"]))),
            ("jpeg", Arc::new(BinaryArray::from(vec![b"1".as_slice(), b"2"]))),
        ]
    }

    #[test]
    fn the_shipped_file_has_a_thousand_of_each_class() {
        let set = Dataset::load(None).expect("shipped");
        assert_eq!(set.images().len(), 10_000);
        for label in Label::ALL {
            assert_eq!(set.images().iter().filter(|image| image.label == label).count(), 1_000, "{label}");
        }
        assert!(
            set.images().iter().all(|image| image.jpeg.starts_with(&[0xff, 0xd8])),
            "every image is a JPEG"
        );
    }

    #[test]
    fn a_wrong_file_is_named_with_what_is_wrong() {
        let check = |index: usize, column: Option<(&'static str, ArrayRef)>, parts: &[&str]| {
            let mut columns = columns();
            match column {
                Some(column) => columns[index] = column,
                None => drop(columns.remove(index)),
            }
            let error = Dataset::parse(parquet(columns), Path::new("my.parquet")).expect_err("wrong");
            let text = error.to_string();
            for part in parts.iter().chain(&["my.parquet"]) {
                assert!(text.contains(part), "{part} in {text}");
            }
        };
        let text = |values: [&str; 2]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        check(3, None, &["jpeg", "no such column", "bytes"]);
        check(1, Some(("label", text(["3", "9"]))), &["label", "integer", "Utf8"]);
        check(2, Some(("class", text(["cat", "lorry"]))), &["row 1", "lorry"]);
        check(2, Some(("class", text(["dog", "truck"]))), &["row 0", "3", "dog"]);
        let empty = Arc::new(BinaryArray::from(vec![b"1".as_slice(), b""])) as ArrayRef;
        check(3, Some(("jpeg", empty)), &["row 1", "no data"]);

        let error = Dataset::parse(Bytes::from_static(b"PAR"), Path::new("x")).expect_err("no Parquet");
        assert!(matches!(error, Error::DatasetFormat { .. }), "{error}");
        let error = Dataset::load(Some(Path::new("/nowhere/x.parquet"))).expect_err("no file");
        assert!(error.to_string().contains("/nowhere/x.parquet"), "{error}");
    }

    #[test]
    fn a_right_file_is_read_in_order() {
        let set = Dataset::parse(parquet(columns()), Path::new("x")).expect("right");
        let names: Vec<_> = set.images().iter().map(|i| (i.name.as_str(), i.label)).collect();
        assert_eq!(names, [("a", Label::Cat), ("b", Label::Truck)]);
    }

    proptest! {
        #[test]
        fn rows_follow_each_other_over_all_producers_and_wrap(
            producer in 0_u64..20, images in 1_u64..500, sequence in 0_u64..500, rows in 1_usize..1_000,
        ) {
            let sequence = sequence % images;
            let row_of = |producer, sequence| row(producer, images, sequence, rows);
            prop_assert!(row_of(producer, sequence) < rows);
            let next = if sequence + 1 < images { row_of(producer, sequence + 1) } else { row_of(producer + 1, 0) };
            prop_assert_eq!(next, (row_of(producer, sequence) + 1) % rows);
            prop_assert_eq!(row_of(0, 0), 0);
        }

        #[test]
        fn no_number_is_too_large(producer: u64, images: u64, sequence: u64, rows: usize) {
            prop_assert!(row(producer, images, sequence, rows) < rows.max(1));
        }
    }
}
