//! Spark's types as text: `bigint`, `array<string>`, `a INT, b STRING`, and the JSON of a schema.

use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::data_type::{self as spark, Kind};
use serde_json::Value;

use super::super::error::{Result, SparkError};

/// How deep types may be nested.
const DEPTH: usize = 64;

/// The name that `printSchema` and errors have for a type.
pub(in super::super) fn simple(data_type: &proto::DataType) -> &'static str {
    match &data_type.kind {
        Some(Kind::Boolean(_)) => "boolean",
        Some(Kind::Byte(_)) => "byte",
        Some(Kind::Short(_)) => "short",
        Some(Kind::Integer(_)) => "integer",
        Some(Kind::Long(_)) => "long",
        Some(Kind::Float(_)) => "float",
        Some(Kind::Double(_)) => "double",
        Some(Kind::String(_) | Kind::Char(_) | Kind::VarChar(_)) => "string",
        Some(Kind::Binary(_)) => "binary",
        Some(Kind::Date(_)) => "date",
        Some(Kind::Timestamp(_)) => "timestamp",
        Some(Kind::TimestampNtz(_)) => "timestamp_ntz",
        Some(Kind::Array(_)) => "array",
        Some(Kind::Struct(_)) => "struct",
        Some(Kind::Map(_)) => "map",
        Some(Kind::Decimal(_)) => "decimal",
        Some(Kind::DayTimeInterval(_)) => "interval day to second",
        Some(Kind::YearMonthInterval(_)) => "interval year to month",
        Some(Kind::CalendarInterval(_)) => "interval",
        Some(Kind::Variant(_)) => "variant",
        Some(Kind::Time(_)) => "time",
        _ => "void",
    }
}

/// The name of a type in SQL: `BIGINT`, `ARRAY<STRING>`.
pub(in super::super) fn name(data_type: &proto::DataType) -> String {
    let inner = |data_type: Option<&proto::DataType>| data_type.map(name).unwrap_or_default();
    match &data_type.kind {
        Some(Kind::Byte(_)) => "TINYINT".to_owned(),
        Some(Kind::Short(_)) => "SMALLINT".to_owned(),
        Some(Kind::Integer(_)) => "INT".to_owned(),
        Some(Kind::Long(_)) => "BIGINT".to_owned(),
        Some(Kind::Decimal(decimal)) => {
            format!("DECIMAL({},{})", decimal.precision.unwrap_or(10), decimal.scale.unwrap_or(0))
        }
        Some(Kind::Array(array)) => format!("ARRAY<{}>", inner(array.element_type.as_deref())),
        Some(Kind::Map(map)) => {
            format!("MAP<{}, {}>", inner(map.key_type.as_deref()), inner(map.value_type.as_deref()))
        }
        Some(Kind::Struct(fields)) => {
            let fields = fields
                .fields
                .iter()
                .map(|field| format!("{}: {}", field.name, inner(field.data_type.as_ref())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        Some(Kind::Unparsed(text)) => text.data_type_string.to_uppercase(),
        _ => simple(data_type).to_uppercase(),
    }
}

/// Parses a schema: JSON as clients send it, or DDL.
pub(in super::super) fn parse(text: &str) -> Result<proto::DataType> {
    let trimmed = text.trim();
    if trimmed.starts_with(['{', '"']) {
        let value: Value = serde_json::from_str(trimmed)
            .map_err(|error| SparkError::syntax(format!("a schema in JSON: {error}")))?;
        return from_json(&value, 0);
    }
    let mut parser = Parser { text: trimmed, at: 0 };
    let parsed = parser.columns_or_type()?;
    parser.end()?;
    Ok(parsed)
}

fn from_json(value: &Value, depth: usize) -> Result<proto::DataType> {
    if depth > DEPTH {
        return Err(SparkError::syntax("a type is nested too deep"));
    }
    let Some(object) = value.as_object() else {
        let text = value.as_str().unwrap_or_default();
        let mut parser = Parser { text, at: 0 };
        let parsed = parser.data_type(0)?;
        parser.end()?;
        return Ok(parsed);
    };
    let part = |name: &str| from_json(object.get(name).unwrap_or(&Value::Null), depth + 1);
    let flag = |name: &str| object.get(name).and_then(Value::as_bool).unwrap_or(true);
    let kind = match object.get("type").and_then(Value::as_str).unwrap_or_default() {
        "struct" => {
            let fields =
                object.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let field = |field: &Value| {
                Ok(spark::StructField {
                    name: field.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
                    data_type: Some(from_json(field.get("type").unwrap_or(&Value::Null), depth + 1)?),
                    nullable: field.get("nullable").and_then(Value::as_bool).unwrap_or(true),
                    metadata: None,
                })
            };
            Kind::Struct(spark::Struct { fields: fields.iter().map(field).collect::<Result<_>>()? })
        }
        "array" => Kind::Array(Box::new(spark::Array {
            element_type: Some(Box::new(part("elementType")?)),
            contains_null: flag("containsNull"),
        })),
        "map" => Kind::Map(Box::new(spark::Map {
            key_type: Some(Box::new(part("keyType")?)),
            value_type: Some(Box::new(part("valueType")?)),
            value_contains_null: flag("valueContainsNull"),
        })),
        other => return Err(SparkError::unsupported(format!("the type {other:?} of a schema in JSON"))),
    };
    Ok(proto::DataType { kind: Some(kind) })
}

/// Reads DDL from left to right.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, mark: char) -> bool {
        self.blanks();
        let found = self.rest().starts_with(mark);
        if found {
            self.at += mark.len_utf8();
        }
        found
    }

    fn expect(&mut self, mark: char) -> Result<()> {
        if self.take(mark) { Ok(()) } else { Err(self.failed(&format!("'{mark}'"))) }
    }

    fn failed(&self, expected: &str) -> SparkError {
        SparkError::syntax(format!("in the type {:?}: expected {expected} at {:?}", self.text, self.rest()))
    }

    fn end(&mut self) -> Result<()> {
        self.blanks();
        if self.rest().is_empty() { Ok(()) } else { Err(self.failed("the end")) }
    }

    /// A name, in backticks or not.
    fn word(&mut self) -> Result<String> {
        self.blanks();
        let rest = self.rest();
        if let Some(inner) = rest.strip_prefix('`') {
            let end = inner.find('`').ok_or_else(|| self.failed("a closing backtick"))?;
            self.at += end + 2;
            return Ok(inner[..end].to_owned());
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            return Err(self.failed("a name"));
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    fn keyword(&mut self, expected: &str) -> bool {
        let before = self.at;
        let found = self.word().is_ok_and(|word| word.eq_ignore_ascii_case(expected));
        if !found {
            self.at = before;
        }
        found
    }

    /// `a INT, b STRING`, or one type.
    fn columns_or_type(&mut self) -> Result<proto::DataType> {
        let before = self.at;
        if let Ok(single) = self.data_type(0) {
            self.blanks();
            if self.rest().is_empty() {
                return Ok(single);
            }
        }
        self.at = before;
        Ok(proto::DataType { kind: Some(Kind::Struct(self.fields(0)?)) })
    }

    fn fields(&mut self, depth: usize) -> Result<spark::Struct> {
        let mut fields = Vec::new();
        loop {
            let name = self.word()?;
            let _ = self.take(':');
            let data_type = Some(self.data_type(depth)?);
            let nullable = !(self.keyword("NOT") && self.keyword("NULL"));
            if self.keyword("COMMENT") {
                self.expect('\'')?;
                let end = self.rest().find('\'').ok_or_else(|| self.failed("a closing quote"))?;
                self.at += end + 1;
            }
            fields.push(spark::StructField { name, data_type, nullable, metadata: None });
            if !self.take(',') {
                return Ok(spark::Struct { fields });
            }
        }
    }

    fn number(&mut self) -> Result<i32> {
        let word = self.word()?;
        word.parse().map_err(|_| self.failed("a number"))
    }

    fn data_type(&mut self, depth: usize) -> Result<proto::DataType> {
        if depth > DEPTH {
            return Err(SparkError::syntax("a type is nested too deep"));
        }
        let before = self.at;
        let kind = match self.word()?.to_lowercase().as_str() {
            "boolean" | "bool" => Kind::Boolean(spark::Boolean {}),
            "byte" | "tinyint" => Kind::Byte(spark::Byte {}),
            "short" | "smallint" => Kind::Short(spark::Short {}),
            "int" | "integer" => Kind::Integer(spark::Integer {}),
            "long" | "bigint" => Kind::Long(spark::Long {}),
            "float" | "real" => Kind::Float(spark::Float {}),
            "double" => Kind::Double(spark::Double {}),
            "string" | "text" => Kind::String(spark::String {}),
            "binary" => Kind::Binary(spark::Binary {}),
            "date" => Kind::Date(spark::Date {}),
            "timestamp" | "timestamp_ltz" => Kind::Timestamp(spark::Timestamp {}),
            "timestamp_ntz" => Kind::TimestampNtz(spark::TimestampNtz {}),
            "void" | "null" => Kind::Null(spark::Null {}),
            "char" | "character" | "varchar" => {
                self.expect('(')?;
                let length = self.number()?;
                self.expect(')')?;
                Kind::VarChar(spark::VarChar { length })
            }
            "decimal" | "dec" | "numeric" => {
                let (mut precision, mut scale) = (10, 0);
                if self.take('(') {
                    precision = self.number()?;
                    if self.take(',') {
                        scale = self.number()?;
                    }
                    self.expect(')')?;
                }
                Kind::Decimal(spark::Decimal { precision: Some(precision), scale: Some(scale) })
            }
            "array" => {
                self.expect('<')?;
                let element_type = Some(Box::new(self.data_type(depth + 1)?));
                self.expect('>')?;
                Kind::Array(Box::new(spark::Array { element_type, contains_null: true }))
            }
            "map" => {
                self.expect('<')?;
                let key_type = Some(Box::new(self.data_type(depth + 1)?));
                self.expect(',')?;
                let value_type = Some(Box::new(self.data_type(depth + 1)?));
                self.expect('>')?;
                Kind::Map(Box::new(spark::Map { key_type, value_type, value_contains_null: true }))
            }
            "struct" => {
                self.expect('<')?;
                let fields = self.fields(depth + 1)?;
                self.expect('>')?;
                Kind::Struct(fields)
            }
            _ => {
                self.at = before;
                return Err(self.failed("a type"));
            }
        };
        Ok(proto::DataType { kind: Some(kind) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ddl_and_json_name_types() {
        for (text, expected) in [
            ("int", "INT"),
            ("a INT, b STRING", "STRUCT<a: INT, b: STRING>"),
            (
                "`a b` array<map<string,decimal(5, 2)>> NOT NULL",
                "STRUCT<a b: ARRAY<MAP<STRING, DECIMAL(5,2)>>>",
            ),
            ("struct<x: double, y: timestamp>", "STRUCT<x: DOUBLE, y: TIMESTAMP>"),
            ("id BIGINT COMMENT 'the id'", "STRUCT<id: BIGINT>"),
            ("\"long\"", "BIGINT"),
            (
                r#"{"type":"struct","fields":[{"name":"a","type":"decimal(3,1)","nullable":false},
                    {"name":"b","type":{"type":"array","elementType":"string","containsNull":true}}]}"#,
                "STRUCT<a: DECIMAL(3,1), b: ARRAY<STRING>>",
            ),
        ] {
            assert_eq!(name(&parse(text).unwrap()), expected, "{text}");
        }
        for wrong in ["", "a", "array<int", "decimal(5", "{", "{\"type\":\"udt\"}", "a int b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z<>(),:` 0-9\"{}é]{0,30}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_type_of_any_depth_is_read_or_refused(depth in 0_usize..200) {
            let text = format!("{}int{}", "array<".repeat(depth), ">".repeat(depth));
            prop_assert_eq!(parse(&text).is_ok(), depth <= DEPTH);
        }
    }
}
