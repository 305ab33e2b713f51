//! The groups that the server sends, checked, and turned into partial states.
//!
//! A value that the schema does not allow, or that server and engine see differently, is a [`Misfit`]: the range has to
//! be read. Nothing is passed on before every group of the range has been looked at.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use bson::{RawBsonRef, RawDocument};
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::columns::GroupColumns;
use super::compile::{Accumulator, Group};
use super::measure::null;

/// Why a range cannot be answered from its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit(pub(super) String);

/// Collects groups of one range.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    group: &'a Group,
    keys: Vec<Vec<ScalarValue>>,
    /// For each tag and group, whether the group's values are null.
    nulls: Vec<Vec<bool>>,
    accumulators: Vec<Vec<ScalarValue>>,
    documents: Vec<i64>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(group: &'a Group) -> Self {
        Self {
            group,
            keys: vec![Vec::new(); group.keys.len()],
            nulls: vec![Vec::new(); group.tags.len()],
            accumulators: vec![Vec::new(); group.accumulators.len()],
            documents: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.documents.len()
    }

    /// How many documents the groups have.
    pub(super) fn documents(&self) -> i64 {
        self.documents.iter().sum()
    }

    /// Takes a group.
    pub(super) fn push(&mut self, document: &RawDocument) -> Result<(), Misfit> {
        let key = match document.get("_id") {
            Ok(Some(RawBsonRef::Document(key))) => Some(key),
            _ => None,
        };
        let part =
            |prefix: char, n: usize| key.and_then(|key| key.get(format!("{prefix}{n}")).ok().flatten());
        for (n, column) in self.group.keys.iter().enumerate() {
            let field = self.group.input.field(*column);
            self.keys[n].push(key_value(field, part('k', n))?);
        }
        let mut dropped = false;
        for n in 0..self.group.tests.len() {
            dropped |= part('p', n) != Some(RawBsonRef::Boolean(true));
        }
        for (n, tag) in self.group.tags.iter().enumerate() {
            let field = self.group.input.field(tag.column);
            self.nulls[n].push(is_null(field, part('t', n))?);
        }
        for (n, accumulator) in self.group.accumulators.iter().enumerate() {
            let value = document.get(format!("a{n}")).ok().flatten();
            self.accumulators[n].push(accumulated(accumulator, value, self.group.by.is_empty())?);
        }
        let count = document.get("n").ok().flatten().and_then(whole);
        let count = count.ok_or_else(|| Misfit("a group without a count".to_owned()))?;
        // A dropped group has been checked; its documents do not count.
        self.documents.push(count);
        if dropped {
            self.drop_last();
        }
        Ok(())
    }

    fn drop_last(&mut self) {
        let rows = self.documents.len() - 1;
        self.keys.iter_mut().for_each(|column| column.truncate(rows));
        self.nulls.iter_mut().for_each(|column| column.truncate(rows));
        self.accumulators.iter_mut().for_each(|column| column.truncate(rows));
        self.documents.truncate(rows);
    }

    /// The partial states of all groups.
    pub(super) fn finish(self) -> Result<RecordBatch> {
        let rows = self.documents.len();
        let group = self.group;
        let mut columns: Vec<ArrayRef> =
            group.input.fields().iter().map(|field| new_null_array(field.data_type(), rows)).collect();
        for (column, values) in group.keys.iter().zip(self.keys) {
            columns[*column] = array(values, group.input.field(*column).data_type())?;
        }
        let accumulators = group.accumulators.iter().zip(self.accumulators);
        let accumulators = accumulators
            .map(|(accumulator, values)| array(values, &accumulator.data_type))
            .collect::<Result<_>>()?;
        // What is no key is null here, also where documents must have it.
        let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
        let schema = Arc::new(Schema::new(group.input.fields().iter().map(nullable).collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let key = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let documents = Int64Array::from(self.documents);
        let groups = GroupColumns { key, documents, accumulators, tags: &group.tags, nulls: self.nulls };
        states(&groups, group)
    }
}

/// The partial states of groups.
fn states(groups: &GroupColumns<'_>, group: &Group) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(group.output.fields().len());
    for expr in &group.by {
        columns.push(groups.evaluate(expr)?);
    }
    for measure in &group.measures {
        columns.extend(measure.states(groups)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(groups.documents.len()));
    let states = RecordBatch::try_new_with_options(Arc::clone(&group.output), columns, &options)?;
    let mut kept = vec![true; groups.documents.len()];
    for filter in &group.filters {
        for (kept, holds) in kept.iter_mut().zip(groups.condition(filter)?) {
            *kept &= holds;
        }
    }
    Ok(filter_record_batch(&states, &BooleanArray::from(kept))?)
}

fn array(values: Vec<ScalarValue>, data_type: &DataType) -> Result<ArrayRef> {
    if values.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    ScalarValue::iter_to_array(values)
}

fn misfit(what: &str, field: &Field, found: impl std::fmt::Debug) -> Misfit {
    Misfit(format!("{what} {} is {found:?}", field.name()))
}

/// The value of a key column.
fn key_value(field: &Field, value: Option<RawBsonRef<'_>>) -> Result<ScalarValue, Misfit> {
    let scalar = match value {
        None | Some(RawBsonRef::Null) if field.is_nullable() => null(field.data_type()).ok(),
        Some(value) => typed(field.data_type(), value),
        None => None,
    };
    scalar.ok_or_else(|| misfit("key", field, value))
}

/// Whether the values of a tag are null.
fn is_null(field: &Field, tag: Option<RawBsonRef<'_>>) -> Result<bool, Misfit> {
    let tag = tag.and_then(RawBsonRef::as_str).unwrap_or_default();
    match (tag, field.data_type()) {
        ("missing" | "null", _) if field.is_nullable() => Ok(true),
        ("int" | "long", DataType::Int64)
        | ("int", DataType::Int32)
        // An integer of 32 bits is exact as a double.
        | ("int" | "double", DataType::Float64)
        | ("string", DataType::Utf8)
        | ("bool", DataType::Boolean)
        | ("date", DataType::Timestamp(..)) => Ok(false),
        _ => Err(misfit("column", field, tag)),
    }
}

/// What an accumulator gave.
fn accumulated(
    accumulator: &Accumulator,
    value: Option<RawBsonRef<'_>>,
    ungrouped: bool,
) -> Result<ScalarValue, Misfit> {
    let fail = || Misfit(format!("{} is {value:?}", accumulator.bson));
    match value {
        None | Some(RawBsonRef::Null) => null(&accumulator.data_type).map_err(|_| fail()),
        Some(value) => match typed(&accumulator.data_type, value).ok_or_else(fail)? {
            // What the engine makes of a NaN depends on its sign, and of zeros of both signs on whether it groups: then
            // it takes one of them, as the server does.
            ScalarValue::Float64(Some(value))
                if accumulator.ordered && (value.is_nan() || (ungrouped && value == 0.0)) =>
            {
                Err(fail())
            }
            scalar => Ok(scalar),
        },
    }
}

fn whole(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(value) => Some(i64::from(value)),
        RawBsonRef::Int64(value) => Some(value),
        _ => None,
    }
}

/// A value of a type that the server keeps apart from others.
fn typed(data_type: &DataType, value: RawBsonRef<'_>) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(value.as_bool()?)),
        DataType::Int32 => ScalarValue::Int32(Some(value.as_i32()?)),
        DataType::Int64 => ScalarValue::Int64(Some(whole(value)?)),
        DataType::Float64 => {
            let double = value.as_f64().or_else(|| whole(value).map(|value| value as f64));
            ScalarValue::Float64(Some(double?))
        }
        DataType::Utf8 => ScalarValue::Utf8(Some(value.as_str()?.to_owned())),
        DataType::Timestamp(_, zone) => {
            ScalarValue::TimestampMillisecond(Some(value.as_datetime()?.timestamp_millis()), zone.clone())
        }
        _ => return None,
    })
}
