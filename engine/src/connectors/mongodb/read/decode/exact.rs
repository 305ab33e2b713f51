//! Whether a value that is read is written back as it was: for statements that write what they read, such as
//! `INSERT INTO t SELECT * FROM s`.
//!
//! An Arrow column has one type, and values of several BSON types are read into it where that loses nothing for a
//! computation. Written back they would all have the column's type: an int would become a long, `1.5` a `1.50`, a field that
//! is not there a null. So where a plan says that a column is written back, and as what, each of its values is looked at
//! here: a value passes if reading and writing it makes the same bytes.

use arrow::datatypes::{DataType, Field, Fields};
use bson::raw::cstr;
use bson::spec::ElementType;
use bson::{RawBsonRef, RawDocumentBuf};

use super::decimal::number;
use super::elements::{Damaged, Element, Elements};
use super::misfit::Misfit;
use super::{decimal, json};
use crate::connectors::mongodb::schema::kind::{BsonKind, nulls_are_absent};

/// How the values of a column are written back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The column's name in the documents, and the type and the kind that its values are written with.
    pub(crate) field: Field,
    /// Whether the statement's author has decided what becomes of nulls and of fields that are not there.
    pub(crate) nulls_decided: bool,
}

/// Checks the value of a column.
pub(super) fn check_column(element: &Element<'_>, written: &Written) -> Result<(), Box<Misfit>> {
    let is_key = written.field.name() == "_id";
    if element.kind == ElementType::Timestamp && !is_key && element.value.iter().all(|byte| *byte == 0) {
        return Err(Misfit::changed("the server would put its time in the place of Timestamp(0, 0)"));
    }
    check(element, &written.field, written.nulls_decided)
}

/// Checks a column that a document has no field for.
pub(super) fn check_missing(written: &Written) -> Result<(), Box<Misfit>> {
    missing(&written.field, written.nulls_decided)
}

fn missing(field: &Field, nulls_decided: bool) -> Result<(), Box<Misfit>> {
    if nulls_decided || nulls_are_absent(field) {
        return Ok(());
    }
    Err(Misfit::changed(
        "a field that is not there would be written as a null: the option ignoreNullValues of the table that is \
         written decides (true: nulls are left out, false: they are written)",
    ))
}

fn check(element: &Element<'_>, field: &Field, nulls_decided: bool) -> Result<(), Box<Misfit>> {
    use ElementType as Kind;
    let kind = BsonKind::of(field);
    let same = match (element.kind, field.data_type()) {
        (Kind::Null, _) if nulls_are_absent(field) && !nulls_decided => {
            return Err(Misfit::changed(
                "a null would be left out, because the sample of the schema has none: the option ignoreNullValues of \
                 the table that is written decides (true: nulls are left out, false: they are written)",
            ));
        }
        // It is read as a null.
        (Kind::Undefined, _) => false,
        (Kind::Null, _)
        | (Kind::Boolean, DataType::Boolean)
        | (Kind::Int32, DataType::Int32)
        | (Kind::Int64, DataType::Int64)
        | (Kind::Double, DataType::Float64)
        | (Kind::DateTime, DataType::Timestamp(..)) => true,
        (Kind::String, DataType::Utf8) if matches!(kind, None | Some(BsonKind::Any)) => true,
        (Kind::ObjectId, DataType::Utf8) if kind == Some(BsonKind::ObjectId) => true,
        (Kind::Symbol, DataType::Utf8) if kind == Some(BsonKind::Symbol) => true,
        (_, DataType::Utf8) if kind == Some(BsonKind::Extended) => {
            comes_back(element).map_err(|error| Misfit::damaged(&error))?
        }
        (Kind::Binary, DataType::Binary) => {
            let subtype = match kind {
                Some(BsonKind::Binary(subtype)) => subtype,
                _ => 0,
            };
            // Its length, its subtype, its bytes.
            element.value.get(4) == Some(&subtype)
        }
        (Kind::Decimal128, DataType::Decimal128(precision, scale)) => {
            same_decimal(element, *precision, *scale).map_err(|error| Misfit::damaged(&error))?
        }
        (Kind::EmbeddedDocument, DataType::Struct(parts)) => {
            return document(element.value, parts, nulls_decided);
        }
        (Kind::Array, DataType::List(item)) => return list(element.value, item, nulls_decided),
        _ => false,
    };
    if same { Ok(()) } else { Err(Misfit::changed(told(element, field))) }
}

/// The words for a value that changes.
fn told(element: &Element<'_>, field: &Field) -> String {
    let found = match (element.kind, element.value.get(4)) {
        (ElementType::Binary, Some(subtype)) => format!("binary data of subtype {subtype}"),
        (ElementType::Decimal128, _) => "a Decimal128 with other zeros at its end".to_owned(),
        (kind, _) => format!("a value of type {kind:?}"),
    };
    let written = match (BsonKind::of(field), field.data_type()) {
        (Some(kind), _) => kind.to_string(),
        (None, DataType::Binary) => "binary data of subtype 0".to_owned(),
        (None, data_type) => data_type.to_string(),
    };
    format!("{found} would be written as the column's type ({written})")
}

/// Whether a value of a column of extended JSON is what its text says.
fn comes_back(element: &Element<'_>) -> Result<bool, Damaged> {
    element.with_value(|value| {
        let mut text = String::new();
        json::plain(value, &mut text);
        let Ok(told) = json::parse(&text) else { return false };
        let mut document = RawDocumentBuf::new();
        document.append(cstr!(""), told);
        // The length of the document, the type, the empty name, the value, the end.
        let bytes = document.as_bytes();
        bytes.get(4) == Some(&(element.kind as u8))
            && bytes.get(6..bytes.len().saturating_sub(1)) == Some(element.value)
    })
}

fn same_decimal(element: &Element<'_>, precision: u8, scale: i8) -> Result<bool, Damaged> {
    element.with_value(|value| {
        let unscaled = number(value).and_then(|number| number.unscaled(precision, scale));
        let made = unscaled.and_then(|unscaled| decimal::to_decimal128(unscaled, scale).ok());
        matches!((value, made), (RawBsonRef::Decimal128(value), Some(made)) if value.bytes() == made.bytes())
    })
}

/// Checks a nested document, whose fields have an order: two documents with another order are two values to MongoDB.
fn document(bytes: &[u8], parts: &Fields, nulls_decided: bool) -> Result<(), Box<Misfit>> {
    let damaged = |error: Damaged| Misfit::damaged(&error);
    let mut elements = Elements::of(bytes).map_err(damaged)?;
    let mut expected = parts.iter();
    while let Some(element) = elements.next(&[]).map_err(damaged)? {
        loop {
            let Some(part) = expected.next() else {
                let name = String::from_utf8_lossy(element.name);
                let known = parts.iter().any(|part| part.name().as_bytes() == element.name);
                let how = if known { "another order, or is there twice" } else { "no part of the column" };
                let message = if known { format!("it has {how}") } else { format!("it is {how}") };
                return Err(Misfit::changed(message).inside(&name));
            };
            if part.name().as_bytes() == element.name {
                check(&element, part, nulls_decided).map_err(|misfit| misfit.inside(part.name()))?;
                break;
            }
            let is_later = has(bytes, part.name()).map_err(damaged)?;
            let left_out = if is_later {
                Err(Misfit::changed("it has another order"))
            } else {
                missing(part, nulls_decided)
            };
            left_out.map_err(|misfit| misfit.inside(part.name()))?;
        }
    }
    expected.try_for_each(|part| missing(part, nulls_decided).map_err(|misfit| misfit.inside(part.name())))
}

/// Whether a document has a field of this name.
fn has(bytes: &[u8], name: &str) -> Result<bool, Damaged> {
    let mut elements = Elements::of(bytes)?;
    while let Some(element) = elements.next(&[])? {
        if element.name == name.as_bytes() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn list(bytes: &[u8], item: &Field, nulls_decided: bool) -> Result<(), Box<Misfit>> {
    let damaged = |error: Damaged| Misfit::damaged(&error);
    let mut elements = Elements::of(bytes).map_err(damaged)?;
    while let Some(element) = elements.next(&[]).map_err(damaged)? {
        check(&element, item, nulls_decided).map_err(|misfit| misfit.inside("[]"))?;
    }
    Ok(())
}
