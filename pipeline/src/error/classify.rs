//! What kind of failure a code of Kafka or MongoDB is.
//!
//! A code that is not known is worth another try, on both: giving up ends a consumer for something that may pass,
//! while every call of this crate may be repeated without harm, and an outage that does not end is in the log.

use super::ErrorKind;
use mongodb::error::{Error as MongoError, ErrorKind as MongoErrorKind, WriteFailure};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

pub(crate) fn kafka_kind(error: &KafkaError) -> ErrorKind {
    use RDKafkaErrorCode as Code;
    let code = match error {
        // `rdkafka_error_code` leaves this one out.
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code {
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
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
            | Code::InvalidArgument,
        ) => ErrorKind::Caller,
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

/// A user, a right, a name, an option or an index that someone has to mend: UserNotFound, Unauthorized,
/// AuthenticationFailed, IllegalOperation, CommandNotFound, CannotCreateIndex, InvalidOptions, InvalidNamespace,
/// IndexOptionsConflict, IndexKeySpecsConflict, CommandNotSupported, CommandNotSupportedOnView, Atlas's own.
const MONGO_CALLER: [i32; 13] = [11, 13, 18, 20, 59, 67, 72, 73, 85, 86, 115, 166, 8_000];
/// The command itself is not one: BadValue, FailedToParse, TypeMismatch, InvalidBSON, BSONObjectTooLarge.
const MONGO_PERMANENT: [i32; 5] = [2, 9, 14, 22, 10_334];
/// The server goes away, or is not the primary any more: HostUnreachable, HostNotFound, MaxTimeMSExpired,
/// NetworkTimeout, ShutdownInProgress, PrimarySteppedDown, ExceededTimeLimit, SocketException, NotWritablePrimary,
/// InterruptedAtShutdown, Interrupted, InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk,
/// NotPrimaryOrSecondary.
const MONGO_GOING: [i32; 14] =
    [6, 7, 50, 89, 91, 189, 262, 9_001, 10_107, 11_600, 11_601, 11_602, 13_435, 13_436];

pub(crate) fn mongo_kind(error: &MongoError) -> ErrorKind {
    let labelled = |label| error.contains_label(label);
    match error.kind.as_ref() {
        MongoErrorKind::Authentication { .. } => authentication(error),
        MongoErrorKind::InvalidArgument { .. } | MongoErrorKind::InvalidTlsConfig { .. } => ErrorKind::Caller,
        MongoErrorKind::Command(command) => mongo_code_kind(command.code),
        MongoErrorKind::Io(_)
        | MongoErrorKind::ConnectionPoolCleared { .. }
        | MongoErrorKind::ServerSelection { .. }
        | MongoErrorKind::DnsResolve { .. }
        | MongoErrorKind::Write(WriteFailure::WriteConcernError(_)) => ErrorKind::Transient,
        _ if labelled(mongodb::error::RETRYABLE_WRITE_ERROR)
            || labelled(mongodb::error::TRANSIENT_TRANSACTION_ERROR) =>
        {
            ErrorKind::Transient
        }
        _ => ErrorKind::Permanent,
    }
}

/// The kind of a command that the server refused as a whole.
fn mongo_code_kind(code: i32) -> ErrorKind {
    match code {
        _ if MONGO_CALLER.contains(&code) => ErrorKind::Caller,
        _ if MONGO_PERMANENT.contains(&code) => ErrorKind::Permanent,
        _ => ErrorKind::Transient,
    }
}

/// Wrong credentials, unless the server was on its way out while it was asked.
fn authentication(error: &MongoError) -> ErrorKind {
    use std::error::Error;
    let cause = error.source().and_then(|source| source.downcast_ref::<MongoError>());
    match cause.map(|cause| cause.kind.as_ref()) {
        Some(MongoErrorKind::Command(command)) if MONGO_GOING.contains(&command.code) => ErrorKind::Transient,
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
        check(&MONGO_GOING, ErrorKind::Transient);
        // A lock time-out, a write conflict, a full disk, and one that nobody knows.
        check(&[24, 112, 14_031, 999_999], ErrorKind::Transient);
        check(&[13, 18, 73, 8_000], ErrorKind::Caller);
        check(&[9, 10_334], ErrorKind::Permanent);
    }
}
