//! Columns of images to columns of answers: one of each for every row, null for a null and for what is no image.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray, MapArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use firesteel_pipeline::inference::model::{probabilities, top_k};
use firesteel_pipeline::inference::{self, Classification, Classifier, Rejection};
use firesteel_proto::Label;

use super::models::said;

/// The type of [`classes`]: a class, and its probability from 0 to 1.
pub(super) fn class_type() -> DataType {
    DataType::Struct(class_fields())
}

/// The type of [`top_classes`]: a list of what [`classes`] gives.
pub(super) fn top_classes_type() -> DataType {
    DataType::List(top_classes_item())
}

/// The type of [`class_probabilities`]: a map from a class to its probability from 0 to 1.
pub(super) fn class_probabilities_type() -> DataType {
    DataType::Map(entries_field(), false)
}

/// The type of [`embeddings`]: a list of numbers.
pub(super) fn embedding_type() -> DataType {
    DataType::List(number())
}

fn class_fields() -> Fields {
    vec![Field::new("label", DataType::Utf8, true), Field::new("confidence", DataType::Float32, true)].into()
}

fn top_classes_item() -> FieldRef {
    Arc::new(Field::new_list_field(class_type(), true))
}

fn number() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

/// As DataFusion names them.
fn entry_fields() -> Fields {
    vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Float32, true)].into()
}

fn entries_field() -> FieldRef {
    Arc::new(Field::new("entries", DataType::Struct(entry_fields()), false))
}

/// The most probable class of each image.
pub(super) fn classes(classifier: &Classifier, images: &Images<'_>) -> anyhow::Result<ArrayRef> {
    let rows = images.ask(|images| classifier.classify(images))?;
    let there = there(&rows);
    Ok(Arc::new(structs(classifier, &rows, Some(there))?))
}

/// The `k` most probable classes of each image, the best first.
pub(super) fn top_classes(
    classifier: &Classifier,
    images: &Images<'_>,
    k: usize,
) -> anyhow::Result<ArrayRef> {
    let rows = images.ask(|images| classifier.logits(images))?;
    let best: Vec<Option<Vec<Classification>>> =
        rows.iter().map(|row| row.as_deref().map(|logits| top_k(logits, k))).collect();
    let items: Vec<Option<Classification>> = best.iter().flatten().flatten().copied().map(Some).collect();
    let items = Arc::new(structs(classifier, &items, None)?);
    let offsets = offsets(best.iter().map(|row| row.as_ref().map_or(0, Vec::len)))?;
    Ok(Arc::new(ListArray::try_new(top_classes_item(), offsets, items, Some(there(&rows)))?))
}

/// The probability of each class for each image, in the order of the classes.
pub(super) fn class_probabilities(classifier: &Classifier, images: &Images<'_>) -> anyhow::Result<ArrayRef> {
    let rows = images.ask(|images| classifier.logits(images))?;
    let classes = classifier.info().classes.iter().map(Label::as_str);
    let offsets_of = |each: usize| offsets(rows.iter().map(move |row| row.as_ref().map_or(0, |_| each)));
    // The bytes of the texts have offsets, too.
    offsets_of(classes.clone().map(str::len).sum())?;
    let offsets = offsets_of(classes.len())?;
    let keys: Vec<&str> = rows.iter().flatten().flat_map(|_| classes.clone()).collect();
    let shares = rows.iter().flatten().flat_map(|logits| probabilities(logits));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(keys)), Arc::new(Float32Array::from_iter_values(shares))];
    let entries = StructArray::try_new(entry_fields(), columns, None)?;
    Ok(Arc::new(MapArray::try_new(entries_field(), offsets, entries, Some(there(&rows)), false)?))
}

/// What the model finds in each image before its classifier.
pub(super) fn embeddings(classifier: &Classifier, images: &Images<'_>) -> anyhow::Result<ArrayRef> {
    let rows = images.ask(|images| classifier.embed(images))?;
    let offsets = offsets(rows.iter().map(|row| row.as_ref().map_or(0, |row| row.len())))?;
    let values = rows.iter().flatten().flat_map(|row| row.iter().copied());
    let values = Float32Array::from_iter_values(values);
    Ok(Arc::new(ListArray::try_new(number(), offsets, Arc::new(values), Some(there(&rows)))?))
}

/// A struct for each answer, with nulls in the fields where there is none.
fn structs(
    classifier: &Classifier,
    rows: &[Option<Classification>],
    there: Option<NullBuffer>,
) -> anyhow::Result<StructArray> {
    let classes = &classifier.info().classes;
    let label =
        |row: &Option<Classification>| row.and_then(|said| classes.get(said.class)).map(Label::as_str);
    let labels: StringArray = rows.iter().map(label).collect();
    let confidences: Float32Array = rows.iter().map(|row| row.map(|said| said.confidence)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(labels), Arc::new(confidences)];
    Ok(StructArray::try_new(class_fields(), columns, there)?)
}

/// Which rows have an answer.
fn there<T>(rows: &[Option<T>]) -> NullBuffer {
    rows.iter().map(Option::is_some).collect()
}

/// Where the items of each row are, by how many a row has.
fn offsets(lengths: impl Iterator<Item = usize> + Clone) -> anyhow::Result<OffsetBuffer<i32>> {
    let all = lengths.clone().try_fold(0_usize, usize::checked_add);
    all.and_then(|all| i32::try_from(all).ok())
        .context("a batch of rows has too much in it: SET datafusion.execution.batch_size to fewer rows")?;
    Ok(OffsetBuffer::from_lengths(lengths))
}

/// The images of a column.
pub(super) struct Images<'a> {
    rows: Vec<Option<&'a [u8]>>,
    /// Set once this process has warned of bytes that are no image.
    warned: &'a AtomicBool,
    /// Who asks, for the log.
    function: &'static str,
}

impl<'a> Images<'a> {
    /// Takes a column of bytes for `function`, which warns once of what is no image and then sets `warned`.
    pub(super) fn of(
        column: &'a ArrayRef,
        function: &'static str,
        warned: &'a AtomicBool,
    ) -> anyhow::Result<Self> {
        let rows = match column.data_type() {
            DataType::Binary => column.as_binary::<i32>().iter().collect(),
            DataType::LargeBinary => column.as_binary::<i64>().iter().collect(),
            DataType::BinaryView => column.as_binary_view().iter().collect(),
            other => bail!("it takes bytes and got {other}"),
        };
        Ok(Self { rows, warned, function })
    }

    /// What `ask` says of each row that is not null and holds an image.
    fn ask<T>(
        &self,
        ask: impl FnOnce(&[&[u8]]) -> inference::Result<Vec<Result<T, Rejection>>>,
    ) -> anyhow::Result<Vec<Option<T>>> {
        let images: Vec<&[u8]> = self.rows.iter().copied().flatten().collect();
        let answers = ask(&images).map_err(said)?;
        self.warn(&answers);
        let mut answers = answers.into_iter();
        Ok(self.rows.iter().map(|row| row.and_then(|_| answers.next()).and_then(Result::ok)).collect())
    }

    fn warn<T>(&self, answers: &[Result<T, Rejection>]) {
        let Some(first) = answers.iter().find_map(|answer| answer.as_ref().err()) else { return };
        let (images, refused) = (answers.len(), answers.iter().filter(|answer| answer.is_err()).count());
        let function = self.function;
        if self.warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(function, refused, images, %first, "null for what is no image");
        } else {
            tracing::warn!(function, refused, images, %first, "null for what is no image, said once");
        }
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
