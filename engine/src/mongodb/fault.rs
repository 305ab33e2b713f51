//! Classifies a driver's error once: transient, snapshot gone, or permanent. What a caller does follows from that.

use datafusion::error::DataFusionError;
use mongodb::error::{Error as DriverError, ErrorKind};

use crate::Error;

/// `SnapshotTooOld`, `SnapshotUnavailable` and `StaleChunkHistory`.
const SNAPSHOT_GONE: [i32; 3] = [239, 246, 173];

/// Codes of the server that a retry may cure: a lost host, an election, a shutdown, a lost or killed cursor.
const TRANSIENT: [i32; 18] =
    [6, 7, 43, 63, 89, 91, 134, 150, 175, 189, 234, 237, 262, 9001, 10107, 11600, 11602, 13435];

/// An error of `operation` on `collection`, ready to travel through DataFusion.
///
/// A transient one becomes `IoError`: only that is tried again by the scheduler.
pub(crate) fn classify(operation: &'static str, collection: &str, error: &DriverError) -> DataFusionError {
    if code(error).is_some_and(|code| SNAPSHOT_GONE.contains(&code)) {
        return Error::SnapshotUnavailable { collection: collection.to_owned(), message: text(error) }.into();
    }
    let ours = Error::MongoDb { operation, collection: collection.to_owned(), message: text(error) };
    if is_transient(error) { DataFusionError::IoError(std::io::Error::other(ours)) } else { ours.into() }
}

/// What the driver or the server said, in a line.
pub(crate) fn text(error: &DriverError) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => {
            format!("{} ({}): {}", command.code_name, command.code, command.message)
        }
        kind => kind.to_string(),
    }
}

fn code(error: &DriverError) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

fn is_transient(error: &DriverError) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => {
            true
        }
        ErrorKind::Command(command) => TRANSIENT.contains(&command.code),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_tried_again_and_a_wrong_argument_is_not() {
        let lost = DriverError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(classify("find", "predictions", &lost), DataFusionError::IoError(_)));

        let other = DriverError::custom("whatever");
        assert!(matches!(classify("find", "predictions", &other), DataFusionError::External(_)));
    }
}
