//! The images that producers send: CIFAR-10's test set, 10,000 JPEG files with their true classes.
//!
//! The file is Parquet with columns `name` (text), `label` (the class's number), `class` (its name) and `jpeg`
//! (bytes). The shipped one is part of the program; another of the same columns can be given. Everything is
//! checked on load, so that what a producer sends is right by construction: a class has one number and one name, an image is
//! not empty. Where both `label` and `class` are null, the image has no true class. Which row a producer sends when is a pure
//! function, [`row`].

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use firesteel_proto::Label;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
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
    /// Its true class, where it is known.
    pub label: Option<Label>,
    /// A JPEG file; never empty.
    pub jpeg: Bytes,
}

/// Images in the order of their file; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    images: Vec<Image>,
    /// The number of each image's class; none where an image has no class, or one whose number is no byte.
    numbers: Option<Vec<u8>>,
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
        let mut rows = Rows::default();
        for batch in reader {
            let batch = batch.map_err(|e| format(ParquetError::External(Box::new(e))))?;
            rows.append(&batch, path)?;
        }
        let Rows { images, numbers, .. } = rows;
        if images.is_empty() {
            return Err(Error::DatasetRow {
                path: path.to_owned(),
                row: 0,
                reason: "the file has no rows".into(),
            });
        }
        Ok(Self { images, numbers: numbers.into_iter().collect() })
    }

    /// What tells this data set from others: a digest of its images and the names of their classes, in their order.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest_with(|_, image| {
            let name = image.label.as_ref().map(Label::name).unwrap_or_default();
            // A name has at most 128 bytes.
            let mut bytes = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
            bytes.extend_from_slice(name.as_bytes());
            bytes
        })
    }

    /// The digest that ledgers have from a time when the number of a class meant the same name in every data set; `None` for
    /// a data set that could not be read then.
    #[must_use]
    pub fn former_digest(&self) -> Option<String> {
        let numbers = self.numbers.as_ref()?;
        Some(self.digest_with(|row, _| vec![numbers[row]]))
    }

    fn digest_with(&self, class: impl Fn(usize, &Image) -> Vec<u8>) -> String {
        let mut digest = Sha256::new();
        for (row, image) in self.images.iter().enumerate() {
            digest.update(class(row, image));
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

/// The rows of a file that were read so far.
#[derive(Debug, Default)]
struct Rows {
    images: Vec<Image>,
    /// The numbers of their classes, where they are bytes.
    numbers: Vec<Option<u8>>,
    names: HashMap<i64, Label>,
    classes: HashMap<Label, i64>,
}

impl Rows {
    fn append(&mut self, batch: &RecordBatch, path: &Path) -> Result<()> {
        let names = column(batch, path, "name", &DataType::Utf8, "text")?;
        let labels = column(batch, path, "label", &DataType::Int64, "an integer")?;
        let classes = column(batch, path, "class", &DataType::Utf8, "text")?;
        let jpegs = column(batch, path, "jpeg", &DataType::Binary, "bytes")?;
        let (names, classes) = (names.as_string::<i32>(), classes.as_string::<i32>());
        let (labels, jpegs) = (labels.as_primitive::<Int64Type>(), jpegs.as_binary::<i32>());
        for index in 0..batch.num_rows() {
            let row = self.images.len();
            let bad = |reason: String| Error::DatasetRow { path: PathBuf::from(path), row, reason };
            let number = labels.is_valid(index).then(|| labels.value(index));
            let class = classes.is_valid(index).then(|| classes.value(index));
            let label = match (number, class) {
                (Some(number), Some(class)) => Some(self.class(number, class).map_err(bad)?),
                (None, None) => None,
                _ => return Err(bad("one of label and class is null, and the other is not".to_owned())),
            };
            if names.is_null(index) || jpegs.is_null(index) {
                return Err(bad("a column is null".to_owned()));
            }
            let jpeg = Bytes::copy_from_slice(jpegs.value(index));
            if jpeg.is_empty() {
                return Err(bad("the image has no data".to_owned()));
            }
            self.images.push(Image { name: names.value(index).to_owned(), label, jpeg });
            self.numbers.push(number.and_then(|number| u8::try_from(number).ok()));
        }
        Ok(())
    }

    /// The class of this number and name, of which each has one of the other.
    fn class(&mut self, number: i64, name: &str) -> Result<Label, String> {
        if let Some(known) = self.names.get(&number) {
            return match known.name() == name {
                true => Ok(known.clone()),
                false => Err(format!("label {number} is the number of class {known}, and here of {name:?}")),
            };
        }
        let label = Label::parse("class", name).map_err(|error| error.to_string())?;
        if let Some(other) = self.classes.get(&label) {
            return Err(format!("class {label} has label {other}, and here {number}"));
        }
        self.names.insert(number, label.clone());
        self.classes.insert(label.clone(), number);
        Ok(label)
    }
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
    // A column of nothing but nulls may have no type.
    let untyped = *value == DataType::Null;
    let same_kind = match kind {
        DataType::Utf8 => matches!(value, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        DataType::Binary => matches!(value, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
        _ => value.is_integer(),
    };
    if !same_kind && !untyped {
        return Err(bad(found.to_string()));
    }
    cast(array, kind).map_err(|error| bad(format!("{found}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BinaryArray, Int64Array, NullArray, StringArray};
    use parquet::arrow::ArrowWriter;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
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
        let mut counts = BTreeMap::<_, usize>::new();
        set.images().iter().for_each(|image| *counts.entry(image.label.as_ref()).or_default() += 1);
        assert!(counts.len() == 10 && counts.values().all(|count| *count == 1_000), "{counts:?}");
        assert!(counts.keys().all(Option::is_some));
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
        check(2, Some(("class", text(["cat", "a\nlorry"]))), &["row 1", "lorry"]);
        check(2, Some(("class", text(["cat", "cat"]))), &["row 1", "class cat has label 3, and here 9"]);
        let numbers = Arc::new(Int64Array::from(vec![3, 3])) as ArrayRef;
        check(1, Some(("label", numbers)), &["row 1", "label 3 is the number of class cat", "truck"]);
        let half = Arc::new(StringArray::from(vec![Some("cat"), None])) as ArrayRef;
        check(2, Some(("class", half)), &["row 1", "one of label and class is null"]);
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
        let label = |image: &Image| image.label.as_ref().map(ToString::to_string);
        let names: Vec<_> = set.images().iter().map(|i| (i.name.as_str(), label(i))).collect();
        assert_eq!(names, [("a", Some("cat".to_owned())), ("b", Some("truck".to_owned()))]);
    }

    #[test]
    fn images_without_a_true_class_are_told_by_nulls() {
        let read = |labels: ArrayRef, classes: ArrayRef| {
            let mut columns = columns();
            (columns[1].1, columns[2].1) = (labels, classes);
            Dataset::parse(parquet(columns), Path::new("x")).expect("right")
        };
        let some = read(
            Arc::new(Int64Array::from(vec![Some(3), None])),
            Arc::new(StringArray::from(vec![Some("cat"), None])),
        );
        assert_eq!(some.images()[1].label, None);
        assert!(some.images()[0].label.is_some());
        let none = read(Arc::new(NullArray::new(2)), Arc::new(NullArray::new(2)));
        assert!(none.images().iter().all(|image| image.label.is_none()));
        assert!(some.digest() != none.digest() && some.former_digest().is_none());
    }

    /// What ledgers hold since the first release: a byte for the number of the class.
    #[test]
    fn a_digest_of_numbers_is_still_known() {
        let set = Dataset::parse(parquet(columns()), Path::new("x")).expect("right");
        let mut known = Sha256::new();
        for (number, jpeg) in [(3_u8, b"1"), (9, b"2")] {
            known.update([number]);
            known.update(1_u64.to_le_bytes());
            known.update(jpeg);
        }
        let known: String = known.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let known = format!("sha256:{known}");
        assert_eq!(set.former_digest().as_ref(), Some(&known));
        assert_ne!(set.digest(), known);
        let mut renamed = columns();
        renamed[2].1 = Arc::new(StringArray::from(vec!["kitten", "truck"]));
        let renamed = Dataset::parse(parquet(renamed), Path::new("x")).expect("right");
        assert_ne!(renamed.digest(), set.digest());
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
