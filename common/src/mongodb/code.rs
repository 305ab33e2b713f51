//! The error codes of MongoDB, by name, with what is known of each.
//!
//! A [`Fact`] says what has happened, not what to do: a consumer that may wait for hours and a query that must end draw
//! different conclusions from the same fact. A code that is not in the table is unknown to both.

/// What a code says has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The server cannot be reached, is shutting down, or is no longer the primary.
    ServerGoing,
    /// The operation was ended, by its time limit or by an administrator.
    Interrupted,
    /// A cursor, or the plan behind it, is gone: the read has to begin anew.
    CursorLost,
    /// The cluster's routing has moved on, or a majority has not caught up yet.
    NotSettled,
    /// The server no longer has the data of the time that was asked for.
    SnapshotGone,
    /// Another write got in between.
    Conflict,
    /// A write is there and not known to be as durable as was asked for.
    Unconfirmed,
    /// User or password are wrong.
    BadCredentials,
    /// The user may not do this.
    Unauthorized,
    /// A name, an option or an index that does not allow the command.
    Misconfigured,
    /// What was to be created exists already.
    Exists,
    /// The command, or a document in it, cannot be read.
    Malformed,
    /// The document breaks a rule of the collection or of the server.
    DocumentRefused,
}

/// Declares the codes and what is known of each from one table.
macro_rules! codes {
    ($($name:ident = $number:literal => $fact:ident,)+) => {
        /// An error code of the server, under the server's own name for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are MongoDB's, see its reference of error codes")]
        pub enum Code {
            $($name,)+
        }

        impl Code {
            /// Every code that is known, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The number that the server sends.
            #[must_use]
            pub const fn number(self) -> i32 {
                match self {
                    $(Self::$name => $number,)+
                }
            }

            /// What the code says has happened.
            #[must_use]
            pub const fn fact(self) -> Fact {
                match self {
                    $(Self::$name => Fact::$fact,)+
                }
            }

            /// The code of this number, if it is known.
            #[must_use]
            pub const fn of(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

codes! {
    BadValue = 2 => Malformed,
    HostUnreachable = 6 => ServerGoing,
    HostNotFound = 7 => ServerGoing,
    FailedToParse = 9 => Malformed,
    UserNotFound = 11 => BadCredentials,
    Unauthorized = 13 => Unauthorized,
    TypeMismatch = 14 => Malformed,
    AuthenticationFailed = 18 => BadCredentials,
    IllegalOperation = 20 => Misconfigured,
    InvalidBSON = 22 => Malformed,
    CursorNotFound = 43 => CursorLost,
    NamespaceExists = 48 => Exists,
    MaxTimeMSExpired = 50 => Interrupted,
    DollarPrefixedFieldName = 52 => DocumentRefused,
    InvalidIdField = 53 => DocumentRefused,
    EmptyFieldName = 56 => DocumentRefused,
    DottedFieldName = 57 => DocumentRefused,
    CommandNotFound = 59 => Misconfigured,
    StaleShardVersion = 63 => NotSettled,
    WriteConcernTimeout = 64 => Unconfirmed,
    ImmutableField = 66 => DocumentRefused,
    CannotCreateIndex = 67 => Misconfigured,
    InvalidOptions = 72 => Misconfigured,
    InvalidNamespace = 73 => Misconfigured,
    IndexOptionsConflict = 85 => Misconfigured,
    IndexKeySpecsConflict = 86 => Misconfigured,
    NetworkTimeout = 89 => ServerGoing,
    ShutdownInProgress = 91 => ServerGoing,
    WriteConflict = 112 => Conflict,
    CommandNotSupported = 115 => Misconfigured,
    DocumentValidationFailure = 121 => DocumentRefused,
    ReadConcernMajorityNotAvailableYet = 134 => NotSettled,
    StaleEpoch = 150 => NotSettled,
    CommandNotSupportedOnView = 166 => Misconfigured,
    QueryPlanKilled = 175 => CursorLost,
    PrimarySteppedDown = 189 => ServerGoing,
    RetryChangeStream = 234 => CursorLost,
    CursorKilled = 237 => CursorLost,
    SnapshotTooOld = 239 => SnapshotGone,
    StaleChunkHistory = 250 => SnapshotGone,
    ExceededTimeLimit = 262 => ServerGoing,
    AtlasError = 8_000 => BadCredentials,
    SocketException = 9_001 => ServerGoing,
    NotWritablePrimary = 10_107 => ServerGoing,
    BSONObjectTooLarge = 10_334 => Malformed,
    DuplicateKey = 11_000 => Conflict,
    InterruptedAtShutdown = 11_600 => ServerGoing,
    Interrupted = 11_601 => Interrupted,
    InterruptedDueToReplStateChange = 11_602 => ServerGoing,
    NotPrimaryNoSecondaryOk = 13_435 => ServerGoing,
    NotPrimaryOrSecondary = 13_436 => ServerGoing,
    CannotExtractGeoKeys = 16_755 => DocumentRefused,
    KeyTooLong = 17_280 => DocumentRefused,
    DocumentTooLargeAfterUpdate = 17_419 => DocumentRefused,
    DocumentTooLargeAfterModification = 17_420 => DocumentRefused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_by_its_number() {
        for code in Code::ALL {
            assert_eq!(Code::of(code.number()), Some(*code));
        }
        assert_eq!(Code::of(999_999), None);
    }
}
