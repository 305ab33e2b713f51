//! The core of a Kafka client: how a cluster is reached, the settings that all clients share, and the questions that
//! both the pipeline and the engine ask.
//!
//! Any librdkafka property may be passed through (SASL, TLS, buffer sizes), except those that a component's guarantees
//! rest on. Properties may hold secrets: they are never printed, neither by `Debug` nor in errors. What an error means
//! for a consumer or a query is decided there.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use tokio::task::JoinError;

use crate::properties;
use crate::secret::{self, KafkaProperties};

/// Properties that no user sets: each has a setting of its own, or decides which records are read.
pub const RESERVED: [&str; 8] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.protocol",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "partition.assignment.strategy",
];

/// The property that names a file or folder of trusted certificates.
pub const CA_LOCATION: &str = "ssl.ca.location";

/// How to reach a Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Comma-separated `host:port`.
    pub bootstrap: String,
    /// Further librdkafka properties, such as `security.protocol` or `sasl.password`.
    pub properties: KafkaProperties,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self::new("localhost:9092")
    }
}

/// A property that a user set and that is [`RESERVED`], or reserved by the component that makes the client, or loads code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Kafka property {name} is reserved")]
pub struct ReservedProperty {
    /// Its name.
    pub name: String,
    /// Why nobody may set it, whatever the component.
    pub danger: Option<&'static str>,
}

/// Why a client could not be made. No value of a property is repeated.
#[derive(Debug)]
pub enum ClientError {
    /// librdkafka does not take a property.
    Property {
        /// Its name.
        name: String,
        /// What librdkafka says of it.
        reason: String,
    },
    /// Anything else.
    Other(KafkaError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Property { name, reason } => write!(f, "property {name}: {reason}"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

impl KafkaConfig {
    /// A configuration without further properties.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into(), properties: KafkaProperties::default() }
    }

    /// The configuration of a client: what all clients share, then `defaults` of the component, then the user's
    /// properties. The component reserves properties with `also_reserved`.
    ///
    /// # Errors
    /// When the user set a reserved property.
    pub fn client(
        &self,
        client_id: &str,
        defaults: &[(&str, &str)],
        also_reserved: &[&str],
    ) -> Result<ClientConfig, ReservedProperty> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", client_id)
            // A broker that comes back is seen soon.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true");
        for (name, value) in defaults {
            client.set(*name, *value);
        }
        for (name, value) in self.properties.iter() {
            if RESERVED.contains(&name) || also_reserved.contains(&name) {
                return Err(ReservedProperty { name: name.to_owned(), danger: None });
            }
            if let Some(danger) = properties::danger(name, value) {
                return Err(ReservedProperty { name: name.to_owned(), danger: Some(danger) });
            }
            client.set(name, value);
        }
        if self.wants_system_certificates() {
            // The OpenSSL that is compiled in knows no folder of the system: librdkafka looks at the usual places.
            client.set(CA_LOCATION, "probe");
        }
        // librdkafka's own lines are kept at debug level by the client's context, see `log`.
        client.set_log_level(RDKafkaLogLevel::Warning);
        Ok(client)
    }

    /// Whether the brokers' certificates are checked against those of the system: TLS is asked for, and no property
    /// says which certificates are trusted.
    #[must_use]
    pub fn wants_system_certificates(&self) -> bool {
        let tls = self.properties.get("security.protocol").is_some_and(|protocol| {
            protocol.eq_ignore_ascii_case("ssl") || protocol.eq_ignore_ascii_case("sasl_ssl")
        });
        tls && [CA_LOCATION, "ssl.ca.pem"].iter().all(|name| self.properties.get(name).is_none())
    }

    /// Turns a failure to make a client into an error that repeats no value of a property.
    #[must_use]
    pub fn client_error(&self, error: KafkaError) -> ClientError {
        match error {
            // librdkafka's description quotes the value that it did not like.
            KafkaError::ClientConfig(_, reason, name, value) => {
                ClientError::Property { name, reason: secret::without(&reason, &value) }
            }
            KafkaError::ClientCreation(reason) => {
                ClientError::Other(KafkaError::ClientCreation(self.properties.redact(&reason)))
            }
            other => ClientError::Other(other),
        }
    }
}

/// Sends librdkafka's own lines to `tracing`, at debug level: during an outage they repeat without end, and the
/// component that notices the outage reports it itself, once.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for QuietContext {}

/// As [`QuietContext`], and keeps what the cluster, or the check of its certificate, had against this client: a request
/// that waits for a login in vain says no more than that time is up.
#[derive(Debug, Clone, Default)]
pub struct AskingContext {
    refusal: Arc<Mutex<Option<Refusal>>>,
}

/// What a cluster had against a client, with its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error of the client.
    pub error: KafkaError,
    /// What the client says of it. A value of a property may be in it.
    pub reason: String,
}

impl AskingContext {
    /// The last refusal. The client has to be polled before: it tells what it met in no other way.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for AskingContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code().is_some_and(|code| is_denied(code) || code == Code::SSL) {
            let refusal = Refusal { error: error.clone(), reason: reason.to_owned() };
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        }
        QuietContext.error(error, reason);
    }
}

impl ConsumerContext for AskingContext {}

/// Runs a request of librdkafka, which blocks, on a thread that may.
///
/// # Errors
/// When the runtime shuts down.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// Kafka's code of an error.
#[must_use]
pub fn code(error: &KafkaError) -> Option<Code> {
    match error {
        // `rdkafka_error_code` leaves this one out.
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Whether the cluster is still choosing who leads a partition, as it does for a moment after a topic was created or a
/// broker was lost; or the broker that was asked went away meanwhile; or the client has not yet been told of a partition that
/// the cluster has, or has put another broker in the place of the one that it asked, as it does when it learns who the brokers are.
#[must_use]
pub fn is_settling(error: &KafkaError) -> bool {
    matches!(
        code(error),
        Some(
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::UnknownPartition
                | Code::DestroyBroker
                | Code::BrokerTransportFailure
        )
    )
}

/// Whether the cluster refuses what these credentials ask for.
#[must_use]
pub fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
    )
}

/// How long to wait before a cluster that is choosing leaders is asked again.
const SETTLING: Duration = Duration::from_millis(50);

/// Asks again while `is_passing` says so of the error, until `patience` has passed, of which `ask` gets what is left. Blocks.
///
/// # Errors
/// The last error of `ask`.
pub fn ask_until_settled<T>(
    patience: Duration,
    is_passing: impl Fn(&KafkaError) -> bool,
    mut ask: impl FnMut(Duration) -> KafkaResult<T>,
) -> KafkaResult<T> {
    let deadline = Instant::now() + patience;
    loop {
        match ask(deadline.saturating_duration_since(Instant::now())) {
            Err(error) if is_passing(&error) && Instant::now() + SETTLING < deadline => {
                std::thread::sleep(SETTLING);
            }
            answer => return answer,
        }
    }
}

/// The partitions of a topic. Blocks.
///
/// # Errors
/// `UnknownTopicOrPartition` for a topic that does not exist; what the broker says of one that cannot be read.
pub fn partitions<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), timeout)?;
    let unknown = || KafkaError::MetadataFetch(Code::UnknownTopicOrPartition);
    let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or_else(unknown)?;
    if let Some(error) = found.error() {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    let partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    if partitions.is_empty() { Err(unknown()) } else { Ok(partitions) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> KafkaConfig {
        let mut config = KafkaConfig::new("localhost:1");
        config.properties.insert(name, value);
        config
    }

    #[test]
    fn a_secret_is_never_printed() {
        let text = format!("{:?}", with("sasl.password", "hunter2"));
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn reserved_properties_cannot_be_set_and_defaults_can_be_overridden() {
        for name in RESERVED.iter().chain(&["acks"]) {
            let refused = with(name, "0").client("test", &[], &["acks"]).expect_err(name);
            assert_eq!(refused, ReservedProperty { name: (*name).to_owned(), danger: None });
        }
        let wait = |config: KafkaConfig| {
            let client = config.client("test", &[("fetch.wait.max.ms", "50")], &[]).expect("allowed");
            client.get("fetch.wait.max.ms").map(str::to_owned)
        };
        assert_eq!(wait(KafkaConfig::default()).as_deref(), Some("50"));
        assert_eq!(wait(with("fetch.wait.max.ms", "7")).as_deref(), Some("7"));
    }

    #[test]
    fn the_systems_certificates_are_looked_for_where_tls_is_asked_for_and_no_other_is_named() {
        let location = |properties: &[(&str, &str)]| {
            let mut config = KafkaConfig::default();
            for (name, value) in properties {
                config.properties.insert(*name, *value);
            }
            config.client("test", &[], &[]).expect("allowed").get(CA_LOCATION).map(str::to_owned)
        };
        assert_eq!(location(&[]), None);
        assert_eq!(location(&[("security.protocol", "sasl_plaintext")]), None);
        for protocol in ["SSL", "sasl_ssl"] {
            assert_eq!(location(&[("security.protocol", protocol)]).as_deref(), Some("probe"), "{protocol}");
        }
        let own = [("security.protocol", "SSL"), (CA_LOCATION, "/ca.pem")];
        assert_eq!(location(&own).as_deref(), Some("/ca.pem"));
        assert_eq!(location(&[("security.protocol", "SSL"), ("ssl.ca.pem", "-----BEGIN")]), None);
    }

    #[test]
    fn tls_and_scram_are_compiled_in() {
        let mut config = with("security.protocol", "SASL_SSL");
        for (name, value) in
            [("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "u"), ("sasl.password", "p")]
        {
            config.properties.insert(name, value);
        }
        let made: KafkaResult<BaseConsumer<AskingContext>> =
            config.client("test", &[], &[]).expect("allowed").create_with_context(AskingContext::default());
        assert!(made.is_ok(), "{:?}", made.err());
    }

    #[test]
    fn no_client_is_made_with_a_property_that_loads_code() {
        for name in ["plugin.library.paths", "ssl.engine.location", "sasl.kerberos.kinit.cmd"] {
            let refused = with(name, "/tmp/evil.so").client("test", &[], &[]).expect_err(name);
            assert_eq!(refused.name, name);
            assert!(refused.danger.is_some());
        }
    }

    #[test]
    fn a_bad_property_is_named_without_its_value() {
        let config = with("security.protocol", "hunter2");
        let made: KafkaResult<BaseConsumer<QuietContext>> =
            config.client("test", &[], &[]).expect("allowed").create_with_context(QuietContext);
        let error = config.client_error(made.err().expect("refused"));
        let text = format!("{error} {error:?}");
        assert!(text.contains("security.protocol") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_cluster_that_settles_is_asked_again_for_a_while() {
        let (mut asked, settling) = (0, || KafkaError::MetadataFetch(Code::LeaderNotAvailable));
        let answer = ask_until_settled(Duration::from_secs(5), is_settling, |left| {
            asked += 1;
            assert!((Duration::from_secs(1)..=Duration::from_secs(5)).contains(&left), "{left:?}");
            if asked < 3 { Err(settling()) } else { Ok(asked) }
        });
        assert_eq!(answer, Ok(3));
        let patience = Duration::from_millis(160);
        assert_eq!(ask_until_settled(patience, is_settling, |_| Err::<(), _>(settling())), Err(settling()));
        let denied = KafkaError::MetadataFetch(Code::TopicAuthorizationFailed);
        assert!(is_denied(Code::TopicAuthorizationFailed) && !is_settling(&denied));
        // The client's own word for metadata that lag behind what the cluster has just told.
        assert!(is_settling(&KafkaError::MetadataFetch(Code::UnknownPartition)));
        // Producers that started while a broker was killed ended with these.
        for error in [KafkaError::MetadataFetch, KafkaError::AdminOp] {
            assert!(
                is_settling(&error(Code::DestroyBroker)) && is_settling(&error(Code::BrokerTransportFailure))
            );
        }
    }
}
