//! Publishing with an acknowledgement: a record counts as published when every in-sync replica has it.
//!
//! [`Publisher::enqueue`] hands a record to librdkafka in call order and returns a future of its acknowledgement,
//! so that a caller overlaps as many as it chooses to hold; [`Publisher::publish`] is both in one. librdkafka
//! resends within the delivery time-out (idempotently: no doubles, no reordering); after it the caller decides.
//! An idempotent client that met a fatal error is useless for ever, so it is replaced by a new one.

use super::deliveries::{Delivery, Producer};
use super::{KafkaConfig, client_error, config};
use crate::error::{Error, Result};
use firesteel_common::headers::MODEL;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A record to publish.
#[derive(Debug, Clone, Default)]
pub struct Message<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Decides the partition: equal keys stay together.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub payload: Option<&'a [u8]>,
    /// Headers.
    pub headers: Option<OwnedHeaders>,
}

/// The headers of an image that is for the model of this name.
pub(crate) fn for_model(name: &str) -> OwnedHeaders {
    OwnedHeaders::new().insert(Header { key: MODEL, value: Some(name) })
}

/// The position of an acknowledged record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// A handle on an idempotent producer. Clones share it.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    config: KafkaConfig,
    role: String,
    delivery_timeout: Duration,
    client: RwLock<Producer>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Makes the client; it connects on its own, and again after every outage.
    ///
    /// # Errors
    /// [`Error::KafkaProperty`] or [`Error::KafkaClient`] for a configuration that cannot be used.
    pub fn new(config: &KafkaConfig, role: &str, delivery_timeout: Duration) -> Result<Self> {
        let client = make(config, role, delivery_timeout)?;
        Ok(Self {
            shared: Arc::new(Shared {
                config: config.clone(),
                role: role.to_owned(),
                delivery_timeout,
                client: RwLock::new(client),
            }),
        })
    }

    /// Hands a record to the client, waiting only while the client's queue is full; the future that comes back
    /// is done when the record is acknowledged or has failed. A caller that stops waiting has sent nothing.
    ///
    /// # Errors
    /// [`Error::Publish`], here or in the future.
    pub async fn enqueue(
        &self,
        message: Message<'_>,
    ) -> Result<impl Future<Output = Result<Acknowledged>> + Send + use<>> {
        self.enqueue_to(None, message).await
    }

    /// As [`enqueue`](Self::enqueue), to a partition, where one is named, whatever the key is.
    ///
    /// # Errors
    /// [`Error::Publish`], here or in the future.
    pub async fn enqueue_to(
        &self,
        partition: Option<i32>,
        message: Message<'_>,
    ) -> Result<impl Future<Output = Result<Acknowledged>> + Send + use<>> {
        let topic = message.topic.to_owned();
        let delivery = loop {
            match self.try_enqueue(partition, message.clone()) {
                Ok(delivery) => break delivery,
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(source) => return Err(self.failed(&topic, source)),
            }
        };
        let publisher = self.clone();
        Ok(async move {
            match delivery.await {
                Ok(Ok(at)) => Ok(at),
                Ok(Err(source)) => Err(publisher.failed(&topic, source)),
                Err(_) => Err(publisher.failed(&topic, KafkaError::Canceled)),
            }
        })
    }

    /// Publishes one record and waits for its acknowledgement.
    ///
    /// # Errors
    /// [`Error::Publish`].
    pub async fn publish(&self, message: Message<'_>) -> Result<Acknowledged> {
        self.enqueue(message).await?.await
    }

    fn try_enqueue(&self, partition: Option<i32>, message: Message<'_>) -> Result<Delivery, KafkaError> {
        let Message { topic, key, payload, headers } = message;
        let client = self.shared.client.read().unwrap_or_else(PoisonError::into_inner);
        client.send(topic, partition, key, payload, headers)
    }

    /// Names the failure; replaces a client that can no longer be used.
    fn failed(&self, topic: &str, source: KafkaError) -> Error {
        let shared = &self.shared;
        let fatal = || shared.client.read().unwrap_or_else(PoisonError::into_inner).fatal_error();
        if let Some((code, reason)) = fatal() {
            let mut old = None;
            let mut client = shared.client.write().unwrap_or_else(PoisonError::into_inner);
            // Another task may have replaced it while this one waited for the lock.
            if client.fatal_error().is_some() {
                tracing::warn!(?code, reason, "Kafka client met a fatal error, replacing it");
                match make(&shared.config, &shared.role, shared.delivery_timeout) {
                    Ok(new) => old = Some(std::mem::replace(&mut *client, new)),
                    Err(error) => tracing::warn!(%error, "cannot replace the Kafka client"),
                }
            }
            drop(client);
            if let Some(old) = old {
                give_up(old);
            }
        }
        Error::Publish {
            address: shared.config.bootstrap.clone(),
            topic: topic.to_owned(),
            source: Box::new(source),
        }
    }
}

/// Drops a client on a thread of its own: its threads are waited for, which would hold up the tasks of this one.
fn give_up(client: Producer) {
    let thread = std::thread::Builder::new().name("old-producer".to_owned());
    if let Err(error) = thread.spawn(move || drop(client)) {
        tracing::debug!(%error, "no thread for an old Kafka client, which was dropped at once");
    }
}

fn make(config: &KafkaConfig, role: &str, delivery_timeout: Duration) -> Result<Producer> {
    let client = config::producer(config, role, delivery_timeout)?;
    Producer::new(&client).map_err(|source| client_error(config, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::watermarks;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    /// A new client's first request is refused while the second one is under way, and a broker takes any first number from a
    /// client that it does not know: librdkafka would take the first record for acknowledged by the second one.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_that_was_refused_is_not_acknowledged_by_the_next_one() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("images", 1, 1).expect("a topic");
        let refusal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS];
        cluster.request_errors(RDKafkaApiKey::Produce, &refusal);
        let mut config = KafkaConfig::new(cluster.bootstrap_servers());
        // A request for each record.
        config.properties.insert("batch.num.messages", "1");
        let publisher = Publisher::new(&config, "test", Duration::from_secs(30)).expect("a client");
        let mut sent = Vec::new();
        for value in ["first", "second"] {
            let payload = Some(value.as_bytes());
            let record = publisher.enqueue(Message { topic: "images", payload, ..Message::default() });
            sent.push(record.await.expect("room"));
        }
        for acknowledged in futures::future::join_all(sent).await {
            acknowledged.expect("acknowledged");
        }
        let log = watermarks(&config, "images").await.expect("the topic");
        assert_eq!(log.get(&0), Some(&(0, 2)), "both that were acknowledged are there");
    }
}
