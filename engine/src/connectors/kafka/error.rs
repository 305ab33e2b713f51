//! What a client's error means: whether trying again may cure it. What a caller does follows from that.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Whether trying again may cure it. A code that is not known may pass.
pub(crate) fn is_transient(error: &KafkaError) -> bool {
    !matches!(
        error.rdkafka_error_code(),
        None | Some(
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
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::Authentication
                | Code::UnsupportedSASLMechanism
                | Code::UnsupportedVersion
                | Code::UnsupportedForMessageFormat
                | Code::AutoOffsetReset
        )
    )
}

/// Whether a topic is not there.
pub(crate) fn is_unknown_topic(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::UnknownTopic | Code::UnknownTopicOrPartition))
}

/// Whether the cluster is still choosing who leads a partition, as it is for a moment after a topic was made or a
/// broker was lost.
pub(crate) fn is_settling(error: &KafkaError) -> bool {
    use Code::{LeaderNotAvailable, NotLeaderForPartition};
    matches!(error.rdkafka_error_code(), Some(NotLeaderForPartition | LeaderNotAvailable))
}
