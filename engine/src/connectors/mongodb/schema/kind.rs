//! What documents hold for a column, where its Arrow type does not say it: marks in the metadata of a field.
//!
//! Both marks are also on the parts of Structs and Lists. The first says which BSON type a text or the bytes stand for:
//!
//! | mark | Arrow | read as | written as |
//! |---|---|---|---|
//! | `objectId` | Utf8 | 24 hexadecimal digits | an ObjectId |
//! | `symbol` | Utf8 | its text | a symbol |
//! | `extended` | Utf8 | relaxed extended JSON | what the text says |
//! | `any` | Utf8 | strings as they are, the rest as relaxed extended JSON | a string |
//! | `binary:XX` | Binary | its bytes | binary data of the subtype XX |
//! | none | Binary | the bytes of any subtype | binary data of the subtype 00 |
//!
//! The second says that a null of the column is a field that is not there.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

/// The metadata's key of a [`BsonKind`].
const KIND: &str = "firesteel.bson";

/// The metadata's key that says what a null is.
const NULLS: &str = "firesteel.nulls";

/// Its value where a null is a field that is not there.
const ABSENT: &str = "absent";

/// The subtype of a UUID.
pub(crate) const UUID: u8 = 4;

/// What documents hold for a column, where its Arrow type does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BsonKind {
    /// ObjectIds; the text is their hexadecimal digits.
    ObjectId,
    /// Symbols, a type of texts that nobody makes any more.
    Symbol,
    /// Values that only extended JSON can tell, such as timestamps and regular expressions.
    Extended,
    /// Values of any type; the text is how they are written.
    Any,
    /// Binary data of one subtype.
    Binary(u8),
}

impl BsonKind {
    /// What the metadata of `field` says. A comparison with such a column means something else to the server.
    pub(crate) fn of(field: &Field) -> Option<Self> {
        match field.metadata().get(KIND)?.as_str() {
            "objectId" => Some(Self::ObjectId),
            "symbol" => Some(Self::Symbol),
            "extended" => Some(Self::Extended),
            other => match other.strip_prefix("binary:").map(|subtype| u8::from_str_radix(subtype, 16)) {
                Some(Ok(subtype)) => Some(Self::Binary(subtype)),
                _ => Some(Self::Any),
            },
        }
    }

    /// A column that documents fill with this.
    pub(crate) fn field(self, name: &str) -> Field {
        let data_type = match self {
            Self::Binary(_) => DataType::Binary,
            Self::ObjectId | Self::Symbol | Self::Extended | Self::Any => DataType::Utf8,
        };
        with_kind(&Field::new(name, data_type, true), Some(self))
    }

    fn mark(self) -> String {
        match self {
            Self::ObjectId => "objectId".to_owned(),
            Self::Symbol => "symbol".to_owned(),
            Self::Extended => "extended".to_owned(),
            Self::Any => "any".to_owned(),
            Self::Binary(subtype) => format!("binary:{subtype:02x}"),
        }
    }
}

impl fmt::Display for BsonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ObjectId => f.write_str("ObjectIds"),
            Self::Symbol => f.write_str("symbols"),
            Self::Extended => f.write_str("values as extended JSON"),
            Self::Any => f.write_str("values of any type"),
            Self::Binary(UUID) => f.write_str("UUIDs"),
            Self::Binary(subtype) => write!(f, "binary data of subtype {subtype}"),
        }
    }
}

/// Whether a null of this column is a field that is not there, and not a null.
pub(crate) fn nulls_are_absent(field: &Field) -> bool {
    field.metadata().get(NULLS).is_some_and(|value| value == ABSENT)
}

/// The same column, whose nulls are fields that are not there, or nulls.
pub(crate) fn with_nulls_absent(field: Field, absent: bool) -> Field {
    let value = absent.then(|| ABSENT.to_owned());
    with_metadata(&field, NULLS, value)
}

/// The same column, with the kind that `kind` says.
fn with_kind(field: &Field, kind: Option<BsonKind>) -> Field {
    with_metadata(field, KIND, kind.map(BsonKind::mark))
}

fn with_metadata(field: &Field, key: &str, value: Option<String>) -> Field {
    let mut metadata: HashMap<String, String> = field.metadata().clone();
    match value {
        Some(value) => metadata.insert(key.to_owned(), value),
        None => metadata.remove(key),
    };
    field.clone().with_metadata(metadata)
}

/// The same column, whose nulls are nulls, and the nulls of its parts too.
pub(crate) fn computed(column: &Field) -> Field {
    let part = |part: &Arc<Field>| Arc::new(computed(part));
    let data_type = match column.data_type() {
        DataType::Struct(parts) => DataType::Struct(parts.iter().map(part).collect()),
        DataType::List(element) => DataType::List(part(element)),
        other => other.clone(),
    };
    with_nulls_absent(column.clone().with_data_type(data_type), false)
}

/// Whether the types are the same, whatever the metadata of their parts says and whether these may be null.
pub(crate) fn same_shape(one: &DataType, other: &DataType) -> bool {
    match (one, other) {
        (DataType::Struct(ones), DataType::Struct(others)) => {
            ones.len() == others.len()
                && ones.iter().zip(others).all(|(one, other)| {
                    one.name() == other.name() && same_shape(one.data_type(), other.data_type())
                })
        }
        (DataType::List(one), DataType::List(other)) => same_shape(one.data_type(), other.data_type()),
        (one, other) => one == other,
    }
}

/// How the values of `source`, a column of a collection, are written into the column `table` of the same shape: as the
/// table declares it, and as they were read where it leaves that open.
///
/// # Errors
/// The table declares another BSON type than the values have.
pub(crate) fn written(table: &Field, source: &Field) -> Result<Field, String> {
    let parts = |one: &Arc<Field>, other: &Arc<Field>| {
        written(one, other).map(Arc::new).map_err(|reason| format!("`{}`: {reason}", one.name()))
    };
    let data_type = match (table.data_type(), source.data_type()) {
        (DataType::Struct(ones), DataType::Struct(others)) => {
            let fields = ones.iter().zip(others).map(|(one, other)| parts(one, other));
            DataType::Struct(fields.collect::<Result<_, _>>()?)
        }
        (DataType::List(one), DataType::List(other)) => DataType::List(parts(one, other)?),
        (other, _) => other.clone(),
    };
    let is_binary = *table.data_type() == DataType::Binary;
    let kind = match (BsonKind::of(table), BsonKind::of(source)) {
        (table, source) if table == source => table,
        // A table of any type, or of any subtype, takes what comes; and what comes then is looked at value by value.
        (Some(BsonKind::Any), source) => source,
        (None, source) if is_binary => source,
        (table, None) if is_binary => table,
        (None, Some(BsonKind::Any)) => None,
        (table, source) => {
            let told =
                |kind: Option<BsonKind>| kind.map_or_else(|| "strings".to_owned(), |kind| kind.to_string());
            return Err(format!("it was read from {}, and the table has {}", told(source), told(table)));
        }
    };
    let field = with_kind(&table.clone().with_data_type(data_type), kind);
    Ok(with_nulls_absent(field, nulls_are_absent(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_was_marked() {
        for kind in [
            BsonKind::ObjectId,
            BsonKind::Symbol,
            BsonKind::Extended,
            BsonKind::Any,
            BsonKind::Binary(0),
            BsonKind::Binary(UUID),
            BsonKind::Binary(0x80),
            BsonKind::Binary(0xff),
        ] {
            assert_eq!(BsonKind::of(&kind.field("x")), Some(kind));
        }
        assert_eq!(BsonKind::of(&Field::new("x", DataType::Binary, true)), None);
    }

    #[test]
    fn a_table_takes_what_it_declares_and_what_it_leaves_open() {
        use BsonKind::{Any, Binary, Extended, ObjectId};
        let text = || Field::new("x", DataType::Utf8, true);
        let bytes = || Field::new("x", DataType::Binary, true);
        for (table, source, expected) in [
            (text(), text(), Some(None)),
            (ObjectId.field("x"), ObjectId.field("x"), Some(Some(ObjectId))),
            (Any.field("x"), ObjectId.field("x"), Some(Some(ObjectId))),
            (Any.field("x"), text(), Some(None)),
            (text(), Any.field("x"), Some(None)),
            (text(), ObjectId.field("x"), None),
            (ObjectId.field("x"), text(), None),
            (Extended.field("x"), Any.field("x"), None),
            (bytes(), Binary(UUID).field("x"), Some(Some(Binary(UUID)))),
            (Binary(UUID).field("x"), bytes(), Some(Some(Binary(UUID)))),
            (Binary(UUID).field("x"), Binary(0).field("x"), None),
            (bytes(), bytes(), Some(None)),
        ] {
            let found = written(&table, &source);
            assert_eq!(found.as_ref().ok().map(BsonKind::of), expected, "{table:?} of {source:?}: {found:?}");
        }
        let nested = |part: Field| {
            let list = DataType::List(Arc::new(Field::new_struct("item", vec![part], true)));
            Field::new("l", list, true)
        };
        let error = written(&nested(text()), &nested(ObjectId.field("x"))).unwrap_err();
        assert_eq!(error, "`item`: `x`: it was read from ObjectIds, and the table has strings");
        let absent = with_nulls_absent(text(), true);
        assert!(nulls_are_absent(&written(&text(), &absent).unwrap()));
        assert!(!nulls_are_absent(&written(&absent, &text()).unwrap()));
        assert_eq!(computed(&nested(absent)), nested(text()));
    }
}
