//! Reads errors back out of the text in which the cluster reports a failed job.
//!
//! Only what a caller reacts to is read back. Of anything else the text is what is left.

use super::Error;
use crate::config::{KAFKA_BOOTSTRAP_SETTING, MONGODB_URI_SETTING};

impl Error {
    /// Reads an error back out of the text in which the cluster reports a failed job.
    pub(crate) fn from_job(message: &str) -> Self {
        // The scheduler's words for it, and nothing else.
        if message.trim_end().ends_with(" failed: Cancelled") {
            return Self::Cancelled;
        }
        parse_unreachable(message)
            .or_else(|| parse_snapshot(message))
            .or_else(|| parse_mismatch(message))
            .or_else(|| parse_function(message))
            .unwrap_or_else(|| Self::Job { message: crate::words::job(message) })
    }
}

/// The text between `prefix` and the first `suffix` after it, and what follows.
fn between<'a>(text: &'a str, prefix: &str, suffix: &str) -> Option<(&'a str, &'a str)> {
    let start = text.find(prefix)? + prefix.len();
    let end = start + text[start..].find(suffix)?;
    Some((&text[start..end], &text[end + suffix.len()..]))
}

/// The servers that a task reads from or writes to, and the settings that name them.
const SERVERS: [(&str, &str); 2] = [("MongoDB", MONGODB_URI_SETTING), ("Kafka", KAFKA_BOOTSTRAP_SETTING)];

fn parse_unreachable(text: &str) -> Option<Error> {
    SERVERS.into_iter().find_map(|(role, setting)| {
        let (address, rest) = between(text, &format!("cannot reach {role} at "), ": ")?;
        let (message, _) = rest.split_once(&format!("; check {setting}"))?;
        Some(Error::Unreachable { role, address: address.to_owned(), setting, message: message.to_owned() })
    })
}

fn parse_snapshot(text: &str) -> Option<Error> {
    let (collection, rest) = between(text, "the snapshot of collection `", "` is no longer available: ")?;
    let (_, rest) = rest.split_once("by default): `")?;
    let (message, _) = rest.rsplit_once('`')?;
    Some(Error::SnapshotUnavailable { collection: collection.to_owned(), message: message.to_owned() })
}

fn parse_mismatch(text: &str) -> Option<Error> {
    let (collection, rest) = between(text, "a document does not match the schema: collection `", "`, _id `")?;
    let (id, rest) = between(rest, "", "`, field `")?;
    let (field, rest) = between(rest, "", "`: expected `")?;
    let (expected, rest) = between(rest, "", "`, found `")?;
    let (found, _) = between(rest, "", "`")?;
    Some(Error::SchemaMismatch {
        collection: collection.to_owned(),
        id: id.to_owned(),
        field: field.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

fn parse_function(text: &str) -> Option<Error> {
    if let Some((before, rest)) = text.split_once(" has no function `") {
        let (name, _) = rest.split_once("`: every process")?;
        // The process stands at the start of the innermost error: after the bracket that names its variant.
        let process = before.rsplit_once("External(").map_or(before, |(_, process)| process);
        return Some(Error::UnknownFunction { name: name.to_owned(), process: process.to_owned() });
    }
    let (name, rest) = between(text, "function `", "` failed: `")?;
    let (message, _) = rest.rsplit_once('`')?;
    Some(Error::FunctionFailed { name: name.to_owned(), message: message.to_owned() })
}
