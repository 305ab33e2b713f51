//! Firesteel's pipeline: what happens to an image between its producer and MongoDB.
//!
//! `producer` (a data set) or `ingest` (HTTP) → topic `images` → `consumer::images` → `inference` (gRPC) → topic `predictions` →
//! `consumer::predictions` → `sink` (MongoDB). Each component is a `run(config, …, shutdown)` that ends when
//! its work is done or its token is cancelled; signals, environment and exit codes are the binary's business.
//! `health` reports over HTTP whether a component is ready and what it has counted.
//!
//! # What is guaranteed
//!
//! An image that its producer saw acknowledged ends up exactly once as a document of MongoDB or at least once as
//! a dead letter, never as both and never as neither, whichever process dies at whichever moment:
//!
//! * the producer counts an image only when every in-sync replica has it (`acks=all`, idempotent);
//! * a consumer commits an offset only when what came out of it, and out of every record before it, is durable;
//! * the document's `_id` was minted by the producer and the write is an upsert, so a repeated record changes
//!   nothing that is counted;
//! * whether a record can ever succeed is decided from its bytes alone, so a repeated record ends in the same way.
//!
//! Order is not promised: images are classified and stored concurrently.

pub mod consumer;
pub mod dataset;
mod error;
pub mod health;
pub mod inference;
pub mod ingest;
pub mod kafka;
pub mod producer;
pub mod seed;
pub mod sink;

pub use error::{Error, ErrorKind, Result, TopicLimit, chain};
pub use firesteel_common::retry::RetryPolicy;
