//! What is read and written back is the same document, or is refused, over random documents with values of every type.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex, Timestamp,
    doc,
};
use proptest::prelude::*;

use super::encode::Encoder;
use crate::Error;
use crate::config::WriteConfig;
use crate::connectors::mongodb::plan::infer::Shape;
use crate::connectors::mongodb::read::decode::Decoder;
use crate::connectors::mongodb::read::decode::exact::Written;
use crate::connectors::mongodb::schema::mode::DecodeOptions;

/// The columns of documents.
fn schema(documents: &[Document]) -> Schema {
    let mut shape = Shape::default();
    for document in documents {
        shape.observe(&RawDocumentBuf::try_from(document).unwrap()).unwrap();
    }
    shape.schema().0
}

/// The document that is written back; an error where it would be another one and `checked` says to look.
fn written(schema: &Schema, document: &Document, checked: bool) -> crate::Result<Document> {
    let columns = schema.fields().iter().filter(|_| checked);
    let columns = columns.map(|field| Written { field: field.as_ref().clone(), nulls_decided: false });
    let reading = DecodeOptions { written: columns.collect(), ..DecodeOptions::default() };
    let mut decoder = Decoder::reading("c", Arc::new(schema.clone()), 1, &reading)?;
    decoder.push(&RawDocumentBuf::try_from(document).unwrap())?;
    let batch = decoder.finish().unwrap();
    let encoder = Encoder::new("c", schema, &WriteConfig::default())?;
    let upsert = encoder.upsert(&batch, 0)?;
    Ok(Document::try_from(upsert.get_document(bson::raw::cstr!("u")).unwrap()).unwrap())
}

/// The fields of a document that can be columns, each as its bytes: what is equal here is equal to MongoDB as well.
fn fields(document: &Document) -> BTreeMap<String, Vec<u8>> {
    let columns = document.iter().filter(|(name, _)| super::super::schema::is_column_name(name));
    columns.map(|(name, value)| (name.clone(), doc! { "": value.clone() }.to_vec().unwrap())).collect()
}

/// Values of every type, and those at the ends of the types.
pub(super) fn scalar() -> impl Strategy<Value = Bson> {
    let decimal = (any::<i32>(), -6..6_i32)
        .prop_map(|(digits, exponent)| Bson::Decimal128(format!("{digits}E{exponent}").parse().unwrap()));
    let subtypes = prop::sample::select(vec![0_u8, 1, 2, 3, 4, 5, 6, 7, 0x80, 0xff]);
    let pointer = r#"{"$dbPointer":{"$ref":"c","$id":{"$oid":"0123456789abcdef01234567"}}}"#;
    let pointer: Bson = serde_json::from_str(pointer).unwrap();
    let kinds: Vec<BoxedStrategy<Bson>> = vec![
        any::<i32>().prop_map(Bson::Int32).boxed(),
        any::<i64>().prop_map(Bson::Int64).boxed(),
        any::<f64>().prop_map(Bson::Double).boxed(),
        prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0]).prop_map(Bson::Double).boxed(),
        decimal.boxed(),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(Decimal128::from_bytes(bytes))).boxed(),
        ".{0,4}".prop_map(Bson::String).boxed(),
        Just(Bson::Null).boxed(),
        Just(Bson::Undefined).boxed(),
        any::<bool>().prop_map(Bson::Boolean).boxed(),
        any::<i64>().prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))).boxed(),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))).boxed(),
        (subtypes, prop::collection::vec(any::<u8>(), 0..18))
            .prop_map(|(subtype, bytes)| Binary { subtype: BinarySubtype::from(subtype), bytes }.into())
            .boxed(),
        (0..3_u32, 0..3_u32).prop_map(|(time, increment)| Timestamp { time, increment }.into()).boxed(),
        Just(Bson::MinKey).boxed(),
        Just(Bson::MaxKey).boxed(),
        ".{0,4}".prop_map(Bson::JavaScriptCode).boxed(),
        ".{0,4}".prop_map(Bson::Symbol).boxed(),
        (any::<i32>(), any::<i64>())
            .prop_map(|(small, large)| {
                let scope = doc! { "a": small, "b": large };
                JavaScriptCodeWithScope { code: "f()".to_owned(), scope }.into()
            })
            .boxed(),
        "[a-z]{0,3}"
            .prop_map(|pattern| {
                let (pattern, options) = (pattern.try_into().unwrap(), "im".try_into().unwrap());
                Bson::RegularExpression(Regex { pattern, options })
            })
            .boxed(),
        Just(pointer).boxed(),
    ];
    prop::strategy::Union::new(kinds)
}

fn value() -> impl Strategy<Value = Bson> {
    scalar().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec(("[ab.$]", inner), 0..4)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

/// Documents whose fields have mostly one value, in some other order and sometimes left out, so that not all are refused.
fn documents() -> impl Strategy<Value = Vec<Document>> {
    let fields = prop::collection::btree_map("[a-dé]", prop::collection::vec(value(), 1..3), 0..4);
    let picks = prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..4);
    (value(), fields, picks).prop_map(|(id, fields, picks)| {
        let document = |(pick, left_out): (prop::sample::Index, u8)| {
            let mut document = doc! { "_id": if id == Bson::Null { Bson::Int32(1) } else { id.clone() } };
            for (number, (name, values)) in fields.iter().enumerate() {
                if usize::from(left_out) != number {
                    document.insert(name.clone(), values[pick.index(values.len())].clone());
                }
            }
            document
        };
        picks.into_iter().map(document).collect()
    })
}

fn has_empty_timestamp(document: &Document) -> bool {
    document.values().any(|value| *value == Bson::Timestamp(Timestamp { time: 0, increment: 0 }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_document_comes_back_as_it_was_or_is_refused(documents in documents()) {
        let schema = schema(&documents);
        for document in &documents {
            match written(&schema, document, true) {
                Ok(back) => prop_assert_eq!(fields(&back), fields(document), "{:?}", schema),
                Err(Error::ChangedValue { field, .. }) => {
                    let name = field.split(['.', '[']).next().unwrap_or_default();
                    prop_assert!(name.is_empty() || document.contains_key(name) || schema.index_of(name).is_ok());
                    // Nothing is refused that would come back: but the server has its own way with some timestamps.
                    if !has_empty_timestamp(document) && let Ok(back) = written(&schema, document, false) {
                        prop_assert_ne!(fields(&back), fields(document), "refused: {}", field);
                    }
                }
                Err(error) => prop_assert!(false, "{} of {:?}", error, document),
            }
        }
    }

    #[test]
    fn a_value_that_is_alone_comes_back(value in scalar()) {
        let single = doc! { "_id": 1, "v": value.clone() };
        let back = written(&schema(std::slice::from_ref(&single)), &single, true);
        let zero = Bson::Timestamp(Timestamp { time: 0, increment: 0 });
        let changes = value == Bson::Undefined || value == zero || is_odd(&value);
        match back {
            Ok(back) => prop_assert_eq!(fields(&back), fields(&single)),
            Err(error) => prop_assert!(changes, "{}", error),
        }
    }
}

/// Whether a decimal may have more than one form of itself, or code a scope that extended JSON tells otherwise.
fn is_odd(value: &Bson) -> bool {
    matches!(value, Bson::Decimal128(_) | Bson::JavaScriptCodeWithScope(_))
}

#[test]
fn one_of_each_type_comes_back_also_in_lists_and_documents() {
    let id = ObjectId::parse_str("0123456789abcdef01234567").unwrap();
    let values: Vec<Bson> = vec![
        7.into(),
        7_i64.into(),
        7.5.into(),
        Bson::Decimal128("1.50".parse().unwrap()),
        Bson::Decimal128("NaN".parse().unwrap()),
        "7".into(),
        true.into(),
        DateTime::from_millis(8_640_000_000_000_000).into(),
        id.into(),
        Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] }.into(),
        Binary { subtype: BinarySubtype::BinaryOld, bytes: vec![7; 3] }.into(),
        Timestamp { time: 7, increment: 1 }.into(),
        Bson::RegularExpression(Regex {
            pattern: "^a".try_into().unwrap(),
            options: "i".try_into().unwrap(),
        }),
        Bson::JavaScriptCode("f()".into()),
        Bson::Symbol("s".into()),
        Bson::MinKey,
        doc! {}.into(),
        Bson::Array(vec![]),
    ];
    for value in values {
        let mut documents =
            vec![doc! { "_id": value.clone() }, doc! { "_id": value.clone(), "v": value.clone() }];
        documents.push(doc! { "_id": value.clone(), "l": [value.clone()], "d": { "x": value, "y": 1 } });
        let schema = schema(&documents);
        for document in documents {
            let back = written(&schema, &document, true).unwrap();
            assert_eq!(fields(&back), fields(&document), "{schema:?}");
        }
    }
}

#[test]
fn what_would_change_is_told_with_its_field() {
    let id = ObjectId::new();
    for (documents, field, told) in [
        (
            vec![doc! { "a": 1 }, doc! { "a": 1_i64 }],
            "a",
            "a value of type Int32 would be written as the column's type (Int64)",
        ),
        (vec![doc! { "a": 0.5 }, doc! { "a": 1 }], "a", "type Int32"),
        (vec![doc! { "a": "1" }, doc! { "a": 1 }], "a", "values of any type"),
        (vec![doc! { "a": id }, doc! { "a": "x" }], "a", "type ObjectId"),
        (vec![doc! { "a": Bson::Undefined }], "a", "type Undefined"),
        (vec![doc! { "a": Bson::Null }, doc! {}], "a", "not there would be written as a null"),
        (vec![doc! { "s": { "x": 1, "y": 1 } }, doc! { "s": { "y": 1, "x": 1 } }], "s.", "order"),
        (vec![doc! { "l": [1, 2_i64] }], "l[]", "type Int32"),
        (
            vec![
                doc! { "a": Bson::Decimal128("1.5".parse().unwrap()) },
                doc! { "a": Bson::Decimal128("1.50".parse().unwrap()) },
            ],
            "a",
            "other zeros",
        ),
        (
            vec![
                doc! { "a": Binary { subtype: BinarySubtype::Uuid, bytes: vec![0; 16] } },
                doc! { "a": Binary { subtype: BinarySubtype::Generic, bytes: vec![0; 16] } },
            ],
            "a",
            "binary data of subtype 4 would be written as",
        ),
    ] {
        let documents: Vec<Document> = documents
            .into_iter()
            .map(|document| {
                let mut with_id = doc! { "_id": 1 };
                with_id.extend(document);
                with_id
            })
            .collect();
        let schema = schema(&documents);
        let refused = documents.iter().find_map(|document| written(&schema, document, true).err());
        match refused {
            Some(error @ Error::ChangedValue { .. }) => {
                let Error::ChangedValue { field: found, message, .. } = &error else { unreachable!() };
                assert!(found.starts_with(field) && message.contains(told), "{error}");
            }
            other => panic!("{documents:?}: {other:?}"),
        }
    }
}
