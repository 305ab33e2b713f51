//! What a client's error means: whether trying again may cure it. What a caller does follows from that.

use firesteel_common::kafka::is_denied;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Whether trying again may cure it. A code that is not known may pass.
pub(crate) fn is_transient(error: &KafkaError) -> bool {
    let Some(code) = error.rdkafka_error_code() else { return false };
    let for_good = matches!(
        code,
        Code::InvalidTopic
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::InvalidArgument
            | Code::InvalidConfig
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::BadMessage
            | Code::BadCompression
            | Code::UnsupportedVersion
            | Code::UnsupportedForMessageFormat
            | Code::AutoOffsetReset
    );
    !for_good && !is_denied(code)
}

/// Whether a topic is not there.
pub(crate) fn is_unknown_topic(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::UnknownTopic | Code::UnknownTopicOrPartition))
}
