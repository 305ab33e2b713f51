//! The kind of a failure, from the error codes of Kafka and MongoDB.
//!
//! This is the policy of a consumer, which may wait for hours: an unknown code is transient. Giving up would end a consumer
//! for something that may pass, while every call of this crate may be repeated without harm, and an outage that does not
//! end is in the log.

use super::ErrorKind;
use firesteel_common::kafka;
use firesteel_common::mongodb::client::{is_labelled_transient, is_lost, known_code};
use firesteel_common::mongodb::{Code as MongoCode, Fact};
use mongodb::error::{Error as MongoError, ErrorKind as MongoErrorKind, WriteFailure};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

pub(crate) fn kafka_kind(error: &KafkaError) -> ErrorKind {
    use RDKafkaErrorCode as Code;
    match kafka::code(error) {
        Some(
            Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidMessage
            | Code::InvalidTimestamp,
        ) => ErrorKind::Permanent,
        Some(
            Code::InvalidTopic
            | Code::UnknownTopic
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidConfig
            | Code::PolicyViolation
            | Code::InvalidArgument,
        ) => ErrorKind::Caller,
        Some(code) if kafka::is_denied(code) => ErrorKind::Caller,
        Some(_) => ErrorKind::Transient,
        None => match error {
            // A request that could not even be put together: too many partitions, a name with a zero byte.
            KafkaError::AdminOpCreation(_)
            | KafkaError::ClientConfig(..)
            | KafkaError::ClientCreation(_)
            | KafkaError::Nul(_) => ErrorKind::Caller,
            _ => ErrorKind::Transient,
        },
    }
}

/// Whether the cluster refuses what these credentials ask for.
pub(crate) fn is_denied(error: &KafkaError) -> bool {
    kafka::code(error).is_some_and(kafka::is_denied)
}

/// Whether a record is larger than its topic, or the client, takes.
pub(crate) fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, MessageSizeTooLarge};
    matches!(kafka::code(error), Some(MessageSizeTooLarge | InvalidMessageSize))
}

pub(crate) fn mongo_kind(error: &MongoError) -> ErrorKind {
    match error.kind.as_ref() {
        MongoErrorKind::Authentication { .. } => authentication(error),
        MongoErrorKind::InvalidArgument { .. } | MongoErrorKind::InvalidTlsConfig { .. } => ErrorKind::Caller,
        MongoErrorKind::Command(command) => mongo_code_kind(command.code),
        MongoErrorKind::DnsResolve { .. } | MongoErrorKind::Write(WriteFailure::WriteConcernError(_)) => {
            ErrorKind::Transient
        }
        _ if is_lost(error) || is_labelled_transient(error) => ErrorKind::Transient,
        _ => ErrorKind::Permanent,
    }
}

/// The kind of a command that the server refused as a whole: a user, a right, a name, an option or an index that
/// someone has to mend, or a command that is none.
fn mongo_code_kind(code: i32) -> ErrorKind {
    match MongoCode::of(code).map(MongoCode::fact) {
        Some(Fact::BadCredentials | Fact::Unauthorized | Fact::Misconfigured) => ErrorKind::Caller,
        Some(Fact::Malformed) => ErrorKind::Permanent,
        _ => ErrorKind::Transient,
    }
}

/// Wrong credentials, unless the server was on its way out while it was asked.
fn authentication(error: &MongoError) -> ErrorKind {
    use std::error::Error;
    let cause = error.source().and_then(|source| source.downcast_ref::<MongoError>());
    match cause.and_then(known_code).map(MongoCode::fact) {
        Some(Fact::ServerGoing | Fact::Interrupted) => ErrorKind::Transient,
        _ => ErrorKind::Caller,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    #[test]
    fn a_broker_that_is_down_is_transient_and_a_record_that_is_too_big_is_not() {
        let check =
            |code, kind| assert_eq!(kafka_kind(&KafkaError::MessageProduction(code)), kind, "{code:?}");
        check(Code::MessageTimedOut, ErrorKind::Transient);
        check(Code::AllBrokersDown, ErrorKind::Transient);
        check(Code::NotEnoughReplicas, ErrorKind::Transient);
        check(Code::MessageSizeTooLarge, ErrorKind::Permanent);
        check(Code::TopicAuthorizationFailed, ErrorKind::Caller);
    }

    #[test]
    fn a_topic_that_can_never_be_made_is_the_callers_fault() {
        let check = |code, kind| assert_eq!(kafka_kind(&KafkaError::AdminOp(code)), kind, "{code:?}");
        check(Code::InvalidReplicationFactor, ErrorKind::Caller);
        check(Code::InvalidPartitions, ErrorKind::Caller);
        check(Code::PolicyViolation, ErrorKind::Caller);
        check(Code::InvalidTopic, ErrorKind::Caller);
        check(Code::TopicAuthorizationFailed, ErrorKind::Caller);
        check(Code::ClusterAuthorizationFailed, ErrorKind::Caller);
        check(Code::UnknownTopicOrPartition, ErrorKind::Transient);
        check(Code::NotController, ErrorKind::Transient);
        check(Code::RequestTimedOut, ErrorKind::Transient);
        assert_eq!(kafka_kind(&KafkaError::AdminOpCreation("partitions".into())), ErrorKind::Caller);
    }

    #[test]
    fn codes_of_mongodb_and_their_kinds() {
        let check = |codes: &[i32], kind| {
            for code in codes {
                assert_eq!(mongo_code_kind(*code), kind, "{code}");
            }
        };
        check(&[6, 7, 50, 89, 91, 189, 262, 9_001], ErrorKind::Transient);
        check(&[10_107, 11_600, 11_601, 11_602, 13_435, 13_436], ErrorKind::Transient);
        // A lock time-out, a write conflict, a full disk, and one that nobody knows.
        check(&[24, 112, 14_031, 999_999], ErrorKind::Transient);
        check(&[13, 18, 73, 8_000], ErrorKind::Caller);
        check(&[9, 10_334], ErrorKind::Permanent);
    }
}
