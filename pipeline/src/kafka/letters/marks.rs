//! Marks of letters that were replayed: the compacted topic `{letters}.replayed`.
//!
//! The key of a mark is the place of the letter, `partition:offset`; its value says when the letter was written, to which
//! topic its record went, and for which time. A mark is written in the transaction of its record, so there is a mark exactly
//! where the record is. A topic of letters that is deleted and made anew counts its offsets from 0 again: a mark is of a
//! letter only where the time is, too.

use super::ROLE;
use super::client;
use super::letter::{Letter, Place};
use crate::error::{Error, Result};
use crate::kafka::admin::topic_names;
use crate::kafka::{KafkaConfig, blocking, watermarks};
use crate::kafka::{Stretches, scan};
use rdkafka::message::Message;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// The topic of the marks for the letters in `letters`.
#[must_use]
pub fn marks_topic(letters: &str) -> String {
    format!("{letters}.replayed")
}

/// The letters that were replayed, each with its time: some dozen bytes a letter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(HashMap<Place, Option<i64>>);

impl Marks {
    /// All marks that are committed. Where there is no topic of them, nothing was replayed.
    ///
    /// # Errors
    /// [`Error::KafkaUnreachable`], [`Error::KafkaRefused`] or [`Error::Topic`].
    pub(super) async fn read(config: &KafkaConfig, letters: &str) -> Result<Self> {
        let topic = marks_topic(letters);
        if !topic_names(config, ROLE).await?.contains(&topic) {
            return Ok(Self::default());
        }
        let ends: Stretches =
            watermarks(config, &topic).await?.into_iter().filter(|(_, (low, end))| low < end).collect();
        let (client, name) = (client(config)?, topic.clone());
        let read = blocking(move || {
            let mut marks = Self::default();
            scan(&client, &name, ends, |message| {
                if let Some(message) = message {
                    marks.apply(message.key(), message.payload());
                }
                ControlFlow::Continue(())
            })
            .map(|()| marks)
        });
        read.await?.map_err(|source| Error::Topic {
            topic,
            action: "read",
            address: config.bootstrap.clone(),
            source: Box::new(source),
        })
    }

    fn apply(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let place = key.and_then(|key| std::str::from_utf8(key).ok()).and_then(|key| key.parse().ok());
        let Some(place) = place else { return };
        match value {
            Some(value) => {
                let value: Value = serde_json::from_slice(value).unwrap_or_default();
                self.0.insert(place, value["timestamp"].as_i64());
            }
            // Somebody took the mark away, so that the letter may be replayed again.
            None => drop(self.0.remove(&place)),
        }
    }

    /// Whether a letter was replayed.
    pub(super) fn has(&self, letter: &Letter) -> bool {
        self.0.get(&letter.at()) == Some(&letter.timestamp().map(|time| time.0))
    }
}

/// The value of the mark of a letter whose record goes to topic `to` for the `attempt`-th time.
pub(super) fn mark(letter: &Letter, to: &str, attempt: u32) -> String {
    json!({ "timestamp": letter.timestamp().map(|time| time.0), "to": to, "attempt": attempt }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::letters::letter::tests::letter;

    #[test]
    fn a_mark_is_of_the_letter_that_was_there_then() {
        let found = letter(Place { partition: 1, offset: 4 }, &[], &[]);
        let mut marks = Marks::default();
        assert!(!marks.has(&found));
        marks.apply(Some(b"1:4"), Some(mark(&found, "images", 1).as_bytes()));
        assert!(marks.has(&found));
        assert!(!marks.has(&letter(Place { partition: 4, offset: 1 }, &[], &[])));
        // Another letter at the same place, of a topic that was made anew.
        marks.apply(Some(b"1:4"), Some(br#"{"timestamp":999}"#));
        assert!(!marks.has(&found));
    }

    #[test]
    fn what_is_no_mark_marks_nothing_and_a_mark_can_be_taken_away() {
        let found = letter(Place { partition: 1, offset: 4 }, &[], &[]);
        let mut marks = Marks::default();
        for key in [None, Some(&b"\xff"[..]), Some(b"1"), Some(b"")] {
            marks.apply(key, Some(b"{}"));
        }
        marks.apply(Some(b"1:4"), Some(b"\xff no JSON"));
        assert!(!marks.has(&found));
        marks.apply(Some(b"1:4"), Some(mark(&found, "images", 1).as_bytes()));
        marks.apply(Some(b"1:4"), None);
        assert_eq!(marks, Marks::default());
    }
}
