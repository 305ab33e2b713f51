//! Classifies a client's error once: worth another try, a topic that is not there, or for good. What a caller does
//! follows from that.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::connection::Connection;
use crate::Error;

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

/// Whether the cluster is still choosing who leads a partition, as it is for a moment after a topic was made or a
/// broker was lost.
pub(crate) fn is_settling(error: &KafkaError) -> bool {
    use Code::{LeaderNotAvailable, NotLeaderForPartition};
    matches!(error.rdkafka_error_code(), Some(NotLeaderForPartition | LeaderNotAvailable))
}

/// An error of `operation` on `topic`. A transient one is `Unreachable`, which the scheduler tries again.
pub(crate) fn classify(
    connection: &Connection,
    operation: &'static str,
    topic: &str,
    error: &KafkaError,
) -> Error {
    let code = error.rdkafka_error_code();
    if matches!(code, Some(Code::UnknownTopic | Code::UnknownTopicOrPartition)) {
        return Error::UnknownTopic { topic: topic.to_owned(), address: connection.address().to_owned() };
    }
    let message = code.map_or_else(|| error.to_string(), |code| code.to_string());
    if is_transient(error) {
        return connection.unreachable(&message);
    }
    Error::Kafka { operation, topic: topic.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn a_broker_that_is_away_is_tried_again_and_a_wrong_password_is_not() {
        let connection = Connection::new(&Config::default());
        let kind = |code| classify(&connection, "fetch", "images", &KafkaError::MessageConsumption(code));
        for code in
            [Code::BrokerTransportFailure, Code::AllBrokersDown, Code::OperationTimedOut, Code::Resolve]
        {
            assert!(matches!(kind(code), Error::Unreachable { .. }), "{code}");
        }
        for code in [Code::Authentication, Code::TopicAuthorizationFailed, Code::BadMessage] {
            assert!(matches!(kind(code), Error::Kafka { .. }), "{code}");
        }
        assert!(
            matches!(kind(Code::UnknownTopicOrPartition), Error::UnknownTopic { topic, .. } if topic == "images")
        );
    }
}
