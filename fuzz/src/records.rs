//! The target of the messages of Kafka.

use firesteel_proto::{ImageRecord, PredictionRecord};

/// Messages of Kafka: what is read is written as it was, and is a document.
pub fn records(bytes: &[u8]) {
    if let Ok(record) = PredictionRecord::decode(bytes) {
        let again = PredictionRecord::decode(&record.encode()).expect("a record that was read");
        // Bytes, because a confidence that is no number is not equal to itself.
        assert_eq!(again.encode(), record.encode());
        let _ = record.to_document();
    }
    if let Ok(record) = ImageRecord::decode(bytes) {
        let again = ImageRecord::decode(&record.encode()[..]).expect("a record that was read");
        assert_eq!(again.encode(), record.encode());
    }
}
