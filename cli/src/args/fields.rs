//! From a field of a library's configuration to the settings that fill it.
//!
//! Libraries' errors name fields, such as `kafka.bootstrap`, and know no command line. `places` says which arguments fill each
//! field. Flag, environment variable and key of the settings file are then read off the definition of the argument, so that each
//! name is written once.

use std::fmt;

use clap::{Arg, Command};
use firesteel_common::ConfigField;

use crate::settings;

/// One argument.
struct Place {
    /// The subcommand that has it; none where several share it.
    subcommand: Option<&'static str>,
    /// The id of the argument.
    argument: &'static str,
}

const fn shared(argument: &'static str) -> Place {
    Place { subcommand: None, argument }
}

const fn of(subcommand: &'static str, argument: &'static str) -> Place {
    Place { subcommand: Some(subcommand), argument }
}

/// The arguments that fill a field. A new field does not compile before it has its own here.
fn places(field: ConfigField) -> Vec<Place> {
    match field {
        ConfigField::KafkaBootstrap => vec![shared("kafka_bootstrap")],
        ConfigField::KafkaProperties => vec![shared("kafka_properties")],
        ConfigField::MongodbUri => vec![shared("mongodb_uri")],
        ConfigField::MongodbDatabase => vec![shared("mongodb_database")],
        ConfigField::MongodbDatabases => vec![shared("mongodb_databases")],
        ConfigField::InferenceUrl => vec![of("consume-images", "inference_url")],
        ConfigField::InferenceListen => vec![of("inference-server", "listen")],
        ConfigField::IngestListen => vec![of("ingest", "listen")],
        ConfigField::SparkConnectListen => vec![of("spark-connect", "listen")],
        ConfigField::InferenceDevice => vec![shared("device")],
        ConfigField::InferencePrecision => vec![shared("precision")],
        ConfigField::InferenceModel => vec![shared("models")],
        ConfigField::HealthListen => vec![shared("health_listen")],
        ConfigField::ProducerRate => vec![shared("rate")],
        ConfigField::ConsumerModel => vec![of("consume-images", "asked_model")],
        ConfigField::ConsumerOnDataLoss => vec![shared("on_data_loss")],
        ConfigField::ProducerIds => vec![of("produce", "producer_ids")],
        ConfigField::ProducerDataset => vec![shared("dataset")],
        ConfigField::ProducerLedger => vec![of("produce", "ledger")],
        ConfigField::SeedDocs => vec![of("seed", "docs")],
        ConfigField::SeedCollection => vec![of("seed", "collection")],
        ConfigField::SeedLayout => vec![of("seed", "plain")],
        ConfigField::SeedExisting => vec![of("seed", "drop"), of("seed", "append")],
        ConfigField::Scheduler => vec![shared("scheduler")],
        ConfigField::Reconnect => vec![shared("reconnect_seconds")],
        ConfigField::SchedulerBindHost => vec![of("scheduler", "bind_host")],
        ConfigField::SchedulerBindPort => vec![of("scheduler", "bind_port")],
        ConfigField::SchedulerExternalHost => vec![of("scheduler", "external_host")],
        ConfigField::SchedulerEventLogDir => vec![of("scheduler", "event_log_dir")],
        ConfigField::SchedulerMismatchedExecutors => vec![of("scheduler", "mismatched_executors")],
        ConfigField::SchedulerNoExecutorsGrace => vec![of("scheduler", "no_executors_grace_period_seconds")],
        ConfigField::ExecutorSchedulerHost => vec![
            of("executor", "scheduler_host"),
            of("executor", "scheduler_port"),
            of("executor", "scheduler"),
        ],
        ConfigField::ExecutorBindHost => vec![of("executor", "bind_host")],
        ConfigField::ExecutorBindPort => vec![of("executor", "bind_port")],
        ConfigField::ExecutorBindGrpcPort => vec![of("executor", "bind_grpc_port")],
        ConfigField::ExecutorBindHealthPort => vec![of("executor", "bind_health_port")],
        ConfigField::ExecutorWorkDir => vec![of("executor", "work_dir")],
        ConfigField::ExecutorMemory => vec![of("executor", "memory_pool_size")],
        ConfigField::ExecutorScratch => vec![of("executor", "scratch_size")],
        ConfigField::CacheFolder => vec![shared("cache_dir")],
        ConfigField::CacheSize => vec![shared("cache_size")],
        ConfigField::AccessToken => vec![shared("token_file"), shared("token")],
        ConfigField::AccessTokens => vec![shared("tokens_file")],
        ConfigField::AccessClusterSecret => vec![shared("cluster_secret_file"), shared("cluster_secret")],
        ConfigField::AccessHosts => vec![shared("allow_hosts")],
        ConfigField::AccessOrigins => vec![shared("cors_allowed_origins")],
        ConfigField::AccessInsecure => vec![shared("insecure")],
        ConfigField::TlsCert => vec![shared("tls_cert")],
        ConfigField::TlsKey => vec![shared("tls_key")],
        ConfigField::TlsCa => vec![shared("tls_ca")],
        ConfigField::SchedulerBindHealthPort => vec![of("scheduler", "bind_health_port")],
        ConfigField::SchedulerMaxRequest => vec![of("scheduler", "max_request_size")],
        ConfigField::LimitsSqlBytes => vec![shared("max_sql_size")],
        ConfigField::LimitsSqlTokens => vec![shared("max_sql_tokens")],
        ConfigField::LimitsSqlDepth => vec![shared("max_sql_depth")],
        ConfigField::LimitsPlanNodes => vec![shared("max_plan_nodes")],
        ConfigField::LimitsValueBytes => vec![shared("max_value_size")],
        ConfigField::FilesRead => vec![shared("allow_read")],
        ConfigField::FilesWrite => vec![shared("allow_write")],
    }
}

/// One setting, by all the names that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The flag, with its dashes.
    pub(crate) flag: Option<String>,
    /// The environment variable.
    pub(crate) variable: Option<String>,
    /// The key in the settings file.
    pub(crate) key: Option<String>,
    /// The subcommand that has it, where another one is running.
    pub(crate) elsewhere: Option<String>,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map(|key| format!("{key} in the settings file"));
        let names: Vec<String> =
            [self.flag.clone(), self.variable.clone(), key].into_iter().flatten().collect();
        match names.as_slice() {
            [] => {}
            [only] => f.write_str(only)?,
            [first @ .., last] => write!(f, "{} or {last}", first.join(", "))?,
        }
        match &self.elsewhere {
            Some(subcommand) => write!(f, " of `firesteel {subcommand}`"),
            None => Ok(()),
        }
    }
}

/// Where settings are looked up: the command line, and which of its subcommands runs.
#[derive(Debug)]
pub(crate) struct Settings {
    command: Command,
    running: Option<String>,
}

impl Settings {
    /// The settings of `command`, whose subcommand `running` runs.
    pub(crate) fn new(command: Command, running: Option<&str>) -> Self {
        Self { command, running: running.map(str::to_owned) }
    }

    /// The definition of the whole command line.
    pub(crate) fn command(&self) -> &Command {
        &self.command
    }

    /// The settings that fill `field`.
    pub(crate) fn of(&self, field: ConfigField) -> Vec<Setting> {
        places(field).iter().filter_map(|place| self.setting(place)).collect()
    }

    /// How a user changes `field`, in words.
    pub(crate) fn words(&self, field: ConfigField) -> String {
        self.of(field).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    fn setting(&self, place: &Place) -> Option<Setting> {
        let has = |command: &Command| -> Option<Arg> {
            command.get_arguments().find(|argument| argument.get_id() == place.argument).cloned()
        };
        let running = self.running.as_deref();
        let named = |command: &&Command| match place.subcommand {
            Some(subcommand) => command.get_name() == subcommand,
            None => has(command).is_some(),
        };
        // Of those that share an argument the one that runs is meant, where it has it.
        let mut candidates: Vec<&Command> = self.command.get_subcommands().filter(named).collect();
        candidates.sort_by_key(|command| Some(command.get_name()) != running);
        let command = candidates.first()?;
        let argument = has(command)?;
        let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
        Some(Setting {
            flag: argument.get_long().map(|long| format!("--{long}")),
            key: variable.as_deref().map(settings::key),
            variable,
            elsewhere: place.subcommand.filter(|&name| Some(name) != running).map(str::to_owned),
        })
    }
}
