//! The options of a table: one reader from a statement's texts into a struct that derives `Deserialize`.
//!
//! A connector declares a struct with a field an option; its names and types are the documentation and the parser at once.
//! DataFusion lower-cases the names of options and puts `format.` before one without a dot, so neither the case nor that
//! prefix matters. Values are trimmed. A name that the struct does not have is an error that suggests the nearest: a misspelt
//! option must not be one without effect. No error repeats the value of an option that is not known: it may be a password.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use crate::{Error, Result, suggestions};

/// Reads the options of a table.
pub(crate) fn parse<T: DeserializeOwned>(given: &HashMap<String, String>) -> Result<T> {
    parse_or(given, |_| None)
}

/// Reads the options of a table; `refusal` may have an error of its own for a name that is not known.
pub(crate) fn parse_or<T: DeserializeOwned>(
    given: &HashMap<String, String>,
    refusal: fn(&str) -> Option<Error>,
) -> Result<T> {
    T::deserialize(Options { given, refusal }).map_err(|Refused { option, message, error }| {
        error.unwrap_or_else(|| Error::invalid_option(option.as_deref().unwrap_or("OPTIONS"), message))
    })
}

/// Reads a value by its [`FromStr`], whose error is what is wrong with it.
pub(crate) fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

/// Why options cannot be used.
#[derive(Debug)]
struct Refused {
    /// The option that it is about, where that is known already.
    option: Option<String>,
    message: String,
    /// The connector's own error, which takes the place of both.
    error: Option<Error>,
}

impl Refused {
    fn of(option: &str, message: impl Into<String>) -> Self {
        Self { option: Some(option.to_owned()), message: message.into(), error: None }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { option: None, message: error.to_string(), error: Some(error) }
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: Display>(message: T) -> Self {
        Self { option: None, message: message.to_string(), error: None }
    }

    fn invalid_value(found: Unexpected<'_>, _: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Unsigned(number) => format!("`{number}`"),
            other => other.to_string(),
        };
        not_a_number(&found)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("`{variant}` is none of {}", expected.join(", ")))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::of(field, "it is given twice")
    }
}

fn not_a_number(found: &str) -> Refused {
    de::Error::custom(format!("{found} is not a number above 0; write a whole number of at least 1"))
}

/// All options of a statement.
struct Options<'a> {
    given: &'a HashMap<String, String>,
    refusal: fn(&str) -> Option<Error>,
}

impl<'de> Deserializer<'de> for Options<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, Refused> {
        Err(de::Error::custom("options are read into a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Refused> {
        // Fixed order, so the same error is reported first every time.
        let mut given: Vec<(&String, &String)> = self.given.iter().collect();
        given.sort();
        let mut pairs = Vec::with_capacity(given.len());
        for (key, value) in given {
            let name = key.strip_prefix("format.").unwrap_or(key);
            match fields.iter().find(|known| known.eq_ignore_ascii_case(name)) {
                Some(known) => pairs.push((*known, value.trim())),
                None => {
                    let unknown =
                        || Refused::of(name, suggestions::unknown_option(name, fields.iter().copied()));
                    return Err((self.refusal)(name).map_or_else(unknown, Refused::from));
                }
            }
        }
        visitor.visit_map(Pairs { rest: pairs.into_iter(), value: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Pairs<'a> {
    rest: std::vec::IntoIter<(&'static str, &'a str)>,
    value: Option<(&'static str, &'a str)>,
}

impl<'de> de::MapAccess<'de> for Pairs<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, Refused> {
        self.value = self.rest.next();
        let Some((name, _)) = self.value else { return Ok(None) };
        let name: StrDeserializer<'_, Refused> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> std::result::Result<V::Value, Refused> {
        let Some((name, value)) = self.value.take() else {
            return Err(de::Error::custom("a value has a name"));
        };
        seed.deserialize(Value(value)).map_err(|refused| Refused {
            option: Some(refused.option.unwrap_or_else(|| name.to_owned())),
            ..refused
        })
    }
}

/// The text of one option, read as the type of its field.
struct Value<'a>(&'a str);

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refused> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refused> {
        match self.0.to_ascii_lowercase().as_str() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(de::Error::custom(format!("`{}` is neither true nor false", self.0))),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refused> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Refused> {
        match self.0.parse() {
            Ok(number) => visitor.visit_u64(number),
            Err(_) => Err(not_a_number(&format!("`{}`", self.0))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Refused> {
        let known = variants.iter().find(|known| known.eq_ignore_ascii_case(self.0));
        let variant: StrDeserializer<'_, Refused> = known.copied().unwrap_or(self.0).into_deserializer();
        visitor.visit_enum(variant)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Example {
        batch_rows: Option<NonZeroU64>,
        parts: Option<NonZeroU32>,
        #[serde(rename = "value.kind")]
        kind: Option<Kind>,
        strict: Option<bool>,
        name: Option<String>,
        #[serde(deserialize_with = "from_text")]
        even: Option<Even>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    enum Kind {
        Small,
        Large,
    }

    #[derive(Debug, PartialEq)]
    struct Even(u32);

    impl FromStr for Even {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let number = text.parse().ok().filter(|number| number % 2 == 0);
            number.map(Self).ok_or_else(|| format!("`{text}` is not even"))
        }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Example> {
        parse(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn names_have_any_case_and_values_their_type() {
        let found = read(&[
            ("format.batchrows", " 7 "),
            ("Parts", "3"),
            ("value.kind", "large"),
            ("STRICT", "False"),
            ("name", " a b "),
            ("even", "4"),
        ]);
        let expected = Example {
            batch_rows: NonZeroU64::new(7),
            parts: NonZeroU32::new(3),
            kind: Some(Kind::Large),
            strict: Some(false),
            name: Some("a b".to_owned()),
            even: Some(Even(4)),
        };
        assert_eq!(found.unwrap(), expected);
        assert_eq!(read(&[]).unwrap(), Example::default());
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_option() {
        for (name, value, told) in [
            ("batchRow", "7", "did you mean `batchRows`?"),
            ("colour", "hunter2", "there are batchRows, parts, value.kind, strict, name, even"),
            ("batchRows", "0", "`0` is not a number above 0"),
            ("batchRows", "-1", "`-1` is not a number above 0"),
            ("parts", "4294967296", "`4294967296` is not a number above 0"),
            ("value.kind", "medium", "`medium` is none of SMALL, LARGE"),
            ("strict", "yes", "`yes` is neither true nor false"),
            ("even", "3", "`3` is not even"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { option, .. } if option == name), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(told) && !text.contains("hunter2"), "{text}");
        }
        let twice = read(&[("format.strict", "true"), ("strict", "true")]).unwrap_err().to_string();
        assert!(twice.contains("strict") && twice.contains("given twice"), "{twice}");
    }
}
