//! The two consumers and the machinery they share: at least once, whatever dies.
//!
//! ```text
//!  Kafka ──▶ source (own thread: poll, rebalance, commit) ──records──▶ images / predictions (tasks)
//!                ▲                                                         │
//!                └───── offsets: lowest offset that is not complete ◀── InFlight::complete()
//! ```
//!
//! * A record is *complete* when what came out of it is durable: its prediction acknowledged by all in-sync
//!   replicas, its document written `{w: majority, j: true}`, or its dead letter acknowledged.
//! * Only offsets below the lowest incomplete one of a partition are ever committed (`offsets`). Whatever dies,
//!   everything not complete is delivered again; the last write is an upsert by the image's id, so it counts once.
//! * Work in flight is bounded. When the bound is reached the source stops polling, and after half a second it
//!   pauses its partitions and polls on for group membership alone, so that neither a long outage of MongoDB nor
//!   a slow model costs the partitions.
//! * A dependency that is down is retried without limit, with backoff and jitter. An outage is logged when it begins, when
//!   its error changes and when it ends. A record that can never succeed goes to the dead-letter topic (`dead_letter`).
//! * A result is counted once it is durable (`stats`). `metrics` reports the counters and whether the consumer is ready.
//! * Records are worked on concurrently: **no order is promised** across images, not even of one producer.

mod asked;
mod dead_letter;
mod health_state;
pub mod images;
mod labels;
mod metrics;
mod offsets;
pub mod predictions;
mod retry;
mod source;
mod start;
mod stats;

pub use metrics::Metrics;
pub use offsets::Tracker;
pub use start::OnDataLoss;
pub use stats::{Snapshot, Stats};
