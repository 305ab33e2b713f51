//! Which model an image is for: what its record's header says goes before the consumer's setting, and where neither says
//! anything the server chooses.
//!
//! A model that the setting names and the server does not have is misuse, which ends the consumer at its start; later the server
//! is being replaced, and is waited for as if it were down. A model that a record names and the server does not have is asked for a
//! few times, because a server that is being replaced may get it; then it is that record's fault: a dead letter of class
//! `unknown-model`.

use super::dead_letter::Reason;
use super::retry::Retry;
use super::start::first_contact;
use crate::error::{Error, Result};
use crate::inference::Client;
use crate::inference::spec::answers_to;
use firesteel_common::ConfigField;
use firesteel_common::headers::{MODEL, last};
use firesteel_proto::PredictionRecord;
use rdkafka::message::OwnedHeaders;

/// The model that an image is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its name; empty: the server chooses.
    pub(super) model: String,
    /// Whether the record says so, and not the setting.
    pub(super) by_record: bool,
}

impl Asked {
    /// The model that a record with these headers is for, where the setting names `default`.
    pub(super) fn of(headers: Option<&OwnedHeaders>, default: Option<&str>) -> Result<Self, Reason> {
        let value = headers.and_then(|headers| last(headers, MODEL)).unwrap_or_default();
        match std::str::from_utf8(value) {
            Ok("") => Ok(Self { model: default.unwrap_or_default().to_owned(), by_record: false }),
            Ok(name) if name.len() <= PredictionRecord::MAX_MODEL => {
                Ok(Self { model: name.to_owned(), by_record: true })
            }
            Ok(name) => Err(unknown(&format!("{} bytes are no name of a model", name.len()))),
            Err(_) => Err(unknown("its value is no UTF-8")),
        }
    }
}

/// The reason why a record cannot be answered by the model that it names.
pub(super) fn unknown(problem: &str) -> Reason {
    Reason::new("unknown-model", format!("header {MODEL}: {problem}"))
}

/// Sees that the server has the model `asked`. `false` when the shutdown came first.
///
/// # Errors
/// [`Error::Setting`], which lists the models that there are.
pub(super) async fn check(client: &Client, asked: &str, retry: Retry<'_>, fail_fast: bool) -> Result<bool> {
    let ask = || async { client.models().await.map_err(Error::from) };
    let Some(models) = first_contact(retry, fail_fast, ask).await? else { return Ok(false) };
    match problem(asked, &models) {
        Some(problem) => {
            let reason = format!("inference server {} {problem}", client.url());
            Err(Error::Setting { field: ConfigField::ConsumerModel, reason })
        }
        None => Ok(true),
    }
}

/// Why a server with these models cannot be asked for `asked`.
fn problem(asked: &str, models: &[String]) -> Option<String> {
    if models.iter().any(|model| answers_to(model, asked)) {
        return None;
    }
    Some(match models {
        [] => format!("cannot be asked for a model, such as {asked:?}: it is of an older version"),
        models => format!("has no model {asked:?}: it has {}", models.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::Header;

    fn headers(values: &[&[u8]]) -> OwnedHeaders {
        let other = Header { key: "trace", value: Some(&b"x"[..]) };
        let all = values.iter().map(|value| Header { key: MODEL, value: Some(*value) });
        all.chain([other]).fold(OwnedHeaders::new(), OwnedHeaders::insert)
    }

    #[test]
    fn a_records_header_goes_before_the_setting() {
        let asked = |values: &[&[u8]], default| {
            Asked::of(Some(&headers(values)), default).map(|asked| (asked.model, asked.by_record))
        };
        let named = |name: &str, by_record| Ok((name.to_owned(), by_record));
        assert_eq!(asked(&[b"new"], Some("old")), named("new", true));
        assert_eq!(asked(&[b"new"], None), named("new", true));
        assert_eq!(asked(&[b"older", b"new"], None), named("new", true), "the last one counts");
        assert_eq!(asked(&[b""], Some("old")), named("old", false));
        assert_eq!(asked(&[], Some("old")), named("old", false));
        assert_eq!(asked(&[], None), named("", false));
        assert_eq!(Asked::of(None, Some("old")), Ok(Asked { model: "old".to_owned(), by_record: false }));
    }

    #[test]
    fn what_cannot_be_a_name_is_a_dead_letter_of_its_own_class() {
        for value in [&b"\xff"[..], &[b'm'; PredictionRecord::MAX_MODEL + 1]] {
            let reason = Asked::of(Some(&headers(&[value])), None).expect_err("no name");
            assert_eq!(reason.class, "unknown-model");
            assert!(reason.message.starts_with("header firesteel-model: "), "{}", reason.message);
        }
        assert!(Asked::of(Some(&headers(&[&[b'm'; PredictionRecord::MAX_MODEL]])), None).is_ok());
    }

    #[test]
    fn a_model_that_there_is_not_is_told_with_those_that_there_are() {
        let models = ["a@1/f32", "b/int8"].map(str::to_owned);
        assert_eq!(problem("a", &models), None);
        assert_eq!(problem("b/int8", &models), None);
        assert_eq!(problem("c", &models).as_deref(), Some("has no model \"c\": it has a@1/f32, b/int8"));
        assert!(problem("a", &[]).is_some_and(|problem| problem.contains("older version")));
    }
}
