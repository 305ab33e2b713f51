//! The errors of a client, and whether another attempt may help.

use firesteel_common::ConfigField::{self, AccessToken, InferenceUrl};
use std::time::Duration;
use tonic::{Code, Status};

/// An error of the client. It is never the image's fault: that would be [`Answer::Rejected`](super::Answer::Rejected).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address cannot be used at all.
    #[error("inference server address {url:?} ({}) is not usable: {reason}", InferenceUrl)]
    Url {
        /// The address as it was given.
        url: String,
        /// The problem.
        reason: String,
    },
    /// No connection within the time allowed.
    #[error("inference server {url} ({}) cannot be reached: {reason}", InferenceUrl)]
    Unreachable {
        /// The address.
        url: String,
        /// The error of the transport.
        reason: String,
    },
    /// The server answered nothing for too long while images were under way.
    #[error("inference server {url} gave no answer for {} s", after.as_secs_f32())]
    Stalled {
        /// The address.
        url: String,
        /// How long it was silent.
        after: Duration,
    },
    /// The server has read this image, and did not answer in time.
    #[error("inference server {url} gave no answer for this image for {} s", after.as_secs_f32())]
    Overdue {
        /// The address.
        url: String,
        /// How long it took.
        after: Duration,
    },
    /// The server fails at this image, and answers for another one.
    #[error("inference server {url} fails at this image alone: {reason}")]
    Image {
        /// The address.
        url: String,
        /// How it failed.
        reason: String,
    },
    /// The stream ended while this image was under way.
    #[error("the stream to inference server {url} ended before the answer came")]
    Broken {
        /// The address.
        url: String,
    },
    /// The server ended the call with a status.
    #[error("inference server {url}: {:?}: {}", status.code(), status.message())]
    Status {
        /// The address.
        url: String,
        /// The server's message.
        status: Box<Status>,
    },
    /// The server does not have the model that was asked for. Nothing is said about the image.
    #[error("inference server {url}: {problem}")]
    UnknownModel {
        /// The address.
        url: String,
        /// Which model was asked for, and which there are.
        problem: String,
    },
    /// The peer does not speak this protocol.
    #[error("inference server {url} broke the protocol: {problem}")]
    Protocol {
        /// The address.
        url: String,
        /// What the peer did.
        problem: &'static str,
    },
}

impl ClientError {
    /// The field of the configuration that the error points at, whose name its message contains.
    #[must_use]
    pub fn field(&self) -> Option<ConfigField> {
        match self {
            Self::Url { .. } | Self::Unreachable { .. } => Some(InferenceUrl),
            // The server names the setting, unless it is another's.
            Self::Status { status, .. } => {
                status.message().contains(AccessToken.name()).then_some(AccessToken)
            }
            _ => None,
        }
    }

    /// Whether an image, of those that were under way, may be why the server failed.
    #[must_use]
    pub fn may_be_an_image(&self) -> bool {
        match self {
            Self::Overdue { .. } | Self::Broken { .. } => true,
            Self::Status { status, .. } => {
                matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled)
            }
            _ => false,
        }
    }

    /// Whether the same request may succeed later with nothing changed: the server is starting, full, gone or
    /// restarting, or is about to be replaced by one that has the model. The rest (a wrong address, a peer that is no inference server) needs a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Stalled { .. }
            | Self::Broken { .. }
            | Self::Overdue { .. }
            | Self::UnknownModel { .. }
            | Self::Image { .. } => true,
            Self::Status { status, .. } => matches!(
                status.code(),
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Aborted
                    | Code::Cancelled
                    | Code::Internal
                    | Code::Unknown
            ),
            Self::Url { .. } | Self::Protocol { .. } => false,
        }
    }
}
