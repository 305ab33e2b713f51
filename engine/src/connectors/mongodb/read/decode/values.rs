//! The Arrow builders of one column, whatever its type.
//!
//! Every call of [`Values::append`] adds exactly one slot: the value, or a null where the value is none or does not
//! fit. So columns stay of one length whatever documents hold, and only the caller decides what a misfit means.

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    ListArray, StringBuilder, StructArray, TimestampMillisecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use arrow::error::Result as ArrowResult;
use bson::RawBsonRef;
use bson::spec::ElementType;

use super::decimal::number;
use super::elements::{Damaged, Element, Elements};
use super::json;
use super::misfit::{Misfit, keep_first};
use super::record::Record;
use crate::connectors::mongodb::schema::kind::BsonKind;

pub(super) enum Values {
    Boolean(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Utf8(StringBuilder),
    /// The digits of an ObjectId.
    ObjectId(StringBuilder),
    /// Any value, as a text; the second is reused from value to value.
    Any(StringBuilder, String),
    Binary(BinaryBuilder),
    Timestamp(TimestampMillisecondBuilder, DataType),
    Decimal(Decimal128Builder, u8, i8),
    Struct(Box<StructValues>),
    List(Box<ListValues>),
}

pub(super) struct StructValues {
    fields: Fields,
    record: Record,
    validity: NullBufferBuilder,
}

pub(super) struct ListValues {
    element: FieldRef,
    values: Values,
    /// How many elements there are up to each list.
    offsets: Vec<i32>,
    validity: NullBufferBuilder,
}

impl Values {
    /// Builders for about `rows` values of `field`; `None` where its type has none.
    pub(super) fn of(field: &Field, rows: usize) -> Option<Self> {
        Some(match field.data_type() {
            DataType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            DataType::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            DataType::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            DataType::Utf8 => {
                let builder = StringBuilder::with_capacity(rows, rows * 16);
                match BsonKind::of(field) {
                    Some(BsonKind::ObjectId) => Self::ObjectId(builder),
                    // What a sample has not shown is told as well.
                    Some(_) => Self::Any(builder, String::new()),
                    None => Self::Utf8(builder),
                }
            }
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            timestamp @ DataType::Timestamp(TimeUnit::Millisecond, _) => {
                let builder =
                    TimestampMillisecondBuilder::with_capacity(rows).with_data_type(timestamp.clone());
                Self::Timestamp(builder, timestamp.clone())
            }
            decimal @ DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::with_capacity(rows).with_data_type(decimal.clone());
                Self::Decimal(builder, *precision, *scale)
            }
            DataType::Struct(fields) => Self::Struct(Box::new(StructValues {
                fields: fields.clone(),
                record: Record::of(fields, rows)?,
                validity: NullBufferBuilder::new(rows),
            })),
            DataType::List(element) => Self::List(Box::new(ListValues {
                element: Arc::clone(element),
                values: Self::of(element, rows)?,
                offsets: vec![0],
                validity: NullBufferBuilder::new(rows),
            })),
            _ => return None,
        })
    }

    /// Appends the value of `element`, or a null in its place where it does not fit.
    #[inline]
    pub(super) fn append(&mut self, element: &Element<'_>) -> Result<(), Box<Misfit>> {
        if matches!(element.kind, ElementType::Null | ElementType::Undefined) {
            self.append_null();
            return Ok(());
        }
        match self.try_append(element) {
            Ok(Some(fits)) => fits,
            Ok(None) => {
                self.append_null();
                Err(Misfit::other(self.data_type(), element.kind))
            }
            Err(damaged) => {
                self.append_null();
                Err(Misfit::damaged(&damaged))
            }
        }
    }

    /// Appends a value that is no null. `None`, or an error, where nothing was appended: the value is of another type, or
    /// damaged.
    #[inline]
    fn try_append(&mut self, element: &Element<'_>) -> Result<Option<Result<(), Box<Misfit>>>, Damaged> {
        let appended =
            match self {
                Self::Utf8(values) => element.text()?.map(|text| values.append_value(text)),
                Self::Boolean(values) => element.truth()?.map(|truth| values.append_value(truth)),
                Self::Timestamp(values, _) => element.millis().map(|millis| values.append_value(millis)),
                Self::Int64(values) => element.integer().map(|value| values.append_value(value)),
                Self::Int32(values) => element
                    .integer()
                    .and_then(|value| i32::try_from(value).ok())
                    .map(|value| values.append_value(value)),
                Self::Float64(values) => element.double().map(|value| values.append_value(value)),
                Self::Struct(values) => {
                    if element.kind != ElementType::EmbeddedDocument {
                        return Ok(None);
                    }
                    return Ok(Some(values.append(element.value)));
                }
                Self::List(values) => {
                    if element.kind != ElementType::Array {
                        return Ok(None);
                    }
                    return values.append(element.value).map(Some);
                }
                Self::Binary(values) => element
                    .with_value(|value| value.as_binary().map(|value| values.append_value(value.bytes)))?,
                Self::ObjectId(values) => element
                    .with_value(|value| value.as_object_id().map(|id| values.append_value(id.to_hex())))?,
                Self::Any(values, text) => {
                    text.clear();
                    element.with_value(|value| json::plain(value, text))?;
                    values.append_value(&*text);
                    Some(())
                }
                Self::Decimal(values, precision, scale) => {
                    let unscaled = |value: RawBsonRef<'_>| {
                        number(value).and_then(|number| number.unscaled(*precision, *scale))
                    };
                    element.with_value(unscaled)?.map(|value| values.append_value(value))
                }
            };
        Ok(appended.map(Ok))
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Boolean(values) => values.append_null(),
            Self::Int32(values) => values.append_null(),
            Self::Int64(values) => values.append_null(),
            Self::Float64(values) => values.append_null(),
            Self::Utf8(values) | Self::ObjectId(values) | Self::Any(values, _) => values.append_null(),
            Self::Binary(values) => values.append_null(),
            Self::Timestamp(values, _) => values.append_null(),
            Self::Decimal(values, ..) => values.append_null(),
            Self::Struct(values) => {
                values.record.push_null();
                values.validity.append_null();
            }
            Self::List(values) => values.end(false),
        }
    }

    pub(super) fn finish(&mut self) -> ArrowResult<ArrayRef> {
        Ok(match self {
            Self::Boolean(values) => Arc::new(values.finish()),
            Self::Int32(values) => Arc::new(values.finish()),
            Self::Int64(values) => Arc::new(values.finish()),
            Self::Float64(values) => Arc::new(values.finish()),
            Self::Utf8(values) | Self::ObjectId(values) | Self::Any(values, _) => Arc::new(values.finish()),
            Self::Binary(values) => Arc::new(values.finish()),
            Self::Timestamp(values, data_type) => {
                let array = values.finish();
                // A finished builder forgets its time zone.
                *values = TimestampMillisecondBuilder::new().with_data_type(data_type.clone());
                Arc::new(array)
            }
            Self::Decimal(values, precision, scale) => {
                let array = values.finish();
                *values = Decimal128Builder::new().with_data_type(DataType::Decimal128(*precision, *scale));
                Arc::new(array)
            }
            Self::Struct(values) => {
                let (columns, nulls) = (values.record.finish()?, values.validity.finish());
                Arc::new(StructArray::try_new(values.fields.clone(), columns, nulls)?)
            }
            Self::List(values) => {
                let offsets = std::mem::replace(&mut values.offsets, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let (elements, nulls) = (values.values.finish()?, values.validity.finish());
                Arc::new(ListArray::try_new(Arc::clone(&values.element), offsets, elements, nulls)?)
            }
        })
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Boolean(_) => DataType::Boolean,
            Self::Int32(_) => DataType::Int32,
            Self::Int64(_) => DataType::Int64,
            Self::Float64(_) => DataType::Float64,
            Self::Utf8(_) | Self::ObjectId(_) | Self::Any(..) => DataType::Utf8,
            Self::Binary(_) => DataType::Binary,
            Self::Timestamp(_, data_type) => data_type.clone(),
            Self::Decimal(_, precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Struct(values) => DataType::Struct(values.fields.clone()),
            Self::List(values) => DataType::List(Arc::clone(&values.element)),
        }
    }
}

impl StructValues {
    fn append(&mut self, document: &[u8]) -> Result<(), Box<Misfit>> {
        self.validity.append_non_null();
        self.record.push(document)
    }
}

impl ListValues {
    /// Appends a list, with nulls for elements that do not fit. Nothing is appended where its bytes are damaged at once.
    fn append(&mut self, array: &[u8]) -> Result<Result<(), Box<Misfit>>, Damaged> {
        let mut fits = Ok(());
        let mut elements = *self.offsets.last().unwrap_or(&0);
        let mut walk = Elements::of(array)?;
        loop {
            let appended = match walk.next(&[]) {
                Ok(Some(element)) => self.values.append(&element),
                Ok(None) => break,
                Err(error) => {
                    keep_first(&mut fits, Misfit::damaged(&error).inside("[]"));
                    break;
                }
            };
            elements += 1;
            if let Err(misfit) = appended {
                keep_first(&mut fits, misfit.inside("[]"));
            }
        }
        self.offsets.push(elements);
        self.validity.append_non_null();
        Ok(fits)
    }

    /// Ends a list without elements, which is there or not.
    fn end(&mut self, valid: bool) {
        let elements = *self.offsets.last().unwrap_or(&0);
        self.offsets.push(elements);
        self.validity.append(valid);
    }
}
