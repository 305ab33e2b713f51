//! The columns that come of a model whose answers are known.

use arrow::array::{BinaryArray, BinaryViewArray, LargeBinaryArray};
use arrow::datatypes::Float32Type;
use firesteel_pipeline::inference::{Limits, Model, ModelInfo};

use super::*;

/// Names the class that an image's first byte says: images are 1 x 2 pixels, raw.
struct Fake(ModelInfo);

impl Model for Fake {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn forward(&mut self, pixels: &[u8]) -> inference::Result<Vec<f32>> {
        if pixels.contains(&99) {
            let problem = "was told to fail".to_owned();
            return Err(inference::Error::Output { model: self.0.name.clone(), problem });
        }
        let images = pixels.chunks_exact(6);
        Ok(images.flat_map(|image| [0, 1].map(|class| f32::from(u8::from(image[0] == class)))).collect())
    }

    fn features(&self) -> Option<usize> {
        Some(3)
    }

    /// The first byte three times.
    fn embed(&mut self, pixels: &[u8]) -> inference::Result<Vec<f32>> {
        Ok(pixels.chunks_exact(6).flat_map(|image| [f32::from(image[0]); 3]).collect())
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// The answers of one function for a column.
fn asked(
    column: &ArrayRef,
    answer: impl Fn(&Classifier, &Images<'_>) -> anyhow::Result<ArrayRef>,
) -> anyhow::Result<ArrayRef> {
    let warned = AtomicBool::new(false);
    let answers = answer(&classifier(), &Images::of(column, "asked", &warned)?)?;
    assert_eq!(answers.len(), column.len());
    Ok(answers)
}

fn classifier() -> Classifier {
    let info = ModelInfo {
        name: "fake/u8".to_owned(),
        architecture: "fake".to_owned(),
        classes: ["cat", "dog"].map(|name| Label::parse("classes", name).expect("a label")).to_vec(),
        aliases: std::collections::BTreeMap::new(),
        version: None,
        height: 1,
        width: 2,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize: inference::Resize::DEFAULT,
    };
    Classifier::new(Box::new(Fake(info)), 2, Limits { max_bytes: 1 << 10, ..Limits::DEFAULT })
        .expect("a classifier")
}

fn classified(column: ArrayRef) -> anyhow::Result<Vec<Option<(String, f32)>>> {
    let said = asked(&column, classes)?;
    assert_eq!(said.data_type(), &class_type());
    Ok(rows_of(said.as_struct()))
}

/// Labels and confidences.
fn rows_of(said: &StructArray) -> Vec<Option<(String, f32)>> {
    let labels = said.column(0).as_string::<i32>();
    let confidences = said.column(1).as_primitive::<Float32Type>();
    (0..said.len())
        .map(|row| {
            assert_eq!(said.is_null(row), labels.is_null(row), "a field of nothing is nothing");
            assert_eq!(said.is_null(row), confidences.is_null(row));
            said.is_valid(row).then(|| (labels.value(row).to_owned(), confidences.value(row)))
        })
        .collect()
}

#[test]
fn nulls_and_garbage_are_null_wherever_they_stand() {
    let (cat, dog) = ([0_u8; 6], [1_u8; 6]);
    let rows: [Option<&[u8]>; 7] =
        [None, Some(&cat), Some(b"garbage"), Some(&dog), Some(b""), None, Some(&dog)];
    let expected = [None, Some("cat"), None, Some("dog"), None, None, Some("dog")];
    let columns: [ArrayRef; 3] = [
        Arc::new(BinaryArray::from_iter(rows)),
        Arc::new(LargeBinaryArray::from_iter(rows)),
        Arc::new(BinaryViewArray::from_iter(rows)),
    ];
    for column in columns {
        let kind = column.data_type().clone();
        let said = classified(column).expect("answers");
        let labels: Vec<_> = said.iter().map(|row| row.as_ref().map(|(label, _)| label.as_str())).collect();
        assert_eq!(labels, expected, "{kind}");
        // e / (e + 1)
        assert!(said.iter().flatten().all(|(_, confidence)| (confidence - 0.731).abs() < 1e-3), "{said:?}");
    }
}

#[test]
fn a_slice_and_nothing_are_columns_too() {
    let rows: [Option<&[u8]>; 3] = [Some(&[0; 6]), None, Some(&[1; 6])];
    let column: ArrayRef = Arc::new(BinaryArray::from_iter(rows));
    let said = classified(column.slice(1, 2)).expect("answers");
    assert_eq!(said.len(), 2);
    assert!(said[0].is_none() && said[1].as_ref().is_some_and(|(label, _)| label == "dog"), "{said:?}");
    assert!(classified(column.slice(0, 0)).expect("nothing").is_empty());
    let nulls: [Option<&[u8]>; 2] = [None, None];
    assert_eq!(classified(Arc::new(BinaryArray::from_iter(nulls))).expect("nulls"), [None, None]);
}

#[test]
fn what_no_image_is_to_blame_for_is_an_error() {
    let error = classified(Arc::new(BinaryArray::from(vec![[99_u8; 6].as_slice()]))).expect_err("it failed");
    assert!(error.to_string().contains("fake/u8 was told to fail"), "{error:#}");
    let error = classified(Arc::new(StringArray::from(vec!["text"]))).expect_err("no bytes");
    assert!(error.to_string().contains("Utf8"), "{error:#}");
}

/// A null, a dog, what is no image, and a cat.
fn column() -> ArrayRef {
    let (cat, dog) = ([0_u8; 6], [1_u8; 6]);
    let rows: [Option<&[u8]>; 4] = [None, Some(&dog), Some(b"garbage"), Some(&cat)];
    Arc::new(BinaryArray::from_iter(rows))
}

#[test]
fn the_best_classes_are_a_list_of_structs() {
    for (k, names) in
        [(1, &["dog", "cat"]), (2, &["dog cat", "cat dog"]), (usize::MAX, &["dog cat", "cat dog"])]
    {
        let said = asked(&column(), |model, images| top_classes(model, images, k)).expect("answers");
        assert_eq!(said.data_type(), &top_classes_type());
        let said = said.as_list::<i32>();
        let row = |row: usize| {
            let items = rows_of(said.value(row).as_struct());
            items.into_iter().map(|item| item.expect("no item is null")).collect::<Vec<_>>()
        };
        let classes = |row_of: usize| -> Vec<String> { row(row_of).into_iter().map(|item| item.0).collect() };
        assert!(said.is_null(0) && said.is_null(2) && said.null_count() == 2);
        assert_eq!([classes(1).join(" "), classes(3).join(" ")], *names, "{k}");
        let confidences: Vec<f32> = row(1).into_iter().map(|item| item.1).collect();
        assert!((confidences[0] - 0.731).abs() < 1e-3, "{confidences:?}");
        assert!(confidences.get(1).is_none_or(|second| (confidences[0] + second - 1.0).abs() < 1e-6));
    }
}

#[test]
fn probabilities_are_a_map_in_the_order_of_the_classes() {
    let said = asked(&column(), class_probabilities).expect("answers");
    assert_eq!(said.data_type(), &class_probabilities_type());
    let said = said.as_map();
    assert!(said.is_null(0) && said.is_null(2) && said.null_count() == 2);
    for (row, expected) in [(1, [0.269, 0.731]), (3, [0.731, 0.269])] {
        let entries = said.value(row);
        assert_eq!(entries.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["cat", "dog"]);
        let shares = entries.column(1).as_primitive::<Float32Type>();
        for (share, expected) in shares.values().iter().zip(expected) {
            assert!((share - expected).abs() < 1e-3, "{shares:?}");
        }
    }
}

#[test]
fn an_embedding_is_a_list_of_numbers() {
    let said = asked(&column(), embeddings).expect("answers");
    assert_eq!(said.data_type(), &embedding_type());
    let said = said.as_list::<i32>();
    assert!(said.is_null(0) && said.is_null(2) && said.null_count() == 2);
    let row = |row| said.value(row).as_primitive::<Float32Type>().values().to_vec();
    assert_eq!((row(1), row(3)), (vec![1.0; 3], vec![0.0; 3]));
    let nothing = asked(&column().slice(0, 0), embeddings).expect("nothing");
    assert!(nothing.is_empty() && nothing.data_type() == &embedding_type());
}

#[test]
fn more_than_a_column_can_hold_is_an_error() {
    let all = offsets([1, 0, 2].into_iter()).expect("offsets");
    assert_eq!(all[..], [0, 1, 1, 3]);
    let most = usize::try_from(i32::MAX).expect("64 bits");
    for lengths in [[most, 1], [usize::MAX, 1]] {
        let error = offsets(lengths.into_iter()).expect_err("too many").to_string();
        assert!(error.contains("datafusion.execution.batch_size"), "{error}");
    }
}
