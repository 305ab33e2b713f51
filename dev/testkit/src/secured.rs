//! A Kafka as production has it, with TLS, logins and ACLs, which `dev/services secured` starts where it does not run.
//!
//! Its topics are `images` and `predictions` with their dead letters, its users `producer`, `consume-images` and
//! `consume-predictions`, each of which may do what its role does. It stays until `dev/services down`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::{SOON, Services};

/// What `dev/services secured` says where Java or Maven is missing, as on a machine that has all by Docker.
const CANNOT: i32 = 3;

/// What the broker says to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorized {
    /// It does it.
    Done,
    /// This user may not.
    Denied,
    /// Anything else.
    Other(RDKafkaErrorCode),
}

impl Authorized {
    fn of(code: Option<RDKafkaErrorCode>) -> Self {
        match code {
            None => Self::Done,
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Self::Denied,
            Some(code) => Self::Other(code),
        }
    }
}

/// The running broker.
#[derive(Debug)]
pub struct SecuredKafka {
    /// Its address.
    pub bootstrap: String,
    folder: PathBuf,
}

impl SecuredKafka {
    /// The broker, started where it does not run; `None`, after saying so, where no services are configured or this
    /// machine cannot run one.
    ///
    /// # Panics
    /// When it does not start, and in CI when this machine cannot run it.
    #[must_use]
    pub fn start() -> Option<Self> {
        Services::from_env()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let ran = Command::new(root.join("dev/services")).arg("secured").stdin(Stdio::null()).output();
        let ran = ran.expect("dev/services starts");
        let said = String::from_utf8_lossy(&ran.stderr);
        if ran.status.code() == Some(CANNOT) && std::env::var("CI").as_deref() != Ok("true") {
            eprintln!("SKIPPED: Kafka with TLS, logins and ACLs: {said}");
            return None;
        }
        assert!(ran.status.success(), "dev/services secured: {said}");
        let dev = std::env::var("FIRESTEEL_DEV_DIR").ok().filter(|dev| !dev.is_empty());
        let folder = root.join(dev.unwrap_or_else(|| ".dev".to_owned())).join("secured");
        let bootstrap = std::fs::read_to_string(folder.join("bootstrap")).expect("its address");
        Some(Self { bootstrap, folder })
    }

    /// The properties of a client that logs in as `user`, a line each.
    ///
    /// # Panics
    /// When there is no such user.
    #[must_use]
    pub fn properties(&self, user: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{user}.properties"))).expect("a user of it")
    }

    /// What the broker says to `user` who deletes `topic`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn delete(&self, user: &str, topic: &str) -> Authorized {
        let admin: AdminClient<DefaultClientContext> = self.client(user).create().expect("a client");
        let options = AdminOptions::new().operation_timeout(Some(SOON)).request_timeout(Some(SOON));
        let answer = admin.delete_topics(&[topic], &options).await.expect("an answer");
        Authorized::of(answer.into_iter().next().expect("of this topic").err().map(|(_, code)| code))
    }

    /// What the broker says to `user` who writes a record to `topic`.
    ///
    /// # Panics
    /// When the client cannot be made.
    pub async fn write(&self, user: &str, topic: &str) -> Authorized {
        let producer: FutureProducer = self.client(user).create().expect("a client");
        let sent = producer.send(FutureRecord::to(topic).key("k").payload("not of this user"), SOON).await;
        Authorized::of(sent.err().and_then(|(error, _)| error.rdkafka_error_code()))
    }

    fn client(&self, user: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("message.timeout.ms", "20000");
        let properties = self.properties(user);
        for (name, value) in properties.lines().filter_map(|line| line.split_once('=')) {
            config.set(name, value);
        }
        config
    }
}
