//! Inference over tables of documents, and over random ones: whatever was sampled can be decoded.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, RawDocumentBuf, Timestamp, doc};
use proptest::prelude::*;

use super::infer::Shape;
use crate::connectors::mongodb::read::decode::Decoder;
use crate::connectors::mongodb::schema::kind::{BsonKind, with_nulls_absent};
use crate::connectors::mongodb::schema::{timestamp_type, validate};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn shape(documents: &[Document]) -> Shape {
    let mut shape = Shape::default();
    for document in documents {
        shape.observe(&raw(document)).unwrap();
    }
    shape
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().unwrap())
}

/// The type of the field `x` that holds each of `values` in a document of its own.
fn field(values: &[Bson]) -> Field {
    let documents: Vec<Document> = values.iter().map(|value| doc! { "x": value.clone() }).collect();
    shape(&documents).schema().0.field(0).clone()
}

fn plain(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

#[test]
fn types_are_widened_as_spark_does_and_never_lose_a_value() {
    let list = |element: Field| plain("x", DataType::List(Arc::new(element)));
    let x = |data_type| plain("x", data_type);
    let (any, large) = (|| BsonKind::Any.field("x"), i64::MAX - 1);
    let extended = || BsonKind::Extended.field("x");
    let binary = |subtype| Bson::Binary(Binary { subtype, bytes: vec![1] });
    for (values, expected) in [
        (vec![Bson::Int32(1), Bson::Null], x(DataType::Int32)),
        (vec![Bson::Int32(1), Bson::Int64(2)], x(DataType::Int64)),
        (vec![Bson::Int32(1), Bson::Double(0.5)], x(DataType::Float64)),
        (vec![Bson::Int64(1), Bson::Double(f64::NAN)], x(DataType::Float64)),
        (vec![Bson::Int64(large), Bson::Double(0.5)], x(DataType::Decimal128(38, 1))),
        (vec![Bson::Int64(large), Bson::Double(f64::NAN)], any()),
        (vec![Bson::Int64(large), Bson::Double(1e300)], any()),
        (vec![decimal("1.50"), Bson::Int32(7)], x(DataType::Decimal128(38, 2))),
        (vec![decimal("1.5"), Bson::Double(0.125)], x(DataType::Decimal128(38, 3))),
        (vec![decimal("1E+40")], extended()),
        (vec![decimal("NaN"), decimal("1")], extended()),
        (vec![decimal("9999999999999999999999999999999999")], x(DataType::Decimal128(38, 0))),
        (vec![decimal("9999999999999999999999999999999999"), decimal("0.00001")], extended()),
        (vec!["a".into(), Bson::Null, Bson::Undefined], x(DataType::Utf8)),
        (vec!["a".into(), Bson::Int32(1)], any()),
        (vec![true.into()], x(DataType::Boolean)),
        (vec![true.into(), Bson::Int32(1)], any()),
        (vec![DateTime::from_millis(1).into()], x(timestamp_type())),
        (vec![DateTime::from_millis(1).into(), "a".into()], any()),
        (vec![ObjectId::new().into()], BsonKind::ObjectId.field("x")),
        (vec![ObjectId::new().into(), "a".into()], any()),
        (
            vec![Binary { subtype: BinarySubtype::Generic, bytes: vec![1] }.into()],
            BsonKind::Binary(0).field("x"),
        ),
        (vec![binary(BinarySubtype::Uuid), Bson::Null], BsonKind::Binary(4).field("x")),
        (vec![binary(BinarySubtype::Uuid), binary(BinarySubtype::Md5)], x(DataType::Binary)),
        (vec![Bson::Symbol("s".into())], BsonKind::Symbol.field("x")),
        (vec![Bson::MinKey, decimal("NaN"), Bson::MaxKey], extended()),
        (vec![Bson::MinKey, "a".into()], any()),
        (vec![Timestamp { time: 1, increment: 1 }.into()], extended()),
        (vec![Bson::Null], any()),
        (vec![doc! {}.into()], extended()),
        (vec![Bson::Array(vec![])], list(BsonKind::Any.field("item"))),
        (vec![Bson::Array(vec![]), vec![1_i64].into()], list(plain("item", DataType::Int64))),
        (vec![vec![1_i32].into(), vec![0.5].into()], list(plain("item", DataType::Float64))),
        (vec![vec![1_i32].into(), Bson::Int32(1)], any()),
        (vec![vec![ObjectId::new()].into()], list(BsonKind::ObjectId.field("item"))),
        (
            vec![doc! { "a": 1, "c": 1 }.into(), doc! { "a": 0.5, "b": "x", "c": 1 }.into()],
            x(DataType::Struct(
                vec![
                    plain("a", DataType::Float64),
                    with_nulls_absent(plain("b", DataType::Utf8), true),
                    plain("c", DataType::Int32),
                ]
                .into(),
            )),
        ),
        (vec![doc! { "a": 1 }.into(), vec![1_i32].into()], any()),
    ] {
        assert_eq!(field(&values), expected, "{values:?}");
    }
}

#[test]
fn a_null_is_a_missing_field_where_the_sample_has_no_null() {
    use crate::connectors::mongodb::schema::kind::nulls_are_absent;
    let documents = [
        doc! { "always": 1, "first": 1, "null": 1, "both": Bson::Null },
        doc! { "always": 1, "null": Bson::Null, "second": [{ "a": 1 }, { "b": 1 }] },
    ];
    let (schema, _) = shape(&documents).schema();
    let absent =
        schema.fields().iter().filter(|field| nulls_are_absent(field)).map(|field| field.name().as_str());
    assert_eq!(absent.collect::<Vec<_>>(), ["first", "second"]);
    let second = format!("{:?}", schema.field_with_name("second").unwrap().data_type());
    assert_eq!(second.matches("absent").count(), 2, "{second}");
}

#[test]
fn columns_are_in_the_order_of_the_documents() {
    let documents = [
        doc! { "_id": 1, "b": 1, "a": 1 },
        doc! { "_id": 2, "b": 1, "sometimes": 1, "a": 1 },
        doc! { "_id": 3 },
    ];
    let (schema, skipped) = shape(&documents).schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["_id", "b", "sometimes", "a"]);
    assert!(skipped.is_empty());
}

#[test]
fn names_that_mongodb_takes_for_a_path_are_skipped() {
    let (schema, skipped) = shape(&[doc! { "a.b": 1, "$c": 1, "": 1, "d": { "e.f": 1 } }]).schema();
    assert_eq!(skipped, ["a.b", "$c", ""]);
    assert_eq!(schema.fields().len(), 1, "a document is decoded here, so names inside it may be any");
    validate("c", &schema).unwrap();
}

#[test]
fn what_is_nested_too_deep_is_a_text() {
    let mut value = Bson::Int32(1);
    for _ in 0..60 {
        value = doc! { "x": value }.into();
    }
    let document = doc! { "x": value };
    let (schema, _) = shape(std::slice::from_ref(&document)).schema();
    let depth = format!("{schema:?}").matches("Struct").count();
    assert_eq!(depth, 12);
    decode_all(&schema, &[document]).unwrap();
}

fn decode_all(schema: &Schema, documents: &[Document]) -> crate::Result<usize> {
    let mut decoder = Decoder::new("c", Arc::new(schema.clone()), 8)?;
    for document in documents {
        decoder.push(&raw(document))?;
    }
    Ok(decoder.finish().unwrap().num_rows())
}

fn scalar() -> impl Strategy<Value = Bson> {
    let finite =
        (any::<i64>(), -20..20_i32).prop_map(|(digits, exponent)| decimal(&format!("{digits}E{exponent}")));
    prop_oneof![
        3 => any::<i32>().prop_map(Bson::Int32),
        2 => any::<i64>().prop_map(Bson::Int64),
        2 => any::<f64>().prop_map(Bson::Double),
        1 => Just(Bson::Double(f64::NAN)),
        2 => finite,
        1 => any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(Decimal128::from_bytes(bytes))),
        3 => ".{0,4}".prop_map(Bson::String),
        2 => Just(Bson::Null),
        1 => Just(Bson::Undefined),
        2 => any::<bool>().prop_map(Bson::Boolean),
        2 => any::<i64>().prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
        1 => any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        1 => prop::collection::vec(any::<u8>(), 0..4)
            .prop_map(|bytes| Binary { subtype: BinarySubtype::Generic, bytes }.into()),
        1 => Just(Timestamp { time: 1, increment: 2 }.into()),
        1 => Just(Bson::MinKey),
        1 => Just(Bson::JavaScriptCode("f".into())),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]", 1 => Just("x.y".to_owned()), 1 => Just("$z".to_owned())]
}

fn document(value: impl Strategy<Value = Bson>) -> impl Strategy<Value = Document> {
    prop::collection::vec((name(), value), 0..5).prop_map(|fields| fields.into_iter().collect())
}

fn value() -> impl Strategy<Value = Bson> {
    scalar().prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            document(inner).prop_map(Bson::Document),
        ]
    })
}

/// Documents in which a field mostly has one type, so that not everything ends as a text.
fn documents() -> impl Strategy<Value = Vec<Document>> {
    prop_oneof![
        prop::collection::vec(document(value()), 0..6),
        prop::collection::vec(document(scalar()), 1..3).prop_map(|documents| {
            let wrapped = documents.iter().map(|inner| doc! { "d": inner.clone(), "l": [inner.clone()] });
            wrapped.collect()
        }),
        prop::collection::vec(
            prop_oneof![any::<i32>().prop_map(Bson::Int32), any::<f64>().prop_map(Bson::Double)],
            0..5
        )
        .prop_map(|values| values
            .into_iter()
            .map(|value| doc! { "n": value.clone(), "l": [value] })
            .collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_document_of_the_sample_can_be_decoded(documents in documents()) {
        let (schema, _) = shape(&documents).schema();
        validate("c", &schema).unwrap();
        let rows = decode_all(&schema, &documents);
        prop_assert!(matches!(rows, Ok(rows) if rows == documents.len()), "{:?}\n{:?}", rows, schema);
    }

    #[test]
    fn the_order_of_documents_plays_no_role(documents in documents(), seed in any::<u64>()) {
        let mut shuffled = documents.clone();
        let mut state = seed;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(index, (state >> 33) as usize % (index + 1));
        }
        prop_assert_eq!(shape(&shuffled).schema(), shape(&documents).schema());
    }

    #[test]
    fn joining_is_commutative_associative_and_idempotent(a in documents(), b in documents(), c in documents()) {
        let all: Vec<Document> = [&a, &b, &c].into_iter().flatten().cloned().collect();
        let [a, b, c] = [a, b, c].map(|documents| shape(&documents));
        prop_assert_eq!(a.clone().join(b.clone()), b.clone().join(a.clone()));
        let left = a.clone().join(b.clone()).join(c.clone());
        prop_assert_eq!(&left, &a.clone().join(b.join(c)));
        prop_assert_eq!(&left, &shape(&all), "observing is joining");
        prop_assert_eq!(a.clone().join(a.clone()), a);
    }
}
