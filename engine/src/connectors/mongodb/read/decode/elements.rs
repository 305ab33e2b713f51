//! Walks over the elements of a document without a look into their values: type, name and bytes (bsonspec.org, 1.1).
//!
//! Every length is checked against the bytes that are there, so that damaged documents are errors and nothing is read that
//! is not theirs.

use bson::error::Error as BsonError;
use bson::spec::ElementType;
use bson::{RawArray, RawBsonRef, RawDocument};

/// What is wrong with a document's bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damaged {
    #[error("there is no type 0x{0:02x}")]
    Type(u8),
    #[error("an element reaches beyond the end")]
    Short,
    #[error("a name has no end")]
    Name,
    #[error("a text is not UTF-8")]
    Text,
    #[error("{0}")]
    Value(BsonError),
}

/// An element, its value as the bytes that follow its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) kind: ElementType,
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    /// Whether the name is the one that was guessed.
    pub(super) guessed: bool,
}

/// The elements of a document, in their order.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Those of a document, or of an array, whose names are its positions.
    pub(super) fn of(document: &'a [u8]) -> Result<Self, Damaged> {
        let length = length(document)?;
        match document {
            [_, _, _, _, rest @ .., 0] if length == document.len() => Ok(Self { rest }),
            _ => Err(Damaged::Short),
        }
    }

    /// The next element. Where its name is `guess`, some element's name, its end need not be looked for.
    #[inline]
    pub(super) fn next(&mut self, guess: &[u8]) -> Result<Option<Element<'a>>, Damaged> {
        let Some((kind, rest)) = self.rest.split_first() else { return Ok(None) };
        let kind = ElementType::from(*kind).ok_or(Damaged::Type(*kind))?;
        debug_assert!(!guess.contains(&0), "a name has no zero in it");
        let guessed = rest.get(guess.len()) == Some(&0) && rest.starts_with(guess);
        let end = if guessed {
            guess.len()
        } else {
            rest.iter().position(|byte| *byte == 0).ok_or(Damaged::Name)?
        };
        let (name, rest) = (&rest[..end], &rest[end + 1..]);
        let (value, rest) = rest.split_at_checked(size(kind, rest)?).ok_or(Damaged::Short)?;
        self.rest = rest;
        Ok(Some(Element { kind, name, value, guessed }))
    }
}

/// The documents of a batch, in their order.
pub(crate) fn documents(batch: &RawArray) -> impl Iterator<Item = Result<&RawDocument, Damaged>> {
    let (mut elements, mut damaged) = match Elements::of(batch.as_bytes()) {
        Ok(elements) => (elements, None),
        Err(error) => (Elements { rest: &[] }, Some(error)),
    };
    std::iter::from_fn(move || {
        if let Some(error) = damaged.take() {
            return Some(Err(error));
        }
        match elements.next(&[]) {
            Ok(Some(element)) => Some(RawDocument::from_bytes(element.value).map_err(Damaged::Value)),
            Ok(None) => None,
            Err(error) => {
                elements.rest = &[];
                Some(Err(error))
            }
        }
    })
}

/// How many bytes the value of an element has that starts `rest`.
#[inline]
fn size(kind: ElementType, rest: &[u8]) -> Result<usize, Damaged> {
    Ok(match kind {
        ElementType::Double | ElementType::DateTime | ElementType::Timestamp | ElementType::Int64 => 8,
        ElementType::String | ElementType::JavaScriptCode | ElementType::Symbol => 4 + length(rest)?,
        ElementType::EmbeddedDocument | ElementType::Array | ElementType::JavaScriptCodeWithScope => {
            length(rest)?
        }
        ElementType::Binary => 5 + length(rest)?,
        ElementType::ObjectId => 12,
        ElementType::Boolean => 1,
        ElementType::Int32 => 4,
        ElementType::Decimal128 => 16,
        ElementType::DbPointer => 16 + length(rest)?,
        ElementType::RegularExpression => {
            let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == 0);
            ends.nth(1).map(|(end, _)| end + 1).ok_or(Damaged::Short)?
        }
        ElementType::Null | ElementType::Undefined | ElementType::MinKey | ElementType::MaxKey => 0,
    })
}

/// The length that `bytes` start with.
#[inline]
fn length(bytes: &[u8]) -> Result<usize, Damaged> {
    let length = bytes.first_chunk().map(|length| i32::from_le_bytes(*length));
    length.and_then(|length| usize::try_from(length).ok()).ok_or(Damaged::Short)
}

impl<'a> Element<'a> {
    /// The value, where it is a text.
    #[inline]
    pub(super) fn text(&self) -> Result<Option<&'a str>, Damaged> {
        if self.kind != ElementType::String {
            return Ok(None);
        }
        match self.value {
            [_, _, _, _, text @ .., 0] => std::str::from_utf8(text).map(Some).map_err(|_| Damaged::Text),
            _ => Err(Damaged::Short),
        }
    }

    /// The value as a whole number, where it is one in any type.
    #[inline]
    pub(super) fn integer(&self) -> Option<i64> {
        match self.kind {
            ElementType::Int32 => self.chunk().map(|bytes| i64::from(i32::from_le_bytes(bytes))),
            ElementType::Int64 => self.chunk().map(i64::from_le_bytes),
            ElementType::Double => {
                let value = f64::from_le_bytes(self.chunk()?);
                let whole = value.fract() == 0.0 && (-BEYOND_I64..BEYOND_I64).contains(&value);
                whole.then_some(value as i64)
            }
            _ => None,
        }
    }

    /// The value as a double, where it is a number that a double is exactly.
    #[inline]
    pub(super) fn double(&self) -> Option<f64> {
        match self.kind {
            ElementType::Double => self.chunk().map(f64::from_le_bytes),
            ElementType::Int32 => self.chunk().map(|bytes| f64::from(i32::from_le_bytes(bytes))),
            ElementType::Int64 => exact_double(self.chunk().map(i64::from_le_bytes)?),
            _ => None,
        }
    }

    /// The value, where it is a date, in milliseconds since 1970.
    #[inline]
    pub(super) fn millis(&self) -> Option<i64> {
        if self.kind != ElementType::DateTime {
            return None;
        }
        self.chunk().map(i64::from_le_bytes)
    }

    /// The value, where it is a truth value.
    #[inline]
    pub(super) fn truth(&self) -> Result<Option<bool>, Damaged> {
        match (self.kind, self.value) {
            (ElementType::Boolean, [0]) => Ok(Some(false)),
            (ElementType::Boolean, [1]) => Ok(Some(true)),
            (ElementType::Boolean, _) => Err(Damaged::Short),
            _ => Ok(None),
        }
    }

    #[inline]
    fn chunk<const N: usize>(&self) -> Option<[u8; N]> {
        self.value.try_into().ok()
    }

    /// What `take` makes of the value as the library sees it. For types that are seldom: the value is copied.
    pub(super) fn with_value<T>(&self, take: impl FnOnce(RawBsonRef<'_>) -> T) -> Result<T, Damaged> {
        // A document of this one element, without a name.
        let length = 4 + 2 + self.value.len() + 1;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&i32::try_from(length).map_err(|_| Damaged::Short)?.to_le_bytes());
        bytes.extend_from_slice(&[self.kind as u8, 0]);
        bytes.extend_from_slice(self.value);
        bytes.push(0);
        let document = RawDocument::from_bytes(&bytes).map_err(Damaged::Value)?;
        let element = document.iter_elements().next().ok_or(Damaged::Short)?.map_err(Damaged::Value)?;
        Ok(take(element.value().map_err(Damaged::Value)?))
    }
}

/// 2^63 as a double: the first whole number that is too large for an `i64`.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;

/// `value` as a double, where that is the same number.
pub(crate) fn exact_double(value: i64) -> Option<f64> {
    let double = value as f64;
    (double < BEYOND_I64 && double as i64 == value).then_some(double)
}

#[cfg(test)]
mod tests {
    use bson::{Binary, Bson, DateTime, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc};
    use proptest::prelude::*;

    use super::*;

    /// Values of every type.
    fn value() -> impl Strategy<Value = Bson> {
        let leaf = prop_oneof![
            any::<f64>().prop_map(Bson::Double),
            ".{0,12}".prop_map(Bson::String),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Bson::Binary(Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes
            })),
            Just(Bson::Undefined),
            any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(bson::oid::ObjectId::from_bytes(bytes))),
            any::<bool>().prop_map(Bson::Boolean),
            any::<i64>().prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
            Just(Bson::Null),
            Just(Bson::RegularExpression(Regex {
                pattern: "a.*".try_into().unwrap(),
                options: "im".try_into().unwrap()
            })),
            ".{0,6}".prop_map(Bson::JavaScriptCode),
            ".{0,6}".prop_map(Bson::Symbol),
            ".{0,6}".prop_map(|code| Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code,
                scope: doc! { "x": 1 }
            })),
            any::<i32>().prop_map(Bson::Int32),
            any::<(u32, u32)>().prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
            any::<i64>().prop_map(Bson::Int64),
            any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(bson::Decimal128::from_bytes(bytes))),
            Just(Bson::MinKey),
            Just(Bson::MaxKey),
        ];
        leaf.prop_recursive(2, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
                prop::collection::btree_map("[a-z]{0,4}", inner, 0..4)
                    .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
            ]
        })
    }

    fn document() -> impl Strategy<Value = Document> {
        prop::collection::vec(("[a-zé]{0,6}", value()), 0..8).prop_map(|fields| fields.into_iter().collect())
    }

    /// Everything up to the end or to what is wrong.
    fn walk(bytes: &[u8], guess: &[u8]) -> Result<Vec<(Vec<u8>, ElementType)>, Damaged> {
        let mut elements = Elements::of(bytes)?;
        let mut found = Vec::new();
        while let Some(element) = elements.next(guess)? {
            found.push((element.name.to_vec(), element.kind));
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn the_elements_are_those_of_the_library(document in document(), guess in "[a-z]{0,2}") {
            let bytes = document.to_vec().unwrap();
            let raw = RawDocument::from_bytes(&bytes).unwrap();
            let mut elements = Elements::of(&bytes).unwrap();
            for expected in raw.iter_elements() {
                let expected = expected.unwrap();
                let found = elements.next(guess.as_bytes()).unwrap().unwrap();
                prop_assert_eq!(found.name, expected.key().as_str().as_bytes());
                prop_assert_eq!(found.kind, expected.element_type());
                let value = expected.value().unwrap();
                // NaN is not itself.
                prop_assert_eq!(
                    found.with_value(|value| format!("{value:?}")).unwrap(),
                    format!("{value:?}")
                );
                prop_assert_eq!(found.text().unwrap(), value.as_str());
                prop_assert_eq!(found.truth().unwrap(), value.as_bool());
                prop_assert_eq!(found.millis(), value.as_datetime().map(|at| at.timestamp_millis()));
            }
            prop_assert!(elements.next(b"").unwrap().is_none());
        }

        #[test]
        fn damaged_bytes_are_an_error_or_other_elements(
            document in document(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = document.to_vec().unwrap();
            let end = cut.index(bytes.len());
            prop_assert!(walk(&bytes[..end], b"a").is_err());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            // Whatever comes out: no panic, and every value can be looked at.
            if let Ok(mut elements) = Elements::of(&bytes) {
                while let Ok(Some(element)) = elements.next(b"a") {
                    drop((element.text(), element.truth(), element.integer(), element.double(), element.millis()));
                    drop(element.with_value(|_| ()));
                }
            }
        }
    }

    #[test]
    fn a_value_of_a_type_that_nobody_makes_any_more_is_passed_over() {
        let mut bytes = vec![0, 0, 0, 0, ElementType::DbPointer as u8, b'p', 0];
        bytes.extend_from_slice(&2_i32.to_le_bytes());
        bytes.extend_from_slice(b"n\0");
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&[ElementType::Null as u8, b'n', 0, 0]);
        let length = i32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let kinds: Vec<ElementType> = walk(&bytes, b"").unwrap().into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [ElementType::DbPointer, ElementType::Null]);
    }

    #[test]
    fn the_documents_of_a_batch() {
        let batch = bson::rawdoc! { "batch": [{ "a": 1 }, {}, { "b": "x" }] };
        let batch = batch.get_array("batch").unwrap();
        let found: Vec<usize> = documents(batch).map(|document| document.unwrap().iter().count()).collect();
        assert_eq!(found, [1, 0, 1]);
        let none = bson::rawdoc! { "batch": [] };
        assert_eq!(documents(none.get_array("batch").unwrap()).count(), 0);
        let other = bson::rawdoc! { "batch": [1] };
        assert!(documents(other.get_array("batch").unwrap()).next().unwrap().is_err());
    }

    #[test]
    fn numbers_are_read_in_any_type_that_loses_nothing() {
        let document =
            bson::rawdoc! { "a": 7, "b": 7_i64, "c": 7.0, "d": 7.5, "e": 1e19, "f": (1_i64 << 53) + 1 };
        let mut elements = Elements::of(document.as_bytes()).unwrap();
        let mut found = Vec::new();
        while let Some(element) = elements.next(b"").unwrap() {
            found.push((element.integer(), element.double()));
        }
        assert_eq!(
            found,
            [
                (Some(7), Some(7.0)),
                (Some(7), Some(7.0)),
                (Some(7), Some(7.0)),
                (None, Some(7.5)),
                (None, Some(1e19)),
                (Some((1 << 53) + 1), None),
            ]
        );
    }
}
