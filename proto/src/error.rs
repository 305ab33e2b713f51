//! Why bytes are not a record. Each of these is permanent: the same bytes fail the same way again.

/// A record that breaks the data contract.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a protobuf message of this type.
    #[error("not a {message}: {source}")]
    Malformed {
        /// The message that was expected.
        message: &'static str,
        /// What prost says.
        source: prost::DecodeError,
    },
    /// The record has no bytes at all.
    #[error("empty record where a {message} was expected")]
    Empty {
        /// The message that was expected.
        message: &'static str,
    },
    /// A field that the contract demands is not there.
    #[error("field {field} is missing")]
    Missing {
        /// The field's protobuf name.
        field: &'static str,
    },
    /// Not as many lower-case hexadecimal digits as an id has.
    #[error("producer id {value:?} is not 32, or 8, lower-case hexadecimal digits")]
    ProducerId {
        /// What stood there, cut to 64 characters.
        value: String,
    },
    /// Not `{producer_id}:{sequence}`.
    #[error("image id {value:?} is not PRODUCER:SEQUENCE")]
    ImageId {
        /// What stood there, cut to 64 characters.
        value: String,
    },
    /// A text that is longer than the contract allows.
    #[error("field {field} has {bytes} bytes, {most} are allowed")]
    TooLong {
        /// The field's protobuf name.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The most that it may have.
        most: usize,
    },
    /// A text that cannot be the name of a class.
    #[error("label {value:?} in field {field} {problem}")]
    Label {
        /// The field's protobuf name.
        field: &'static str,
        /// What stood there, cut to 64 characters.
        value: String,
        /// The rule that it breaks, as the rest of a sentence.
        problem: &'static str,
    },
    /// An encoding number that this version does not know.
    #[error("unknown image encoding {value}")]
    UnknownEncoding {
        /// The number on the wire.
        value: i32,
    },
    /// An image of zero bytes.
    #[error("the image has no data")]
    EmptyImage,
    /// A time outside the years 1 to 9999, or with a negative or too large fraction.
    #[error("field {field} is not a valid time")]
    Time {
        /// The field's protobuf name.
        field: &'static str,
    },
    /// A sequence number that a document of MongoDB cannot hold.
    #[error("sequence {value} does not fit in 64 signed bits")]
    Sequence {
        /// The number.
        value: u64,
    },
    /// Not a finite number from 0 to 1.
    #[error("confidence {value} is not within 0 and 1")]
    Confidence {
        /// What stood there.
        value: f32,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A short, stable name of the kind of error: the `error.class` header of a dead letter, a metric's label.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Empty { .. } => "empty-record",
            Self::Missing { .. } => "missing-field",
            Self::TooLong { .. } => "too-long",
            Self::ProducerId { .. } => "bad-producer-id",
            Self::ImageId { .. } => "bad-image-id",
            Self::Label { .. } => "bad-label",
            Self::UnknownEncoding { .. } => "unknown-encoding",
            Self::EmptyImage => "empty-image",
            Self::Time { .. } => "bad-time",
            Self::Sequence { .. } => "bad-sequence",
            Self::Confidence { .. } => "bad-confidence",
        }
    }
}

/// Cuts what came from outside to a length that fits a log line.
pub(crate) fn excerpt(value: &str) -> String {
    value.chars().take(64).collect()
}
