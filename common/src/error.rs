//! The causes of an error as text, for log lines and messages.

use std::error::Error;

/// The message of the innermost cause: "connection refused" rather than "transport error".
#[must_use]
pub fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The message of an error followed by those of its causes. A cause that a message already contains is not repeated.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Layer {
        message: &'static str,
        source: io::Error,
    }

    #[test]
    fn causes_are_followed_to_the_end_and_said_once() {
        let refused = || io::Error::other("connection refused");
        let error = Layer { message: "transport error", source: refused() };
        assert_eq!(root_cause(&error), "connection refused");
        assert_eq!(chain(&error), "transport error: connection refused");
        let repeats = Layer { message: "transport error (connection refused)", source: refused() };
        assert_eq!(chain(&repeats), "transport error (connection refused)");
    }
}
