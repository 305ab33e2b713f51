//! Classifies a driver's error once: transient, snapshot gone, or permanent. What a caller does follows from that.

use datafusion::error::DataFusionError;
use firesteel_common::mongodb::Fact;
pub(crate) use firesteel_common::mongodb::client::is_lost;
use firesteel_common::mongodb::client::known_code;
use mongodb::error::{Error as DriverError, ErrorKind};

use crate::Error;

/// An error of `operation` on `collection`, ready to travel through DataFusion.
///
/// A transient one becomes `IoError`: only that is tried again by the scheduler.
pub(crate) fn classify(operation: &'static str, collection: &str, error: &DriverError) -> DataFusionError {
    if known_code(error).is_some_and(|code| code.fact() == Fact::SnapshotGone) {
        return Error::SnapshotUnavailable { collection: collection.to_owned(), message: text(error) }.into();
    }
    let ours = Error::MongoDb { operation, collection: collection.to_owned(), message: text(error) };
    if is_transient(error) { DataFusionError::IoError(std::io::Error::other(ours)) } else { ours.into() }
}

/// The message of the driver or the server, in one line.
pub(crate) fn text(error: &DriverError) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => {
            format!("{} ({}): {}", command.code_name, command.code, command.message)
        }
        ErrorKind::ServerSelection { message, .. } => selection(message),
        kind => kind.to_string(),
    }
}

/// The driver's message dumps all that it knows of all servers. What a reader needs is why the first did not answer.
fn selection(message: &str) -> String {
    let reason = message.split_once("Error: Kind: ").and_then(|(_, rest)| rest.split_once(", labels: "));
    match reason {
        Some((reason, _)) => format!("no server answered in time: {reason}"),
        None => message.to_owned(),
    }
}

/// Whether the same operation may succeed when it is tried again.
pub(crate) fn is_transient(error: &DriverError) -> bool {
    is_lost(error) || known_code(error).is_some_and(|code| is_transient_fact(code.fact()))
}

/// Whether a retry may cure what a code of the server says: a lost host, an election, a shutdown, a lost or killed
/// cursor. A query has to end, so a code that is not known is for good.
fn is_transient_fact(fact: Fact) -> bool {
    matches!(fact, Fact::ServerGoing | Fact::CursorLost | Fact::NotSettled)
}

#[cfg(test)]
mod tests {
    use firesteel_common::mongodb::Code;

    use super::*;
    use crate::ConfigField;

    #[test]
    fn why_no_server_answered_is_one_line() {
        let told = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ { Address: \
                    a:1, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: {\"x\"}, \
                    source: None, server response: None } ] }";
        assert_eq!(
            selection(told),
            "no server answered in time: I/O error: Connection refused (os error 111)"
        );
        assert_eq!(selection("something new"), "something new");
    }

    #[test]
    fn codes_that_a_retry_may_cure() {
        let cured: Vec<i32> = Code::ALL
            .iter()
            .filter(|code| is_transient_fact(code.fact()))
            .map(|code| code.number())
            .collect();
        let expected = [
            6, 7, 43, 63, 89, 91, 134, 150, 175, 189, 234, 237, 262, 9001, 10107, 11600, 11602, 13435, 13436,
        ];
        assert_eq!(cured, expected);
        let gone = Code::ALL.iter().filter(|code| code.fact() == Fact::SnapshotGone);
        assert_eq!(gone.map(|code| code.number()).collect::<Vec<_>>(), [239, 250]);
    }

    #[test]
    fn a_lost_connection_is_tried_again_and_a_wrong_argument_is_not() {
        let lost = DriverError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(classify("find", "predictions", &lost), DataFusionError::IoError(_)));

        let other = DriverError::custom("whatever");
        assert!(matches!(classify("find", "predictions", &other), DataFusionError::External(_)));
    }

    #[test]
    fn a_lost_server_is_named_also_by_a_failed_job() {
        let lost = Error::Unreachable {
            role: "MongoDB",
            address: "localhost:27017".into(),
            setting: ConfigField::MongodbUri,
            message: "find on `predictions`: Kind: connection reset".into(),
        };
        let told = format!("Job 7 failed: DataFusionError({:?})\n", DataFusionError::from(lost));
        assert!(matches!(Error::from(DataFusionError::Execution(told)),
            Error::Unreachable { role: "MongoDB", address, setting: ConfigField::MongodbUri, message }
                if address == "localhost:27017" && message == "find on `predictions`: Kind: connection reset"));
    }
}
