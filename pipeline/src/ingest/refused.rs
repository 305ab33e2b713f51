//! Why a request is not answered with 202, and how that is said: a status, and JSON with the field `error`, and with `ids` where some images of
//! the request are there.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use firesteel_common::access;
use firesteel_proto::ImageId;
use serde_json::json;

/// When whoever met a limit may come again, in seconds.
const AFTER_LIMIT: HeaderValue = HeaderValue::from_static("1");
/// When whoever met an outage may come again, in seconds.
const AFTER_OUTAGE: HeaderValue = HeaderValue::from_static("5");

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The caller may not send images.
    #[error(transparent)]
    Access(#[from] access::Refusal),
    /// What a request says of itself, or what is in it, is not as it has to be.
    #[error("{0}")]
    Request(String),
    /// A body of a type that is not taken.
    #[error("{0}")]
    Type(String),
    /// More bytes than are taken.
    #[error("{what} has more than {most} bytes, which is the limit")]
    TooLarge { what: &'static str, most: usize },
    /// More bytes than the topic takes.
    #[error("the image has {bytes} bytes, which is more than Kafka's topic takes (max.message.bytes)")]
    TooLargeForTopic { bytes: usize },
    /// A body that does not arrive in time.
    #[error("the body did not arrive within {0} s")]
    Slow(u64),
    /// A key that has come with other images.
    #[error("this Idempotency-Key has come with other images or another label: a key stands for one request")]
    OtherImages,
    /// Too many bytes at once.
    #[error("requests under way hold all of the memory that they, or those of one user, may: try again")]
    Busy,
    /// Images cannot be taken now.
    #[error("images cannot be taken now: {0}; try again")]
    Unavailable(String),
    /// No acknowledgement in time.
    #[error(
        "Kafka did not acknowledge the image within {0} s: it may have arrived all the same. Send it again with the same \
         Idempotency-Key"
    )]
    Unacknowledged(u64),
    /// An acknowledgement that will never come.
    #[error("Kafka does not take the image: {0}")]
    Failed(String),
    /// Some images of a request are there, and others are not known to be.
    #[error("{of}")]
    Partly {
        /// Why the first of the others is not.
        of: Box<Refused>,
        /// The ids in the order of the images, of those that are there.
        ids: Vec<Option<ImageId>>,
    },
}

impl Refused {
    /// The status over HTTP.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Access(refusal) => refusal.http_status(),
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Type(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } | Self::TooLargeForTopic { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::OtherImages => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unacknowledged(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Failed(_) => StatusCode::BAD_GATEWAY,
            Self::Partly { of, .. } => of.status(),
        }
    }

    /// When to come again, where that helps.
    fn retry_after(&self) -> Option<HeaderValue> {
        match self {
            Self::Busy => Some(AFTER_LIMIT),
            Self::Unavailable(_) | Self::Unacknowledged(_) => Some(AFTER_OUTAGE),
            Self::Partly { of, .. } => of.retry_after(),
            _ => None,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status(), self.retry_after());
        // A refusal of the doors says itself what a client needs, such as how to sign in.
        if let Self::Access(refusal) = self {
            return refusal.into_response();
        }
        let mut said = json!({ "error": self.to_string() });
        if let Self::Partly { ids, .. } = &self {
            let text = |id: &Option<ImageId>| id.map(|id| id.to_string());
            said["ids"] = json!(ids.iter().map(text).collect::<Vec<_>>());
        }
        let mut response = json_response(status, &said);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// An answer in JSON.
pub(super) fn json_response(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}
