//! A schema out of documents: what was seen is collected first, and becomes a type at the end.
//!
//! A [`Shape`] holds sets and maxima, so joining two is commutative, associative and idempotent, and the order in which
//! documents come plays no role. The types are Spark's where they can hold every value that was seen without a loss:
//! int and long make long, whole and real numbers a double, numbers with decimals a decimal, documents the union of
//! their fields, arrays the union of their elements, anything else a text. Where a type could not hold all values, such
//! as a double for a long beyond 2^53, the next wider one is taken. So every document that was seen can be decoded.
//! What a type cannot say is marked: the subtype of binary data, and whether a null is a field that is not there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use bson::{RawArray, RawBsonRef, RawDocument};

use crate::connectors::mongodb::read::decode::decimal::MAX_DIGITS;
use crate::connectors::mongodb::read::decode::decimal::number;
use crate::connectors::mongodb::read::decode::elements::exact_double;
use crate::connectors::mongodb::schema::kind::{BsonKind, with_nulls_absent};
use crate::connectors::mongodb::schema::{is_column_name, timestamp_type};

/// Documents and lists inside one another beyond this are read as a text: a plan cannot carry a type of any depth.
const MAX_DEPTH: usize = 12;

/// What was seen in one place of the documents. Nothing, or nulls, is the empty shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    kinds: u16,
    numbers: Numbers,
    /// The fields of the documents here.
    fields: BTreeMap<String, Place>,
    /// What the arrays here hold; `None` where there was no array.
    elements: Option<Box<Shape>>,
    /// The subtypes of binary data here.
    subtypes: BTreeSet<u8>,
    /// Whether there was a null.
    null: bool,
}

/// The kinds of values, as bits.
mod kind {
    pub(super) const BOOLEAN: u16 = 1;
    pub(super) const INT32: u16 = 1 << 1;
    pub(super) const INT64: u16 = 1 << 2;
    pub(super) const DOUBLE: u16 = 1 << 3;
    pub(super) const DECIMAL: u16 = 1 << 4;
    pub(super) const STRING: u16 = 1 << 5;
    pub(super) const DATE: u16 = 1 << 6;
    pub(super) const BINARY: u16 = 1 << 7;
    pub(super) const OBJECT_ID: u16 = 1 << 8;
    pub(super) const DOCUMENT: u16 = 1 << 9;
    pub(super) const ARRAY: u16 = 1 << 10;
    pub(super) const SYMBOL: u16 = 1 << 11;
    /// What only extended JSON can tell.
    pub(super) const EXTENDED: u16 = 1 << 12;
    pub(super) const OTHER: u16 = 1 << 13;

    pub(super) const INTEGERS: u16 = INT32 | INT64;
    pub(super) const NUMBERS: u16 = INTEGERS | DOUBLE | DECIMAL;
}

/// How much room the numbers in one place need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers {
    before_point: u32,
    behind_point: u32,
    /// Whether there was an integer that no double equals.
    beyond_double: bool,
    /// Whether there was an infinity or a NaN.
    not_finite: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// The last position of the field in a document: a field that is only sometimes there moves those after it back.
    position: usize,
    /// Whether there was a document without the field.
    missing: bool,
    shape: Shape,
}

impl Shape {
    /// Adds a document.
    pub(crate) fn observe(&mut self, document: &RawDocument) -> bson::error::Result<()> {
        let is_first = self.kinds & kind::DOCUMENT == 0;
        self.kinds |= kind::DOCUMENT;
        let mut there = HashSet::new();
        for (position, element) in document.iter_elements().enumerate() {
            let element = element?;
            let name = element.key().as_str();
            let new = || Place { missing: !is_first, ..Place::default() };
            let place = self.fields.entry(name.to_owned()).or_insert_with(new);
            there.insert(name);
            place.position = place.position.max(position);
            match element.value() {
                Ok(value) => place.shape.observe_value(value)?,
                // A string that is not UTF-8.
                Err(_) => place.shape.kinds |= kind::OTHER,
            }
        }
        for (name, place) in &mut self.fields {
            place.missing |= !there.contains(name.as_str());
        }
        Ok(())
    }

    fn observe_value(&mut self, value: RawBsonRef<'_>) -> bson::error::Result<()> {
        self.kinds |= match value {
            RawBsonRef::Null | RawBsonRef::Undefined => {
                self.null = true;
                0
            }
            RawBsonRef::Boolean(_) => kind::BOOLEAN,
            RawBsonRef::Int32(_) => kind::INT32,
            RawBsonRef::Int64(integer) => {
                self.numbers.beyond_double |= exact_double(integer).is_none();
                kind::INT64
            }
            RawBsonRef::Double(_) => kind::DOUBLE,
            RawBsonRef::Decimal128(_) => kind::DECIMAL,
            RawBsonRef::String(_) => kind::STRING,
            RawBsonRef::DateTime(_) => kind::DATE,
            RawBsonRef::Binary(binary) => {
                self.subtypes.insert(binary.subtype.into());
                kind::BINARY
            }
            RawBsonRef::ObjectId(_) => kind::OBJECT_ID,
            RawBsonRef::Document(document) => return self.observe(document),
            RawBsonRef::Array(array) => return self.observe_array(array),
            RawBsonRef::Symbol(_) => kind::SYMBOL,
            _ => kind::EXTENDED,
        };
        match number(value) {
            Some(number) => {
                let (before, behind) = number.digits();
                self.numbers.before_point = self.numbers.before_point.max(before);
                self.numbers.behind_point = self.numbers.behind_point.max(behind);
            }
            None => {
                self.numbers.not_finite |= matches!(value, RawBsonRef::Double(_) | RawBsonRef::Decimal128(_));
            }
        }
        Ok(())
    }

    fn observe_array(&mut self, array: &RawArray) -> bson::error::Result<()> {
        self.kinds |= kind::ARRAY;
        let elements = self.elements.get_or_insert_default();
        for value in array {
            match value {
                Ok(value) => elements.observe_value(value)?,
                Err(_) => elements.kinds |= kind::OTHER,
            }
        }
        Ok(())
    }

    /// The schema of the documents, and the names of the fields that cannot be columns.
    pub(crate) fn schema(&self) -> (Schema, Vec<String>) {
        let (columns, skipped): (Vec<_>, Vec<_>) =
            self.in_order().into_iter().partition(|(name, _)| is_column_name(name));
        let fields: Vec<Field> = columns.into_iter().map(|(name, place)| place.field(name, 0)).collect();
        (Schema::new(fields), skipped.into_iter().map(|(name, _)| name.clone()).collect())
    }

    /// The fields of the documents here, in about the order in which they have them.
    fn in_order(&self) -> Vec<(&String, &Place)> {
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(name, place)| (place.position, *name));
        fields
    }

    fn field(&self, name: &str, depth: usize) -> Field {
        let data_type = match self.kinds {
            kind::STRING => DataType::Utf8,
            kind::BOOLEAN => DataType::Boolean,
            kind::DATE => timestamp_type(),
            // Bytes of several subtypes are read, and say nothing about how they are written.
            kind::BINARY => match self.subtypes.first() {
                Some(subtype) if self.subtypes.len() == 1 => return BsonKind::Binary(*subtype).field(name),
                _ => DataType::Binary,
            },
            kind::SYMBOL => return BsonKind::Symbol.field(name),
            kind::OBJECT_ID => return BsonKind::ObjectId.field(name),
            kind::DOCUMENT if !self.fields.is_empty() && depth < MAX_DEPTH => {
                let part = |(name, place): (&String, &Place)| place.field(name, depth + 1);
                DataType::Struct(self.in_order().into_iter().map(part).collect())
            }
            kind::ARRAY if depth < MAX_DEPTH => {
                let elements = self.elements.as_deref().cloned().unwrap_or_default();
                DataType::List(Arc::new(elements.field("item", depth + 1)))
            }
            kinds if kinds != 0 && kinds & !kind::NUMBERS == 0 => match self.number_type() {
                Some(data_type) => data_type,
                None if kinds == kind::DECIMAL => return BsonKind::Extended.field(name),
                None => return BsonKind::Any.field(name),
            },
            // Documents without a field, and what is nested too deep.
            kind::DOCUMENT | kind::ARRAY => return BsonKind::Extended.field(name),
            kinds if kinds & kind::EXTENDED != 0 && kinds & !(kind::EXTENDED | kind::DECIMAL) == 0 => {
                return BsonKind::Extended.field(name);
            }
            // Types that have nothing in common, or nothing but nulls.
            _ => return BsonKind::Any.field(name),
        };
        Field::new(name, data_type, true)
    }

    fn number_type(&self) -> Option<DataType> {
        let has = |kinds: u16| self.kinds & kinds != 0;
        if !has(kind::DOUBLE | kind::DECIMAL) {
            return Some(if has(kind::INT64) { DataType::Int64 } else { DataType::Int32 });
        }
        if !has(kind::DECIMAL) && !self.numbers.beyond_double {
            return Some(DataType::Float64);
        }
        let Numbers { before_point, behind_point, not_finite, .. } = self.numbers;
        if not_finite || before_point + behind_point > MAX_DIGITS {
            return None;
        }
        Some(DataType::Decimal128(38, i8::try_from(behind_point).ok()?))
    }
}

impl Place {
    fn field(&self, name: &str, depth: usize) -> Field {
        with_nulls_absent(self.shape.field(name, depth), self.missing && !self.shape.null)
    }
}

#[cfg(test)]
impl Shape {
    /// What was seen in either.
    pub(super) fn join(mut self, other: Self) -> Self {
        let (mine, theirs) = (self.kinds & kind::DOCUMENT != 0, other.kinds & kind::DOCUMENT != 0);
        for (name, place) in &mut self.fields {
            place.missing |= theirs && !other.fields.contains_key(name);
        }
        let known: HashSet<String> = self.fields.keys().cloned().collect();
        for (name, place) in &other.fields {
            self.fields.entry(name.clone()).or_default().missing |=
                place.missing || (mine && !known.contains(name));
        }
        self.kinds |= other.kinds;
        self.subtypes.extend(&other.subtypes);
        self.null |= other.null;
        let (mine, theirs) = (self.numbers, other.numbers);
        self.numbers = Numbers {
            before_point: mine.before_point.max(theirs.before_point),
            behind_point: mine.behind_point.max(theirs.behind_point),
            beyond_double: mine.beyond_double || theirs.beyond_double,
            not_finite: mine.not_finite || theirs.not_finite,
        };
        for (name, place) in other.fields {
            let mine = self.fields.entry(name).or_default();
            mine.position = mine.position.max(place.position);
            mine.shape = std::mem::take(&mut mine.shape).join(place.shape);
        }
        self.elements = match (self.elements, other.elements) {
            (Some(mine), Some(theirs)) => Some(Box::new(mine.join(*theirs))),
            (mine, theirs) => mine.or(theirs),
        };
        self
    }
}
