//! What the integration tests share: the real servers, names that no other test uses, waiting with a deadline.
//!
//! The servers are those that the settings name. With neither setting a test says loudly that it is skipped;
//! with one of the two it fails, because half a configuration is a mistake. `FIRESTEEL_TEST_REQUIRE_SERVICES=1`,
//! which `make test` sets, makes a skip a failure. What a test makes in a server carries a name of its own and is
//! removed at the end, also after a failure.
#![allow(clippy::panic, clippy::expect_used, clippy::missing_panics_doc, reason = "a test support crate")]

pub mod certificates;
pub mod cifar;
mod cleanup;
mod cluster;
mod http;
#[cfg(feature = "engine")]
mod in_process;
mod kafka;
#[cfg(feature = "engine")]
mod memory;
pub mod ports;
mod role;
pub mod samples;
mod secured;
mod tcp;

pub use cleanup::{TempDatabase, TempTopics, create_collection, fill_collection};
pub use cluster::{Cluster, ClusterSettings};
pub use http::{Answer, http, http_with};
#[cfg(feature = "engine")]
pub use in_process::InProcessCluster;
pub use kafka::publish;
#[cfg(feature = "engine")]
pub use memory::MemoryConnector;
pub use role::{Role, binary};
pub use secured::{Authorized, SecuredKafka};
pub use tcp::Proxy;

use std::time::{Duration, Instant};

/// How long a test waits for something that should happen soon, on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

const KAFKA: &str = "FIRESTEEL_KAFKA_BOOTSTRAP";
const MONGODB: &str = "FIRESTEEL_MONGODB_URI";
const REQUIRE: &str = "FIRESTEEL_TEST_REQUIRE_SERVICES";

/// The real servers that a test runs against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// Kafka's bootstrap servers.
    pub kafka_bootstrap: String,
    /// MongoDB's connection string.
    pub mongodb_uri: String,
}

impl Services {
    /// The servers that the environment names; `None`, after saying so, where it names none.
    ///
    /// # Panics
    /// On half a configuration, and on none where services are required.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        log();
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let required = read(REQUIRE).is_some_and(|value| value != "0");
        match decide(read(KAFKA), read(MONGODB), required) {
            Ok(Some(services)) => Some(services),
            Ok(None) => {
                eprintln!(
                    "SKIPPED: {KAFKA} and {MONGODB} are not set; `make test` starts both servers and sets them"
                );
                None
            }
            Err(problem) => panic!("{problem}"),
        }
    }
}

/// Shows what the components log, with the output of a failed test; `RUST_LOG` selects.
fn log() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "firesteel=info".into());
    // A second test in the same process finds the subscriber in place.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

fn decide(
    kafka: Option<String>,
    mongodb: Option<String>,
    required: bool,
) -> Result<Option<Services>, String> {
    match (kafka, mongodb) {
        (Some(kafka_bootstrap), Some(mongodb_uri)) => Ok(Some(Services { kafka_bootstrap, mongodb_uri })),
        (None, None) if required => Err(format!("{REQUIRE} is set, but neither {KAFKA} nor {MONGODB}")),
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("half a configuration: {KAFKA} is set, {MONGODB} is not")),
        (None, Some(_)) => Err(format!("half a configuration: {MONGODB} is set, {KAFKA} is not")),
    }
}

/// A name that starts with `prefix` and that nothing else has: for topics, groups, databases.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("test-{prefix}-{:016x}", rand::random::<u64>())
}

/// Waits until `condition` holds; looks every few milliseconds.
///
/// # Panics
/// When `deadline` has passed; the message says `what` was waited for.
pub async fn wait_until(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition().await {
        assert!(Instant::now() < end, "waited {deadline:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_configuration_fails_and_none_skips_unless_required() {
        let some = || Some("x".to_owned());
        assert!(decide(some(), some(), false).is_ok_and(|services| services.is_some()));
        assert!(decide(None, None, false).is_ok_and(|services| services.is_none()));
        assert!(decide(None, None, true).is_err());
        assert!(decide(some(), None, false).is_err());
        assert!(decide(None, some(), false).is_err());
    }

    #[test]
    fn names_are_different() {
        assert_ne!(unique("a"), unique("a"));
    }
}
