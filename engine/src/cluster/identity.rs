//! What a process of a cluster is, so that those that would give different answers do not work together.
//!
//! An executor tells what it is when it registers, and the scheduler compares that with itself. Ballista's registration
//! has no field for it, so it travels in the long form of the operating system's version, written as a user agent:
//!
//! ```text
//! firesteel/0.1.0 wire/3 functions/5d2c1f0e9a7b mongodb/rs0 kafka/0c9d8e7f6a5b
//! ```
//!
//! * **Version and wire version** have to fit: a plan that is half understood gives wrong numbers.
//! * **Functions, MongoDB and Kafka** should be the same, because one query would otherwise be answered by two models, or
//!   from two databases. The scheduler warns of a difference, or refuses the executor, as it is configured. MongoDB is told
//!   by the name of its replica set, else by its hosts; Kafka by its bootstrap servers. Hosts are hashed. No credential is
//!   part of it.

use std::fmt;

use ballista_core::serde::scheduler::ExecutorOperatingSystemSpecification;
use sha2::{Digest as _, Sha256};

use crate::Config;
use crate::wire::WIRE_VERSION;

/// How many hexadecimal digits of a hash are told.
const DIGITS: usize = 12;

/// What a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    firesteel: String,
    wire: String,
    functions: String,
    mongodb: String,
    kafka: String,
}

/// How two processes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// They cannot work together.
    Version(String),
    /// They may give different answers.
    Answers(String),
}

impl Identity {
    /// What a process with this configuration is.
    pub(super) fn of(config: &Config) -> Self {
        let uri = &config.mongodb.uri;
        let functions: Vec<String> =
            config.functions.fingerprints().map(|(name, told)| format!("{name}={told}")).collect();
        Self {
            firesteel: env!("CARGO_PKG_VERSION").to_owned(),
            wire: WIRE_VERSION.to_string(),
            functions: if functions.is_empty() { "none".to_owned() } else { hash(functions) },
            mongodb: replica_set(uri.expose())
                .unwrap_or_else(|| hash(uri.hosts().split(',').map(str::to_lowercase))),
            kafka: hash(config.kafka.bootstrap.split(',').map(|host| host.trim().to_lowercase())),
        }
    }

    /// What an executor tells of its operating system, this among it.
    pub(super) fn to_os_info(&self) -> ExecutorOperatingSystemSpecification {
        ExecutorOperatingSystemSpecification {
            system_name: std::env::consts::OS.to_owned(),
            os_ver_long: self.to_string(),
            ..ExecutorOperatingSystemSpecification::default()
        }
    }

    /// What an executor has told. `None`: it is not one of Firesteel's, or older than this.
    pub(super) fn from_os_info(told: &ExecutorOperatingSystemSpecification) -> Option<Self> {
        let value = |name: &str| {
            let parts = told.os_ver_long.split_whitespace().filter_map(|part| part.split_once('/'));
            parts.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        Some(Self {
            firesteel: value("firesteel")?,
            wire: value("wire")?,
            functions: value("functions")?,
            mongodb: value("mongodb")?,
            kafka: value("kafka")?,
        })
    }

    /// How an executor differs from the scheduler, which this is.
    pub(super) fn compare(&self, executor: Option<&Self>) -> Vec<Difference> {
        let Some(executor) = executor else {
            return vec![Difference::Version(format!(
                "it does not tell its version, and the scheduler is Firesteel {}",
                self.firesteel
            ))];
        };
        let mut differences = Vec::new();
        if compatible(&self.firesteel) != compatible(&executor.firesteel) || self.wire != executor.wire {
            differences.push(Difference::Version(format!(
                "it is Firesteel {} with wire version {}, and the scheduler is {} with {}",
                executor.firesteel, executor.wire, self.firesteel, self.wire
            )));
        }
        for (what, own, other) in [
            ("the functions", &self.functions, &executor.functions),
            ("MongoDB", &self.mongodb, &executor.mongodb),
            ("Kafka", &self.kafka, &executor.kafka),
        ] {
            if own != other {
                differences.push(Difference::Answers(format!("{what} ({other}, the scheduler has {own})")));
            }
        }
        differences
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { firesteel, wire, functions, mongodb, kafka } = self;
        write!(f, "firesteel/{firesteel} wire/{wire} functions/{functions} mongodb/{mongodb} kafka/{kafka}")
    }
}

/// The part of a version that has to be the same: up to its first number that is not 0, as Cargo has it.
fn compatible(version: &str) -> Vec<&str> {
    let mut numbers = Vec::new();
    for number in version.split('.') {
        numbers.push(number);
        if number != "0" {
            break;
        }
    }
    numbers
}

/// The name of the replica set in a connection string, where it has one that can be told.
fn replica_set(uri: &str) -> Option<String> {
    let (_, options) = uri.rsplit_once('?')?;
    let option = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        name.eq_ignore_ascii_case("replicaSet").then(|| value.to_owned())
    };
    let name = options.split('&').find_map(option)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// A short hash of some texts, whatever their order.
fn hash(texts: impl IntoIterator<Item = String>) -> String {
    let mut texts: Vec<String> = texts.into_iter().collect();
    texts.sort();
    let digest = Sha256::digest(texts.join("\n"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex[..DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::Functions;

    fn config(uri: &str, bootstrap: &str, model: &str) -> Config {
        let mut config = Config::new(uri, "firesteel");
        config.kafka.bootstrap = bootstrap.to_owned();
        let model = model.to_owned();
        config.functions = Functions::new().fingerprint("classify", move || model.clone());
        config
    }

    #[test]
    fn what_an_executor_tells_is_what_it_is_and_holds_no_secret() {
        let config = config("mongodb://user:hunter2@a:1,b:2/?replicaSet=rs0", "k:9092", "f32 on cpu");
        let identity = Identity::of(&config);
        let told = identity.to_os_info();
        assert_eq!(Identity::from_os_info(&told), Some(identity.clone()));
        assert!(told.os_ver_long.contains(" mongodb/rs0 ") && !told.os_ver_long.contains("hunter2"));
        assert!(identity.compare(Some(&identity)).is_empty());
        assert_eq!(Identity::from_os_info(&ExecutorOperatingSystemSpecification::default()), None);
        assert!(matches!(identity.compare(None)[..], [Difference::Version(_)]));
    }

    #[test]
    fn a_difference_is_named() {
        let own = Identity::of(&config("mongodb://a:1,B:2", "k:1,l:2", "f32"));
        let differences = |config: &Config| own.compare(Some(&Identity::of(config)));
        assert!(
            differences(&config("mongodb://u:p@b:2,A:1", "l:2, k:1", "f32")).is_empty(),
            "the same servers"
        );
        for (other, named) in [
            (config("mongodb://a:1", "k:1,l:2", "f32"), "MongoDB"),
            (config("mongodb://a:1,b:2", "k:1", "f32"), "Kafka"),
            (config("mongodb://a:1,b:2", "k:1,l:2", "int8"), "the functions"),
        ] {
            let found = differences(&other);
            assert!(
                matches!(&found[..], [Difference::Answers(what)] if what.starts_with(named)),
                "{named}: {found:?}"
            );
        }
    }

    #[test]
    fn versions_have_to_fit() {
        let own = Identity::of(&Config::default());
        let of = |version: &str, wire: &str| Identity {
            firesteel: version.to_owned(),
            wire: wire.to_owned(),
            ..own.clone()
        };
        let wire = WIRE_VERSION.to_string();
        for (scheduler, executor, fit) in [
            (("0.1.0", "3"), ("0.1.0", "3"), true),
            (("0.1.0", "3"), ("0.1.7", "3"), true),
            (("0.1.0", "3"), ("0.1.0", "4"), false),
            (("0.1.0", "3"), ("0.2.0", "3"), false),
            (("0.0.1", "3"), ("0.0.2", "3"), false),
            (("1.2.0", "3"), ("1.9.1", "3"), true),
            (("1.2.0", "3"), ("2.0.0", "3"), false),
        ] {
            let found = of(scheduler.0, scheduler.1).compare(Some(&of(executor.0, executor.1)));
            assert_eq!(found.is_empty(), fit, "{scheduler:?} {executor:?}: {found:?}");
        }
        assert!(own.to_string().contains(&format!("wire/{wire} ")), "{own}");
    }
}
