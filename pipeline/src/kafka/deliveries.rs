//! A producer of librdkafka with the thread that hands on its delivery reports.
//!
//! The binding's own thread looks ten times a second, and towards the end of each look it spins, because the client counts in
//! whole milliseconds: nearly a hundredth of a core for each client, also where nothing is ever published. This one sleeps
//! while no record is under way, and looks seldom while one is; a report is handed on at once in any case.

use super::publisher::Acknowledged;
use firesteel_common::kafka::QuietContext;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a look takes while records are under way; bounds how late an end is noticed then.
const LOOK: Duration = Duration::from_millis(500);
/// How often events are handled while no record is under way: what the client has to log.
const IDLE: Duration = Duration::from_secs(1);
/// Long enough to handle all that has gathered.
const DRAIN: Duration = Duration::from_millis(1);

type Reply = oneshot::Sender<Result<Acknowledged, KafkaError>>;
/// What becomes of a record; an error without a sender when the client is given up.
pub(super) type Delivery = oneshot::Receiver<Result<Acknowledged, KafkaError>>;

/// An idempotent producer. Dropping it gives up what is under way.
pub(super) struct Producer {
    client: Arc<BaseProducer<Deliveries>>,
    under_way: Arc<UnderWay>,
    thread: Option<JoinHandle<()>>,
}

/// The records that have no report yet.
#[derive(Debug, Default)]
struct UnderWay {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: u64,
    stopped: bool,
    /// Whether the thread sleeps.
    sleeps: bool,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) {
        let mut state = self.lock();
        state.records += 1;
        if state.sleeps {
            self.changed.notify_one();
        }
    }

    fn remove(&self) {
        self.lock().records -= 1;
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// How long the thread is to look, after it has slept while nothing was under way; `None` at the end.
    fn next_look(&self) -> Option<Duration> {
        let mut state = self.lock();
        if state.records == 0 && !state.stopped {
            state.sleeps = true;
            state = self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner).0;
            state.sleeps = false;
        }
        match *state {
            State { stopped: true, .. } => None,
            State { records: 0, .. } => Some(DRAIN),
            State { .. } => Some(LOOK),
        }
    }
}

/// Hands reports on to those who wait for them.
struct Deliveries {
    under_way: Arc<UnderWay>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Reply>;

    fn delivery(&self, result: &DeliveryResult<'_>, reply: Box<Reply>) {
        self.under_way.remove();
        let said = match result {
            Ok(record) => Ok(Acknowledged { partition: record.partition(), offset: record.offset() }),
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever has stopped waiting is not told.
        let _ = reply.send(said);
    }
}

impl Producer {
    /// Makes the client and its thread.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let under_way = Arc::new(UnderWay::default());
        let context = Deliveries { under_way: Arc::clone(&under_way) };
        let client: Arc<BaseProducer<Deliveries>> = Arc::new(config.create_with_context(context)?);
        let (looking, known) = (Arc::clone(&client), Arc::clone(&under_way));
        let thread = std::thread::Builder::new().name("deliveries".to_owned()).spawn(move || {
            while let Some(look) = known.next_look() {
                looking.poll(look);
            }
        });
        let thread =
            thread.map_err(|error| KafkaError::ClientCreation(format!("no thread for it: {error}")))?;
        Ok(Self { client, under_way, thread: Some(thread) })
    }

    /// Hands a record to the client, which copies it.
    ///
    /// # Errors
    /// [`KafkaError::MessageProduction`], `QueueFull` for one that is worth another try.
    pub(super) fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
    ) -> Result<Delivery, KafkaError> {
        let (reply, delivery) = oneshot::channel();
        let mut record = BaseRecord::<[u8], [u8], Box<Reply>>::with_opaque_to(topic, Box::new(reply));
        record.partition = partition;
        record.key = key;
        record.payload = payload;
        record.headers = headers;
        // First, because the report may come before the call returns.
        self.under_way.add();
        self.client.send(record).map_err(|(error, _)| {
            self.under_way.remove();
            error
        })?;
        Ok(delivery)
    }

    /// The error after which the client is useless for ever, if there was one.
    pub(super) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.client.client().fatal_error()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.under_way.stop();
        // The client ends with its last handle, which is not to be the thread's: a process may end right after this.
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::warn!("the thread of a Kafka producer has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::mocking::MockCluster;
    use std::time::Instant;

    #[tokio::test(flavor = "multi_thread")]
    async fn each_record_has_its_report_and_an_idle_client_ends_at_once() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("images", 1, 1).expect("a topic");
        let config: ClientConfig =
            [("bootstrap.servers".to_owned(), cluster.bootstrap_servers())].into_iter().collect();
        let producer = Producer::new(&config).expect("a client");
        let sent: Vec<Delivery> = (0..100_u8)
            .map(|value| producer.send("images", None, None, Some(&[value]), None).expect("room"))
            .collect();
        for (offset, delivery) in (0..).zip(sent) {
            let acknowledged = delivery.await.expect("a report").expect("taken");
            assert_eq!(acknowledged, Acknowledged { partition: 0, offset });
        }
        assert_eq!(producer.under_way.lock().records, 0);
        let too_large = vec![0; 2 << 20];
        let refused = producer.send("images", None, None, Some(&too_large), None);
        assert!(refused.is_err(), "more than the client takes");
        assert_eq!(producer.under_way.lock().records, 0);
        // Nobody knows how far the thread is: it may have to finish a look.
        let began = Instant::now();
        drop(producer);
        assert!(began.elapsed() < LOOK * 20);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_is_told_when_the_client_is_given_up() {
        let nobody: ClientConfig =
            [("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned())].into_iter().collect();
        let producer = Producer::new(&nobody).expect("a client");
        let delivery = producer.send("images", None, None, Some(b"lost"), None).expect("room");
        drop(producer);
        assert!(!matches!(delivery.await, Ok(Ok(_))));
    }
}
