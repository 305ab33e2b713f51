//! A Kafka cluster behind a name of the registry: the only place that knows its brokers and credentials.
//!
//! Planning asks through one client for each isolation level, which is made on first use and kept. A scan partition
//! has a consumer of its own, which belongs to no group that anyone else is in and commits nothing.

pub(crate) mod log;
pub(crate) mod offsets;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use firesteel_common::kafka::{self, KafkaConfig, QuietContext, ask_until_settled, is_settling};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use self::log::Logs;
use super::config::Isolation;
use super::error::{is_transient, is_unknown_topic};
use crate::connectors::named;
use crate::connectors::per_query::PerQuery;
use crate::{Config, ConfigField, Error, Result};

/// The connections of a process.
pub(crate) type Connections = named::Connections<Connection>;

/// Properties that decide what a scan reads, besides those that every client reserves.
const RESERVED: [&str; 4] =
    ["group.instance.id", "enable.partition.eof", "isolation.level", "allow.auto.create.topics"];

/// One Kafka cluster.
pub(crate) struct Connection {
    settings: KafkaConfig,
    timeout: Duration,
    /// Clients that ask and do not read.
    planners: Mutex<HashMap<Isolation, Arc<Client>>>,
    /// The offsets of topics when recent queries began, so that all scans of a query read up to the same end.
    pub(crate) ends: PerQuery<(String, Isolation), Arc<Logs>>,
    /// Names the consumers of this process apart.
    consumers: AtomicU64,
}

/// A client of librdkafka.
pub(crate) type Client = BaseConsumer<Context>;

impl Connection {
    /// The connection of this configuration. Nothing connects yet.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            settings: config.kafka.clone(),
            timeout: config.connect_timeout,
            planners: Mutex::default(),
            ends: PerQuery::default(),
            consumers: AtomicU64::new(0),
        }
    }

    /// The brokers, as the setting names them.
    pub(crate) fn address(&self) -> &str {
        &self.settings.bootstrap
    }

    /// How long a request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Checks that a broker answers. The error names the address and the setting.
    pub(crate) async fn check(&self) -> Result<()> {
        let client = self.planner(Isolation::ReadCommitted)?;
        let timeout = self.timeout;
        let ask = move || match until_settled(&client, timeout, |left| client.fetch_metadata(None, left)) {
            Ok(_) => {
                client.context().forget();
                Ok(())
            }
            Err(error) => Err((why(&client, &error), client.context().is_denied())),
        };
        blocking(ask).await?.map_err(|(message, denied)| self.failed(&message, denied))
    }

    /// The client that asks for planning. Offsets that it names are those of `isolation`.
    pub(crate) fn planner(&self, isolation: Isolation) -> Result<Arc<Client>> {
        let mut planners = self.planners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = planners.get(&isolation) {
            listen(client, Duration::from_millis(1));
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.make(&self.client(isolation)?)?);
        planners.insert(isolation, Arc::clone(&client));
        Ok(client)
    }

    /// A new consumer, not yet assigned anything. An offset that is gone is an error of its, or the first that is
    /// there.
    pub(crate) fn consumer(&self, isolation: Isolation, fail_on_data_loss: bool) -> Result<Client> {
        let mut config = self.client(isolation)?;
        let number = self.consumers.fetch_add(1, Ordering::Relaxed);
        config
            // A client that is assigned partitions must name a group; it neither joins it nor commits to it.
            .set("group.id", format!("firesteel-scan-{}-{number}", std::process::id()))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // A query may take its time with each batch; there is no group that would miss this member.
            .set("max.poll.interval.ms", "86400000")
            .set("auto.offset.reset", if fail_on_data_loss { "error" } else { "earliest" });
        self.make(&config)
    }

    fn client(&self, isolation: Isolation) -> Result<ClientConfig> {
        let defaults = [
            ("allow.auto.create.topics", "false"),
            ("isolation.level", isolation.name()),
            // What is fetched ahead is memory too, of every task.
            ("queued.max.messages.kbytes", "16384"),
            // A full queue is looked at again soon: the default waits a second for each 16 MiB.
            ("fetch.queue.backoff.ms", "10"),
            // How long a broker holds back the answer that there is no more.
            ("fetch.wait.max.ms", "50"),
        ];
        self.settings.client("firesteel-engine", &defaults, &RESERVED).map_err(|reserved| {
            let reason = reserved.danger.unwrap_or("it is decided by the table that is read");
            let message = format!("property {}: {reason}", reserved.name);
            Error::InvalidSetting { setting: ConfigField::KafkaProperties, message }
        })
    }

    fn make(&self, config: &ClientConfig) -> Result<Client> {
        config.create_with_context(Context::default()).map_err(|error| {
            let message = self.settings.properties.redact(&self.settings.client_error(error).to_string());
            Error::InvalidSetting { setting: ConfigField::KafkaProperties, message }
        })
    }

    /// An error for brokers that do not answer; `denied`: since they refuse this login, or their certificate is not
    /// trusted, which trying again does not mend.
    pub(crate) fn failed(&self, message: &str, denied: bool) -> Error {
        if !denied {
            return self.unreachable(message);
        }
        let message =
            format!("Kafka at {}: {}", self.settings.bootstrap, self.settings.properties.redact(message));
        Error::InvalidSetting { setting: ConfigField::KafkaProperties, message }
    }

    /// An error for brokers that do not answer.
    pub(crate) fn unreachable(&self, message: &str) -> Error {
        Error::Unreachable {
            role: "Kafka",
            address: self.settings.bootstrap.clone(),
            setting: ConfigField::KafkaBootstrap,
            message: self.settings.properties.redact(message),
        }
    }

    /// An error of `operation` on `topic`. A transient one is `Unreachable`, which the scheduler tries again.
    pub(crate) fn classify(&self, operation: &'static str, topic: &str, error: &KafkaError) -> Error {
        if is_unknown_topic(error) {
            return Error::UnknownTopic { topic: topic.to_owned(), address: self.address().to_owned() };
        }
        let message = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        if is_transient(error) {
            return self.unreachable(&message);
        }
        Error::Kafka { operation, topic: topic.to_owned(), message }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Serves the events of a client that nobody polls, which would pile up.
fn listen(client: &Client, patience: Duration) {
    let until = Instant::now() + patience;
    // Whether a poll came upon anything cannot be told from what it returns.
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        client.poll(left);
    }
}

/// Asks again while the cluster settles and does not refuse this client, until the time is up.
pub(crate) fn until_settled<T>(
    client: &Client,
    timeout: Duration,
    request: impl FnMut(Duration) -> KafkaResult<T>,
) -> KafkaResult<T> {
    let is_passing = |error: &KafkaError| {
        is_settling(error) && {
            // A broker that refuses a login hangs up, too.
            listen(client, Duration::from_millis(50));
            !client.context().is_denied()
        }
    };
    ask_until_settled(timeout, is_passing, request)
}

/// Why a request failed: the error, and what the client met on the way.
pub(crate) fn why(client: &Client, error: &KafkaError) -> String {
    listen(client, Duration::from_millis(50));
    client.context().why(error)
}

/// Keeps librdkafka's own lines at debug level, and the last reason that it gave for an error that only says "timed
/// out".
#[derive(Debug, Default)]
pub(crate) struct Context {
    last: Mutex<Option<(KafkaError, String)>>,
}

impl Context {
    /// The reason that the client gave last, or the error itself.
    pub(crate) fn why(&self, error: &KafkaError) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let words = || error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        last.as_ref().map_or_else(words, |(_, reason)| reason.clone())
    }

    /// Whether the cluster refused this client's login when it was last heard of, or its certificate was not trusted.
    pub(crate) fn is_denied(&self) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let code = last.as_ref().and_then(|(error, _)| error.rdkafka_error_code());
        code.is_some_and(|code| kafka::is_denied(code) || code == RDKafkaErrorCode::SSL)
    }

    /// Once a request succeeds, what was wrong before no longer is. Until then the client does not repeat its reason.
    pub(crate) fn forget(&self) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down follows the reason why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((error.clone(), reason.to_owned()));
        }
        QuietContext.error(error, reason);
    }
}

impl ConsumerContext for Context {}

/// Runs a request of librdkafka, which blocks.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    kafka::blocking(work).await.map_err(|_| Error::Embedded { message: "it is shutting down".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_away_is_tried_again_and_a_wrong_password_is_not() {
        use RDKafkaErrorCode as Code;
        let connection = Connection::new(&Config::default());
        let kind = |code| connection.classify("fetch", "images", &KafkaError::MessageConsumption(code));
        for code in
            [Code::BrokerTransportFailure, Code::AllBrokersDown, Code::OperationTimedOut, Code::Resolve]
        {
            assert!(matches!(kind(code), Error::Unreachable { .. }), "{code}");
        }
        for code in [Code::Authentication, Code::TopicAuthorizationFailed, Code::BadMessage] {
            assert!(matches!(kind(code), Error::Kafka { .. }), "{code}");
        }
        assert!(
            matches!(kind(Code::UnknownTopicOrPartition), Error::UnknownTopic { topic, .. } if topic == "images")
        );
    }

    fn with(name: &str, value: &str) -> Connection {
        let mut config = Config::default();
        config.kafka.properties.insert(name, value);
        Connection::new(&config)
    }

    #[test]
    fn what_a_scan_rests_on_cannot_be_set_and_the_rest_can() {
        for name in RESERVED.into_iter().chain(kafka::RESERVED) {
            let error = with(name, "hunter2").planner(Isolation::ReadCommitted).err().expect(name);
            let told = format!("{error} {error:?}");
            assert!(told.contains(name) && told.contains(ConfigField::KafkaProperties.name()), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        let config = with("fetch.wait.max.ms", "7").client(Isolation::ReadUncommitted).unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("isolation.level"), Some("read_uncommitted"));
    }

    #[test]
    fn a_bad_property_is_named_without_its_value() {
        let error =
            with("security.protocol", "hunter2").consumer(Isolation::ReadCommitted, true).err().unwrap();
        let told = format!("{error} {error:?}");
        assert!(told.contains("security.protocol") && !told.contains("hunter2"), "{told}");
    }
}
