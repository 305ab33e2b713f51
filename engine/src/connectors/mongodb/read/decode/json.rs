//! BSON as relaxed extended JSON, straight from the raw bytes, and back.
//!
//! The forms are those of the specification
//! (<https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md>). What is not valid
//! BSON is shown as far as it can be read, because this text is what shows a damaged document to its owner.

use std::fmt::Write;

use bson::{Bson, DateTime, RawBson, RawBsonRef, RawDocument};

/// 9999-12-31T23:59:59.999Z: later dates, and those before 1970, are written as numbers.
const LAST_READABLE_DATE: i64 = 253_402_300_799_999;

/// Appends `value` as a text of its own: strings, symbols and the digits of an id without quotes, anything else as
/// relaxed extended JSON.
pub(crate) fn plain(value: RawBsonRef<'_>, out: &mut String) {
    match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => out.push_str(text),
        RawBsonRef::ObjectId(id) => out.push_str(&id.to_hex()),
        other => relaxed(other, out),
    }
}

/// The value that extended JSON tells. Relaxed numbers have the smallest type that holds them, so a value does not always
/// come back as it was: see [`super::exact`].
///
/// # Errors
/// What the text is not.
pub(crate) fn parse(text: &str) -> Result<RawBson, String> {
    let value: Bson = serde_json::from_str(text).map_err(|error| error.to_string())?;
    RawBson::try_from(value).map_err(|error| error.to_string())
}

/// Appends a document as relaxed extended JSON.
pub(crate) fn document(document: &RawDocument, out: &mut String) {
    out.push('{');
    let mut first = true;
    for element in document.iter_elements() {
        let Ok(element) = element else { break };
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        quoted(element.key().as_str(), out);
        out.push(':');
        match element.value() {
            Ok(value) => relaxed(value, out),
            // A string that is not UTF-8; the server does not check.
            Err(_) => match element.value_utf8_lossy() {
                Ok(value) => relaxed(value.as_raw_bson_ref(), out),
                Err(_) => out.push_str("null"),
            },
        }
    }
    out.push('}');
}

fn relaxed(value: RawBsonRef<'_>, out: &mut String) {
    match value {
        RawBsonRef::Null => out.push_str("null"),
        RawBsonRef::Boolean(value) => out.push_str(if value { "true" } else { "false" }),
        RawBsonRef::Int32(value) => write(out, value),
        RawBsonRef::Int64(value) => write(out, value),
        RawBsonRef::Double(value) if value.is_finite() => {
            // Never an exponent without need, always a point: `5.0`, as `Debug` of a double has it.
            write(out, format_args!("{value:?}"));
        }
        RawBsonRef::Double(value) => {
            let name = match (value.is_nan(), value > 0.0) {
                (true, _) => "NaN",
                (false, true) => "Infinity",
                (false, false) => "-Infinity",
            };
            tagged("$numberDouble", name, out);
        }
        RawBsonRef::String(text) => quoted(text, out),
        RawBsonRef::Document(inner) => document(inner, out),
        RawBsonRef::Array(array) => {
            out.push('[');
            for (index, value) in array.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                relaxed(value.unwrap_or(RawBsonRef::Null), out);
            }
            out.push(']');
        }
        RawBsonRef::ObjectId(id) => tagged("$oid", &id.to_hex(), out),
        RawBsonRef::DateTime(date) => match readable(date) {
            Some(text) => tagged("$date", &text, out),
            None => {
                write(out, format_args!(r#"{{"$date":{{"$numberLong":"{}"}}}}"#, date.timestamp_millis()))
            }
        },
        RawBsonRef::Decimal128(value) => tagged("$numberDecimal", &value.to_string(), out),
        RawBsonRef::Binary(binary) => {
            out.push_str(r#"{"$binary":{"base64":""#);
            base64(binary.bytes, out);
            write(out, format_args!(r#"","subType":"{:02x}"}}}}"#, u8::from(binary.subtype)));
        }
        RawBsonRef::Timestamp(time) => {
            write(out, format_args!(r#"{{"$timestamp":{{"t":{},"i":{}}}}}"#, time.time, time.increment))
        }
        RawBsonRef::RegularExpression(regex) => {
            out.push_str(r#"{"$regularExpression":{"pattern":"#);
            quoted(regex.pattern.as_str(), out);
            out.push_str(r#","options":"#);
            quoted(regex.options.as_str(), out);
            out.push_str("}}");
        }
        RawBsonRef::JavaScriptCode(code) => tagged("$code", code, out),
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            out.push_str(r#"{"$code":"#);
            quoted(code.code, out);
            out.push_str(r#","$scope":"#);
            document(code.scope, out);
            out.push('}');
        }
        RawBsonRef::Symbol(text) => tagged("$symbol", text, out),
        RawBsonRef::Undefined => out.push_str(r#"{"$undefined":true}"#),
        RawBsonRef::MinKey => out.push_str(r#"{"$minKey":1}"#),
        RawBsonRef::MaxKey => out.push_str(r#"{"$maxKey":1}"#),
        // The driver's type keeps its parts to itself, but tells them to serde.
        RawBsonRef::DbPointer(_) => match serde_json::to_string(&value) {
            Ok(text) => out.push_str(&text),
            Err(_) => out.push_str("null"),
        },
    }
}

fn readable(date: DateTime) -> Option<String> {
    if !(0..=LAST_READABLE_DATE).contains(&date.timestamp_millis()) {
        return None;
    }
    date.try_to_rfc3339_string().ok()
}

fn tagged(tag: &str, text: &str, out: &mut String) {
    write(out, format_args!(r#"{{"{tag}":"#));
    quoted(text, out);
    out.push('}');
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => write(out, format_args!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

fn write(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

fn base64(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit <= chunk.len() {
                out.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{Binary, Bson, RawDocumentBuf, Regex, Timestamp, doc, oid::ObjectId, spec::BinarySubtype};

    use super::*;

    #[track_caller]
    fn check(value: impl Into<Bson>, expected: &str) {
        let raw = RawDocumentBuf::try_from(&doc! { "x": value.into() }).unwrap();
        let mut out = String::new();
        document(&raw, &mut out);
        assert_eq!(out, format!(r#"{{"x":{expected}}}"#));
        let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(parsed.is_object());
    }

    #[test]
    fn every_type_has_the_form_of_the_specification() {
        let id = ObjectId::parse_str("0123456789abcdef01234567").unwrap();
        check("a \"b\"\n\\\u{1}é", r#""a \"b\"\n\\\u0001é""#);
        check(5, "5");
        check(i64::MIN, "-9223372036854775808");
        check(5.0, "5.0");
        check(-0.5e-300, "-5e-301");
        check(f64::NAN, r#"{"$numberDouble":"NaN"}"#);
        check(f64::NEG_INFINITY, r#"{"$numberDouble":"-Infinity"}"#);
        check(true, "true");
        check(Bson::Null, "null");
        check(Bson::Undefined, r#"{"$undefined":true}"#);
        check(id, r#"{"$oid":"0123456789abcdef01234567"}"#);
        check(DateTime::from_millis(7), r#"{"$date":"1970-01-01T00:00:00.007Z"}"#);
        check(DateTime::from_millis(LAST_READABLE_DATE), r#"{"$date":"9999-12-31T23:59:59.999Z"}"#);
        check(DateTime::from_millis(-1), r#"{"$date":{"$numberLong":"-1"}}"#);
        check(DateTime::from_millis(i64::MAX), r#"{"$date":{"$numberLong":"9223372036854775807"}}"#);
        check(Bson::Decimal128("1.50".parse().unwrap()), r#"{"$numberDecimal":"1.50"}"#);
        check(
            Binary { subtype: BinarySubtype::Uuid, bytes: vec![0, 255, 16, 3] },
            r#"{"$binary":{"base64":"AP8QAw==","subType":"04"}}"#,
        );
        check(Timestamp { time: 1, increment: 2 }, r#"{"$timestamp":{"t":1,"i":2}}"#);
        check(Bson::Symbol("s".into()), r#"{"$symbol":"s"}"#);
        check(Bson::JavaScriptCode("f()".into()), r#"{"$code":"f()"}"#);
        check(
            Regex { pattern: bson::raw::cstr!("^a").into(), options: bson::raw::cstr!("i").into() },
            r#"{"$regularExpression":{"pattern":"^a","options":"i"}}"#,
        );
        check(Bson::MinKey, r#"{"$minKey":1}"#);
        check(Bson::MaxKey, r#"{"$maxKey":1}"#);
        check(doc! { "a": [1, { "b": [] }], "c": {} }, r#"{"a":[1,{"b":[]}],"c":{}}"#);
    }

    #[test]
    fn a_text_of_its_own_has_no_quotes() {
        let id = ObjectId::parse_str("0123456789abcdef01234567").unwrap();
        for (value, expected) in [
            (RawBsonRef::String("a \"b\""), "a \"b\""),
            (RawBsonRef::Symbol("s"), "s"),
            (RawBsonRef::ObjectId(id), "0123456789abcdef01234567"),
            (RawBsonRef::Int32(5), "5"),
            (RawBsonRef::Boolean(true), "true"),
        ] {
            let mut out = String::new();
            plain(value, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn base64_pads() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = String::new();
            base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_damaged_document_is_shown_as_far_as_it_can_be_read() {
        let mut bytes = doc! { "a": "text", "b": 1 }.to_vec().unwrap();
        let text = bytes.windows(4).position(|window| window == b"text").unwrap();
        bytes[text] = 0xff;
        let mut out = String::new();
        document(RawDocument::from_bytes(&bytes).unwrap(), &mut out);
        assert_eq!(out, "{\"a\":\"\u{fffd}ext\",\"b\":1}");
    }
}
