//! The configuration fields that an error can point at.
//!
//! A library knows the fields of its own configuration structs and nothing of flags, environment variables or files. An
//! error that asks its reader to change something therefore names a [`ConfigField`]: a Rust program finds the field under
//! that name, and a program with a command line of its own turns it into what its users type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares the enum from one table, so that variants, names and [`ConfigField::ALL`] cannot drift apart.
macro_rules! config_fields {
    ($($(#[$doc:meta])+ $variant:ident => $name:literal,)+) => {
        /// A field of the engine's configuration, as far as errors name it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ConfigField {
            $($(#[$doc])+ $variant,)+
        }

        impl ConfigField {
            /// Every field, in the order of the declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The dotted name, such as `kafka.bootstrap`: the path of the field inside its configuration struct, behind
            /// `scheduler.` and `executor.` where the struct is that of a process of a cluster.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

config_fields! {
    /// `Config::mongodb.uri`: where MongoDB is.
    MongodbUri => "mongodb.uri",
    /// `Config::kafka.bootstrap`: where Kafka is.
    KafkaBootstrap => "kafka.bootstrap",
    /// `Config::kafka.properties`: further properties of Kafka's client.
    KafkaProperties => "kafka.properties",
    /// `Config::cache.folder`: where cached tables are kept.
    CacheFolder => "cache.folder",
    /// The address that `Session::connect` is given: the scheduler of a cluster.
    Scheduler => "scheduler",
    /// `SchedulerConfig::bind_host`: the host on which the scheduler listens.
    SchedulerBindHost => "scheduler.bind_host",
    /// `SchedulerConfig::bind_port`: the scheduler's port.
    SchedulerBindPort => "scheduler.bind_port",
    /// `SchedulerConfig::external_host`: the name under which executors reach the scheduler.
    SchedulerExternalHost => "scheduler.external_host",
    /// `SchedulerConfig::event_log_dir`: the folder of the event log.
    SchedulerEventLogDir => "scheduler.event_log_dir",
    /// `SchedulerConfig::no_executors_grace`: how long a job waits for a first executor.
    SchedulerNoExecutorsGrace => "scheduler.no_executors_grace",
    /// `ExecutorConfig::scheduler_host`, and `scheduler_port` beside it: the scheduler that an executor registers with.
    ExecutorSchedulerHost => "executor.scheduler_host",
    /// `ExecutorConfig::bind_host`: the host on which an executor listens.
    ExecutorBindHost => "executor.bind_host",
    /// `ExecutorConfig::bind_port`: the port from which others fetch an executor's files.
    ExecutorBindPort => "executor.bind_port",
    /// `ExecutorConfig::bind_health_port`: the port of an executor's health and metrics.
    ExecutorBindHealthPort => "executor.bind_health_port",
    /// `ExecutorConfig::work_dir`: the folder of shuffle files and spills.
    ExecutorWorkDir => "executor.work_dir",
}

impl ConfigField {
    /// The server whose address this field holds, in words.
    pub const fn server(self) -> &'static str {
        match self {
            Self::MongodbUri => "MongoDB",
            Self::KafkaBootstrap => "Kafka",
            Self::Scheduler | Self::ExecutorSchedulerHost => "the scheduler",
            _ => "a server",
        }
    }
}

impl Serialize for ConfigField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ConfigField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ConfigField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ConfigField {
    type Err = UnknownField;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|field| field.name() == name)
            .ok_or_else(|| UnknownField(name.to_owned()))
    }
}

/// The configuration has no field of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no configuration field `{0}`")]
pub struct UnknownField(pub String);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_field_has_a_name_of_its_own_that_is_read_back() {
        let names: HashSet<&str> = ConfigField::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(names.len(), ConfigField::ALL.len());
        for field in ConfigField::ALL {
            assert_eq!(field.to_string().parse(), Ok(*field));
            let data = serde_json::to_string(field).unwrap();
            assert_eq!(data, format!("{:?}", field.name()));
            assert_eq!(serde_json::from_str::<ConfigField>(&data).unwrap(), *field);
            let dotted = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_');
            assert!(field.name().chars().all(dotted), "{field}");
        }
        assert_eq!("kafka".parse::<ConfigField>(), Err(UnknownField("kafka".to_owned())));
    }
}
