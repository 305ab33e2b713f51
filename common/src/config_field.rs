//! The fields of configuration structs that an error can name.
//!
//! A library knows the fields of its own configuration and nothing of the flags, environment variables and file keys
//! that fill them. Its errors carry a [`ConfigField`], whose [`name`](ConfigField::name) they print; the binary
//! translates the field into what a user can change. A match on the enum is exhaustive on purpose: a new field does not
//! compile until the binary names its setting.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares the enum and its names from one list, so that no field can lack a name or be left out of `ALL`.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident => $name:literal,)+) => {
        /// A field of the configuration of some component.
        ///
        /// The name of a field is its path inside its configuration struct, such as `kafka.bootstrap`, behind the component
        /// where the struct belongs to one process, such as `executor.bind_port`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ConfigField {
            $($(#[$doc])* #[serde(rename = $name)] $field,)+
        }

        impl ConfigField {
            /// Every field, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$field,)+];

            /// The dotted name of the field.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)+
                }
            }
        }
    };
}

fields! {
    /// The bootstrap servers of Kafka.
    KafkaBootstrap => "kafka.bootstrap",
    /// Further librdkafka properties of every Kafka client.
    KafkaProperties => "kafka.properties",
    /// The MongoDB connection string.
    MongodbUri => "mongodb.uri",
    /// The MongoDB database.
    MongodbDatabase => "mongodb.database",
    /// The databases that tables may be in, besides the one.
    MongodbDatabases => "mongodb.databases",
    /// The URL of the inference server that a consumer asks.
    InferenceUrl => "inference.url",
    /// The address that the inference server listens on.
    InferenceListen => "inference.listen",
    /// The address that images are taken at.
    IngestListen => "ingest.listen",
    /// The address that Spark's clients are served at.
    SparkConnectListen => "spark_connect.listen",
    /// The device that a model computes on.
    InferenceDevice => "inference.device",
    /// The precision that a model computes in.
    InferencePrecision => "inference.precision",
    /// The models, each a file or the one inside the binary.
    InferenceModel => "inference.model",
    /// The address of the health server.
    HealthListen => "health.listen",
    /// The model that the image consumer asks.
    ConsumerModel => "consumer.model",
    /// What a consumer does when records were removed before it has read them.
    ConsumerOnDataLoss => "consumer.on_data_loss",
    /// The images per second of each producer.
    ProducerRate => "producer.rate",
    /// The ids of the producers.
    ProducerIds => "producer.ids",
    /// The file that holds the images to produce.
    ProducerDataset => "producer.dataset",
    /// The file that receives the ids of acknowledged images.
    ProducerLedger => "producer.ledger",
    /// The number of documents that `seed` writes.
    SeedDocs => "seed.docs",
    /// The collection that `seed` writes to.
    SeedCollection => "seed.collection",
    /// Whether `seed` creates a clustered or a plain collection.
    SeedLayout => "seed.layout",
    /// What `seed` does with a collection that holds documents.
    SeedExisting => "seed.existing",
    /// The address of the cluster's scheduler, for a client.
    Scheduler => "scheduler",
    /// How long a query waits for a scheduler that went away.
    Reconnect => "reconnect",
    /// The host that the scheduler listens on.
    SchedulerBindHost => "scheduler.bind_host",
    /// The port that the scheduler listens on.
    SchedulerBindPort => "scheduler.bind_port",
    /// The name under which executors reach the scheduler.
    SchedulerExternalHost => "scheduler.external_host",
    /// The folder of the scheduler's event log.
    SchedulerEventLogDir => "scheduler.event_log_dir",
    /// What becomes of an executor that may give other answers than the scheduler expects.
    SchedulerMismatchedExecutors => "scheduler.mismatched_executors",
    /// How long a job waits for a first executor.
    SchedulerNoExecutorsGrace => "scheduler.no_executors_grace",
    /// The scheduler that an executor registers with: host and port.
    ExecutorSchedulerHost => "executor.scheduler_host",
    /// The host that an executor listens on.
    ExecutorBindHost => "executor.bind_host",
    /// The port of an executor's Arrow Flight service.
    ExecutorBindPort => "executor.bind_port",
    /// The port of the gRPC service that the scheduler calls.
    ExecutorBindGrpcPort => "executor.bind_grpc_port",
    /// The port of an executor's health server.
    ExecutorBindHealthPort => "executor.bind_health_port",
    /// The folder of an executor's shuffle files and spills.
    ExecutorWorkDir => "executor.work_dir",
    /// The memory of an executor's pool.
    ExecutorMemory => "executor.memory",
    /// How many bytes of shuffle files and spills an executor may have.
    ExecutorScratch => "executor.scratch",
    /// The folder of cached tables.
    CacheFolder => "cache.folder",
    /// How many bytes the cached tables of a session may have on disk.
    CacheSize => "cache.session_bytes",
    /// The token that a client sends.
    AccessToken => "access.token",
    /// The file of the tokens that a server accepts.
    AccessTokens => "access.tokens",
    /// The secret that the members of a cluster share.
    AccessClusterSecret => "access.cluster_secret",
    /// Further names under which a server may be asked.
    AccessHosts => "access.hosts",
    /// The web origins whose pages may ask a server.
    AccessOrigins => "access.origins",
    /// Whether a port that other machines reach may do without authentication, and a token without TLS.
    AccessInsecure => "access.insecure",
    /// The file of a server's certificate.
    TlsCert => "tls.cert",
    /// The file of the key of a server's certificate.
    TlsKey => "tls.key",
    /// The file of the authorities that a client trusts.
    TlsCa => "tls.ca",
    /// The port of a scheduler's health server.
    SchedulerBindHealthPort => "scheduler.bind_health_port",
    /// The size of the largest request to a scheduler.
    SchedulerMaxRequest => "scheduler.max_request_bytes",
    /// The most bytes of a statement of SQL.
    LimitsSqlBytes => "limits.sql_bytes",
    /// The most tokens of a statement of SQL.
    LimitsSqlTokens => "limits.sql_tokens",
    /// How deep a statement of SQL may be.
    LimitsSqlDepth => "limits.sql_depth",
    /// The most nodes of a plan.
    LimitsPlanNodes => "limits.plan_nodes",
    /// The most bytes of a value that a function makes of smaller ones.
    LimitsValueBytes => "limits.value_bytes",
    /// The folders below which SQL may read files.
    FilesRead => "files.read",
    /// The folders below which SQL may write files.
    FilesWrite => "files.write",
}

impl fmt::Display for ConfigField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no [`ConfigField`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no configuration field `{0}`")]
pub struct UnknownField(pub String);

impl FromStr for ConfigField {
    type Err = UnknownField;

    fn from_str(text: &str) -> Result<Self, UnknownField> {
        let field = Self::ALL.iter().find(|field| field.name() == text);
        field.copied().ok_or_else(|| UnknownField(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_field_has_a_name_of_its_own_and_is_read_back_from_it() {
        let names: BTreeSet<_> = ConfigField::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(names.len(), ConfigField::ALL.len());
        for field in ConfigField::ALL {
            let dotted = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_');
            assert!(field.name().chars().all(dotted), "{field}");
            assert_eq!(field.name().parse(), Ok(*field));
            let json = serde_json::to_string(field).expect("written");
            assert_eq!(json, format!("\"{field}\""));
            assert_eq!(serde_json::from_str::<ConfigField>(&json).expect("read"), *field);
        }
        let error = "kafka.botstrap".parse::<ConfigField>().expect_err("unknown").to_string();
        assert!(error.contains("kafka.botstrap"), "{error}");
    }
}
