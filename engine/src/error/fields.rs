//! Which fields of the configuration an error names.
//!
//! A library knows the fields of its own configuration and nothing of flags, environment variables or files. An error
//! that asks its reader to change something has a [`ConfigField`] and names it in its message; a program with a command
//! line of its own turns the field into what its users type.

use firesteel_common::net::DialError;

use super::{ConfigField, Error};

impl Error {
    /// The field of the configuration that the message tells to change or to look at: the first, where it names several.
    pub fn field(&self) -> Option<ConfigField> {
        self.fields().into_iter().next()
    }

    /// All fields of the configuration that the message names, by [`ConfigField::name`].
    pub fn fields(&self) -> Vec<ConfigField> {
        match self {
            Self::Unreachable { setting, .. }
            | Self::InvalidSetting { setting, .. }
            | Self::CacheFile { setting, .. }
            | Self::ScratchFull { setting, .. }
            | Self::FileRefused { setting, .. }
            | Self::OverLimit { setting, .. }
            | Self::DatabaseRefused { setting, .. }
            | Self::Folder { setting, .. } => vec![*setting],
            Self::Listen { host, port, .. } => vec![*port, *host],
            Self::UnknownTopic { .. } => vec![ConfigField::KafkaBootstrap],
            Self::Exposed { host, .. } => vec![
                ConfigField::AccessTokens,
                ConfigField::AccessClusterSecret,
                *host,
                ConfigField::AccessInsecure,
            ],
            Self::Dial { source: DialError::Exposed { .. }, .. } => {
                vec![ConfigField::TlsCa, ConfigField::AccessInsecure]
            }
            Self::Dial { source: DialError::NoAuthority { .. }, .. } => vec![ConfigField::TlsCa],
            // The server names the field that its clients set.
            Self::Refused { message, .. } => {
                // One name may be the beginning of another.
                let named = |field: &ConfigField| {
                    [",", ")", " "].iter().any(|end| message.contains(&format!("({field}{end}")))
                };
                ConfigField::ALL.iter().copied().filter(named).collect()
            }
            Self::NoExecutors { .. } => vec![ConfigField::SchedulerNoExecutorsGrace],
            Self::InvalidOption { fields, .. } => fields.clone(),
            _ => Vec::new(),
        }
    }

    /// An error about an option of a table.
    pub(crate) fn invalid_option(option: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidOption { option: option.into(), message: message.into(), fields: Vec::new() }
    }

    /// An error about an option of a table that names a server. A plan travels and may be read by others, so a table only
    /// names a connection; the server and its credentials are in `fields` of each process's configuration.
    pub(crate) fn server_in_option(option: impl Into<String>, reason: &str, fields: &[ConfigField]) -> Self {
        let names = fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(", ");
        Self::InvalidOption {
            option: option.into(),
            message: format!("{reason} ({names}); a table only names a connection"),
            fields: fields.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use firesteel_common::access::Refusal;

    use super::*;

    #[test]
    fn a_message_names_the_fields_that_the_error_has() {
        let text = || "x".to_owned();
        for (error, expected) in [
            (
                Error::Unreachable {
                    role: "MongoDB",
                    address: text(),
                    setting: ConfigField::MongodbUri,
                    message: text(),
                },
                vec![ConfigField::MongodbUri],
            ),
            (
                Error::InvalidSetting { setting: ConfigField::KafkaProperties, message: text() },
                vec![ConfigField::KafkaProperties],
            ),
            (
                Error::CacheFile { path: text(), setting: ConfigField::CacheFolder, message: text() },
                vec![ConfigField::CacheFolder],
            ),
            (
                Error::ScratchFull { setting: ConfigField::ExecutorScratch, message: text() },
                vec![ConfigField::ExecutorScratch],
            ),
            (
                Error::FileRefused { path: text(), setting: ConfigField::FilesWrite },
                vec![ConfigField::FilesWrite],
            ),
            (
                Error::DatabaseRefused { database: text(), setting: ConfigField::MongodbDatabases },
                vec![ConfigField::MongodbDatabases],
            ),
            (
                Error::OverLimit { what: text(), most: 7, setting: ConfigField::LimitsSqlDepth },
                vec![ConfigField::LimitsSqlDepth],
            ),
            (
                Error::Folder { setting: ConfigField::ExecutorWorkDir, path: text(), message: text() },
                vec![ConfigField::ExecutorWorkDir],
            ),
            (
                Error::Listen {
                    role: "the scheduler",
                    address: text(),
                    host: ConfigField::SchedulerBindHost,
                    port: ConfigField::SchedulerBindPort,
                    message: text(),
                },
                vec![ConfigField::SchedulerBindPort, ConfigField::SchedulerBindHost],
            ),
            (Error::UnknownTopic { topic: text(), address: text() }, vec![ConfigField::KafkaBootstrap]),
            (Error::NoExecutors { seconds: 5 }, vec![ConfigField::SchedulerNoExecutorsGrace]),
            (
                Error::server_in_option("bootstrap", "brokers are elsewhere", &[ConfigField::KafkaBootstrap]),
                vec![ConfigField::KafkaBootstrap],
            ),
            (
                Error::Exposed {
                    role: "the scheduler",
                    address: SocketAddr::from(([0, 0, 0, 0], 1)),
                    host: ConfigField::SchedulerBindHost,
                },
                vec![
                    ConfigField::AccessTokens,
                    ConfigField::AccessClusterSecret,
                    ConfigField::SchedulerBindHost,
                    ConfigField::AccessInsecure,
                ],
            ),
            (
                Error::Dial { role: "the scheduler", source: DialError::Exposed { host: text() } },
                vec![ConfigField::TlsCa, ConfigField::AccessInsecure],
            ),
            (
                Error::Dial { role: "the scheduler", source: DialError::NoAuthority { url: text() } },
                vec![ConfigField::TlsCa],
            ),
            (
                Error::Refused { role: "the scheduler", message: Refusal::NoCredential.to_string() },
                vec![ConfigField::AccessToken],
            ),
            (Error::invalid_option("mode", "no"), vec![]),
            (Error::Cancelled, vec![]),
        ] {
            assert_eq!(error.fields(), expected, "{error}");
            assert_eq!(error.field(), expected.first().copied(), "{error}");
            let told = error.to_string();
            assert!(expected.iter().all(|field| told.contains(field.name())), "{told}");
        }
    }
}
