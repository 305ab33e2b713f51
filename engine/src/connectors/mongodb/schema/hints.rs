//! Schema hints: columns as in a `CREATE TABLE`, `a BIGINT, b STRUCT<x: INT>, ref OBJECTID`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, ObjectNamePart, StructField,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::kind::{BsonKind, UUID};
use super::timestamp_type;

/// How a decimal without digits is read: the most there are, 18 of them behind the point.
const DEFAULT_DECIMAL: (u64, i64) = (38, 18);

/// Reads hints. A name is the field's as it is written, quoted or not: documents have capitals.
pub(crate) fn hints(text: &str) -> Result<Schema, String> {
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(text).map_err(|error| error.to_string())?;
    let columns = parser
        .parse_comma_separated(|parser| Ok((parser.parse_identifier()?, parser.parse_data_type()?)))
        .map_err(|error| error.to_string())?;
    parser.expect_token(&Token::EOF).map_err(|error| error.to_string())?;
    let fields = columns
        .iter()
        .map(|(name, data_type)| {
            let name = name.value.as_str();
            field(name, data_type).map_err(|message| format!("column `{name}`: {message}"))
        })
        .collect::<Result<Vec<_>, String>>()?;
    Ok(Schema::new(fields))
}

fn field(name: &str, declared: &SqlType) -> Result<Field, String> {
    let data_type = match declared {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::TinyInt(_) | SqlType::SmallInt(_) | SqlType::Int(_) | SqlType::Integer(_) => DataType::Int32,
        SqlType::BigInt(_) => DataType::Int64,
        SqlType::Float(_) | SqlType::Real | SqlType::Double(_) | SqlType::DoublePrecision => {
            DataType::Float64
        }
        SqlType::Text | SqlType::String(_) | SqlType::Varchar(_) | SqlType::Char(_) => DataType::Utf8,
        SqlType::Binary(_) | SqlType::Bytea => DataType::Binary,
        SqlType::Timestamp(..) => timestamp_type(),
        SqlType::Decimal(digits) | SqlType::Numeric(digits) => decimal(digits)?,
        SqlType::Array(
            ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, _),
        ) => DataType::List(Arc::new(field("item", element)?)),
        SqlType::Struct(parts, _) if !parts.is_empty() => {
            DataType::Struct(parts.iter().map(part).collect::<Result<_, _>>()?)
        }
        SqlType::Uuid => return Ok(BsonKind::Binary(UUID).field(name)),
        SqlType::Custom(custom, modifiers) => {
            let word = match custom.0.as_slice() {
                [ObjectNamePart::Identifier(word)] => word.value.to_ascii_lowercase(),
                _ => String::new(),
            };
            return match word.as_str() {
                "objectid" => Ok(BsonKind::ObjectId.field(name)),
                "symbol" => Ok(BsonKind::Symbol.field(name)),
                "extended" => Ok(BsonKind::Extended.field(name)),
                "binary_subtype" => match modifiers.as_slice() {
                    [subtype] => subtype
                        .parse()
                        .map(|subtype| BsonKind::Binary(subtype).field(name))
                        .map_err(|_| "a BINARY_SUBTYPE is a number from 0 to 255".to_owned()),
                    _ => Err("a BINARY_SUBTYPE has one number, as in BINARY_SUBTYPE(5)".to_owned()),
                },
                "any" => Ok(BsonKind::Any.field(name)),
                _ => Err(unknown(declared)),
            };
        }
        _ => return Err(unknown(declared)),
    };
    Ok(Field::new(name, data_type, true))
}

fn part(declared: &StructField) -> Result<Field, String> {
    let Some(name) = &declared.field_name else { return Err("a part of a STRUCT has no name".to_owned()) };
    field(&name.value, &declared.field_type)
}

fn decimal(digits: &ExactNumberInfo) -> Result<DataType, String> {
    let (precision, scale) = match *digits {
        ExactNumberInfo::None => DEFAULT_DECIMAL,
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale @ 0..)) if i16::from(scale) <= i16::from(precision) => {
            Ok(DataType::Decimal128(precision, scale))
        }
        _ => Err("a DECIMAL has 1 to 38 digits, and no more behind the point than in all".to_owned()),
    }
}

fn unknown(declared: &SqlType) -> String {
    format!(
        "type {declared} is not supported; types are BOOLEAN, INT, BIGINT, DOUBLE, DECIMAL(p, s), TEXT, BINARY, \
         TIMESTAMP, ARRAY<…>, STRUCT<name: …>, OBJECTID, UUID, BINARY_SUBTYPE(n), SYMBOL, EXTENDED (extended JSON) and ANY \
         (any value as a text)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::mongodb::schema::validate;

    #[test]
    fn hints_are_columns() {
        let read = hints(
            "a BIGINT, \"Big Name\" TEXT, at TIMESTAMP, price DECIMAL(10, 2), n DECIMAL, ref OBJECTID, x ANY, \
             userId INT, u UUID, m BINARY_SUBTYPE(5), y SYMBOL, e EXTENDED, s STRUCT<x: INT, deep: STRUCT<y: ARRAY<DOUBLE>>>, l ARRAY<OBJECTID>",
        )
        .unwrap();
        let plain = |name: &str, data_type| Field::new(name, data_type, true);
        let list = |element: Field| DataType::List(Arc::new(element));
        let deep = DataType::Struct(vec![plain("y", list(plain("item", DataType::Float64)))].into());
        let expected = Schema::new(vec![
            plain("a", DataType::Int64),
            plain("Big Name", DataType::Utf8),
            plain("at", timestamp_type()),
            plain("price", DataType::Decimal128(10, 2)),
            plain("n", DataType::Decimal128(38, 18)),
            BsonKind::ObjectId.field("ref"),
            BsonKind::Any.field("x"),
            plain("userId", DataType::Int32),
            BsonKind::Binary(UUID).field("u"),
            BsonKind::Binary(5).field("m"),
            BsonKind::Symbol.field("y"),
            BsonKind::Extended.field("e"),
            plain("s", DataType::Struct(vec![plain("x", DataType::Int32), plain("deep", deep)].into())),
            plain("l", list(BsonKind::ObjectId.field("item"))),
        ]);
        assert_eq!(read, expected);
        validate("c", &read).unwrap();
    }

    #[test]
    fn what_is_not_a_column_is_told() {
        for (text, told) in [
            ("", "Expected"),
            ("a", "Expected"),
            ("a BIGINT,", "Expected"),
            ("a BIGINT b INT", "Expected"),
            ("a DATE", "column `a`: type DATE is not supported"),
            ("a BINARY_SUBTYPE(256)", "from 0 to 255"),
            ("a BINARY_SUBTYPE", "one number"),
            ("a COLOUR", "type COLOUR is not supported"),
            ("a DECIMAL(50, 2)", "1 to 38 digits"),
            ("a DECIMAL(3, 5)", "1 to 38 digits"),
            ("a STRUCT<INT>", "no name"),
        ] {
            let error = hints(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
