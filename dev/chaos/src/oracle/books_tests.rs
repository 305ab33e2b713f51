//! Every way in which the books can be wrong, one at a time.

use super::*;
use crate::meddle::HEADER;
use bson::doc;
use firesteel_proto::{Encoding, ProducerId, Sequence, Timestamp};
use firesteel_testkit::cifar::label;

fn record(value: Option<Vec<u8>>, headers: &[(&str, &str)]) -> Record {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_string().into())).collect();
    Record { key: None, value: value.map(Into::into), headers }
}

fn image(sequence: u64) -> ImageRecord {
    ImageRecord {
        id: ImageId { producer: ProducerId(10), sequence: Sequence(sequence) },
        produced_at: Timestamp(1_000),
        label: Some(label("cat")),
        encoding: Encoding::Jpeg,
        data: vec![sequence as u8 + 1].into(),
    }
}

fn document(sequence: i64) -> Document {
    doc! {
        "_id": format!("0000000a:{sequence}"), "producer_id": "0000000a", "sequence": sequence, "label": "cat",
        "predicted": "dog", "correct": false, "confidence": 0.5, "model": "m",
        "produced_at": bson::DateTime::from_millis(1_000), "inferred_at": bson::DateTime::from_millis(2_000),
    }
}

/// Two images, of which the second was sent twice, and a null with its letter.
fn evidence() -> Evidence {
    let letter = [
        ("source.topic", "i"),
        ("source.partition", "0"),
        ("source.offset", "3"),
        ("error.class", "empty-record"),
    ];
    let expected = Expected { predicted: "dog".to_owned(), confidence: 0.5, model: "m".to_owned() };
    Evidence {
        images: [
            ((0, 0), record(Some(image(0).encode()), &[])),
            ((0, 1), record(Some(image(1).encode()), &[])),
            ((0, 2), record(Some(image(1).encode()), &[(HEADER, "duplicate")])),
            ((0, 3), record(None, &[(HEADER, "null")])),
        ]
        .into(),
        image_letters: [((0, 0), record(None, &letter))].into(),
        acknowledged: vec!["0000000a:0".to_owned()],
        documents: vec![document(0), document(1)],
        expected: (1..3).map(|byte| (vec![byte], expected.clone())).collect(),
        topics: ["i".to_owned(), "p".to_owned()],
        ..Evidence::default()
    }
}

/// The statements that do not hold after `change`.
fn findings(change: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = evidence();
    change(&mut evidence);
    balance(&evidence).1.into_iter().map(|finding| finding.statement).collect()
}

#[test]
fn a_good_run_has_its_counts_and_no_finding() {
    let (counts, findings) = balance(&evidence());
    assert_eq!(findings, []);
    let wanted = Counts {
        acknowledged: 1,
        unknown_outcome: 1,
        documents: 2,
        image_records: 4,
        duplicate_images: 1,
        poison: 1,
        dead_letters: 1,
        ..Counts::default()
    };
    assert_eq!(counts, wanted);
}

#[test]
fn every_fault_is_found_and_nothing_else() {
    let check = |statement: &str, change: fn(&mut Evidence)| assert_eq!(findings(change), [statement]);
    check("an acknowledged image is in the topic", |e| e.acknowledged.push("0000000a:9".to_owned()));
    check("every image of the topic has a document", |e| drop(e.documents.pop()));
    check("every document is of an image of the topic", |e| e.documents.push(document(7)));
    check("an id has one document", |e| e.documents.push(document(1)));
    check("an id is acknowledged once", |e| e.acknowledged.push("0000000a:0".to_owned()));
    check("dead letters are those of the poison", |e| e.image_letters.clear());
    for (field, value) in
        [("predicted", "cat"), ("label", "dog"), ("model", "other"), ("producer_id", "0000000b")]
    {
        let changed = findings(|e| drop(e.documents[0].insert(field, value)));
        assert_eq!(changed, ["a document is that of an undisturbed run"], "{field}");
    }
    check("a document is that of an undisturbed run", |e| {
        drop(e.documents[0].insert("confidence", f64::NAN))
    });
    check("a document is that of an undisturbed run", |e| drop(e.documents[0].insert("correct", true)));
    check("a document is that of an undisturbed run", |e| {
        drop(e.documents[0].insert("produced_at", bson::DateTime::from_millis(1)));
    });
}

#[test]
fn a_letter_has_its_record_its_class_and_its_bytes() {
    let with = |headers: &[(&str, &str)], value: Option<&[u8]>| {
        let letter = record(value.map(<[u8]>::to_vec), headers);
        findings(move |e| drop(e.image_letters.insert((0, 1), letter)))
    };
    let wrong = ["dead letters are those of the poison"];
    let of = |offset: &'static str, class: &'static str| {
        [("source.topic", "i"), ("source.partition", "0"), ("source.offset", offset), ("error.class", class)]
    };
    // A second letter of the same record is fine.
    assert!(with(&of("3", "empty-record"), None).is_empty());
    assert_eq!(with(&[], None), wrong);
    assert_eq!(with(&of("3", "malformed"), None), wrong);
    assert_eq!(with(&of("3", "empty-record"), Some(b"other")), wrong);
    assert_eq!(with(&of("0", "rejected-image"), None), wrong);
    assert_eq!(with(&of("9", "malformed"), None), wrong);
}

#[test]
fn a_document_is_that_of_the_prediction_that_was_inferred_last_whatever_came_last() {
    let prediction = |inferred_at| {
        let image = image(0);
        let prediction = firesteel_proto::PredictionRecord {
            id: image.id,
            label: image.label,
            predicted: label("dog"),
            confidence: 0.5,
            model: "m".to_owned(),
            produced_at: image.produced_at,
            inferred_at: Timestamp(inferred_at),
        };
        record(Some(prediction.encode()), &[])
    };
    let with = |times: &[i64]| {
        let predictions: Records =
            times.iter().enumerate().map(|(offset, time)| ((0, offset as i64), prediction(*time))).collect();
        findings(move |e| e.predictions = predictions)
    };
    assert!(with(&[1_000, 2_000]).is_empty());
    assert!(with(&[2_000, 1_000]).is_empty());
    assert_eq!(with(&[2_000, 3_000, 2_000]), ["a document is that of the newest prediction"]);
}

#[test]
fn what_the_store_has_refused_is_replayed_once() {
    let letter =
        [("source.topic", "p"), ("source.partition", "0"), ("source.offset", "0"), ("error.class", REFUSED)];
    let with = |replays: &[&str]| {
        let mut predictions = Records::from([((0, 0), record(Some(vec![1]), &[]))]);
        predictions.extend(
            (1_i64..)
                .zip(replays)
                .map(|(offset, letter)| ((0, offset), record(Some(vec![1]), &[(REPLAY_OF, letter)]))),
        );
        let letters = [((2, 5), record(Some(vec![1]), &letter))].into();
        let evidence = Evidence { predictions, prediction_letters: letters, ..evidence() };
        let (counts, findings) = balance(&evidence);
        assert_eq!(counts.replayed, 1);
        findings.into_iter().map(|finding| finding.statement).collect::<Vec<_>>()
    };
    let wrong = ["a replay sends the record of a letter once"];
    assert!(with(&["p.dead-letter:2:5"]).is_empty());
    assert_eq!(with(&[]), wrong);
    assert_eq!(with(&["p.dead-letter:2:5"; 2]), wrong);
    assert_eq!(with(&["p.dead-letter:2:5", "p.dead-letter:2:6"]), wrong);
}

#[test]
fn what_is_sent_again_may_have_another_time_and_nothing_else() {
    let again = |change: fn(&mut ImageRecord)| {
        let mut image = image(0);
        change(&mut image);
        findings(move |e| drop(e.images.insert((0, 9), record(Some(image.encode()), &[]))))
    };
    assert!(again(|image| image.produced_at = Timestamp(5_000)).is_empty());
    let wrong = ["a document is that of an undisturbed run"];
    assert_eq!(again(|image| image.label = Some(label("dog"))), wrong);
    assert_eq!(again(|image| image.label = None), wrong);
    assert_eq!(again(|image| image.data = vec![9].into()), wrong);
}
