//! A client of a MongoDB server, calls with a time limit, and facts about the driver's errors.

use std::io;
use std::time::Duration;

use mongodb::Client;
use mongodb::error::{Error, ErrorKind, RETRYABLE_WRITE_ERROR, Result, TRANSIENT_TRANSACTION_ERROR};
use mongodb::options::ClientOptions;

use super::Code;
use crate::secret::MongoUri;

/// Makes a client, which connects with its first request. What the connection string says wins over `app_name` and
/// `patience`, the time that finding a server and connecting to it may take.
///
/// # Errors
/// A string that cannot be used, or a name of a `mongodb+srv` address that cannot be resolved.
pub async fn client(uri: &MongoUri, app_name: &str, patience: Duration) -> Result<Client> {
    let mut options = ClientOptions::parse(uri.expose()).await?;
    options.app_name.get_or_insert_with(|| app_name.to_owned());
    options.connect_timeout.get_or_insert(patience);
    options.server_selection_timeout.get_or_insert(patience);
    Client::with_options(options)
}

/// Runs a call with a time limit; the driver sets none to an answer of its own.
///
/// # Errors
/// The call's own, or an I/O error of kind `TimedOut`.
pub async fn within<T>(limit: Duration, call: impl IntoFuture<Output = Result<T>>) -> Result<T> {
    let timed_out = |_| Err(io::Error::from(io::ErrorKind::TimedOut).into());
    tokio::time::timeout(limit, call.into_future()).await.unwrap_or_else(timed_out)
}

/// The code with which the server refused a command as a whole, if it did.
#[must_use]
pub fn command_code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// The code as one of [`Code`], where the server refused a command with one that is known.
#[must_use]
pub fn known_code(error: &Error) -> Option<Code> {
    command_code(error).and_then(Code::of)
}

/// Whether the server cannot be reached, or no longer.
#[must_use]
pub fn is_lost(error: &Error) -> bool {
    matches!(
        error.kind.as_ref(),
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. }
    )
}

/// Whether the server or the driver has labelled the error as one that another attempt may cure.
#[must_use]
pub fn is_labelled_transient(error: &Error) -> bool {
    error.contains_label(RETRYABLE_WRITE_ERROR) || error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_a_lost_server() {
        let never = std::future::pending::<Result<()>>();
        let error = within(Duration::from_millis(1), never).await.expect_err("too late");
        assert!(is_lost(&error) && command_code(&error).is_none(), "{error}");
        assert!(!is_lost(&Error::custom("whatever")));
    }

    #[tokio::test]
    async fn what_the_connection_string_says_wins() {
        let made =
            client(&MongoUri::new("mongodb://a:1/?appName=mine"), "ours", Duration::from_secs(1)).await;
        assert!(made.is_ok());
        assert!(client(&MongoUri::new("mango://a"), "ours", Duration::from_secs(1)).await.is_err());
    }
}
