//! The one place that reads what Ballista says of its own failures.
//!
//! Errors of ours travel as data, see [`super::wire`]. What is left are Ballista's: most reach this process as types, and
//! some only as text that Ballista's client or a plain Ballista executor wrote with `Debug`. Two questions are asked of
//! them: was work lost in a way that running the query again cures, and what is there to say.
//!
//! A text is only ever recognised by how it *begins*, at a place that Ballista writes itself. What follows may quote the
//! user's data, which may hold any words.

use ballista_core::error::BallistaError;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tonic::{Code, Status};

use super::{ConfigField, Error, disk, messages, wire};

/// What Ballista writes before the cause of a failed job.
const LAYERS: [&str; 6] = [
    "Task failed due to runtime execution error: ",
    "Task failed due to IO error: ",
    "DataFusion error: ",
    "Execution error: ",
    "General error: ",
    "External error: ",
];

/// The beginnings of what Ballista and tonic write, by `Debug`, of a peer that cannot be reached or went away.
const LOST_PEER: [&str; 10] = [
    "GrpcConnectionError(\"",
    "FetchFailed(\"",
    "TonicError(tonic::transport::Error(",
    "tonic::transport::Error(",
    "Status { code: Unavailable",
    "Status { code: Unknown, message: \"transport error\"",
    "Status { code: Unknown, message: \"Service was not ready: transport error\"",
    "Status { code: Unknown, message: \"h2 protocol error: ",
    "Status { code: Internal, message: \"h2 protocol error: ",
    "Status { code: Cancelled, message: \"operation was canceled\", source: Some(tonic::transport::Error(",
];

/// The beginnings of what tonic writes, by `Debug`, of a server that does not accept who asks.
const REFUSALS: [&str; 2] =
    ["Status { code: Unauthenticated, message: \"", "Status { code: PermissionDenied, message: \""];

/// The same by `Display`, and in words: so the client tells the end of the stream of a job's states.
const LOST_STREAM: [&str; 4] = [
    "code: 'Unknown error', message: \"transport error\"",
    "code: 'Unknown error', message: \"h2 protocol error: ",
    "code: 'Internal error', message: \"h2 protocol error: ",
    "Stream closed without job completing",
];

/// The error in the text by which Ballista's client reports a failed job, `Job ID failed: …`.
pub(super) fn failed_job(text: &str) -> Error {
    if let Some(error) = wire::decode(text) {
        return error;
    }
    let cause = cause(text);
    match cause {
        // The scheduler's word for it, and nothing else.
        "Cancelled" => Error::Cancelled,
        _ if is_lost_peer(cause) || is_lost_stage(cause) => Error::LostWork { message: cause.to_owned() },
        _ => Error::Job { message: wire::readable(cause) },
    }
}

/// The refusal in the text by which Ballista's client reports that the scheduler does not do what it was asked to.
pub(super) fn refusal(text: &str) -> Option<Error> {
    let quoted = REFUSALS.iter().find_map(|start| text.strip_prefix(start))?;
    let (mut message, mut characters) = (String::new(), quoted.chars());
    while let Some(next) = characters.next() {
        match next {
            '"' => return Some(Error::Refused { role: "the scheduler", message }),
            '\\' => message.extend(characters.next()),
            other => message.push(other),
        }
    }
    None
}

/// The text behind the words that Ballista puts before it.
fn cause(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text.len();
        for (start, end) in
            [("Job ", " failed: "), ("Job failed due to stage ", " failed: "), ("Error planning job ", ": ")]
        {
            if let Some((name, rest)) = text.strip_prefix(start).and_then(|rest| rest.split_once(end))
                && name.chars().all(|c| c.is_alphanumeric() || c == '-')
            {
                text = rest;
            }
        }
        for layer in LAYERS {
            text = text.strip_prefix(layer).unwrap_or(text);
        }
        if text.len() == before {
            return text;
        }
    }
}

fn is_lost_peer(text: &str) -> bool {
    LOST_STREAM.iter().any(|start| text.starts_with(start))
        || LOST_PEER.iter().any(|start| text.starts_with(start))
        || text.strip_prefix("GrpcError(").is_some_and(is_lost_peer)
}

/// `Stage 2 has failed 4 times, most recent failure reason: …`, which a scheduler without our guard says of a stage that
/// cannot fetch its input.
fn is_lost_stage(text: &str) -> bool {
    let rest = text.strip_prefix("Stage ").and_then(|rest| rest.split_once(" has failed "));
    rest.is_some_and(|(stage, rest)| {
        let times = rest.split_once(" times, most recent failure reason: ").map(|(times, _)| times);
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        number(stage) && times.is_some_and(number)
    })
}

/// The innermost error, also where Ballista has one of DataFusion's inside of its own, as an executor's stage has.
pub(super) fn root(error: &DataFusionError) -> &DataFusionError {
    let innermost = error.find_root();
    if let DataFusionError::External(source) = innermost
        && let Some(BallistaError::DataFusionError(inner)) = source.downcast_ref()
    {
        return root(inner);
    }
    innermost
}

/// Whether an error of Ballista's client, or of a task, says that the process on the other side went away.
pub(super) fn is_lost_work(error: &DataFusionError) -> bool {
    match root(error) {
        DataFusionError::External(source) => {
            source.downcast_ref::<BallistaError>().is_some_and(is_lost)
                || source.downcast_ref::<Status>().is_some_and(is_lost_connection)
        }
        // Rows of a result that stop arriving.
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ExternalError(source) => {
                source.downcast_ref::<Status>().is_some_and(is_lost_connection)
            }
            // Ballista's own transport makes a text of a stream of shuffled rows that breaks.
            ArrowError::IpcError(text) => is_lost_peer(text),
            _ => false,
        },
        // Ballista's client makes a text of an error that it gets while it connects or asks.
        DataFusionError::Execution(text) => is_lost_peer(text),
        _ => false,
    }
}

fn is_lost(error: &BallistaError) -> bool {
    match error {
        BallistaError::GrpcConnectionError(_) | BallistaError::TonicError(_) => true,
        // A batch larger than a message may be is as large the next time.
        BallistaError::FetchFailed(_, _, _, reason) => !reason.starts_with("Status { code: OutOfRange"),
        BallistaError::GrpcActionError(reason) => is_lost_peer(reason),
        BallistaError::GrpcError(status) => is_lost_connection(status),
        BallistaError::DataFusionError(error) => is_lost_work(error),
        BallistaError::NotImplemented(_)
        | BallistaError::General(_)
        | BallistaError::Internal(_)
        | BallistaError::Configuration(_)
        | BallistaError::ArrowError(_)
        | BallistaError::SqlError(_)
        | BallistaError::IoError(_)
        | BallistaError::TokioError(_)
        | BallistaError::Cancelled => false,
    }
}

/// Whether a status says that the process on the other side went away. One that came over the wire has no source; one that
/// tonic made of a broken connection has.
pub(crate) fn is_lost_connection(status: &Status) -> bool {
    let of_transport = matches!(status.code(), Code::Unknown | Code::Internal | Code::Cancelled);
    status.code() == Code::Unavailable || (of_transport && std::error::Error::source(status).is_some())
}

/// What the executor reports of a task that failed, so that every process understands it: an error of ours or of
/// DataFusion's becomes data, and what Ballista itself acts on stays as it is.
pub(crate) fn failed_task(error: DataFusionError) -> DataFusionError {
    let root = root(&error);
    if Error::carried(&error).is_none() && disk::is_full(root) {
        let message = root.strip_backtrace();
        let full = Error::ScratchFull { setting: ConfigField::ExecutorScratch, message };
        return DataFusionError::External(Box::new(wire::Carried(full)));
    }
    // By the scheduler.
    let is_tried_again = matches!(root, DataFusionError::IoError(_));
    if let DataFusionError::External(source) = root
        && let Some(BallistaError::FetchFailed(..) | BallistaError::IoError(_) | BallistaError::Cancelled) =
            source.downcast_ref()
    {
        return error;
    }
    let report = match Error::carried(&error) {
        // Shared by the partitions of a stage, it cannot be moved: what arrives is made here already.
        Some(ours) => wire::decode(&wire::encode(ours)),
        None if is_lost_work(&error) => Some(Error::LostWork { message: messages::query(&error) }),
        None => None,
    };
    let report = report.unwrap_or_else(|| Error::Job { message: messages::query(&error) });
    let report = wire::Carried(report);
    if is_tried_again {
        DataFusionError::IoError(std::io::Error::other(report))
    } else {
        DataFusionError::External(Box::new(report))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ballista_core::serde::protobuf::FailedTask;
    use ballista_core::serde::protobuf::failed_task::FailedReason;
    use datafusion::sql::sqlparser::parser::ParserError;

    use super::*;

    /// How a task's failure is told to the client: by the executor, the scheduler, and Ballista's client.
    fn told(failed: FailedTask) -> Error {
        let text = format!("Job 4fYz failed: Job failed due to stage 2 failed: {}\n", failed.error);
        Error::from(DataFusionError::Execution(text))
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_scheduler() {
        let status = Status::permission_denied("this takes \"writer\" (access.tokens)");
        let told = Error::from(DataFusionError::Execution(format!("{status:?}")));
        assert!(matches!(&told, Error::Refused { message, .. } if message == status.message()), "{told}");
        assert_eq!(told.fields(), [ConfigField::AccessTokens]);
        for other in
            [Status::internal("no"), Status::not_found("Status { code: PermissionDenied, message: \"")]
        {
            assert!(refusal(&format!("{other:?}")).is_none(), "{other}");
        }
    }

    /// The same where the scheduler has given up a task that failed too often.
    fn told_at_last(failed: FailedTask) -> Error {
        let text = format!(
            "Job 4fYz failed: Job failed due to stage 2 failed: Task 1 in Stage 2 failed 4 times, fail the stage, most \
             recent failure reason: {:?}\n",
            failed.error
        );
        Error::from(DataFusionError::Execution(text))
    }

    /// A task that fails on an executor of ours.
    fn on_executor(error: DataFusionError) -> FailedTask {
        FailedTask::from(BallistaError::from(failed_task(error)))
    }

    fn unreachable() -> Error {
        Error::Unreachable {
            role: "MongoDB",
            address: "localhost:27017".into(),
            setting: ConfigField::MongodbUri,
            message: "find on `predictions`: \"reset\" by\npeer".into(),
        }
    }

    fn is_unreachable(error: &Error) -> bool {
        matches!(error, Error::Unreachable { role: "MongoDB", address, setting: ConfigField::MongodbUri, message }
            if address == "localhost:27017" && message == "find on `predictions`: \"reset\" by\npeer")
    }

    /// A status as tonic makes it of a connection that broke.
    fn broken() -> Status {
        Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
    }

    async fn join_error() -> tokio::task::JoinError {
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        task.await.unwrap_err()
    }

    /// Every error that Ballista has, several of them in the forms that matter, and whether it means that work was lost.
    async fn every_error() -> Vec<(BallistaError, bool)> {
        let endpoint = tonic::transport::Endpoint::from_shared("not a URI").unwrap_err();
        let fetch = |reason: &str| BallistaError::FetchFailed("e1".into(), 1, 2, reason.into());
        vec![
            (BallistaError::NotImplemented("FetchFailed".into()), false),
            (BallistaError::General("transport error".into()), false),
            (BallistaError::Internal("tcp connect error".into()), false),
            (BallistaError::Configuration("GrpcConnectionError".into()), false),
            (BallistaError::ArrowError(Box::new(ArrowError::DivideByZero)), false),
            (BallistaError::SqlError(ParserError::RecursionLimitExceeded), false),
            (BallistaError::IoError(std::io::Error::other("transport error")), false),
            (BallistaError::TokioError(join_error().await), false),
            (BallistaError::Cancelled, false),
            (BallistaError::DataFusionError(Box::new(DataFusionError::Plan("FetchFailed".into()))), false),
            (BallistaError::TonicError(endpoint), true),
            (BallistaError::GrpcError(Box::new(Status::unavailable("tcp connect error"))), true),
            (BallistaError::GrpcError(Box::new(Status::invalid_argument("transport error"))), false),
            (BallistaError::GrpcConnectionError("Error connecting to http://a:1".into()), true),
            (BallistaError::GrpcActionError(format!("{:?}", Status::unavailable("gone"))), true),
            (BallistaError::GrpcActionError("Did not receive schema batch".into()), false),
            (fetch(&format!("{:?}", Status::unavailable("gone"))), true),
            (fetch(&format!("{:?}", Status::not_found("no such file"))), true),
            (fetch(&format!("{:?}", Status::out_of_range("too large"))), false),
        ]
    }

    #[tokio::test]
    async fn each_error_of_ballista_is_lost_work_or_not() {
        for (error, lost) in every_error().await {
            let told = format!("{error:?}");
            // What the client meets while it fetches a result.
            let error = error.into_datafusion();
            assert_eq!(is_lost_work(&error), lost, "{told}");
            assert_eq!(Error::from(error.context("fetching")).is_lost_work(), lost, "{told}");
        }
    }

    #[tokio::test]
    async fn each_error_of_ballista_that_fails_a_task_is_told_as_what_it_is() {
        for (error, lost) in every_error().await {
            let text = format!("{error:?}");
            let failed = on_executor(error.into_datafusion());
            match failed.failed_reason {
                // Ballista acts on these by itself: it fetches and runs again.
                Some(FailedReason::FetchPartitionError(_)) => {
                    assert!(text.starts_with("FetchFailed"), "{text}")
                }
                Some(FailedReason::TaskKilled(_)) => assert_eq!(text, "Cancelled"),
                Some(FailedReason::IoError(_)) => assert!(text.starts_with("IoError"), "{text}"),
                _ => assert_eq!(told(failed).is_lost_work(), lost, "{text}"),
            }
        }
        // An executor of plain Ballista has but text.
        for (error, lost) in every_error().await {
            let text = format!("{error:?}");
            let failed = FailedTask::from(error);
            if matches!(failed.failed_reason, Some(FailedReason::ExecutionError(_)))
                && !text.starts_with("GrpcActionError")
            {
                assert_eq!(told(failed).is_lost_work(), lost, "{text}");
            }
        }
    }

    #[test]
    fn texts_of_the_client_about_a_lost_peer_are_lost_work() {
        for text in [
            format!("{:?}", BallistaError::GrpcConnectionError("Error connecting to http://a:1: …".into())),
            format!("{:?}", Status::unavailable("tcp connect error")),
            format!("{:?}", Status::unknown("transport error")),
            format!("{:?}", Status::unknown("Service was not ready: transport error")),
            Status::unknown("transport error").to_string(),
            "Stream closed without job completing".to_owned(),
            // A scheduler that was killed.
            Status::unknown("h2 protocol error: error reading a body from connection").to_string(),
            format!("{:?}", Status::internal("h2 protocol error: http2 error")),
            // A connection that was closed while the question was on its way.
            "Status { code: Cancelled, message: \"operation was canceled\", source: \
             Some(tonic::transport::Error(Transport, hyper::Error(Canceled, \"connection closed\"))) }"
                .to_owned(),
            "Job 7 failed: Job failed due to stage 2 failed: Stage 2 has failed 4 times, most recent failure reason: \
             \"Status { code: Unavailable }\""
                .to_owned(),
        ] {
            let error = Error::from(DataFusionError::Execution(text.clone()));
            assert!(error.is_lost_work(), "{text}");
        }
        let shuffled = ArrowError::IpcError(Status::unknown("transport error").to_string());
        assert!(Error::from(DataFusionError::from(shuffled)).is_lost_work());
        let rows = ArrowError::ExternalError(Box::new(broken()));
        assert!(Error::from(DataFusionError::from(rows)).is_lost_work());
        let refused = ArrowError::ExternalError(Box::new(Status::unknown("a server's own words")));
        assert!(!Error::from(DataFusionError::from(refused)).is_lost_work());
    }

    /// Data may hold any words. None of them makes a query run again.
    #[test]
    fn words_in_the_users_data_are_not_lost_work() {
        for word in [
            "FetchFailed",
            "FetchFailed(\\\"e1\\\", 1, 2, \\\"gone\\\")",
            "GrpcConnectionError(\"a\")",
            "an executor was lost",
            "transport error",
            "tcp connect error",
            "Stage 2 has failed 4 times, most recent failure reason: ",
            "x failed: Cancelled",
        ] {
            let cast = || {
                let text = format!("Cannot cast string '{word}' to value of Int64 type");
                DataFusionError::from(ArrowError::CastError(text))
            };
            let shared = DataFusionError::Shared(Arc::new(cast()));
            let failures = [
                told(on_executor(cast())),
                told(on_executor(shared)),
                told_at_last(on_executor(DataFusionError::IoError(std::io::Error::other(word)))),
                // Plain Ballista's executor.
                told(FailedTask::from(BallistaError::from(cast()))),
                Error::from(cast()),
                Error::from(DataFusionError::Execution(format!("Job 7 failed: no such value: {word}"))),
            ];
            for error in failures {
                assert!(!error.is_lost_work(), "{error}");
                assert!(!matches!(error, Error::Cancelled), "{word}");
            }
        }
    }

    #[test]
    fn what_a_caller_reacts_to_survives_a_failed_job() {
        let shared = || DataFusionError::Shared(Arc::new(DataFusionError::from(unreachable())));
        for error in [DataFusionError::from(unreachable()), shared(), shared().context("reading")] {
            let failed = on_executor(error);
            assert!(matches!(failed.failed_reason, Some(FailedReason::IoError(_))), "it is tried again");
            assert!(is_unreachable(&told(failed.clone())));
            assert!(is_unreachable(&told_at_last(failed)));
        }
        // By Debug as by Display, however it got into a text.
        for text in [
            format!("Job 7 failed: Error planning job 7: {:?}", BallistaError::from(shared())),
            format!("Job 7 failed: {}", BallistaError::from(shared())),
            format!("{:?}", Status::invalid_argument(format!("Could not parse plan: {}", shared()))),
        ] {
            let error = Error::from(DataFusionError::Execution(text.clone()));
            assert!(is_unreachable(&error), "{text}");
        }
    }

    /// A stage that writes shuffle files wraps what its rows failed with into Ballista's error.
    #[test]
    fn what_a_stage_fails_with_travels_as_data() {
        let ours = || DataFusionError::from(Error::UnknownConnection { name: "other".into() });
        let staged =
            |error: DataFusionError| BallistaError::DataFusionError(Box::new(error)).into_datafusion();
        for error in [ours(), staged(ours()), staged(staged(ours()).context("writing"))] {
            let told = told(on_executor(error));
            assert!(matches!(&told, Error::UnknownConnection { name } if name == "other"), "{told}");
        }
        let failed = on_executor(staged(DataFusionError::from(unreachable())));
        assert!(matches!(failed.failed_reason, Some(FailedReason::IoError(_))), "it is tried again");
        assert!(is_unreachable(&told(failed)));
    }

    #[test]
    fn a_failed_task_is_told_in_words() {
        let other = |message: &str| Error::MongoDb {
            operation: "find",
            collection: "predictions".into(),
            message: message.into(),
        };
        for (error, expected) in [
            (DataFusionError::from(ArrowError::DivideByZero), "Divide by zero error"),
            (
                DataFusionError::Shared(Arc::new(DataFusionError::from(ArrowError::CastError(
                    "Cannot cast string 'cat' to value of Int64 type".into(),
                )))),
                "Cast error: Cannot cast string 'cat' to value of Int64 type",
            ),
            (DataFusionError::Execution("it (the \"task\") failed".into()), "it (the \"task\") failed"),
            (DataFusionError::Plan("no file".into()).context("while reading"), "while reading: no file"),
            (
                DataFusionError::from(other("(gone)")),
                "MongoDB operation `find` on `predictions` failed: (gone)",
            ),
            (DataFusionError::IoError(std::io::Error::other("disk full")), "IO error: disk full"),
        ] {
            let failed = on_executor(error);
            for error in [told(failed.clone()), told_at_last(failed)] {
                assert!(matches!(&error, Error::Job { message } if message == expected), "{error}");
            }
        }
    }

    #[test]
    fn a_failed_job_is_told_without_layers() {
        for (text, expected) in [
            ("Job 7 failed: disk full", "disk full"),
            (
                "Job 7 failed: DataFusion error: Error during planning: no table",
                "Error during planning: no table",
            ),
            (
                "Job 4fYz failed: Job failed due to stage 2 failed: Task failed due to runtime execution error: the disk \
                 (of node 3) is full\n",
                "the disk (of node 3) is full",
            ),
        ] {
            let error = Error::from(DataFusionError::Execution(text.to_owned()));
            assert!(matches!(&error, Error::Job { message } if message == expected), "{error}");
        }
        let cancelled = Error::from(DataFusionError::Execution("Job 7 failed: Cancelled\n".to_owned()));
        assert!(matches!(cancelled, Error::Cancelled));
    }
}
