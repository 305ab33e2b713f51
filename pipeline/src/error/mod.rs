//! The error of this crate.
//!
//! Each variant names what the reader needs to act on it (address, topic, partition, offset, collection, file) and keeps
//! its cause as `source`. [`Error::kind`] classifies once; retry, dead letter and exit code follow from that.
//! [`Error::fields`] are the fields of the configuration that the error points at, whose names its message contains.

mod classify;

pub(crate) use classify::{is_denied, is_too_large, kafka_kind, mongo_kind};
pub use firesteel_common::error::chain;

use firesteel_common::ConfigField::{
    self, ConsumerOnDataLoss, HealthListen, InferenceUrl, IngestListen, KafkaBootstrap, KafkaProperties,
    MongodbDatabase, MongodbUri, ProducerDataset, ProducerIds, ProducerLedger, SeedCollection, SeedExisting,
};
use mongodb::error::Error as MongoError;
use rdkafka::error::KafkaError;
use std::path::PathBuf;

/// What a topic takes, as an error says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicLimit(
    /// Bytes of its largest record; `None` where the cluster does not tell.
    pub Option<u64>,
);

impl std::fmt::Display for TopicLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "records of {bytes} bytes at most"),
            None => f.write_str("less than that"),
        }
    }
}

/// An error of the pipeline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model, its weights, or the inference server.
    #[error(transparent)]
    Inference(#[from] crate::inference::Error),

    /// A call to the inference server that gave no answer.
    #[error(transparent)]
    InferenceCall(#[from] crate::inference::ClientError),

    /// Kafka did not answer in time.
    #[error("{role}: cannot reach Kafka at {address} ({})", KafkaBootstrap)]
    KafkaUnreachable {
        /// The component that tried: `producer`, `consume-images`, …
        role: String,
        /// The bootstrap servers.
        address: String,
        /// The error of librdkafka.
        source: Box<KafkaError>,
    },

    /// Kafka answered, and refuses the login; or its certificate is not trusted.
    #[error(
        "{role}: Kafka at {address} cannot be used with these properties ({}): {reason}",
        KafkaProperties
    )]
    KafkaRefused {
        /// The component that tried.
        role: String,
        /// The bootstrap servers.
        address: String,
        /// What librdkafka says of it, without the values of properties.
        reason: String,
        /// The error of librdkafka.
        source: Box<KafkaError>,
    },

    /// A Kafka client property that librdkafka, or the delivery guarantee, does not allow.
    #[error("Kafka property {property} cannot be set so: {reason} ({})", KafkaProperties)]
    KafkaProperty {
        /// The property's librdkafka name. Its value is left out on purpose: it may be a secret.
        property: String,
        /// The reason.
        reason: String,
    },

    /// A Kafka client could not be made.
    #[error("cannot make a Kafka client for {address} ({})", KafkaBootstrap)]
    KafkaClient {
        /// The bootstrap servers.
        address: String,
        /// The error of librdkafka.
        source: Box<KafkaError>,
    },

    /// A topic could not be created, deleted or looked up.
    #[error("cannot {action} topic {topic} of Kafka at {address} ({})", KafkaBootstrap)]
    Topic {
        /// The topic.
        topic: String,
        /// `create`, `delete`, `describe`, `read`, `replay`, `replay into`.
        action: &'static str,
        /// The bootstrap servers.
        address: String,
        /// The error of the broker.
        source: Box<KafkaError>,
    },

    /// Another replay of the same letters has begun.
    #[error(
        "another replay of {letters} has begun, and this one ends: what it had not committed is undone, and the other goes on \
         from there"
    )]
    ReplayTakenOver {
        /// The topic of the letters.
        letters: String,
    },

    /// A consumer group's offsets could not be read, set or removed.
    #[error("cannot {action} consumer group {group} of Kafka at {address} ({})", KafkaBootstrap)]
    Group {
        /// The group.
        group: String,
        /// `position`, `commit for`, `delete`.
        action: &'static str,
        /// The bootstrap servers.
        address: String,
        /// The error of the broker.
        source: Box<KafkaError>,
    },

    /// A record did not get its acknowledgement.
    #[error("Kafka at {address} ({}) did not acknowledge a record for topic {topic}", KafkaBootstrap)]
    Publish {
        /// The bootstrap servers.
        address: String,
        /// The topic.
        topic: String,
        /// The error of librdkafka.
        source: Box<KafkaError>,
    },

    /// A subscription failed in a way that polling again does not mend.
    #[error("group {group} cannot consume topic {topic} from Kafka at {address} ({})", KafkaBootstrap)]
    Consume {
        /// The bootstrap servers.
        address: String,
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// The error of librdkafka.
        source: Box<KafkaError>,
    },

    /// Records were removed from a topic before a group has read them.
    #[error(
        "group {group} has lost records: topic {topic}, partition {partition}, from offset {from} to {to}, were removed before \
         they were read, by the topic's retention or by hand. To go on without them, allow it ({})",
        ConsumerOnDataLoss
    )]
    DataLoss {
        /// The topic.
        topic: String,
        /// The group.
        group: String,
        /// The partition.
        partition: i32,
        /// The first offset that is gone.
        from: i64,
        /// The offset after the last one that is gone.
        to: i64,
    },

    /// MongoDB did not answer in time.
    #[error("{role}: cannot reach MongoDB at {address} ({})", MongodbUri)]
    MongoUnreachable {
        /// The component that tried.
        role: String,
        /// The address without credentials or options.
        address: String,
        /// The error of the driver.
        source: Box<MongoError>,
    },

    /// MongoDB answered, and does not let this user in.
    #[error("{role}: MongoDB at {address} refuses the credentials ({})", MongodbUri)]
    MongoDenied {
        /// The component that tried.
        role: String,
        /// The address without credentials or options.
        address: String,
        /// The error of the driver.
        source: Box<MongoError>,
    },

    /// The MongoDB connection string cannot be used.
    #[error("{} ({address}) is not a MongoDB connection string: {reason}", MongodbUri)]
    MongoUri {
        /// The address without credentials or options.
        address: String,
        /// The error of the driver.
        reason: String,
    },

    /// A collection could not be prepared or written to.
    #[error("cannot {action} MongoDB collection {database}.{collection} at {address} ({})", MongodbUri)]
    Mongo {
        /// `reach`, `create`, `drop`, `index`, `write to`, `read`.
        action: &'static str,
        /// The address without credentials or options.
        address: String,
        /// The database.
        database: String,
        /// The collection.
        collection: String,
        /// The error of the driver or the server.
        source: Box<MongoError>,
    },

    /// A collection that was to be filled holds documents already.
    #[error(
        "{database}.{collection} holds {documents} documents already: decide whether to replace them or to add to them \
         ({}), or name another database ({}) or collection ({})",
        SeedExisting,
        MongodbDatabase,
        SeedCollection
    )]
    CollectionNotEmpty {
        /// The database.
        database: String,
        /// The collection.
        collection: String,
        /// The number of documents.
        documents: u64,
    },

    /// MongoDB took a batch but did not confirm it as durable, or refused documents for a passing reason.
    #[error("MongoDB did not confirm a write to {database}.{collection} (code {code}): {message}")]
    MongoUnconfirmed {
        /// The database.
        database: String,
        /// The collection.
        collection: String,
        /// The server's error code; 0 when none came.
        code: i32,
        /// The server's message.
        message: String,
    },

    /// The inference server did not answer in time.
    #[error("{role}: cannot reach the inference server at {address} ({})", InferenceUrl)]
    InferenceUnreachable {
        /// The component that tried.
        role: String,
        /// The server's URL.
        address: String,
        /// The error of the client.
        source: Box<crate::inference::ClientError>,
    },

    /// The data set, or one image of it.
    #[error(transparent)]
    Dataset(#[from] crate::dataset::Error),

    /// An image that is larger than what the topic takes.
    #[error(
        "image {name} ({}) has {bytes} bytes, and topic {topic} takes {limit}: make it smaller, or have the topic take more with \
         `kafka-configs.sh --bootstrap-server {address} --alter --entity-type topics --entity-name {topic} --add-config \
         max.message.bytes={}`",
        ProducerDataset,
        crate::kafka::record_bytes(*bytes)
    )]
    ImageTooLarge {
        /// The image's name in the data set.
        name: String,
        /// The bytes of the image.
        bytes: usize,
        /// The topic.
        topic: String,
        /// The bytes of a record that it takes.
        limit: TopicLimit,
        /// The cluster's address.
        address: String,
        /// The error of librdkafka.
        source: Box<KafkaError>,
    },

    /// A configuration that cannot work.
    #[error("{field}: {reason}")]
    Setting {
        /// The field that holds the value.
        field: ConfigField,
        /// The reason.
        reason: String,
    },

    /// The ledger of acknowledged ids could not be read or written.
    #[error("cannot use ledger {} ({})", .path.display(), ProducerLedger)]
    Ledger {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// An id that a producer was to have is another one's.
    #[error(
        "producer id {producer} ({}) is claimed by another ledger, says topic {topic} of Kafka at {address}: go on with that ledger \
         ({}), or choose another id",
        ProducerIds,
        ProducerLedger
    )]
    ProducerClaimed {
        /// The id.
        producer: firesteel_proto::ProducerId,
        /// The topic of the claims.
        topic: String,
        /// The bootstrap servers.
        address: String,
    },

    /// The address for images cannot be listened on.
    #[error("cannot listen on {address} ({})", IngestListen)]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// Health checks and metrics cannot be served.
    #[error("cannot serve health checks on {address} ({})", HealthListen)]
    Health {
        /// The address.
        address: std::net::SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// A task of this process died.
    #[error("{task} stopped unexpectedly")]
    Stopped {
        /// The task.
        task: &'static str,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reaction that an error calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The same call may succeed later: retry.
    Transient,
    /// The same call fails the same way again: give up on it.
    Permanent,
    /// A setting, a file or an argument is wrong: only the caller can mend it.
    Caller,
}

impl Error {
    /// Classifies once; everything that reacts to an error reacts to this.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::KafkaUnreachable { .. }
            | Self::MongoUnreachable { .. }
            | Self::InferenceUnreachable { .. }
            | Self::MongoUnconfirmed { .. } => ErrorKind::Transient,
            Self::KafkaProperty { .. }
            | Self::KafkaClient { .. }
            | Self::MongoUri { .. }
            | Self::MongoDenied { .. }
            | Self::Dataset(_)
            | Self::ImageTooLarge { .. }
            | Self::Setting { .. }
            | Self::DataLoss { .. }
            | Self::ProducerClaimed { .. }
            | Self::CollectionNotEmpty { .. }
            | Self::Health { .. }
            | Self::Listen { .. }
            | Self::Ledger { .. } => ErrorKind::Caller,
            Self::KafkaRefused { source, .. }
            | Self::Topic { source, .. }
            | Self::Group { source, .. }
            | Self::Publish { source, .. }
            | Self::Consume { source, .. } => kafka_kind(source),
            Self::Mongo { source, .. } => mongo_kind(source),
            Self::InferenceCall(error) if error.is_transient() => ErrorKind::Transient,
            Self::InferenceCall(_) => ErrorKind::Caller,
            Self::Inference(_) | Self::ReplayTakenOver { .. } | Self::Stopped { .. } => ErrorKind::Permanent,
        }
    }

    /// The fields of the configuration that the error points at, the likeliest first. The message contains their names.
    #[must_use]
    pub fn fields(&self) -> Vec<ConfigField> {
        match self {
            Self::KafkaUnreachable { .. }
            | Self::KafkaClient { .. }
            | Self::Topic { .. }
            | Self::Group { .. }
            | Self::Publish { .. }
            | Self::Consume { .. } => vec![KafkaBootstrap],
            Self::KafkaProperty { .. } | Self::KafkaRefused { .. } => vec![KafkaProperties],
            Self::MongoUnreachable { .. }
            | Self::MongoDenied { .. }
            | Self::MongoUri { .. }
            | Self::Mongo { .. } => vec![MongodbUri],
            Self::CollectionNotEmpty { .. } => vec![SeedExisting, MongodbDatabase, SeedCollection],
            Self::InferenceUnreachable { .. } => vec![InferenceUrl],
            Self::Dataset(error) => vec![error.field()],
            Self::ImageTooLarge { .. } => vec![ProducerDataset],
            Self::Setting { field, .. } => vec![*field],
            Self::DataLoss { .. } => vec![ConsumerOnDataLoss],
            Self::ProducerClaimed { .. } => vec![ProducerIds, ProducerLedger],
            Self::Ledger { .. } => vec![ProducerLedger],
            Self::Health { .. } => vec![HealthListen],
            Self::Listen { .. } => vec![IngestListen],
            Self::Inference(error) => error.field().into_iter().collect(),
            Self::InferenceCall(error) => error.field().into_iter().collect(),
            Self::MongoUnconfirmed { .. } | Self::ReplayTakenOver { .. } | Self::Stopped { .. } => Vec::new(),
        }
    }

    /// The first of [`fields`](Self::fields).
    #[must_use]
    pub fn field(&self) -> Option<ConfigField> {
        self.fields().first().copied()
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::error::RDKafkaErrorCode;

    #[test]
    fn a_message_names_the_role_the_address_and_the_fields() {
        let unreachable = Error::KafkaUnreachable {
            role: "producer".into(),
            address: "localhost:9092".into(),
            source: Box::new(KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure)),
        };
        let full =
            Error::CollectionNotEmpty { database: "shop".into(), collection: "orders".into(), documents: 7 };
        let rate = Error::Setting { field: ConfigField::ProducerRate, reason: "it is negative".into() };
        let url = crate::inference::ClientError::Url { url: "x".into(), reason: "no host".into() };
        for (error, parts) in [
            (unreachable, &["producer", "localhost:9092", "kafka.bootstrap"][..]),
            (full, &["shop.orders", "7 documents", "seed.existing", "mongodb.database", "seed.collection"]),
            (rate, &["producer.rate"]),
            (Error::InferenceCall(url), &["inference.url"]),
        ] {
            let text = chain(&error);
            for part in parts {
                assert!(text.contains(part), "{part} in {text}");
            }
            assert!(error.field().is_some());
            for field in error.fields() {
                assert!(text.contains(field.name()), "{field} in {text}");
            }
        }
    }
}
