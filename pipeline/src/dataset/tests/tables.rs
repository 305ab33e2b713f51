//! Parquet files: which columns are meant, and reading rows in any order.

use super::*;
use ::parquet::arrow::ArrowWriter;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, DictionaryArray, Float32Array, Int64Array, LargeBinaryArray,
    LargeStringArray, RecordBatch, StringArray, StructArray, UInt8Array,
};
use arrow::datatypes::{DataType, Field, Int8Type};
use std::sync::Arc;

type Columns = Vec<(&'static str, ArrayRef)>;

/// Writes a file with row groups of `group` rows.
fn write(folder: &Path, name: &str, columns: Columns, group: usize, told: Option<&str>) -> PathBuf {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let batch = batch.expect("a batch");
    let told = told.map(|text| vec![KeyValue::new("huggingface".to_owned(), text.to_owned())]);
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(group)).set_key_value_metadata(told);
    let path = folder.join(name);
    let file = std::fs::File::create(&path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    path
}

fn images(numbers: std::ops::Range<u8>) -> Vec<Vec<u8>> {
    numbers.map(jpeg).collect()
}

fn binary(numbers: std::ops::Range<u8>) -> ArrayRef {
    Arc::new(BinaryArray::from_iter_values(images(numbers)))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// As Hugging Face writes images: their bytes and the path that they had.
fn structures(numbers: std::ops::Range<u8>) -> ArrayRef {
    let paths = texts(&vec!["x.jpg"; numbers.len()]);
    Arc::new(StructArray::from(vec![
        (Arc::new(Field::new("bytes", DataType::Binary, true)), binary(numbers)),
        (Arc::new(Field::new("path", DataType::Utf8, true)), paths),
    ]))
}

const FEATURES: &str = r#"{"info": {"features": {"img": {"_type": "Image"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "id": {"dtype": "int64", "_type": "Value"}}}}"#;

/// The layout of the shipped file.
fn own() -> Columns {
    vec![
        ("name", texts(&["a", "b"])),
        ("label", numbers(&[3, 9])),
        ("class", texts(&["cat", "truck"])),
        ("jpeg", binary(1..3)),
    ]
}

#[test]
fn columns_are_told_by_names_types_and_metadata() {
    let folder = tempfile::tempdir().expect("a folder");
    let two = |a: &'static str, b: &'static str| vec![(a, jpeg(1)), (b, jpeg(2))];
    let check = |columns: Columns, told: Option<&str>, classes: &[&str], expected: &[(&str, Vec<u8>)]| {
        let path = write(folder.path(), "x.parquet", columns, 10, told);
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        conforms(&Options { classes, ..options(&path) }, expected);
    };
    check(own(), None, &[], &two("cat", "truck"));
    check(vec![("anything", binary(1..3))], None, &[], &two("", ""));
    check(
        vec![("img", structures(1..3)), ("label", numbers(&[1, 0]))],
        Some(FEATURES),
        &[],
        &two("dog", "cat"),
    );
    check(
        vec![("img", structures(1..3)), ("label", numbers(&[-1, 0]))],
        Some(FEATURES),
        &[],
        &two("", "cat"),
    );
    // A column of numbers that is no label, another of bytes that is no image.
    let more = vec![
        ("id", numbers(&[7, 8])),
        ("thumbnail_hash", binary(5..7)),
        ("Image", binary(1..3)),
        ("score", Arc::new(Float32Array::from(vec![0.5, 0.6])) as ArrayRef),
        ("species", texts(&["cat", "dog"])),
    ];
    check(more, None, &[], &two("cat", "dog"));
    let large: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values(images(1..3)));
    let names: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("cat"), None]));
    check(vec![("bytes", large), ("label", names)], None, &[], &two("cat", ""));
    let view: ArrayRef = Arc::new(BinaryViewArray::from_iter_values(images(1..3)));
    let small: ArrayRef = Arc::new(UInt8Array::from(vec![1, 0]));
    check(vec![("bytes", view), ("label", small)], None, &["a", "b"], &two("b", "a"));
    let dictionary: DictionaryArray<Int8Type> = ["cat", "cat"].into_iter().collect();
    check(vec![("bytes", binary(1..3)), ("label", Arc::new(dictionary))], None, &[], &two("cat", "cat"));
}

#[test]
fn a_class_of_the_own_layout_has_one_number_and_one_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |labels: ArrayRef, classes: ArrayRef| {
        let mut columns = own();
        (columns[1].1, columns[2].1) = (labels, classes);
        options(&write(folder.path(), "x.parquet", columns, 10, None))
    };
    refused(&with(numbers(&[3, 9]), texts(&["cat", "cat"])), &["row 1", "class cat has label 3, and here 9"]);
    refused(&with(numbers(&[3, 3]), texts(&["cat", "truck"])), &["row 1", "number of class cat", "truck"]);
    let half: ArrayRef = Arc::new(StringArray::from(vec![Some("cat"), None]));
    refused(&with(numbers(&[3, 9]), half), &["row 1", "one of label and class is null"]);
    // Nulls in both are images without a true class; a column of nothing else may have no type.
    let some: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None]));
    let half: ArrayRef = Arc::new(StringArray::from(vec![Some("cat"), None]));
    conforms(&with(some, half), &[("cat", jpeg(1)), ("", jpeg(2))]);
    let nothing = || Arc::new(arrow::array::NullArray::new(2)) as ArrayRef;
    let none = with(nothing(), nothing());
    conforms(&none, &[("", jpeg(1)), ("", jpeg(2))]);
    let digests = |options: &Options| Dataset::open(options).and_then(|set| set.digests()).expect("digests");
    let (unlabelled, labelled) = (digests(&none), digests(&with(numbers(&[3, 9]), texts(&["cat", "truck"]))));
    assert_eq!((unlabelled.len(), labelled.len()), (1, 2));
    assert_ne!(unlabelled[0], labelled[0]);
    // Another name for a number is another data set, which earlier versions did not know.
    let renamed = digests(&with(numbers(&[3, 9]), texts(&["kitten", "truck"])));
    assert!(renamed[0] != labelled[0] && renamed[1] == labelled[1]);
}

/// A producer that goes on with other columns or classes would send other images under the names of those it has sent.
#[test]
fn the_same_bytes_read_otherwise_are_another_data_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let columns = vec![("a", binary(1..3)), ("b", binary(3..5)), ("label", numbers(&[0, 1]))];
    let path = write(folder.path(), "x.parquet", columns, 10, None);
    let with = |image: &str, classes: &[&str], labels| {
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        let options = Options { image_column: Some(image.to_owned()), classes, labels, ..options(&path) };
        Dataset::open(&options).and_then(|set| set.digests()).expect("digests")
    };
    let read = [
        with("a", &["cat", "dog"], LabelsFrom::Usual),
        with("b", &["cat", "dog"], LabelsFrom::Usual),
        with("a", &["dog", "cat"], LabelsFrom::Usual),
        with("a", &["cat", "dog", "cow"], LabelsFrom::Usual),
        with("a", &["ca", "tdog"], LabelsFrom::Usual),
        with("a", &[], LabelsFrom::Nowhere),
    ];
    let different: std::collections::BTreeSet<_> = read.iter().collect();
    assert_eq!(different.len(), read.len());
    assert_eq!(with("a", &["cat", "dog"], LabelsFrom::Usual), read[0], "the same again");
}

#[test]
fn a_name_of_a_class_that_is_no_text_shifts_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = r#"{"info": {"features": {"label": {"names": ["cat", 7, "dog"], "_type": "ClassLabel"}}}}"#;
    let columns = vec![("jpeg", binary(1..3)), ("label", numbers(&[0, 1]))];
    let path = write(folder.path(), "x.parquet", columns, 10, Some(told));
    refused(&options(&path), &["label holds numbers", "--classes"]);
}

#[test]
fn images_and_parquet_files_are_two_data_sets() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "x.parquet", vec![("jpeg", binary(1..3))], 10, None);
    std::fs::write(folder.path().join("a.jpg"), jpeg(7)).expect("written");
    refused(&options(folder.path()), &["files of images (1)", "x.parquet", "pattern"]);
    refused(&options(&folder.path().join("*")), &["x.parquet", "pattern"]);
    conforms(&options(&folder.path().join("*.jpg")), &[("", jpeg(7))]);
    conforms(&options(&folder.path().join("*.parquet")), &[("", jpeg(1)), ("", jpeg(2))]);
}

#[test]
fn columns_can_be_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let columns = vec![
        ("before", binary(1..3)),
        ("after", binary(3..5)),
        ("fine_label", texts(&["tabby", "husky"])),
        ("coarse_label", texts(&["cat", "dog"])),
    ];
    let path = write(folder.path(), "x.parquet", columns, 10, None);
    refused(&options(&path), &["before and after", "images", "--image-column", "coarse_label (Utf8)"]);
    let image = Options { image_column: Some("after".to_owned()), ..options(&path) };
    refused(&image, &["fine_label and coarse_label", "--label-column", "--label-from none"]);
    let both = Options { label_column: Some("coarse_label".to_owned()), ..image.clone() };
    conforms(&both, &[("cat", jpeg(3)), ("dog", jpeg(4))]);
    conforms(&Options { labels: LabelsFrom::Nowhere, ..image.clone() }, &[("", jpeg(3)), ("", jpeg(4))]);
    refused(&Options { labels: LabelsFrom::Parent, ..image.clone() }, &["--label-from parent"]);
    refused(&Options { classes: vec!["a".to_owned()], ..both }, &["--classes"]);
    let wrong = Options { image_column: Some("fine_label".to_owned()), ..options(&path) };
    refused(&wrong, &["fine_label", "must be bytes", "found Utf8"]);
    let none = Options { image_column: Some("nothing".to_owned()), ..options(&path) };
    refused(&none, &["nothing", "no such column", "before (Binary)"]);
}

#[test]
fn what_no_column_says_is_an_error_that_lists_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "x.parquet", vec![("a", texts(&["x"])), ("b", numbers(&[1]))], 10, None);
    refused(&options(&path), &["no column could hold the images", "a (Utf8), b (Int64)"]);
    let unnamed = vec![("jpeg", binary(1..3)), ("label", numbers(&[0, 5]))];
    let path = write(folder.path(), "x.parquet", unnamed, 10, None);
    refused(&options(&path), &["label holds numbers", "--classes"]);
    let classes = ["a", "b"].map(str::to_owned).to_vec();
    refused(&Options { classes, ..options(&path) }, &["row 1", "label is 5", "2 classes"]);
    let empty = Options { classes: vec![" a".to_owned()], ..options(&path) };
    refused(&empty, &["white space"]);
}

#[test]
fn a_row_that_is_no_image_is_named_and_the_others_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: Vec<Option<&[u8]>> =
        vec![Some(&[0xff, 0xd8, 0xff, 1]), None, Some(b""), Some(b"GIF89a"), Some(&[7; 99])];
    let columns: Columns = vec![("jpeg", Arc::new(BinaryArray::from(rows)))];
    let path = write(folder.path(), "x.parquet", columns, 2, None);
    let set = Dataset::open(&Options { max_image_bytes: 50, ..options(&path) }).expect("a data set");
    assert_eq!(set.get(0).expect("an image").data.len(), 4);
    for (row, part) in [(1, "null"), (2, "no data"), (3, "first bytes"), (4, "99 bytes")] {
        let error = set.get(row).expect_err("none");
        assert!(error.is_of_one_image());
        let text = error.to_string();
        assert!(text.contains(&format!("x.parquet, row {row}")) && text.contains(part), "{text}");
    }
    assert!(set.get(0).is_ok());
    let labels = vec![("jpeg", binary(1..2)), ("label", texts(&["cat\n"]))];
    let path = write(folder.path(), "x.parquet", labels, 2, None);
    refused(&options(&path), &["row 0", "control character"]);
}

#[test]
fn a_file_that_is_no_parquet_or_is_cut_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "x.parquet", own(), 10, None);
    let whole = std::fs::read(&path).expect("read");
    for bytes in [&b"PAR"[..], b"PAR1 and nothing", &whole[..whole.len() - 5], &whole[whole.len() / 2..]] {
        std::fs::write(&path, bytes).expect("written");
        refused(&options(&path), &["x.parquet", "not a readable Parquet file"]);
    }
    let none = own().into_iter().map(|(name, column)| (name, column.slice(0, 0))).collect();
    let path = write(folder.path(), "x.parquet", none, 10, None);
    refused(&options(&path), &["no rows"]);
}

#[test]
fn several_files_are_one_behind_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, first) in [("b-00001.parquet", 3), ("a-00000.parquet", 0), ("c.parquet", 6)] {
        let columns = vec![("img", structures(first..first + 3)), ("label", numbers(&[0, 1, 0]))];
        write(folder.path(), name, columns, 2, Some(FEATURES));
    }
    std::fs::write(folder.path().join("README.md"), "of the data set").expect("written");
    let expected = |numbers: std::ops::Range<u8>| {
        let labels = ["cat", "dog", "cat"].into_iter().cycle();
        labels.zip(images(numbers)).collect::<Vec<_>>()
    };
    conforms(&options(folder.path()), &expected(0..9));
    conforms(&options(&folder.path().join("*-0000?.parquet")), &expected(0..6));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Blocks, readers and row groups of any size: every row is the same in any order.
    #[test]
    fn rows_are_the_same_in_any_order(
        rows in 1_usize..900, group in 1_usize..400, order in proptest::collection::vec(any::<u16>(), 1..200),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let data = |row: usize| [&jpeg(7)[..], &row.to_le_bytes()].concat();
        let column: ArrayRef = Arc::new(BinaryArray::from_iter_values((0..rows).map(data)));
        let path = write(folder.path(), "x.parquet", vec![("image", column)], group, None);
        let set = Dataset::open(&options(&path)).expect("a data set");
        prop_assert_eq!(set.len(), rows);
        for row in order.into_iter().map(|number| usize::from(number) % rows).chain(0..rows) {
            prop_assert_eq!(set.get(row).expect("an image").data.to_vec(), data(row));
        }
    }
}
