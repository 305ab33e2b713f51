//! One producer at work: images are read ahead, sent when they are due, and counted when they are acknowledged.

use super::ledger::{Ledger, Sequences};
use super::parts::Part;
use super::{Config, ROLE, Share, Stats, blocking, pace};
use crate::dataset::{self, Dataset, Image};
use crate::error::{Error, Result, TopicLimit, is_too_large};
use crate::kafka::{Acknowledged, Message, Publisher, for_model, largest_record};
use firesteel_proto::{ImageId, ImageRecord, ProducerId, Sequence, Timestamp};
use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// How many images a producer reads ahead of the one that it sends.
const READ_AHEAD: usize = 4;

/// What the producers of a run share.
pub(super) struct Run {
    pub(super) config: Config,
    pub(super) dataset: Arc<Dataset>,
    pub(super) ledger: Option<Ledger>,
    pub(super) publisher: Publisher,
    pub(super) stats: Arc<Stats>,
    pub(super) stop: CancellationToken,
    pub(super) start: Instant,
    /// What the topic takes, once an image was too large for it.
    pub(super) limit: OnceCell<TopicLimit>,
}

impl Run {
    /// Runs one producer, from the first image that is not `known` to be acknowledged to the last acknowledgement.
    pub(super) async fn produce(&self, part: Part, id: ProducerId, known: Sequences) -> Result<Share> {
        let resumed = known.count_below(part.images);
        self.stats.acknowledged.fetch_add(resumed, Ordering::Relaxed);
        let mut share = Share { producer: id, acknowledged: resumed, resumed, bytes: 0, skipped: 0 };
        let mut waiting = FuturesUnordered::new();
        let missing = (0..part.images).filter(|sequence| !known.contains(*sequence));
        let read = |sequence| async move { (sequence, self.read(part.first, sequence).await) };
        let mut images = pin!(stream::iter(missing).map(read).buffered(READ_AHEAD));
        // The next image, and whether there is one behind it.
        let (mut next, mut more, mut sent_here) = (None, true, 0);
        while more || next.is_some() {
            let due = self.start + pace::due(self.config.rate, sent_here);
            let room = waiting.len() < self.config.max_in_flight.max(1);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(sent) = waiting.next() => self.acknowledge(&mut share, sent).await?,
                read = images.next(), if more && next.is_none() => match read {
                    None => more = false,
                    Some((sequence, Ok(image))) => next = Some((sequence, image)),
                    Some((_, Err(error))) => self.skip(&mut share, error).await?,
                },
                () = pace::wait_until(due), if room && next.is_some() => {
                    let Some((sequence, image)) = next.take() else { continue };
                    let id = ImageId { producer: id, sequence: Sequence(sequence) };
                    // While the client's queue is full this waits, perhaps for as long as Kafka is down.
                    let sent = tokio::select! {
                        biased;
                        () = self.stop.cancelled() => break,
                        sent = self.send(image, id) => sent,
                    };
                    sent_here += 1;
                    match sent {
                        Ok(sent) => waiting.push(sent),
                        Err(error) => self.skip(&mut share, error).await?,
                    }
                }
            }
        }
        let grace = tokio::time::sleep(self.config.shutdown_grace);
        tokio::pin!(grace);
        // The grace counts from the shutdown, not from the last image.
        let over = async {
            self.stop.cancelled().await;
            grace.as_mut().reset(tokio::time::Instant::now() + self.config.shutdown_grace);
            grace.await;
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                sent = waiting.next() => match sent {
                    Some(sent) => self.acknowledge(&mut share, sent).await?,
                    None => return Ok(share),
                },
                () = &mut over => {
                    tracing::warn!(producer = %id, images = waiting.len(), "stopped before Kafka acknowledged all images");
                    return Ok(share);
                }
            }
        }
    }

    /// Reads the image number `sequence` of a producer whose first one is that of row `first`.
    async fn read(&self, first: usize, sequence: u64) -> Result<Image> {
        let dataset = Arc::clone(&self.dataset);
        let row = dataset::row_after(first, sequence, dataset.len());
        blocking(move || dataset.get(row)).await
    }

    /// Hands an image to the client, in the order of the calls; the future is done with the acknowledgement.
    async fn send(
        &self,
        image: Image,
        id: ImageId,
    ) -> Result<impl Future<Output = Result<(ImageId, usize)>> + Send + use<>> {
        let Image { name, label, encoding, data } = image;
        let size = data.len();
        let record = ImageRecord { id, produced_at: Timestamp::now(), label, encoding, data };
        let (key, payload) = (id.producer.to_string(), record.encode());
        let message = Message {
            topic: &self.config.topic,
            key: Some(key.as_bytes()),
            payload: Some(&payload),
            headers: self.config.model.as_deref().map(for_model),
        };
        let named = move |error| too_large(error, &name, size);
        let acknowledged = match self.publisher.enqueue(message).await {
            Ok(acknowledged) => acknowledged,
            Err(error) => return Err(named(error)),
        };
        self.stats.sent.fetch_add(1, Ordering::Relaxed);
        let bytes = payload.len();
        Ok(async move {
            let Acknowledged { .. } = acknowledged.await.map_err(named)?;
            Ok((id, bytes))
        })
    }

    async fn acknowledge(&self, share: &mut Share, sent: Result<(ImageId, usize)>) -> Result<()> {
        let (id, bytes) = match sent {
            Ok(sent) => sent,
            Err(error) => return self.skip(share, error).await,
        };
        if let Some(ledger) = &self.ledger {
            ledger.append(id)?;
        }
        share.acknowledged += 1;
        share.bytes += bytes as u64;
        self.stats.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.stats.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Passes over an image that is to blame for `error` itself, where that is allowed.
    async fn skip(&self, share: &mut Share, mut error: Error) -> Result<()> {
        if let Error::ImageTooLarge { topic, limit, .. } = &mut error {
            // Who may write images may not always ask.
            let ask =
                async { TopicLimit(largest_record(&self.config.kafka, ROLE, topic).await.ok().flatten()) };
            *limit = *self.limit.get_or_init(|| ask).await;
        }
        let is_of_one_image = match &error {
            Error::Dataset(error) => error.is_of_one_image(),
            Error::ImageTooLarge { .. } => true,
            _ => false,
        };
        if !(is_of_one_image && self.config.skip_unreadable) {
            return Err(error);
        }
        tracing::warn!(producer = %share.producer, error = crate::error::chain(&error), "an image is passed over");
        share.skipped += 1;
        self.stats.skipped.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Names the image that Kafka does not take because of its size.
fn too_large(error: Error, name: &str, bytes: usize) -> Error {
    match error {
        Error::Publish { address, topic, source } if is_too_large(&source) => Error::ImageTooLarge {
            name: name.to_owned(),
            bytes,
            topic,
            limit: TopicLimit(None),
            address,
            source,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Options;
    use crate::kafka::{KafkaConfig, watermarks};
    use crate::producer::{Summary, run};
    use rdkafka::mocking::MockCluster;
    use std::path::Path;

    /// Sends a folder once, by two producers.
    async fn send(kafka: &KafkaConfig, folder: &Path, skip: bool, spoil: impl FnOnce()) -> Result<Summary> {
        let dataset = Dataset::open(&Options { path: Some(folder.to_owned()), ..Options::default() })?;
        spoil();
        let config = Config {
            kafka: kafka.clone(),
            producers: 2,
            images: None,
            dataset: Some(Arc::new(dataset)),
            skip_unreadable: skip,
            ..Config::default()
        };
        assert_eq!(config.total(), 7);
        run(config, Arc::default(), CancellationToken::new()).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_folder_is_sent_once_and_a_file_that_goes_ends_it_or_is_passed_over() {
        let cluster = MockCluster::new(1).expect("a cluster");
        for topic in ["images", "images.dead-letter"] {
            cluster.create_topic(topic, 1, 1).expect("a topic");
        }
        let kafka = KafkaConfig::new(cluster.bootstrap_servers());
        let folder = tempfile::tempdir().expect("a folder");
        let put = || {
            for number in 0..7_u8 {
                let path = folder.path().join(format!("{number}.jpg"));
                std::fs::write(path, [0xff, 0xd8, 0xff, number]).expect("written");
            }
        };
        let spoil = || std::fs::remove_file(folder.path().join("5.jpg")).expect("removed");
        put();
        let summary = send(&kafka, folder.path(), false, || {}).await.expect("sent");
        let counts =
            |summary: &Summary| summary.producers.iter().map(|share| share.acknowledged).collect::<Vec<_>>();
        assert_eq!((counts(&summary), summary.skipped()), (vec![3, 4], 0));
        assert_eq!(watermarks(&kafka, "images").await.expect("the topic")[&0], (0, 7));

        let error = send(&kafka, folder.path(), false, spoil).await.expect_err("it is gone").to_string();
        assert!(error.contains("5.jpg") && error.contains("not there any more"), "{error}");
        put();
        let summary = send(&kafka, folder.path(), true, spoil).await.expect("sent");
        assert_eq!((counts(&summary), summary.skipped()), (vec![3, 3], 1));
    }
}
