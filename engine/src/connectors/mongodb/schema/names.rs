//! Declared names that miss the fields of documents by a capital alone: pure.
//!
//! MongoDB tells `userId` from `userid`. A column of the wrong one would be null in every row, without a word.

use arrow::datatypes::{DataType, Fields, Schema};

/// A declared name, and the one of a field that it is taken for; paths such as `customer.userId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NearMiss {
    pub(crate) declared: String,
    pub(crate) field: String,
}

impl NearMiss {
    /// The words for an error.
    pub(crate) fn message(&self) -> String {
        let Self { declared, field } = self;
        format!(
            "there is no field `{declared}`, but `{field}`: names of fields have capitals, write it as it is"
        )
    }
}

/// The first name in `declared` that no document has, while `known` has one that differs in capitals alone.
pub(crate) fn near_miss(declared: &Schema, known: &Schema) -> Option<NearMiss> {
    among(declared.fields(), known.fields(), "")
}

fn among(declared: &Fields, known: &Fields, path: &str) -> Option<NearMiss> {
    declared.iter().find_map(|field| match known.find(field.name()) {
        Some((_, known)) => within(field.data_type(), known.data_type(), &format!("{path}{}.", field.name())),
        None => {
            let lower = field.name().to_lowercase();
            let near = known.iter().find(|known| known.name().to_lowercase() == lower)?;
            Some(NearMiss {
                declared: format!("{path}{}", field.name()),
                field: format!("{path}{}", near.name()),
            })
        }
    })
}

fn within(declared: &DataType, known: &DataType, path: &str) -> Option<NearMiss> {
    match (declared, known) {
        (DataType::Struct(declared), DataType::Struct(known)) => among(declared, known, path),
        (DataType::List(declared), DataType::List(known)) => {
            within(declared.data_type(), known.data_type(), path)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_name_that_differs_in_capitals_alone_is_told() {
        let field = |name: &str| Field::new(name, DataType::Int32, true);
        let part = |name: &str, part: Field| Field::new_struct(name, vec![part], true);
        let list = |name: &str, item: Field| Field::new(name, DataType::List(Arc::new(item)), true);
        let known = Schema::new(vec![
            field("userId"),
            field("a"),
            field("A"),
            part("s", field("zipCode")),
            list("l", part("item", field("skU"))),
        ]);
        for (declared, expected) in [
            (field("userId"), None),
            (field("other"), None),
            (field("a"), None),
            (field("userid"), Some(("userid", "userId"))),
            (field("USERID"), Some(("USERID", "userId"))),
            (part("s", field("zipcode")), Some(("s.zipcode", "s.zipCode"))),
            (list("l", part("item", field("sku"))), Some(("l.sku", "l.skU"))),
            (part("userId", field("x")), None),
        ] {
            let found = near_miss(&Schema::new(vec![declared.clone()]), &known);
            let expected =
                expected.map(|(declared, field)| NearMiss { declared: declared.into(), field: field.into() });
            assert_eq!(found, expected, "{declared:?}");
        }
    }
}
