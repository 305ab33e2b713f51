//! Whether a task failed because the disk of its executor is full.
//!
//! That is the error of its query: on the next executor it would fill the disk as well. The system's error arrives as a
//! type from spills, and as one or as a text of Ballista's from its shuffle writer.

use std::io;

use ballista_core::error::BallistaError;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// What DataFusion says when its spills have reached their limit.
const SPILLS_FULL: &str = "The used disk space during the spilling process has exceeded the allowable limit";

/// How `Debug` begins where Ballista makes a text of an error of its shuffle writer.
const WRITER: [&str; 4] = ["IoError(", "ArrowError(", "DataFusionError(", "Custom {"];

/// Whether an error, which has no other inside, says that the disk is full.
pub(super) fn is_full(root: &DataFusionError) -> bool {
    match root {
        DataFusionError::IoError(error) => says_full(error),
        DataFusionError::ResourcesExhausted(text) => text.starts_with(SPILLS_FULL),
        DataFusionError::ArrowError(error, _) => arrow_says_full(error),
        DataFusionError::External(source) => match source.downcast_ref() {
            Some(BallistaError::IoError(error)) => says_full(error),
            Some(BallistaError::ArrowError(error)) => arrow_says_full(error),
            _ => false,
        },
        DataFusionError::Execution(text) => {
            WRITER.iter().any(|start| text.starts_with(start)) && text.contains("kind: StorageFull")
        }
        _ => false,
    }
}

fn arrow_says_full(error: &ArrowError) -> bool {
    match error {
        ArrowError::IoError(_, error) => says_full(error),
        ArrowError::ExternalError(source) => source.downcast_ref().is_some_and(says_full),
        _ => false,
    }
}

fn says_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use ballista_core::serde::protobuf::FailedTask;

    use super::*;
    use crate::Error;
    use crate::error::failed_task;

    #[test]
    fn a_full_disk_is_the_error_of_the_query_and_names_the_setting() {
        let full = || io::Error::from_raw_os_error(28);
        let arrow = || ArrowError::from(full());
        for error in [
            DataFusionError::IoError(full()),
            DataFusionError::from(arrow()).context("spilling"),
            BallistaError::IoError(full()).into_datafusion(),
            BallistaError::ArrowError(Box::new(arrow())).into_datafusion(),
            DataFusionError::Execution(format!("{:?}", BallistaError::IoError(full()))),
            DataFusionError::ResourcesExhausted(format!("{SPILLS_FULL} of 1 MB.")),
        ] {
            let text = error.to_string();
            let failed = FailedTask::from(BallistaError::from(failed_task(error)));
            assert!(!failed.retryable, "{text}");
            let told = format!("Job 4fYz failed: Job failed due to stage 2 failed: {}\n", failed.error);
            let told = Error::from(DataFusionError::Execution(told));
            assert!(matches!(told, Error::ScratchFull { .. }) && !told.is_lost_work(), "{text}: {told}");
            assert!(told.to_string().contains("executor.scratch"), "{told}");
        }
    }

    #[test]
    fn words_of_others_are_no_full_disk() {
        for other in [
            DataFusionError::Execution("a function said: kind: StorageFull".to_owned()),
            DataFusionError::ResourcesExhausted("Failed to allocate 1 MB".to_owned()),
            DataFusionError::IoError(io::Error::other("No space left on device (os error 28)")),
        ] {
            assert!(!is_full(&other), "{other}");
        }
    }
}
