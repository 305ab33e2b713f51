//! A producer's id belongs to one ledger, for ever.
//!
//! Two producers with one id would send different images under the same names, and the later ones would replace the earlier
//! ones in the count. So an id that someone chose is claimed in the topic `{images}.producers`, which keeps its records: of
//! the claims of an id the first one in the log counts, so that all agree whose it is. A ledger keeps the token of its claim. Ids
//! that are drawn at random need no claim.

use crate::error::{Error, Result};
use crate::kafka::{
    KafkaConfig, Message, Publisher, Stretches, TopicSpec, blocking, ensure_topics, reader, scan, watermarks,
};
use firesteel_proto::ProducerId;
use rdkafka::message::Message as _;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

/// A client that is assigned partitions must name a group; it neither joins it nor commits to it.
const GROUP: &str = "firesteel-producers";

/// What tells one claim from another: 128 random bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token(u128);

impl Token {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let token = u128::from_str_radix(text, 16).ok().map(Self);
        token
            .filter(|token| token.to_string() == text)
            .ok_or_else(|| "a token is 32 hexadecimal digits".to_owned())
    }
}

/// The name of the topic that says whose the ids of the producers of `topic` are.
#[must_use]
pub fn producers_topic(topic: &str) -> String {
    format!("{topic}.producers")
}

/// Claims ids, or finds that they are claimed with these tokens already.
///
/// # Errors
/// [`Error::ProducerClaimed`] for an id that another ledger has; what Kafka says otherwise.
pub(super) async fn claim(
    kafka: &KafkaConfig,
    role: &'static str,
    topic: &str,
    replication: i32,
    publisher: &Publisher,
    wanted: &BTreeMap<ProducerId, Token>,
) -> Result<()> {
    let topic = producers_topic(topic);
    let spec = TopicSpec::new(&topic).with_partitions(1).with_replication(replication).kept_for_ever();
    ensure_topics(kafka, role, &[spec]).await?;
    let mut claimed = read(kafka, role, &topic).await?;
    let unknown = wanted.iter().filter(|(producer, _)| !claimed.contains_key(*producer)).collect::<Vec<_>>();
    for (producer, token) in &unknown {
        let (key, value) = (producer.to_string(), token.to_string());
        let (key, payload) = (Some(key.as_bytes()), Some(value.as_bytes()));
        publisher.publish(Message { topic: &topic, key, payload, headers: None }).await?;
    }
    if !unknown.is_empty() {
        // Another producer may have been before this one.
        claimed = read(kafka, role, &topic).await?;
    }
    match wanted.iter().find(|(producer, token)| claimed.get(*producer) != Some(*token)) {
        None => Ok(()),
        Some((producer, _)) => {
            Err(Error::ProducerClaimed { producer: *producer, topic, address: kafka.bootstrap.clone() })
        }
    }
}

/// The first claim of each id.
async fn read(kafka: &KafkaConfig, role: &str, topic: &str) -> Result<BTreeMap<ProducerId, Token>> {
    let ends: Stretches =
        watermarks(kafka, topic).await?.into_iter().filter(|(_, (start, end))| start < end).collect();
    let (client, name) = (reader(kafka, role, GROUP)?, topic.to_owned());
    let read = blocking(move || {
        let mut claims = BTreeMap::new();
        scan(&client, &name, ends, |record| {
            let text = |bytes: Option<&[u8]>| std::str::from_utf8(bytes?).ok().map(str::to_owned);
            let producer = record.and_then(|record| text(record.key())?.parse::<ProducerId>().ok());
            let token = record.and_then(|record| text(record.payload())?.parse::<Token>().ok());
            if let (Some(producer), Some(token)) = (producer, token) {
                claims.entry(producer).or_insert(token);
            }
            ControlFlow::Continue(())
        })
        .map(|()| claims)
    });
    read.await?.map_err(|source| Error::Topic {
        topic: topic.to_owned(),
        action: "read",
        address: kafka.bootstrap.clone(),
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text() {
        let token = Token::random();
        assert_eq!(token.to_string().parse(), Ok(token));
        for wrong in ["", "x", "0", "+0000000000000000000000000000001", &"A".repeat(32)] {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
    }
}
