//! Letters, as a stream.
//!
//! The stream has a thread of its own, which waits while nobody takes the letters, and ends at its next poll when the stream
//! is dropped.

use super::filter::Filter;
use super::letter::Letter;
use super::{ROLE, client};
use crate::error::{Error, Result};
use crate::kafka::admin::topic_names;
use crate::kafka::{KafkaConfig, Stretches, Watermarks, dead_letter_topic, scan, watermarks};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedMessage;
use std::ops::ControlFlow;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Letters that wait to be taken. Each may be as large as a record.
const IN_FLIGHT: usize = 8;

/// The first and the next offset of every partition of a topic; none where there is no such topic.
async fn ends_of(config: &KafkaConfig, letters: &str) -> Result<Option<Watermarks>> {
    if !topic_names(config, ROLE).await?.iter().any(|name| name == letters) {
        return Ok(None);
    }
    watermarks(config, letters).await.map(Some)
}

/// How many offsets stretches have.
fn length(stretches: &Stretches) -> u64 {
    stretches.values().filter_map(|(start, end)| u64::try_from(end.saturating_sub(*start)).ok()).sum()
}

/// The dead letters of a topic, one after the other: in order within a partition, in no order across them.
#[derive(Debug)]
pub struct Letters {
    topic: String,
    address: String,
    ends: Watermarks,
    wanted: u64,
    filter: Filter,
    receiver: mpsc::Receiver<Result<OwnedMessage, KafkaError>>,
    thread: Option<JoinHandle<()>>,
    read: u64,
}

impl Letters {
    /// Opens the letters of `topic` that `filter` lets through, from the first that is there to the last that is there now.
    /// `None` when there is no such topic: no record was given up yet, or this user may not see it.
    ///
    /// # Errors
    /// [`Error::KafkaUnreachable`], [`Error::KafkaRefused`] or [`Error::Topic`].
    pub async fn open(config: &KafkaConfig, topic: &str, filter: Filter) -> Result<Option<Self>> {
        let letters = dead_letter_topic(topic);
        let Some(ends) = ends_of(config, &letters).await? else { return Ok(None) };
        let stretches = filter.narrow(&ends);
        let wanted = length(&stretches);
        let client = client(config)?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let name = letters.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let read = scan(&client, &name, stretches, |message| {
                let gone = match message {
                    Some(message) => sender.blocking_send(Ok(message.detach())).is_err(),
                    None => sender.is_closed(),
                };
                if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if let Err(error) = read {
                // Nobody is left to tell where the receiver is gone.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(Some(Self {
            topic: letters,
            address: config.bootstrap.clone(),
            ends,
            wanted,
            filter,
            receiver,
            thread: Some(thread),
            read: 0,
        }))
    }

    /// How many letters of `topic` there are to read for `filter`, at most; `None` when there is no such topic.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn count(config: &KafkaConfig, topic: &str, filter: &Filter) -> Result<Option<u64>> {
        let ends = ends_of(config, &dead_letter_topic(topic)).await?;
        Ok(ends.map(|ends| length(&filter.narrow(&ends))))
    }

    /// The next letter; `None` after the last.
    ///
    /// # Errors
    /// [`Error::Topic`] when the topic refuses to be read, or yields nothing for 10 s.
    pub async fn next(&mut self) -> Result<Option<Letter>> {
        while let Some(message) = self.receiver.recv().await {
            let letter = Letter::of(message.map_err(|source| self.failed(source))?);
            self.read += 1;
            if self.filter.admits(&letter) {
                return Ok(Some(letter));
            }
        }
        // A thread that died must not look like the end.
        if let Some(thread) = self.thread.take()
            && thread.await.is_err()
        {
            return Err(Error::Stopped { task: "reading dead letters" });
        }
        Ok(None)
    }

    /// The name of the topic of letters.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The first and the next offset of every partition, as they were at the start.
    #[must_use]
    pub fn ends(&self) -> &Watermarks {
        &self.ends
    }

    /// How many letters were read, whether or not the filter let them through.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// How many letters there are to read, at most.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    fn failed(&self, source: KafkaError) -> Error {
        Error::Topic {
            topic: self.topic.clone(),
            action: "read",
            address: self.address.clone(),
            source: Box::new(source),
        }
    }
}
