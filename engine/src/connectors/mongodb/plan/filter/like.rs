//! `LIKE` as a query of the server.
//!
//! A pattern that only fixes the beginning is a range of strings, which an index can find: MongoDB orders strings by their
//! bytes (each query says so, whatever the collection's collation is), and the bytes of UTF-8 are ordered as the code points
//! are. Any other pattern is an anchored regular expression, with the same meaning of `.` as Arrow's: one character,
//! a line feed too.

use arrow::datatypes::DataType;
use bson::{Bson, Document, doc};

use super::pushed::{Field, Pushed};

/// More wildcards than these may make a regular expression of the server take very long, and then fail.
const MOST_WILDCARDS: usize = 8;

/// The query for the rows where `field` matches `pattern`, or, with `matches` false, does not.
pub(super) fn like(field: &Field<'_>, pattern: &str, matches: bool) -> Option<Pushed> {
    if *field.data_type != DataType::Utf8 {
        return None;
    }
    let parts = parse(pattern);
    let query = match (parts.as_slice(), matches) {
        ([], _) => text(field, "", matches),
        ([Part::Text(exact)], _) => text(field, exact, matches),
        ([Part::Any], _) => prefix(field, "", matches),
        ([Part::Text(start), Part::Any], _) => prefix(field, start, matches),
        (parts, true) => field.matches(regex(parts)?),
        // `$not` alone also matches a missing field, for which SQL's answer is unknown.
        (parts, false) => field.matches(doc! { "$not": regex(parts)?, "$ne": Bson::Null }),
    };
    Some(Pushed::Exact(query))
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `%`
    Any,
    /// `_`
    One,
}

/// Splits a pattern as Arrow does: a backslash takes the next character as it is.
fn parse(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '%' => {
                if parts.last() != Some(&Part::Any) {
                    parts.push(Part::Any);
                }
                continue;
            }
            '_' => {
                parts.push(Part::One);
                continue;
            }
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        match parts.last_mut() {
            Some(Part::Text(text)) => text.push(literal),
            _ => parts.push(Part::Text(literal.to_string())),
        }
    }
    parts
}

fn text(field: &Field<'_>, text: &str, matches: bool) -> Document {
    field.matches(if matches {
        doc! { "$eq": text }
    } else {
        doc! { "$nin": [text, Bson::Null] }
    })
}

fn prefix(field: &Field<'_>, start: &str, matches: bool) -> Document {
    match (successor(start), matches) {
        (Some(end), true) => field.matches(doc! { "$gte": start, "$lt": end }),
        (Some(end), false) => {
            let (before, after) = (doc! { "$lt": start }, doc! { "$gte": end });
            doc! { "$or": [field.matches(before), field.matches(after)] }
        }
        (None, true) => field.matches(doc! { "$gte": start }),
        (None, false) => field.matches(doc! { "$lt": start }),
    }
}

/// The smallest text that is larger than every text that begins with `start`; `None` where there is none.
fn successor(start: &str) -> Option<String> {
    let mut next: Vec<char> = start.chars().collect();
    while let Some(last) = next.pop() {
        // The code points of surrogates are no characters.
        let larger = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(larger) = larger {
            next.push(larger);
            return Some(next.into_iter().collect());
        }
    }
    None
}

/// An anchored regular expression; `None` where the server cannot be relied upon for it.
fn regex(parts: &[Part]) -> Option<Document> {
    let mut regex = "^".to_owned();
    for part in parts {
        match part {
            Part::Any => regex.push_str(".*"),
            Part::One => regex.push('.'),
            Part::Text(text) => {
                for character in text.chars() {
                    // Whatever is ASCII and no letter or digit may be escaped, and stands for itself then.
                    if character.is_ascii() && !character.is_ascii_alphanumeric() {
                        regex.push('\\');
                    }
                    regex.push(character);
                }
            }
        }
    }
    // `$` would also match before a line feed at the end.
    regex.push_str("\\z");
    let wildcards = parts.iter().filter(|part| **part == Part::Any).count();
    // BSON's regular expressions end at a NUL, and the server's have a limit.
    let usable = wildcards <= MOST_WILDCARDS && regex.len() < 16_000 && !regex.contains('\0');
    usable.then(|| doc! { "$regex": regex, "$options": "s" })
}

/// Whether a regular expression is one that [`regex`] makes.
pub(crate) fn is_own_regex(regex: &str) -> bool {
    let Some(inner) = regex.strip_prefix('^').and_then(|rest| rest.strip_suffix("\\z")) else { return false };
    let (mut characters, mut wildcards) = (inner.chars().peekable(), 0);
    while let Some(character) = characters.next() {
        match character {
            '.' => wildcards += usize::from(characters.next_if_eq(&'*').is_some()),
            '\\' => match characters.next() {
                Some(escaped) if escaped.is_ascii() && !escaped.is_ascii_alphanumeric() => {}
                _ => return false,
            },
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => return false,
            _ => {}
        }
    }
    wildcards <= MOST_WILDCARDS && regex.len() < 16_000 && !regex.contains('\0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_become_ranges_or_regular_expressions() {
        let utf8 = DataType::Utf8;
        let field = Field { name: "t", data_type: &utf8 };
        let regex = |regex: &str| doc! { "t": { "$regex": regex, "$options": "s" } };
        for (pattern, expected) in [
            ("a%", doc! { "t": { "$gte": "a", "$lt": "b" } }),
            ("a\\_b%", doc! { "t": { "$gte": "a_b", "$lt": "a_c" } }),
            ("\u{10FFFF}%", doc! { "t": { "$gte": "\u{10FFFF}" } }),
            ("%%", doc! { "t": { "$gte": "" } }),
            ("", doc! { "t": { "$eq": "" } }),
            ("100\\%", doc! { "t": { "$eq": "100%" } }),
            ("%a", regex("^.*a\\z")),
            ("a_.c%", regex("^a.\\.c.*\\z")),
            ("%é\n%", regex("^.*é\\\n.*\\z")),
        ] {
            assert_eq!(like(&field, pattern, true), Some(Pushed::Exact(expected)), "{pattern}");
        }
        for (pattern, expected) in [
            ("a%", doc! { "$or": [{ "t": { "$lt": "a" } }, { "t": { "$gte": "b" } }] }),
            ("a", doc! { "t": { "$nin": ["a", null] } }),
            ("%a", doc! { "t": { "$not": { "$regex": "^.*a\\z", "$options": "s" }, "$ne": null } }),
        ] {
            assert_eq!(like(&field, pattern, false), Some(Pushed::Exact(expected)), "NOT {pattern}");
        }
        assert_eq!(like(&field, "%a\0b%", true), None);
        assert_eq!(like(&field, &"%a".repeat(9), true), None);
    }

    #[test]
    fn the_successor_of_a_prefix_skips_what_is_no_character() {
        for (start, expected) in [
            ("a", Some("b")),
            ("az", Some("a{")),
            ("\u{7F}", Some("\u{80}")),
            ("\u{D7FF}", Some("\u{E000}")),
            ("a\u{10FFFF}", Some("b")),
            ("\u{10FFFF}\u{10FFFF}", None),
            ("", None),
        ] {
            assert_eq!(successor(start).as_deref(), expected, "{start:?}");
        }
    }

    proptest! {
        #[test]
        fn the_range_of_a_prefix_holds_what_begins_with_it_and_nothing_else(
            start in "[ab\u{7F}\u{D7FF}\u{E000}\u{10FFFE}\u{10FFFF}]{0,3}",
            text in "[ab\u{7F}\u{D7FF}\u{E000}\u{10FFFE}\u{10FFFF}]{0,4}",
        ) {
            let end = successor(&start);
            // Rust compares strings by their bytes.
            let inside = text >= start && end.is_none_or(|end| text < end);
            prop_assert_eq!(inside, text.starts_with(&start));
        }
    }
}
