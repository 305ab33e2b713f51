//! The books: every record of the topic of images, against the collection, the dead letters and the ledgers.
//!
//! The topic is what happened: a record in it was sent, whether or not its producer came to know. So each record has to end up as
//! a document or, if it is poison, as a dead letter, and every acknowledged id has to be in the topic.

use super::Finding;
use crate::cure::{REFUSED, REPLAY_OF};
use crate::meddle::Poison;
use crate::topic::{Place, Record, Records};
use bson::Document;
use firesteel_proto::{ImageId, ImageRecord, Label, PredictionRecord};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How far two runs of one model may differ in a confidence that was rounded to 32 bits.
const TOLERANCE: f64 = 1e-5;

/// What an undisturbed model says of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expected {
    pub(crate) predicted: String,
    pub(crate) confidence: f64,
    pub(crate) model: String,
}

/// What was gathered when the dust had settled.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) images: Records,
    pub(crate) image_letters: Records,
    pub(crate) predictions: Records,
    pub(crate) prediction_letters: Records,
    /// The lines of the ledgers.
    pub(crate) acknowledged: Vec<String>,
    pub(crate) documents: Vec<Document>,
    /// By the bytes of the image.
    pub(crate) expected: BTreeMap<Vec<u8>, Expected>,
    /// The names of the topics of images and predictions.
    pub(crate) topics: [String; 2],
}

/// The numbers of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) acknowledged: usize,
    /// Images in the topic whose producer does not know that they are there.
    pub(crate) unknown_outcome: usize,
    pub(crate) documents: usize,
    pub(crate) image_records: usize,
    pub(crate) duplicate_images: usize,
    pub(crate) poison: usize,
    pub(crate) dead_letters: usize,
    pub(crate) prediction_records: usize,
    pub(crate) lost: usize,
    pub(crate) double: usize,
    pub(crate) wrong: usize,
    pub(crate) stale: usize,
    /// Records that were refused by the store at first, and replayed.
    pub(crate) replayed: usize,
}

/// The good images of the topic: each id with the records that bear it.
fn good(images: &Records) -> BTreeMap<ImageId, Vec<ImageRecord>> {
    let mut found: BTreeMap<ImageId, Vec<ImageRecord>> = BTreeMap::new();
    for record in images.values().filter(|record| Poison::of(record).is_none()) {
        if let Some(Ok(image)) = record.value.as_deref().map(ImageRecord::decode) {
            found.entry(image.id).or_default().push(image);
        }
    }
    found
}

/// The newest prediction of each image: the one that was inferred last, whatever the order in which they came.
fn newest(predictions: &Records) -> BTreeMap<ImageId, PredictionRecord> {
    let mut found: BTreeMap<ImageId, PredictionRecord> = BTreeMap::new();
    for record in predictions.values().filter(|record| Poison::of(record).is_none()) {
        let Some(Ok(prediction)) = record.value.as_deref().map(PredictionRecord::decode) else { continue };
        let known = found.get(&prediction.id);
        if known.is_none_or(|known| known.inferred_at < prediction.inferred_at) {
            found.insert(prediction.id, prediction);
        }
    }
    found
}

/// Why a document is not that of the newest prediction of its image.
fn is_stale(document: &Document, newest: &PredictionRecord) -> Option<String> {
    let time = |field: &str| document.get_datetime(field).map(|time| time.timestamp_millis()).ok();
    let inferred = time("inferred_at");
    let wanted = Some(newest.inferred_at.0);
    (inferred != wanted)
        .then(|| format!("inferred_at is {inferred:?}, that of the newest prediction {wanted:?}"))
}

/// Compares everything with everything.
pub(crate) fn balance(evidence: &Evidence) -> (Counts, Vec<Finding>) {
    let good = good(&evidence.images);
    let acknowledged: BTreeSet<&str> = evidence.acknowledged.iter().map(String::as_str).collect();
    let sent: BTreeSet<String> = good.keys().map(ToString::to_string).collect();
    let mut stored: BTreeMap<&str, &Document> = BTreeMap::new();
    let mut double = Vec::new();
    for document in &evidence.documents {
        let id = document.get_str("_id").unwrap_or("(no id)");
        if stored.insert(id, document).is_some() {
            double.push(id.to_owned());
        }
    }
    let twice = evidence.acknowledged.len() - acknowledged.len();
    let gone: Vec<String> =
        acknowledged.iter().filter(|id| !sent.contains(**id)).map(|id| (*id).to_owned()).collect();
    let lost: Vec<String> = sent.iter().filter(|id| !stored.contains_key(id.as_str())).cloned().collect();
    let invented: Vec<String> =
        stored.keys().filter(|id| !sent.contains(**id)).map(|id| (*id).to_owned()).collect();
    let wrong: Vec<String> = good
        .iter()
        .filter_map(|(id, images)| {
            let document = stored.get(id.to_string().as_str())?;
            differs(document, images, &evidence.expected).map(|why| format!("{id}: {why}"))
        })
        .collect();
    let newest = newest(&evidence.predictions);
    let stale: Vec<String> = good
        .keys()
        .filter_map(|id| {
            let (document, newest) = (stored.get(id.to_string().as_str())?, newest.get(id)?);
            is_stale(document, newest).map(|why| format!("{id}: {why}"))
        })
        .collect();
    let [images, predictions] = &evidence.topics;
    let counts = Counts {
        acknowledged: acknowledged.len(),
        unknown_outcome: sent.iter().filter(|id| !acknowledged.contains(id.as_str())).count(),
        documents: evidence.documents.len(),
        image_records: evidence.images.len(),
        duplicate_images: good.values().map(|images| images.len() - 1).sum(),
        poison: evidence.images.values().chain(evidence.predictions.values()).filter_map(Poison::of).count(),
        dead_letters: evidence.image_letters.len() + evidence.prediction_letters.len(),
        prediction_records: evidence.predictions.len(),
        lost: lost.len() + gone.len(),
        double: double.len(),
        wrong: wrong.len(),
        stale: stale.len(),
        replayed: refused(&evidence.prediction_letters).count(),
    };
    let findings = [
        Finding::all("an acknowledged image is in the topic", gone),
        Finding::all("every image of the topic has a document", lost),
        Finding::all("every document is of an image of the topic", invented),
        Finding::all("an id has one document", double),
        Finding::all("an id is acknowledged once", (twice > 0).then(|| format!("{twice} ids came twice"))),
        Finding::all("a document is that of an undisturbed run", wrong),
        Finding::all("a document is that of the newest prediction", stale),
        Finding::all(
            "dead letters are those of the poison",
            letters(images, &evidence.images, &evidence.image_letters),
        ),
        Finding::all(
            "dead letters are those of the poison",
            letters(predictions, &evidence.predictions, &evidence.prediction_letters),
        ),
        Finding::all(
            "a replay sends the record of a letter once",
            replays(predictions, &evidence.predictions, &evidence.prediction_letters),
        ),
    ];
    (counts, findings.into_iter().flatten().collect())
}

/// The letters of records that the store has refused for a while.
fn refused(letters: &Records) -> impl Iterator<Item = &Place> {
    let of_class = |(_, letter): &(&Place, &Record)| letter.header("error.class") == Some(REFUSED);
    letters.iter().filter(of_class).map(|(place, _)| place)
}

/// The letters of what the store refused whose records were not replayed once, and replayed records of no such letter.
fn replays(topic: &str, records: &Records, letters: &Records) -> Vec<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for letter in records.values().filter_map(|record| record.header(REPLAY_OF)) {
        *times.entry(letter.to_owned()).or_default() += 1;
    }
    let mut wrong = Vec::new();
    for (partition, offset) in refused(letters) {
        let letter = format!("{topic}.dead-letter:{partition}:{offset}");
        match times.remove(&letter).unwrap_or(0) {
            1 => {}
            times => wrong.push(format!("{letter}: {times} times")),
        }
    }
    wrong.extend(
        times.into_keys().map(|letter| format!("{letter} was replayed, and is no letter of the store's")),
    );
    wrong
}

/// Why a document is not the one of these records, all of which bear its id.
fn differs(
    document: &Document,
    images: &[ImageRecord],
    expected: &BTreeMap<Vec<u8>, Expected>,
) -> Option<String> {
    let image = images.first()?;
    // A producer that starts again stamps what it sends again anew; nothing else of an image may change.
    if images.iter().any(|other| (&other.label, &other.data) != (&image.label, &image.data)) {
        return Some("the topic has two different images of this id".to_owned());
    }
    let Some(expected) = expected.get(image.data.as_ref()) else {
        return Some("the image is not of the data set".to_owned());
    };
    let text = |field: &str| document.get_str(field).unwrap_or("(none)").to_owned();
    let produced = document.get_datetime("produced_at").map(|time| time.timestamp_millis()).ok();
    let confidence = document.get_f64("confidence").unwrap_or(f64::NAN);
    let label = image.label.as_ref().map(Label::as_str);
    let correct = label.map(|label| label == expected.predicted);
    let pairs = [
        ("producer_id", text("producer_id"), image.id.producer.to_string()),
        (
            "sequence",
            format!("{:?}", document.get_i64("sequence").ok()),
            format!("{:?}", Some(image.id.sequence.0 as i64)),
        ),
        ("label", text("label"), label.unwrap_or("(none)").to_owned()),
        ("predicted", text("predicted"), expected.predicted.clone()),
        ("correct", format!("{:?}", document.get_bool("correct").ok()), format!("{correct:?}")),
        ("model", text("model"), expected.model.clone()),
    ];
    let mut wrong: Vec<String> = pairs
        .into_iter()
        .filter(|(_, found, wanted)| found != wanted)
        .map(|(field, found, wanted)| format!("{field} is {found}, not {wanted}"))
        .collect();
    if !images.iter().any(|image| produced == Some(image.produced_at.0)) {
        wrong.push(format!("produced_at is {produced:?}, which no image of this id has"));
    }
    let difference = (confidence - expected.confidence).abs();
    if difference.is_nan() || difference > TOLERANCE {
        wrong.push(format!("confidence is {confidence}, not {}", expected.confidence));
    }
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

/// What is wrong with the dead letters of a topic.
fn letters(topic: &str, records: &Records, letters: &Records) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut buried = BTreeSet::new();
    for (place, letter) in letters {
        let Some(source) = source(letter) else {
            wrong.push(format!("letter {place:?} does not say which record it is of"));
            continue;
        };
        let Some(record) = records.get(&source) else {
            wrong.push(format!("letter {place:?} is of {source:?}, which the topic does not have"));
            continue;
        };
        buried.insert(source);
        let class = letter.header("error.class").unwrap_or("(none)");
        if letter.header("source.topic") != Some(topic) {
            wrong.push(format!(
                "letter {place:?} names topic {:?}, not {topic}",
                letter.header("source.topic")
            ));
        }
        match Poison::of(record) {
            // It has been replayed, and is a document by now.
            None if class == REFUSED && carries(letter, record) => {}
            None => wrong.push(format!("{topic} {source:?} is a good record and has a letter: {class}")),
            Some(poison) if poison.class() != class => {
                wrong.push(format!("{topic} {source:?} ({}) is called {class}", poison.name()));
            }
            Some(_) if !carries(letter, record) => {
                wrong.push(format!("the letter of {topic} {source:?} has other bytes"));
            }
            Some(_) => {}
        }
    }
    for (place, record) in records {
        if let Some(poison) = Poison::of(record).filter(|_| !buried.contains(place)) {
            wrong.push(format!("{topic} {place:?} ({}) has no letter", poison.name()));
        }
    }
    wrong
}

/// Whether a letter has its record's bytes, or their beginning where it says that they were too many.
fn carries(letter: &Record, record: &Record) -> bool {
    let (found, wanted) =
        (letter.value.as_deref().unwrap_or_default(), record.value.as_deref().unwrap_or_default());
    match letter.header("source.size") {
        Some(size) => size == wanted.len().to_string() && wanted.starts_with(found),
        None => found == wanted && letter.key == record.key,
    }
}

/// The record that a letter is of.
pub(crate) fn source(letter: &Record) -> Option<Place> {
    let number = |name| letter.header(name)?.parse::<i64>().ok();
    Some((i32::try_from(number("source.partition")?).ok()?, number("source.offset")?))
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
