//! What a filter in a plan may say: only what `plan::filter` makes of an expression of SQL.
//!
//! A plan comes from another process, and what it names as a filter would be run by the server as it is: `$where` and
//! `$function` are programs, `$expr` reads any field, a document as a value matches by its fields. Everything else that a
//! plan has the server do (`$group`, projections, sorting) is made from expressions in the process that asks for it.

use bson::raw::{RawArray, RawBsonRef, RawDocument};
use bson::{Bson, Document};

use crate::Result;
use crate::connectors::mongodb::plan::filter::like::is_own_regex;
use crate::wire::damaged;

/// How deep documents may lie in each other. MongoDB itself takes 180.
const NESTING: usize = 400;

/// The document in bytes of a plan. One that is nested too deeply for recursion is refused.
pub(crate) fn document(bytes: &[u8]) -> Result<Document> {
    let whole = RawDocument::from_bytes(bytes).map_err(damaged)?;
    let mut left = vec![(Part::Document(whole), 0)];
    while let Some((part, depth)) = left.pop() {
        if depth > NESTING {
            return Err(damaged(format!("its documents lie in each other more than {NESTING} deep")));
        }
        match part {
            Part::Document(document) => {
                for element in document {
                    let (_, value) = element.map_err(damaged)?;
                    left.extend(Part::of(value).map(|part| (part, depth + 1)));
                }
            }
            Part::Array(array) => {
                for value in array {
                    left.extend(Part::of(value.map_err(damaged)?).map(|part| (part, depth + 1)));
                }
            }
        }
    }
    Document::from_reader(bytes).map_err(damaged)
}

/// What may hold more.
enum Part<'a> {
    Document(&'a RawDocument),
    Array(&'a RawArray),
}

impl<'a> Part<'a> {
    fn of(value: RawBsonRef<'a>) -> Option<Self> {
        match value {
            RawBsonRef::Document(inner) => Some(Self::Document(inner)),
            RawBsonRef::Array(inner) => Some(Self::Array(inner)),
            RawBsonRef::JavaScriptCodeWithScope(code) => Some(Self::Document(code.scope)),
            _ => None,
        }
    }
}

/// The filter in bytes of a plan.
pub(super) fn filter(bytes: &[u8]) -> Result<Document> {
    let filter = document(bytes)?;
    check_query(&filter)?;
    Ok(filter)
}

fn refused(what: &str) -> crate::Error {
    damaged(format!("its filter has {what}, which no filter of SQL becomes"))
}

fn check_query(query: &Document) -> Result<()> {
    for (key, value) in query {
        match key.as_str() {
            "$and" | "$or" | "$nor" => {
                let Bson::Array(parts) = value else { return Err(refused("operators without a list")) };
                for part in parts {
                    check_query(part.as_document().ok_or_else(|| refused("operators over something else"))?)?;
                }
            }
            key if key.starts_with('$') => return Err(refused(&format!("`{}`", key.escape_default()))),
            _ => check_condition(value)?,
        }
    }
    Ok(())
}

/// What a field is compared with.
fn check_condition(value: &Bson) -> Result<()> {
    let Bson::Document(operators) = value else { return check_scalar(value) };
    if operators.is_empty() {
        return Err(refused("a document as a value"));
    }
    for (operator, value) in operators {
        match (operator.as_str(), value) {
            ("$eq" | "$ne" | "$lt" | "$lte" | "$gt" | "$gte", value) => check_scalar(value)?,
            ("$in" | "$nin", Bson::Array(values)) => values.iter().try_for_each(check_scalar)?,
            ("$regex", Bson::String(regex)) if is_own_regex(regex) => {}
            ("$options", Bson::String(options)) if options == "s" => {}
            ("$not", Bson::Document(inner))
                if inner.keys().all(|key| key == "$regex" || key == "$options") =>
            {
                check_condition(value)?;
            }
            (operator, _) => return Err(refused(&format!("`{}`", operator.escape_default()))),
        }
    }
    Ok(())
}

fn check_scalar(value: &Bson) -> Result<()> {
    match value {
        Bson::Null
        | Bson::Boolean(_)
        | Bson::Int32(_)
        | Bson::Int64(_)
        | Bson::Double(_)
        | Bson::String(_)
        | Bson::DateTime(_) => Ok(()),
        _ => Err(refused("a value of another type")),
    }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, JavaScriptCodeWithScope, Regex, doc};
    use datafusion::prelude::{Expr, col, lit};

    use super::*;
    use crate::connectors::mongodb::plan::filter::conjunction;
    use crate::connectors::mongodb::schema::predictions_schema;

    fn checked(query: &Document) -> Result<Document> {
        filter(&query.to_vec().unwrap())
    }

    #[test]
    fn what_the_compiler_makes_passes() {
        let (id, sequence) = (|| col("producer_id"), || col("sequence"));
        let filters: Vec<Expr> = vec![
            id().eq(lit("a")),
            id().not_eq(lit("a")),
            !id().like(lit("a_b%c")),
            id().like(lit("a_b%c")),
            id().like(lit("a%")),
            !id().like(lit("a%")),
            id().in_list(vec![lit("a"), lit("b")], true),
            sequence().between(lit(1_i64), lit(2_i64)),
            col("confidence").gt(lit(0.5)),
            col("correct").is_not_true(),
            (id().eq(lit("a"))).is_not_true(),
            !lit(false),
            id().is_null(),
            col("produced_at").gt_eq(lit(datafusion::common::ScalarValue::TimestampMillisecond(
                Some(7),
                Some("UTC".into()),
            ))),
        ];
        let mut pushed = 0;
        for filter in &filters {
            let Some(query) = conjunction(std::slice::from_ref(filter), &predictions_schema()) else {
                continue;
            };
            assert_eq!(checked(&query).unwrap().to_string(), query.to_string(), "{filter}");
            pushed += 1;
        }
        assert!(pushed > 10, "{pushed}");
        let all = conjunction(&filters, &predictions_schema()).unwrap();
        checked(&all).unwrap();
    }

    #[test]
    fn what_it_cannot_make_is_refused() {
        let program = "function() { while (true) {} }";
        let scoped = JavaScriptCodeWithScope { code: program.to_owned(), scope: doc! {} };
        let regex = Regex { pattern: "(a+)+$".try_into().unwrap(), options: "".try_into().unwrap() };
        for filter in [
            doc! { "$where": program },
            doc! { "a": { "$where": program } },
            doc! { "$and": [{ "a": 1 }, { "$or": [{ "$where": program }] }] },
            doc! { "$expr": { "$function": { "body": program, "args": [], "lang": "js" } } },
            doc! { "$expr": { "$eq": ["$a", "$b"] } },
            doc! { "a": { "$not": { "$where": program } } },
            doc! { "a": { "$not": { "$gt": 1 } } },
            doc! { "a": Bson::JavaScriptCode(program.to_owned()) },
            doc! { "a": { "$eq": Bson::JavaScriptCodeWithScope(scoped) } },
            doc! { "a": { "$in": [Bson::RegularExpression(regex.clone())] } },
            doc! { "a": Bson::RegularExpression(regex) },
            doc! { "a": { "$elemMatch": { "$where": program } } },
            doc! { "a": { "$exists": true } },
            doc! { "a": { "$regex": "^a\\z", "$options": "x" } },
            doc! { "a": { "$regex": "(a+)+$" } },
            doc! { "a": { "$regex": "^(a+)+\\z", "$options": "s" } },
            doc! { "a": { "$regex": "^a*\\z", "$options": "s" } },
            doc! { "a": { "$regex": "^\\d\\z", "$options": "s" } },
            doc! { "a": { "$regex": "^\\z\\", "$options": "s" } },
            doc! { "a": { "b": 1 } },
            doc! { "a": {} },
            doc! { "a": [1] },
            doc! { "$text": { "$search": "a" } },
            doc! { "$jsonSchema": {} },
            doc! { "$comment": "a" },
            doc! { "$and": 1 },
            doc! { "$and": [1] },
        ] {
            let error = checked(&filter).unwrap_err();
            assert!(matches!(error, crate::Error::PlanDecode { .. }), "{filter}: {error}");
        }
    }

    #[test]
    fn a_document_without_a_bottom_is_refused() {
        let mut bytes = doc! {}.to_vec().unwrap();
        for _ in 0..2_000 {
            // The name "a" and the type of a document before it, a zero behind it, and the length of all.
            let length = u32::try_from(bytes.len() + 8).unwrap();
            let mut outer = length.to_le_bytes().to_vec();
            outer.extend_from_slice(b"\x03a\0");
            outer.extend_from_slice(&bytes);
            outer.push(0);
            bytes = outer;
        }
        assert!(document(&bytes).is_err());
        assert!(document(b"\x05\0\0").is_err());
        let at = doc! { "a": { "b": [{ "c": DateTime::from_millis(7) }] } };
        assert_eq!(document(&at.to_vec().unwrap()).unwrap(), at);
    }
}
