//! The conformance suite of sinks, which runs against each implementation: the one in memory in a unit test, MongoDB in
//! the integration tests.
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test suite")]

use super::Sink;
use firesteel_proto::{ImageId, Label, PredictionRecord, ProducerId, Sequence, Timestamp};
use std::collections::BTreeMap;

/// A class of those that the suite makes up: class 0 to 9.
fn class(number: u64) -> Label {
    Label::parse("label", &format!("class {}", number % 10)).unwrap()
}

/// A prediction of image `sequence` of producer `producer`, made at `inferred_at`.
#[must_use]
pub fn prediction(producer: u32, sequence: u64, inferred_at: i64) -> PredictionRecord {
    PredictionRecord {
        id: ImageId { producer: producer.into(), sequence: Sequence(sequence) },
        label: Some(class(sequence)),
        predicted: class(sequence % 10 * 7),
        confidence: 0.5,
        model: "conformance".to_owned(),
        produced_at: Timestamp(1_000),
        inferred_at: Timestamp(inferred_at),
    }
}

/// Runs the suite against an empty sink; `read` returns everything it keeps.
pub async fn suite(sink: &dyn Sink, read: impl AsyncFn() -> Vec<PredictionRecord>) {
    let mut expected = BTreeMap::<ImageId, PredictionRecord>::new();
    let mut check = async |what: &str, batch: Vec<PredictionRecord>, superseded: &[usize]| {
        let written = sink.write(&batch).await.unwrap();
        assert_eq!(written.refused, [], "{what}: nothing is refused");
        assert_eq!(written.superseded, superseded, "{what}: what is older than what is there");
        for record in batch {
            if expected.get(&record.id).is_none_or(|known| record.replaces(known)) {
                expected.insert(record.id, record);
            }
        }
        let mut kept = read().await;
        kept.sort_by_key(|record| record.id);
        assert_eq!(kept, expected.values().cloned().collect::<Vec<_>>(), "{what}");
    };
    let first: Vec<_> = (0..100).map(|sequence| prediction(1, sequence, 2_000)).collect();

    check("an empty batch writes nothing", Vec::new(), &[]).await;
    check("a batch is written", first.clone(), &[]).await;
    check("writing twice is writing once", first.clone(), &[]).await;
    check("other producers' images are other documents", vec![prediction(2, 0, 2_000)], &[]).await;
    check("a newer prediction replaces an older one", vec![prediction(1, 5, 3_000)], &[]).await;
    check(
        "an older prediction replaces no newer one",
        vec![prediction(1, 5, 2_500), prediction(1, 6, 1)],
        &[0, 1],
    )
    .await;
    check(
        "of three predictions in one batch the newest stays, wherever it stands",
        vec![prediction(3, 1, 1), prediction(3, 2, 1), prediction(3, 1, 9), prediction(3, 1, 5)],
        &[3],
    )
    .await;
    check(
        "a batch may mix new and known images",
        (50..150).map(|sequence| prediction(1, sequence, 4_000)).collect(),
        &[],
    )
    .await;
    check(
        "a batch of new images may follow one of known images",
        (200..250).map(|sequence| prediction(1, sequence, 4_000)).collect(),
        &[],
    )
    .await;
    check(
        "and one of known images, with a new one that comes twice, may follow that",
        (199..250).chain([199]).map(|sequence| prediction(1, sequence, 5_000)).collect(),
        &[],
    )
    .await;
    let older: Vec<usize> = std::iter::once(5).chain(50..100).collect();
    check("what came before all of them comes last", first, &older).await;
    let at_once = |model: &str, predicted: Label, confidence: f32| PredictionRecord {
        model: model.to_owned(),
        predicted,
        confidence,
        ..prediction(5, 0, 7_000)
    };
    let mut ties = [
        at_once("a", class(9), 0.9),
        at_once("b", class(2), 0.9),
        at_once("b", class(3), 0.25),
        at_once("b", class(3), 0.75),
    ];
    check("of predictions of one moment the greatest stays", ties.to_vec(), &[]).await;
    ties.reverse();
    check("in whichever order they come", ties.to_vec(), &[1, 2, 3]).await;
    check(
        "an image without a true class is kept, and gets one with a newer prediction",
        vec![
            PredictionRecord { label: None, ..prediction(6, 0, 1_000) },
            PredictionRecord { label: None, ..prediction(6, 1, 1_000) },
            prediction(6, 1, 2_000),
        ],
        &[],
    )
    .await;
    check(
        "the largest ids and times fit",
        vec![PredictionRecord {
            id: ImageId { producer: ProducerId(u128::MAX), sequence: Sequence(i64::MAX as u64) },
            produced_at: Timestamp(253_402_300_799_999),
            confidence: 1.0,
            ..prediction(4, 0, 0)
        }],
        &[],
    )
    .await;
}
