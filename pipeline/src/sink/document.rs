//! A prediction as a document of MongoDB, exactly as the data contract has it, in raw BSON.

use bson::{DateTime, RawDocumentBuf, rawdoc};
use firesteel_common::mongodb::bulk;
use firesteel_proto::PredictionRecord;

/// The document, or why there is none: a sequence number that BSON's signed 64 bits cannot hold.
pub(super) fn document(record: &PredictionRecord) -> Result<RawDocumentBuf, String> {
    let sequence = i64::try_from(record.id.sequence.0)
        .map_err(|_| format!("sequence {} does not fit in 64 signed bits", record.id.sequence))?;
    Ok(rawdoc! {
        "_id": record.id.to_string(),
        "producer_id": record.id.producer.to_string(),
        "sequence": sequence,
        "label": record.label.name(),
        "predicted": record.predicted.name(),
        "correct": record.correct(),
        "confidence": f64::from(record.confidence),
        "model": record.model.as_str(),
        "produced_at": DateTime::from_millis(record.produced_at.0),
        "inferred_at": DateTime::from_millis(record.inferred_at.0),
    })
}

/// The operation that puts the document in place, whether or not one is there.
pub(super) fn upsert(record: &PredictionRecord) -> Result<RawDocumentBuf, String> {
    Ok(bulk::upsert(rawdoc! { "_id": record.id.to_string() }, document(record)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::conformance::prediction;
    use bson::Bson;
    use firesteel_proto::Sequence;

    #[test]
    fn the_fields_are_those_of_the_contract() {
        let document =
            bson::Document::try_from(document(&prediction(10, 3, 2_000)).expect("fits")).expect("BSON");
        let fields: Vec<(&str, Bson)> = document.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let text = |s: &str| Bson::String(s.to_owned());
        assert_eq!(
            fields,
            [
                ("_id", text("0000000a:3")),
                ("producer_id", text("0000000a")),
                ("sequence", Bson::Int64(3)),
                ("label", text("cat")),
                ("predicted", text("automobile")),
                ("correct", Bson::Boolean(false)),
                ("confidence", Bson::Double(0.5)),
                ("model", text("conformance")),
                ("produced_at", Bson::DateTime(DateTime::from_millis(1_000))),
                ("inferred_at", Bson::DateTime(DateTime::from_millis(2_000))),
            ]
        );
    }

    #[test]
    fn a_sequence_beyond_bson_is_refused() {
        let mut record = prediction(1, 0, 0);
        record.id.sequence = Sequence(u64::MAX);
        assert!(upsert(&record).is_err());
    }
}
