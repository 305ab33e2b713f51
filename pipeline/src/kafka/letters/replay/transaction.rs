//! Transactions of records and their marks, by a producer that fences all others of its id.
//!
//! librdkafka's calls block, so each runs on a blocking thread.

use super::transactional_id;
use crate::error::{Error, ErrorKind, Result, kafka_kind};
use crate::kafka::letters::{ROLE, marks_topic};
use crate::kafka::{KafkaConfig, REACHABLE_WITHIN, blocking, client_error, producer};
use firesteel_common::kafka::QuietContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use std::time::{Duration, Instant};

/// How long a record may take until it is acknowledged.
const DELIVERY: Duration = Duration::from_secs(30);
/// How long the end of a transaction is asked for. Whether it is committed is up to the cluster from then on.
const COMMIT: Duration = Duration::from_secs(60);
/// After this the cluster ends a transaction that nobody goes on with, and whoever waits behind it goes on.
const TRANSACTION: &str = "60000";

/// A record and its mark.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: OwnedHeaders,
    /// Key and value of the mark.
    pub(super) mark: (String, String),
}

impl Outgoing {
    /// How much memory it takes, about.
    pub(super) fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Written {
    /// All of it is there.
    Committed,
    /// Nothing is: a record, or several that were sent together, would never be taken.
    Refused { reason: String },
    /// Nothing is: the client gave all up, for one of them that it does not name.
    GivenUp { reason: String },
}

/// How often a record that is alone in its transaction is sent before it counts as refused.
const ALONE: usize = 5;

/// The producer of a replay.
pub(super) struct Transactions {
    client: FutureProducer<QuietContext>,
    letters: String,
    marks: String,
    address: String,
}

impl Transactions {
    /// Ends what an earlier producer of these letters left open, and fences it.
    pub(super) async fn open(config: &KafkaConfig, letters: &str) -> Result<Self> {
        let mut settings = producer(config, ROLE, DELIVERY)?;
        settings
            .set("transactional.id", transactional_id(letters))
            .set("transaction.timeout.ms", TRANSACTION);
        let client =
            settings.create_with_context(QuietContext).map_err(|source| client_error(config, source))?;
        let transactions = Self {
            client,
            letters: letters.to_owned(),
            marks: marks_topic(letters),
            address: config.bootstrap.clone(),
        };
        transactions.until_settled(|client| client.init_transactions(REACHABLE_WITHIN)).await?;
        Ok(transactions)
    }

    /// Writes records and their marks, all or nothing.
    pub(super) async fn write(&self, batch: impl Iterator<Item = &Outgoing> + Clone) -> Result<Written> {
        // A record that is alone was given up for none beside it: what is left of the transaction before passes.
        let is_alone = batch.clone().nth(1).is_none();
        for _ in 1..ALONE {
            match self.try_to_write(batch.clone()).await? {
                Written::GivenUp { .. } if is_alone => {}
                written => return Ok(written),
            }
        }
        self.try_to_write(batch).await
    }

    async fn try_to_write(&self, batch: impl Iterator<Item = &Outgoing>) -> Result<Written> {
        self.ask(|client| client.begin_transaction()).await?.map_err(|source| self.failed(source))?;
        let Err(source) = self.send(batch).await else {
            self.until_settled(|client| client.commit_transaction(REACHABLE_WITHIN)).await?;
            return Ok(Written::Committed);
        };
        let error = self.failed(source.clone());
        let aborted = self.until_settled(|client| client.abort_transaction(REACHABLE_WITHIN)).await;
        let reason = source.to_string();
        let written = match kafka_kind(&source) {
            ErrorKind::Permanent => Written::Refused { reason },
            _ if is_given_up(&source) && !matches!(error, Error::ReplayTakenOver { .. }) => {
                Written::GivenUp { reason }
            }
            _ => return Err(error),
        };
        aborted.map(|()| written)
    }

    /// Sends all and waits for their acknowledgements. Where one is refused, the client gives up those that still wait, and may
    /// say of all of them no more than that: of several failures the refusal is the reason, and that they were given up the
    /// last one.
    async fn send(&self, batch: impl Iterator<Item = &Outgoing>) -> Result<(), KafkaError> {
        let (mut sent, mut failed) = (Vec::new(), None);
        'all: for outgoing in batch {
            let mut record =
                FutureRecord::<[u8], [u8]>::to(&outgoing.topic).headers(outgoing.headers.clone());
            (record.key, record.payload) = (outgoing.key.as_deref(), outgoing.value.as_deref());
            let (key, value) = (outgoing.mark.0.as_bytes(), outgoing.mark.1.as_bytes());
            let mark = FutureRecord::<[u8], [u8]>::to(&self.marks).key(key).payload(value);
            for record in [record, mark] {
                match self.client.send_result(record) {
                    Ok(delivery) => sent.push(delivery),
                    Err((source, _)) => {
                        failed = Some(source);
                        break 'all;
                    }
                }
            }
        }
        for delivery in sent {
            let source = match delivery.await {
                Ok(Ok(_)) => continue,
                Ok(Err((source, _))) => source,
                Err(_) => KafkaError::Canceled,
            };
            let replaces =
                |known: &KafkaError| kafka_kind(&source) == ErrorKind::Permanent || is_given_up(known);
            if failed.as_ref().is_none_or(replaces) {
                failed = Some(source);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks again while the cluster has not decided, for a while.
    async fn until_settled(
        &self,
        request: impl Fn(&FutureProducer<QuietContext>) -> Result<(), KafkaError> + Copy + Send + 'static,
    ) -> Result<()> {
        let deadline = Instant::now() + COMMIT;
        loop {
            match self.ask(request).await? {
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
                ended => return ended.map_err(|source| self.failed(source)),
            }
        }
    }

    async fn ask(
        &self,
        request: impl FnOnce(&FutureProducer<QuietContext>) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<Result<(), KafkaError>> {
        let client = self.client.clone();
        blocking(move || request(&client)).await
    }

    /// Names the failure. A producer that was fenced learns of it by whatever it does next.
    fn failed(&self, source: KafkaError) -> Error {
        let is_fenced = |code| {
            use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
            matches!(code, Fenced | InvalidProducerEpoch | ProducerFenced)
        };
        let fatal = self.client.client().fatal_error().map(|(code, _)| code);
        if source.rdkafka_error_code().into_iter().chain(fatal).any(is_fenced) {
            return Error::ReplayTakenOver { letters: self.letters.clone() };
        }
        Error::Topic {
            topic: self.letters.clone(),
            action: "replay",
            address: self.address.clone(),
            source: Box::new(source),
        }
    }
}

/// Whether the client gave a record up, or did not take it, because another one of its transaction has failed.
fn is_given_up(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{PurgeInflight, PurgeQueue, State};
    matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue | State))
}
