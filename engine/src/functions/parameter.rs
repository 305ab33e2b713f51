//! The literals that may follow the column of a [`Vectorized`](super::Vectorized) function, such as a model's name.
//!
//! They are read twice: when a query is planned, so that a wrong one is refused before anything runs, and in each task.

use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;

/// The value of a literal argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
}

impl Literal {
    /// The text; `None` for a number.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Integer(_) => None,
        }
    }

    /// The number; `None` for a text.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

/// A literal argument that a function takes behind its column. An expression of constants is one, too; a null is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    name: String,
    kind: Kind,
    is_optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer { least: i64 },
}

impl Parameter {
    /// A text, called `name` in errors.
    #[must_use]
    pub fn text(name: &str) -> Self {
        Self { name: name.to_owned(), kind: Kind::Text, is_optional: false }
    }

    /// A whole number that is not below `least`, called `name` in errors.
    #[must_use]
    pub fn integer(name: &str, least: i64) -> Self {
        Self { name: name.to_owned(), kind: Kind::Integer { least }, is_optional: false }
    }

    /// The same, but it may be left out, and with it all that follow.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    fn data_type(&self) -> DataType {
        match self.kind {
            Kind::Text => DataType::Utf8,
            Kind::Integer { .. } => DataType::Int64,
        }
    }

    /// Reads an argument; `None` is one that is no literal.
    fn read(&self, value: Option<&ScalarValue>) -> Result<Literal, String> {
        let name = &self.name;
        let expected = match self.kind {
            Kind::Text => "a text".to_owned(),
            Kind::Integer { least } => format!("a whole number from {least} on"),
        };
        let Some(value) = value else {
            return Err(format!("{name} has to be a literal, {expected}, and not something of each row"));
        };
        let read = match self.kind {
            Kind::Text => value.try_as_str().flatten().map(|text| Literal::Text(text.to_owned())),
            Kind::Integer { least } => match value.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(Some(number))) if number >= least => Some(Literal::Integer(number)),
                _ => None,
            },
        };
        read.ok_or_else(|| format!("{name} is {value}, expected {expected}"))
    }
}

/// The types of the literals that a call may have: all of them, or as many as may be left out fewer.
pub(super) fn forms(parameters: &[Parameter]) -> Vec<Vec<DataType>> {
    let first = parameters.iter().position(|parameter| parameter.is_optional).unwrap_or(parameters.len());
    let types = |count| parameters.iter().take(count).map(Parameter::data_type).collect();
    (first..=parameters.len()).map(types).collect()
}

/// Reads the arguments of a call behind its column, where `None` is one that is no literal.
pub(super) fn read<'a>(
    parameters: &[Parameter],
    values: impl Iterator<Item = Option<&'a ScalarValue>>,
) -> Result<Vec<Literal>, String> {
    parameters.iter().zip(values).map(|(parameter, value)| parameter.read(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_left_out_is_at_the_end() {
        let (k, model) = (Parameter::integer("k", 1), Parameter::text("model").optional());
        assert_eq!(forms(&[]), [vec![]]);
        assert_eq!(forms(std::slice::from_ref(&k)), [vec![DataType::Int64]]);
        assert_eq!(forms(std::slice::from_ref(&model)), [vec![], vec![DataType::Utf8]]);
        assert_eq!(forms(&[k, model]), [vec![DataType::Int64], vec![DataType::Int64, DataType::Utf8]]);
    }

    #[test]
    fn a_literal_is_read_or_refused_with_what_is_expected() {
        let (k, model) = (Parameter::integer("k", 1), Parameter::text("model").optional());
        let both = [k, model];
        let check = |values: &[Option<ScalarValue>]| read(&both, values.iter().map(Option::as_ref));
        let (three, name) = (Some(ScalarValue::Int32(Some(3))), Some(ScalarValue::from("mine")));
        let read = check(&[three.clone(), name.clone()]).unwrap();
        assert_eq!(read, [Literal::Integer(3), Literal::Text("mine".to_owned())]);
        assert_eq!((read[0].as_integer(), read[1].as_text()), (Some(3), Some("mine")));
        assert_eq!((read[0].as_text(), read[1].as_integer()), (None, None));
        assert_eq!(check(std::slice::from_ref(&three)).unwrap().len(), 1);
        for (values, words) in [
            ([Some(ScalarValue::Int64(Some(0))), name.clone()], "k is 0, expected a whole number from 1 on"),
            ([Some(ScalarValue::Int64(None)), name.clone()], "k is NULL"),
            ([Some(ScalarValue::Utf8(None)), name.clone()], "k is NULL"),
            ([None, name], "k has to be a literal"),
            ([three.clone(), Some(ScalarValue::Utf8(None))], "model is NULL, expected a text"),
            ([three.clone(), Some(ScalarValue::Int64(Some(1)))], "model is 1"),
            ([three, None], "model has to be a literal"),
        ] {
            let error = check(&values).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
