//! Images become predictions: Kafka `images` → inference server → Kafka `predictions`.
//!
//! Every record is a task of its own; up to `max_in_flight` of them overlap on one gRPC stream, which is what lets
//! the server batch. A record is complete when its prediction, or its dead letter, is acknowledged by all in-sync
//! replicas. `validate` decides what the bytes alone decide; `read` decides what the server's answer means, and gives the true
//! label, where there is one, the name that it has in the model that answered.

use super::Stats;
use super::asked::{self, Asked};
use super::dead_letter::Reason;
use super::labels::{Unknown, canonical};
use super::retry::{OutageLog, Retry};
use super::source::{Load, Next, Record};
use super::start::{self, Consumer, Delivery, MAX_IN_FLIGHT_BYTES, OnDataLoss};
use crate::error::{Error, ErrorKind, Result, chain};
use crate::inference::{Answer, Client, ClientError, ClientOptions, Limits, Question, Vocabulary};
use crate::kafka::{KafkaConfig, Message, REACHABLE_WITHIN, TopicSpec};
use bytes::Bytes;
use firesteel_common::net::Dialer;
use firesteel_common::retry::RetryPolicy;
use firesteel_proto::{ImageRecord, Label, PredictionRecord, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(super) const ROLE: &str = "consume-images";

/// How often an image is sent together with others before it is sent alone, where a failure can only be its own.
const TOGETHER: u32 = 3;

/// How the image consumer works.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach Kafka.
    pub kafka: KafkaConfig,
    /// The inference server, `http://host:port`.
    pub inference_url: String,
    /// The model that it is asked for, by any of the names that a request may use; none: the server chooses. A record's header
    /// `firesteel-model` goes before it.
    pub model: Option<String>,
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
    /// Bytes of records received and not yet complete, at most; one record always fits.
    pub max_in_flight_bytes: usize,
    /// How often an image that has the inference server fail, while others are answered, or whose header names a model that there is
    /// not, is tried before it is a dead letter.
    pub max_attempts: u32,
    /// How long the inference server may take for one image while it answers others.
    pub deadline: Duration,
    /// What to do when images were removed from Kafka before they were read.
    pub on_data_loss: OnDataLoss,
    /// An image of more bytes is a dead letter. 16 MiB, as for the inference server; Kafka's own limit, 1 MiB a record unless
    /// broker and topic say another, comes first.
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
            model: None,
            dialer: Dialer::default(),
            group: "firesteel-images".to_owned(),
            images_topic: "images".to_owned(),
            predictions_topic: "predictions".to_owned(),
            partitions: TopicSpec::DEFAULT_PARTITIONS,
            replication: -1,
            max_in_flight: 256,
            max_in_flight_bytes: MAX_IN_FLIGHT_BYTES,
            max_attempts: 10,
            deadline: Duration::from_secs(60),
            on_data_loss: OnDataLoss::Stop,
            max_image_bytes: Limits::DEFAULT.max_bytes,
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
    let inference = OutageLog::new(ROLE, "inference server", Arc::clone(&stats));
    let model = OutageLog::new(ROLE, "model", Arc::clone(&stats));
    if let Some(model) = &config.model {
        let retry = Retry { policy: &config.retry, outage: &inference, stats: &stats, shutdown: &shutdown };
        if !asked::check(&client, model, retry, config.fail_fast).await? {
            return Ok(());
        }
    }
    let settings = start::Settings {
        kafka: &config.kafka,
        role: ROLE,
        group: &config.group,
        topic: &config.images_topic,
        image_bytes: Some(config.max_image_bytes),
        output: Some(&config.predictions_topic),
        partitions: config.partitions,
        replication: config.replication,
        most: Load { records: config.max_in_flight, bytes: config.max_in_flight_bytes },
        commit_interval: config.commit_interval,
        fetch_at_least: 1,
        on_data_loss: config.on_data_loss,
        retry: &config.retry,
        fail_fast: config.fail_fast,
    };
    let Some(consumer) = Consumer::start(settings, stats, &shutdown).await? else {
        return Ok(());
    };
    let Consumer { mut source, delivery } = consumer;
    let worker = Arc::new(Worker { config, client, inference, model, delivery, unknown: Unknown::default() });
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
            next = source.next() => match next {
                Some(Next::Record(record)) => {
                    tasks.spawn(Arc::clone(&worker).handle(record));
                }
                Some(Next::Loss(loss)) => tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break Ok(()),
                    told = worker.delivery.lose(&source, loss) => if let Err(error) = told {
                        break Err(error);
                    },
                },
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
        deadline: config.deadline,
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
    /// Whether the server has the model of the setting. Apart from the server's own outages, or images for other models, which it
    /// answers meanwhile, would end what lasts.
    model: OutageLog,
    delivery: Delivery,
    unknown: Unknown,
}

/// A server's answer, and what it tells of the model that gave it.
type Said = (Answer, Option<Arc<Vocabulary>>);

/// A prediction, and whether its true label is one that the model cannot give.
#[derive(Debug, PartialEq)]
struct Verdict {
    prediction: PredictionRecord,
    unknown_label: bool,
}

impl Worker {
    /// Handles one record. A record that is not complete when this returns is delivered again.
    async fn handle(self: Arc<Self>, record: Record) -> Result<()> {
        let payload = record.payload.clone().unwrap_or_default();
        let valid = validate(payload, self.config.max_image_bytes)
            .and_then(|image| Ok((image, Asked::of(record.headers.as_ref(), self.config.model.as_deref())?)));
        let verdict = match valid {
            Ok((image, asked)) => {
                let Some(said) = self.ask(&image, &asked).await? else { return Ok(()) };
                said.and_then(|(answer, vocabulary)| {
                    read(&image, answer, vocabulary.as_deref(), Timestamp::now())
                })
            }
            Err(reason) => Err(reason),
        };
        match verdict {
            Ok(verdict) => self.publish(record, &verdict).await,
            Err(reason) => self.delivery.dead_letter(record, &reason).await,
        }
    }

    /// Asks the inference server until it answers, or until this image alone has failed often enough. `None` when the shutdown
    /// came first. A server that is not there is waited for, however long.
    async fn ask(&self, image: &ImageRecord, asked: &Asked) -> Result<Option<Result<Said, Reason>>> {
        let tries = Tries::default();
        let retry = self.delivery.retry(&self.inference);
        retry.run(|| self.try_to_ask(image, asked, &tries)).await
    }

    async fn try_to_ask(
        &self,
        image: &ImageRecord,
        asked: &Asked,
        tries: &Tries,
    ) -> Result<Result<Said, Reason>> {
        let mut backoff = self.config.retry.backoff();
        // An image that is delivered again gets the same model again, so that its document is the same.
        let (key, model) = (image.id.to_string().into_bytes().into(), asked.model.clone());
        let question = Question { model, key, ..Question::of(image.encoding, image.data.clone()) };
        loop {
            let answer = match tries.in_company.load(Ordering::Relaxed) {
                TOGETHER.. => self.client.ask_alone(question.clone()).await,
                _ => self.client.ask(question.clone()).await,
            };
            let said = match answer {
                Ok(answer) => self.explain(image, answer).await,
                Err(error) => Err(error),
            };
            let error = match said {
                Ok(said) => {
                    if !asked.by_record && !asked.model.is_empty() {
                        self.model.succeeded();
                    }
                    return Ok(Ok(said));
                }
                Err(error) => error,
            };
            match &error {
                ClientError::Protocol { .. } => {
                    return Ok(Err(Reason::new("unreadable-answer", error.to_string())));
                }
                ClientError::UnknownModel { problem, .. } if asked.by_record => {
                    // While servers are replaced, one may answer that does not have it yet, or any more.
                    let attempts = tries.unknown.fetch_add(1, Ordering::Relaxed) + 1;
                    if attempts >= self.config.max_attempts {
                        return Ok(Err(Reason { attempts: Some(attempts), ..asked::unknown(problem) }));
                    }
                }
                ClientError::UnknownModel { .. } => {
                    // The server is there: only the model is waited for.
                    self.inference.succeeded();
                    self.model.failed(&chain(&error));
                }
                ClientError::Image { .. } => {
                    let attempts = tries.alone.fetch_add(1, Ordering::Relaxed) + 1;
                    if attempts >= self.config.max_attempts {
                        let message =
                            format!("given up after {attempts} attempts, the last one: {}", chain(&error));
                        let reason = Reason { attempts: Some(attempts), ..Reason::new("gave-up", message) };
                        return Ok(Err(reason));
                    }
                }
                error => {
                    // Any of those that were under way may be why.
                    if error.may_be_an_image() {
                        tries.in_company.fetch_add(1, Ordering::Relaxed);
                    }
                    if !matches!(error, ClientError::Overdue { .. }) {
                        return Err(error.clone().into());
                    }
                }
            }
            self.delivery.stats.retries.inc();
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Asks what the true label of an image means to the model that has answered.
    async fn explain(&self, image: &ImageRecord, answer: Answer) -> Result<Said, ClientError> {
        let vocabulary = match &answer {
            Answer::Classified { model, .. } if image.label.is_some() => {
                self.client.vocabulary(model).await?
            }
            _ => None,
        };
        Ok((answer, vocabulary))
    }

    async fn publish(&self, record: Record, Verdict { prediction, unknown_label }: &Verdict) -> Result<()> {
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
        match published.await {
            Ok(Some(_)) => {
                stats.succeeded.inc();
                if let Some(label) = prediction.label.as_ref().filter(|_| *unknown_label) {
                    self.unknown.count(label, &prediction.model, &stats.unknown_labels);
                }
                stats.image_time.observe(record.polled.elapsed().as_secs_f64());
                record.in_flight.complete();
                Ok(())
            }
            Ok(None) => Ok(()),
            // Such as a topic that takes no record of this size: the next record may be smaller.
            Err(error) if error.kind() == ErrorKind::Permanent => {
                self.delivery.dead_letter(record, &Reason::new("refused-by-topic", chain(&error))).await
            }
            Err(error) => Err(error),
        }
    }
}

/// How often an image was tried in vain.
#[derive(Debug, Default)]
struct Tries {
    /// Together with others, any of which may have been why.
    in_company: AtomicU32,
    /// Alone, while the server answered for another image.
    alone: AtomicU32,
    /// With a model that the server does not have.
    unknown: AtomicU32,
}

/// Reads an image to classify, or the reason for a dead letter: the bytes alone decide.
fn validate(payload: Bytes, max_image_bytes: usize) -> Result<ImageRecord, Reason> {
    let image = ImageRecord::decode(payload)?;
    if image.data.len() > max_image_bytes {
        let message = format!("the image has {} bytes, {max_image_bytes} are allowed", image.data.len());
        return Err(Reason::new("oversize-image", message));
    }
    Ok(image)
}

/// Turns the server's answer into a prediction within the contract, or the reason for a dead letter.
fn read(
    image: &ImageRecord,
    answer: Answer,
    vocabulary: Option<&Vocabulary>,
    inferred_at: Timestamp,
) -> Result<Verdict, Reason> {
    match answer {
        Answer::Rejected { reason } => Err(Reason::new("rejected-image", reason)),
        Answer::Classified { label, confidence, model } => {
            let predicted = Label::parse("predicted", &label)
                .map_err(|error| Reason::new("model-contract", error.to_string()))?;
            let is_name = (1..=PredictionRecord::MAX_MODEL).contains(&model.len());
            if !(0.0..=1.0).contains(&confidence) || !is_name {
                let model = model.chars().take(64).collect::<String>();
                let message = format!("confidence {confidence} of model {model:?} breaks the contract");
                return Err(Reason::new("model-contract", message));
            }
            let label = image.label.as_ref().map(|label| canonical(label, vocabulary));
            let unknown_label = label.as_ref().is_some_and(|(_, known)| !known);
            let prediction = PredictionRecord {
                id: image.id,
                label: label.map(|(label, _)| label),
                predicted,
                confidence,
                model,
                produced_at: image.produced_at,
                inferred_at,
            };
            Ok(Verdict { prediction, unknown_label })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_proto::{Encoding, ImageId, ProducerId, Sequence};

    fn label(name: &str) -> Label {
        Label::parse("label", name).expect("a label")
    }

    fn image(bytes: usize) -> ImageRecord {
        ImageRecord {
            id: ImageId { producer: ProducerId(1), sequence: Sequence(2) },
            produced_at: Timestamp(3),
            label: Some(label("cat")),
            encoding: Encoding::Jpeg,
            data: vec![0; bytes].into(),
        }
    }

    #[test]
    fn bytes_that_are_no_image_are_a_dead_letter_with_a_class() {
        let check = |class: &str, payload: &[u8]| {
            let payload = Bytes::copy_from_slice(payload);
            assert_eq!(validate(payload, 10).expect_err(class).class, class);
        };
        check("empty-record", b"");
        check("malformed", b"not protobuf");
        check("oversize-image", &image(11).encode());
        assert_eq!(validate(image(10).encode().into(), 10), Ok(image(10)));
    }

    #[test]
    fn an_answer_is_a_prediction_only_within_the_contract() {
        let classified = |label: &str, confidence, model: &str| Answer::Classified {
            label: label.to_owned(),
            confidence,
            model: model.to_owned(),
        };
        let check = |answer, class: &str| {
            assert_eq!(read(&image(1), answer, None, Timestamp(4)).expect_err(class).class, class);
        };
        check(Answer::Rejected { reason: "no JPEG".into() }, "rejected-image");
        check(classified("", 0.5, "m"), "model-contract");
        check(classified("no\nlabel", 0.5, "m"), "model-contract");
        check(classified("cat", f32::NAN, "m"), "model-contract");
        check(classified("cat", 0.5, ""), "model-contract");
        check(classified("cat", 0.5, &"m".repeat(257)), "model-contract");
        let verdict = read(&image(1), classified("dog", 0.5, "m"), None, Timestamp(4)).expect("fine");
        let Verdict { prediction, unknown_label } = verdict;
        assert_eq!((&prediction.label, &prediction.predicted), (&Some(label("cat")), &label("dog")));
        assert_eq!((prediction.produced_at, prediction.inferred_at), (Timestamp(3), Timestamp(4)));
        assert!(!unknown_label, "nobody said which classes the model has");
    }

    #[test]
    fn a_true_label_has_the_name_that_it_has_in_the_model() {
        let vocabulary =
            Vocabulary::new(["airplane", "cat"].map(label), [(label("plane"), label("airplane"))].into());
        let read = |truth: Option<&str>| {
            let image = ImageRecord { label: truth.map(label), ..image(1) };
            let said = Answer::Classified { label: "airplane".into(), confidence: 0.5, model: "m".into() };
            let verdict = super::read(&image, said, Some(&vocabulary), Timestamp(4)).expect("fine");
            let Verdict { prediction, unknown_label } = verdict;
            (prediction.label.as_ref().map(ToString::to_string), prediction.correct(), unknown_label)
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(read(Some("plane")), (named("airplane"), Some(true), false));
        assert_eq!(read(Some("airplane")), (named("airplane"), Some(true), false));
        assert_eq!(read(Some("cat")), (named("cat"), Some(false), false));
        assert_eq!(read(Some("unicorn")), (named("unicorn"), Some(false), true));
        assert_eq!(read(None), (None, None, false));
    }
}
