//! Images become predictions: Kafka `images` → inference server → Kafka `predictions`.
//!
//! Every record is a task of its own; up to `max_in_flight` of them overlap on one gRPC stream, which is what lets
//! the server batch. A record is complete when its prediction, or its dead letter, is acknowledged by all in-sync
//! replicas. `validate` decides what the bytes alone decide; `read` decides what the server's answer means.

use super::Stats;
use super::dead_letter::Reason;
use super::retry::OutageLog;
use super::source::Record;
use super::start::{self, Consumer, Delivery};
use crate::error::{Error, Result};
use crate::inference::{Answer, Client, ClientError, ClientOptions};
use crate::kafka::{KafkaConfig, Message, REACHABLE_WITHIN, TopicSpec};
use firesteel_common::net::Dialer;
use firesteel_common::retry::RetryPolicy;
use firesteel_proto::{ImageRecord, Label, PredictionRecord, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(super) const ROLE: &str = "consume-images";

/// How the image consumer works.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// The inference server, `http://host:port`.
    pub inference_url: String,
    /// How the inference server is reached: by TLS or not, and with which token.
    pub dialer: Dialer,
    /// The consumer group.
    pub group: String,
    /// The topic of images.
    pub images_topic: String,
    /// The topic of predictions.
    pub predictions_topic: String,
    /// Partitions of topics that have to be created.
    pub partitions: i32,
    /// Replicas of topics that have to be created; -1 is the broker's default.
    pub replication: i32,
    /// Images received and not yet complete, at most.
    pub max_in_flight: usize,
    /// An image of more bytes is a dead letter.
    pub max_image_bytes: usize,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// The delays between attempts at a dependency that is down.
    pub retry: RetryPolicy,
    /// End with an error when a dependency does not answer within 10 s of the start, instead of waiting for it.
    pub fail_fast: bool,
    /// How long work under way may take to finish after the shutdown began.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kafka: KafkaConfig::default(),
            inference_url: "http://localhost:50060".to_owned(),
            dialer: Dialer::default(),
            group: "firesteel-images".to_owned(),
            images_topic: "images".to_owned(),
            predictions_topic: "predictions".to_owned(),
            partitions: TopicSpec::DEFAULT_PARTITIONS,
            replication: -1,
            max_in_flight: 256,
            max_image_bytes: 1024 * 1024,
            commit_interval: Duration::from_secs(1),
            retry: RetryPolicy::default(),
            fail_fast: false,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// Consumes until `shutdown`, then finishes what is under way within the grace, commits and leaves the group.
///
/// # Errors
/// A configuration that cannot work; with `fail_fast` also a dependency that does not answer within 10 s. Without
/// it, dependencies that are down are waited for.
pub async fn run(config: Config, stats: Arc<Stats>, shutdown: CancellationToken) -> Result<()> {
    let client = connect(&config).await?;
    let settings = start::Settings {
        kafka: &config.kafka,
        role: ROLE,
        group: &config.group,
        topic: &config.images_topic,
        output: Some(&config.predictions_topic),
        partitions: config.partitions,
        replication: config.replication,
        max_in_flight: config.max_in_flight,
        commit_interval: config.commit_interval,
        retry: &config.retry,
        fail_fast: config.fail_fast,
    };
    let Some(consumer) = Consumer::start(settings, Arc::clone(&stats), &shutdown).await? else {
        return Ok(());
    };
    let Consumer { mut source, delivery } = consumer;
    let inference = OutageLog::new(ROLE, "inference server", stats);
    let worker = Arc::new(Worker { config, client, inference, delivery });
    let mut tasks = JoinSet::new();
    let result = loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break Ok(()),
            Some(done) = tasks.join_next() => match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => break Err(error),
                Err(_) => break Err(Error::Stopped { task: "the handling of an image" }),
            },
            record = source.recv() => match record {
                Some(record) => {
                    tasks.spawn(Arc::clone(&worker).handle(record));
                }
                // Its thread ended; closing says why.
                None => break Ok(()),
            },
        }
    };
    source.drain();
    let finished = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(worker.config.shutdown_grace, finished).await.is_err() {
        worker.delivery.expedite.cancel();
        tasks.shutdown().await;
    }
    let closed = source.close().await;
    result.and(closed)
}

async fn connect(config: &Config) -> Result<Client> {
    let unreachable = |source: ClientError| {
        if !source.is_transient() {
            return Error::InferenceCall(source);
        }
        let (role, address) = (ROLE.to_owned(), config.inference_url.clone());
        Error::InferenceUnreachable { role, address, source: Box::new(source) }
    };
    let options = ClientOptions {
        in_flight: config.max_in_flight,
        dialer: config.dialer.clone(),
        ..ClientOptions::default()
    };
    if config.fail_fast {
        // A connection made only to see that the server is there.
        let options = ClientOptions { connect_timeout: REACHABLE_WITHIN, ..options.clone() };
        Client::connect_with(&config.inference_url, options).await.map_err(unreachable)?;
    }
    Client::new(&config.inference_url, options).map_err(unreachable)
}

struct Worker {
    config: Config,
    client: Client,
    inference: OutageLog,
    delivery: Delivery,
}

impl Worker {
    /// Handles one record. A record that is not complete when this returns is delivered again.
    async fn handle(self: Arc<Self>, record: Record) -> Result<()> {
        let payload = record.payload.as_deref().unwrap_or_default();
        let verdict = match validate(payload, self.config.max_image_bytes) {
            Ok(image) => {
                let answer = self
                    .delivery
                    .retry(&self.inference)
                    .run(|| async { Ok(self.client.classify(image.encoding, image.data.clone()).await?) });
                let Some(answer) = answer.await? else { return Ok(()) };
                read(&image, answer, Timestamp::now())
            }
            Err(reason) => Err(reason),
        };
        match verdict {
            Ok(prediction) => self.publish(record, &prediction).await,
            Err(reason) => self.delivery.dead_letter(record, &reason).await,
        }
    }

    async fn publish(&self, record: Record, prediction: &PredictionRecord) -> Result<()> {
        let (key, payload) = (prediction.id.producer.to_string(), prediction.encode());
        let Delivery { publisher, kafka, stats, .. } = &self.delivery;
        let published = self.delivery.retry(kafka).run(|| {
            publisher.publish(Message {
                topic: &self.config.predictions_topic,
                key: Some(key.as_bytes()),
                payload: Some(&payload),
                headers: None,
            })
        });
        if published.await?.is_some() {
            stats.succeeded.inc();
            stats.image_time.observe(record.polled.elapsed().as_secs_f64());
            record.in_flight.complete();
        }
        Ok(())
    }
}

/// Reads an image to classify, or the reason for a dead letter: the bytes alone decide.
fn validate(payload: &[u8], max_image_bytes: usize) -> Result<ImageRecord, Reason> {
    let image = ImageRecord::decode(payload)?;
    if image.data.len() > max_image_bytes {
        let message = format!("the image has {} bytes, {max_image_bytes} are allowed", image.data.len());
        return Err(Reason { class: "oversize-image", message });
    }
    Ok(image)
}

/// Turns the server's answer into a prediction within the contract, or the reason for a dead letter.
fn read(image: &ImageRecord, answer: Answer, inferred_at: Timestamp) -> Result<PredictionRecord, Reason> {
    match answer {
        Answer::Rejected { reason } => Err(Reason { class: "rejected-image", message: reason }),
        Answer::Classified { label, confidence, model } => {
            let predicted = Label::parse("predicted", &label)
                .map_err(|error| Reason { class: "model-contract", message: error.to_string() })?;
            if !(0.0..=1.0).contains(&confidence) || model.is_empty() {
                let message = format!("confidence {confidence} of model {model:?} breaks the contract");
                return Err(Reason { class: "model-contract", message });
            }
            Ok(PredictionRecord {
                id: image.id,
                label: image.label,
                predicted,
                confidence,
                model,
                produced_at: image.produced_at,
                inferred_at,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_proto::{Encoding, ImageId, ProducerId, Sequence};

    fn image(bytes: usize) -> ImageRecord {
        ImageRecord {
            id: ImageId { producer: ProducerId(1), sequence: Sequence(2) },
            produced_at: Timestamp(3),
            label: Label::Cat,
            encoding: Encoding::Jpeg,
            data: vec![0; bytes].into(),
        }
    }

    #[test]
    fn bytes_that_are_no_image_are_a_dead_letter_with_a_class() {
        let check = |class: &str, payload: &[u8]| {
            assert_eq!(validate(payload, 10).expect_err(class).class, class);
        };
        check("empty-record", b"");
        check("malformed", b"not protobuf");
        check("oversize-image", &image(11).encode());
        assert_eq!(validate(&image(10).encode(), 10), Ok(image(10)));
    }

    #[test]
    fn an_answer_is_a_prediction_only_within_the_contract() {
        let classified = |label: &str, confidence, model: &str| Answer::Classified {
            label: label.to_owned(),
            confidence,
            model: model.to_owned(),
        };
        let check = |answer, class: &str| {
            assert_eq!(read(&image(1), answer, Timestamp(4)).expect_err(class).class, class);
        };
        check(Answer::Rejected { reason: "no JPEG".into() }, "rejected-image");
        check(classified("unicorn", 0.5, "m"), "model-contract");
        check(classified("cat", f32::NAN, "m"), "model-contract");
        check(classified("cat", 0.5, ""), "model-contract");
        let prediction = read(&image(1), classified("dog", 0.5, "m"), Timestamp(4)).expect("fine");
        assert_eq!((prediction.label, prediction.predicted), (Label::Cat, Label::Dog));
        assert_eq!((prediction.produced_at, prediction.inferred_at), (Timestamp(3), Timestamp(4)));
    }
}
