//! An [`Error`] as text, and back: how it crosses from one process of a cluster to another.
//!
//! Ballista carries a failed task's error as text only: the executor writes it with `Debug`, the scheduler wraps it in
//! words of its own and, after several attempts, in a second `Debug`, and the client gets what came of that. A plan that
//! the scheduler cannot make goes the same way by `Display`. Nothing on the way shortens the text.
//!
//! [`encode`] therefore writes a sentence for people, and behind it a marker and the whole error as data:
//!
//! ```text
//!  cannot reach MongoDB at host:27017: refused; check mongodb.uri [firesteel-error:%7B%22class%22%3A%22unreachable%22…]
//! ```
//!
//! The data is JSON in the alphabet of HTML forms, which neither `Debug` nor any number of them changes. [`decode`] finds
//! it wherever it stands; an error that cannot travel whole arrives as [`Error::Job`] with the same words. [`readable`]
//! takes the data out again, for people and for clients that are not ours.

use std::fmt;

use url::form_urlencoded;

use super::{ConfigField, Error};

/// What stands before the data.
const MARKER: &str = " [firesteel-error:";

/// What stands behind it.
const END: char = ']';

/// The sentence of an error, and the error as data.
pub(crate) fn encode(error: &Error) -> String {
    let sentence = match error {
        // Whoever reads a failed job's message knows that a job failed.
        Error::Job { message } => message.clone(),
        other => other.to_string(),
    };
    // An error that cannot be data, such as one of DataFusion's, is what it says.
    let json = serde_json::to_string(error)
        .or_else(|_| serde_json::to_string(&Error::Job { message: sentence.clone() }))
        .unwrap_or_default();
    let data: String = form_urlencoded::byte_serialize(json.as_bytes()).collect();
    // Words that look like data would be taken for it.
    format!("{}{MARKER}{data}{END}", readable(&sentence))
}

/// The error that a text carries, whatever is around it; `None` where there is none, or one of a later version.
pub(crate) fn decode(text: &str) -> Option<Error> {
    let (start, _) = text.rmatch_indices(MARKER).find(|(start, _)| data(&text[*start..]).is_some())?;
    let (json, _) = form_urlencoded::parse(data(&text[start..])?.as_bytes()).next()?;
    let mut error: Error = serde_json::from_str(&json).ok()?;
    if let Error::Unreachable { role, setting, .. } = &mut error {
        *role = server(*setting);
    }
    Some(error)
}

/// The name of the server whose address a field holds. It is not part of the data.
const fn server(field: ConfigField) -> &'static str {
    match field {
        ConfigField::MongodbUri => "MongoDB",
        ConfigField::KafkaBootstrap => "Kafka",
        ConfigField::Scheduler | ConfigField::ExecutorSchedulerHost => "the scheduler",
        _ => "a server",
    }
}

/// The text without the data of errors in it.
pub(crate) fn readable(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let kept = without_data(&text);
        // What is left may be data again, where one marker stood inside of another.
        if kept.len() == text.len() {
            return kept;
        }
        text = kept;
    }
}

fn without_data(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find(MARKER) {
        kept.push_str(&rest[..start]);
        rest = match data(&rest[start..]) {
            Some(data) => &rest[start + MARKER.len() + data.len() + END.len_utf8()..],
            None => {
                kept.push_str(MARKER);
                &rest[start + MARKER.len()..]
            }
        };
    }
    kept.push_str(rest);
    kept
}

/// The data behind the marker that a text starts with.
fn data(text: &str) -> Option<&str> {
    let (data, _) = text.strip_prefix(MARKER)?.split_once(END)?;
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b"%+*-._".contains(&b);
    data.bytes().all(alphabet).then_some(data)
}

/// An error of ours inside of DataFusion's. It stays what it is there, and becomes its [`encode`]d text wherever
/// somebody makes a text of it, be it by `Display` or by `Debug`.
pub(super) struct Carried(pub(super) Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Carried {}

#[cfg(test)]
mod tests {
    use datafusion::error::DataFusionError;
    use proptest::prelude::*;

    use super::*;

    /// Errors that travel whole, with `text` wherever there is text.
    fn whole(text: &str) -> Vec<Error> {
        let text = || text.to_owned();
        vec![
            Error::Unreachable {
                role: "MongoDB",
                address: text(),
                setting: ConfigField::MongodbUri,
                message: text(),
            },
            Error::Unreachable {
                role: "Kafka",
                address: text(),
                setting: ConfigField::KafkaBootstrap,
                message: text(),
            },
            Error::InvalidSetting { setting: ConfigField::KafkaProperties, message: text() },
            Error::InvalidSchema { collection: text(), field: text(), message: text() },
            Error::SchemaMismatch {
                collection: text(),
                id: text(),
                field: text(),
                expected: text(),
                found: text(),
            },
            Error::ChangedValue { collection: text(), id: text(), field: text(), message: text() },
            Error::SnapshotUnavailable { collection: text(), message: text() },
            Error::UnknownTopic { topic: text(), address: text() },
            Error::OffsetsLost {
                topic: text(),
                partition: -1,
                wanted: i64::MIN,
                earliest: 0,
                latest: i64::MAX,
            },
            Error::BadRecord { topic: text(), partition: 7, offset: 8, message: text() },
            Error::server_in_option(
                text(),
                &text(),
                &[ConfigField::KafkaBootstrap, ConfigField::KafkaProperties],
            ),
            Error::InvalidWrite { collection: text(), message: text() },
            Error::InvalidRow { collection: text(), row: text(), message: text() },
            Error::WriteRefused { collection: text(), message: text() },
            Error::UnknownConnection { name: text() },
            Error::PlanVersion { found: 1, supported: 2 },
            Error::PlanDecode { message: text() },
            Error::UnknownFunction { name: text(), process: text() },
            Error::FunctionFailed { name: text(), message: text() },
            Error::CacheFile { path: text(), setting: ConfigField::CacheFolder, message: text() },
            Error::ScratchFull { setting: ConfigField::ExecutorScratch, message: text() },
            Error::LostWork { message: text() },
            Error::NoExecutors { seconds: 60 },
            Error::Cancelled,
            Error::Job { message: text() },
        ]
    }

    /// Class and fields.
    fn fields(error: &Error) -> serde_json::Value {
        serde_json::to_value(error).unwrap()
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[\"'\\\\\n\r\t{}()\\[\\]: a\u{e9}\u{1f98a}]{0,24}",
            Just(MARKER.to_owned()),
            Just(encode(&Error::Cancelled)),
            Just(encode(&Error::Cancelled).replacen(MARKER, &format!("{MARKER}{MARKER}x]"), 1)),
        ]
    }

    proptest! {
        #[test]
        fn an_error_survives_any_number_of_debug_formats_and_any_words_around_it(
            text in text(),
            before in text(),
            formats in 0..4_usize,
        ) {
            for error in whole(&text) {
                let mut told = format!("{before}{}", encode(&error));
                for _ in 0..formats {
                    told = format!("Failed({told:?})\n");
                }
                let found = decode(&told).unwrap();
                prop_assert_eq!(fields(&found), fields(&error));
                prop_assert_eq!(found.to_string(), error.to_string());
            }
        }

        #[test]
        fn what_people_read_holds_no_data(text in text(), before in "[a-z ]{0,8}", after in "[a-z )\"]{0,8}") {
            for error in whole(&text) {
                let told = format!("{before}{}{after}", encode(&error));
                let sentence = readable(&told);
                prop_assert!(sentence.starts_with(&before) && sentence.ends_with(&after));
                prop_assert!(decode(&sentence).is_none(), "{}", sentence);
            }
        }

        #[test]
        fn a_text_without_data_stays_and_carries_nothing(text in any::<String>()) {
            prop_assert_eq!(readable(&text), text.as_str());
            prop_assert!(decode(&text).is_none());
        }
    }

    #[test]
    fn a_sentence_comes_first() {
        let told = encode(&Error::NoExecutors { seconds: 5 });
        assert!(told.starts_with("the job failed: the cluster has had no executor for 5 s"), "{told}");
        assert_eq!(readable(&told), Error::NoExecutors { seconds: 5 }.to_string());
        assert_eq!(readable(&encode(&Error::Job { message: "no".to_owned() })), "no");
    }

    #[test]
    fn an_error_that_is_no_data_arrives_in_words() {
        for error in [
            Error::MongoDb { operation: "find", collection: "c".into(), message: "gone".into() },
            Error::Query(DataFusionError::Plan("no table".to_owned())),
            Error::InvalidFunction { name: "f".into(), reason: "it is taken" },
        ] {
            let words = error.to_string();
            assert!(
                matches!(decode(&encode(&error)), Some(Error::Job { message }) if message == words),
                "{words}"
            );
        }
    }

    #[test]
    fn an_error_of_a_later_version_is_none_that_is_known() {
        let later: String = form_urlencoded::byte_serialize(br#"{"class":"unheard_of"}"#).collect();
        let told = format!("it failed{MARKER}{later}{END}");
        assert!(decode(&told).is_none());
        assert_eq!(readable(&told), "it failed");
    }
}
