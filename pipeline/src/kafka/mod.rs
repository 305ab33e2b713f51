//! Everything this crate asks of Kafka besides consuming: how clients are configured (`config`), what is asked of
//! the cluster (`admin`: reachable, topics, watermarks, groups), acknowledged publishing (`publisher`, over the client of `deliveries`), and dead letters, which
//! are read, counted and replayed (`letters`).
//!
//! Only this module and `consumer::source` make librdkafka clients, so the settings that the delivery guarantee
//! rests on (`acks=all`, idempotence, manual offsets) are set in one place and cannot be overridden from outside.

mod admin;
mod config;
mod deliveries;
pub mod letters;
mod publisher;
mod scan;

pub use admin::{
    TopicSpec, Watermarks, check, commit_offsets, dead_letter_topic, delete_group, delete_topics,
    ensure_topics, largest_record, retention, watermarks,
};
pub(crate) use admin::{blocking, record_bytes};
use config::producer;
pub(crate) use config::{client_error, consumer};
pub use firesteel_common::kafka::KafkaConfig;
pub use letters::count_dead_letters;
pub(crate) use publisher::for_model;
pub use publisher::{Acknowledged, Message, Publisher};
pub(crate) use scan::{Stretches, reader, scan};

use std::time::Duration;

/// How long a dependency may take to answer before it counts as unreachable.
pub const REACHABLE_WITHIN: Duration = Duration::from_secs(10);
